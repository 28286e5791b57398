"""What a host whose key cannot read remembers of its own snapshots, so that its backups can be increments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from coldhouse.errors import UsageError
from coldhouse.repository import OwnState, Repository


def folder_of(repository_id: str, environment: Mapping[str, str]) -> Path:
    """Where the state of a repository is kept: below XDG_STATE_HOME, or ~/.local/state."""
    base = environment.get("XDG_STATE_HOME", "")
    return (Path(base) if base else Path("~/.local/state").expanduser()) / "coldhouse" / repository_id


@contextmanager
def recalling(repository: Repository, warn: Callable[[str], None]) -> Iterator[Repository]:
    """The repository as a backup needs it; where its key cannot read, with what this host remembers.

    Raises UsageError where the folder for it cannot be made.
    """
    if not repository.write_only:
        yield repository
        return
    folder = folder_of(repository.id, os.environ)
    own = OwnState(folder)
    try:
        own.open()
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be used: {error.strerror}",
            hint="a key that can back up and not read keeps there what increments need; set XDG_STATE_HOME to another",
        ) from error
    with own:
        yield repository.recalling(own)
        own.tidy(repository.snapshot_ids())
        if own.failure:
            warn(f"the next backup will be a full one: {own.failure}")
