"""Walking a folder in the order of whole names, holding the names of one folder at each level."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime

from coldhouse.storage.base import StoredObject
from coldhouse.storage.names import is_name

#: How to open a folder inside an open one: never through a symbolic link.
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk(folder: int, path: str, prefix: str, after: str) -> Iterator[StoredObject]:
    """Yield the objects in and below an open folder whose ``path`` is empty or ends with a slash."""
    for name in _entries(folder):
        full = path + name
        if name.endswith("/"):
            may_start = full.startswith(prefix) or prefix.startswith(full)
            if may_start and (full > after or after.startswith(full)):
                yield from _walk_below(folder, name[:-1], full, prefix, after)
        elif full > after and full.startswith(prefix):
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:  # deleted meanwhile
                continue
            yield StoredObject(full, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _walk_below(folder: int, name: str, full: str, prefix: str, after: str) -> Iterator[StoredObject]:
    try:
        below = os.open(name, FOLDER, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        yield from walk(below, full, prefix, after)
    finally:
        os.close(below)


def _entries(folder: int) -> Iterator[str]:
    """The files and folders (with a slash at the end, which is what makes their order that of whole names)."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not is_name(entry.name):  # a temporary file, lost+found, ...
                continue
            if entry.is_dir(follow_symlinks=False):
                names.append(entry.name + "/")
            elif entry.is_file(follow_symlinks=False):
                names.append(entry.name)
    names.sort()
    return iter(names)
