"""Whether a repository would be lost together with the data that it is to replace."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

from coldhouse.clickhouse import Source, inspect
from coldhouse.errors import SourceError


def folder_of(repo_url: str) -> Path | None:
    """The folder of a repository URL (``/path`` or ``file://``), or None for a bucket."""
    parts = urlsplit(repo_url)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path))


def _data_paths(source: Source) -> tuple[str, ...]:
    """The directories of a source's data on this machine; none for a server elsewhere, or in a container."""
    if not source.is_embedded and source.host != socket.gethostname():
        return ()
    try:
        disks = inspect.disks(source)
    except SourceError:  # system.disks may be closed to this user, and all that is lost is a warning
        return (source.data_path,) if source.data_path else ()
    return tuple(disk.path for disk in disks if disk.kind.lower() == "local" and os.path.isabs(disk.path))


def same_disk(repo_url: str, source: Source) -> bool:
    """Whether a repository folder and a directory of the source's data, both of this machine, are on one file system.

    The source is asked only where the repository is a folder.
    """
    folder = folder_of(repo_url)
    if folder is None:
        return False
    device = _device(folder)
    return device is not None and any(_device(path) == device for path in _data_paths(source))


def _device(path: str | Path) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None
