"""Announce which snapshot is read, so that a prune leaves what it needs for as long as the reading takes."""

from __future__ import annotations

from contextlib import ExitStack

from coldhouse.model import Snapshot
from coldhouse.repository import Repository


def announced(repository: Repository, kind: str, found: Snapshot, stack: ExitStack) -> Snapshot:
    """Hold the intent of a reader until ``stack`` is closed; returns the snapshot as it is after that was published.

    ``kind`` is the verb. Where the key or the store lets nobody announce anything, reading goes on all the same.
    Raises NoSuchSnapshot where it was forgotten in this moment, Corruption.
    """
    stack.enter_context(repository.reading(kind, [found.id]))
    return repository.snapshot(found.id)
