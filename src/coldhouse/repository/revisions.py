"""The revisions of snapshots, and the fences that stand where none may be.

A snapshot begins as ``snapshots/<id>``. When packs that it needs are written anew, a complete snapshot of the same id
that needs the new ones is created as ``snapshots/<id>.1`` (and so on), and then a fence is put over the older one. What
counts is the lowest revision that is no fence: so one that somebody adds, and that no rewriting made, has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from coldhouse.errors import ObjectExists, ObjectMissing
from coldhouse.model import Buffer
from coldhouse.repository import names
from coldhouse.repository.crypto import MIB
from coldhouse.storage.base import Storage, StoredObject

#: The largest snapshot object, in bytes.
_MAX_SNAPSHOT = 64 * MIB
#: A forgetting that meets so many new revisions, one after the other, gives up.
_ROUNDS = 100


def is_fence(stored: StoredObject) -> bool:
    """Whether a listed object below snapshots/ is a fence."""
    return stored.size == len(names.FENCE)


def standing(objects: Iterable[StoredObject]) -> dict[str, list[str]]:
    """The snapshots among listed objects, as the names of their revisions that are no fences, the current one first."""
    found: dict[str, dict[int, str]] = {}
    for stored in objects:
        revision = names.revision_of(stored.name)
        if revision is not None and not is_fence(stored):
            found.setdefault(revision[0], {})[revision[1]] = stored.name
    return {id: [revisions[number] for number in sorted(revisions)] for id, revisions in found.items()}


def fenced(objects: Iterable[StoredObject]) -> dict[str, datetime]:
    """When a fence was last put over a revision of a snapshot, by the store's clock, for all that have fences."""
    found: dict[str, datetime] = {}
    for stored in objects:
        revision = names.revision_of(stored.name)
        if revision is not None and is_fence(stored):
            found[revision[0]] = max(stored.modified, found.get(revision[0], stored.modified))
    return found


def revisions(storage: Storage, id: str) -> dict[int, StoredObject]:
    """Every revision of a snapshot, fences among them, by number."""
    found: dict[int, StoredObject] = {}
    for stored in storage.list(names.snapshot(id)):
        revision = names.revision_of(stored.name)
        if revision is not None and revision[0] == id:
            found[revision[1]] = stored
    return found


def read_object(storage: Storage, name: str) -> Buffer | None:
    """A snapshot object as it is stored; None if it is gone, or a fence. Raises Corruption if it is too large."""
    try:
        stored = storage.get(name, limit=_MAX_SNAPSHOT)
    except ObjectMissing:
        return None
    return None if len(stored) == len(names.FENCE) else stored


def current(storage: Storage, id: str) -> str | None:
    """The name of the revision of a snapshot that counts; None if there is no such snapshot."""
    return next(iter(standing(storage.list(names.snapshot(id))).get(id, ())), None)


def next_revision(existing: Mapping[int, StoredObject]) -> int:
    """The number that a new revision takes: above every one that is there, fences among them."""
    return max(existing, default=-1) + 1


def note_removal(storage: Storage) -> None:
    """Write down, for ever, that fences were removed here; to be called before the first one is."""
    with suppress(ObjectExists):
        storage.create(names.FENCES_REMOVED, names.FENCE)
    storage.sync()


def were_removed(storage: Storage) -> bool:
    """Whether fences were ever removed here; to be asked after the listing that shows what stands.

    Then names that look free may have had fences; and the request that deleted one could delete the next one, when it
    is carried out a second time. So what is brought back takes ``names.any_revision``.
    """
    try:
        storage.size(names.FENCES_REMOVED)
    except ObjectMissing:
        return False
    return True


def fence(storage: Storage, ids: Iterable[str]) -> None:
    """Put fences over all revisions of snapshots, until a listing shows nothing else of them.

    Nothing is deleted: so a late repetition of the request that created a snapshot finds its name taken.
    """
    wanted = frozenset(ids)
    for _ in range(_ROUNDS):
        there = standing(storage.list(names.SNAPSHOTS))
        alive = [name for id in sorted(wanted & there.keys()) for name in there[id]]
        if not alive:
            return
        for name in alive:
            storage.put(name, names.FENCE)
        storage.sync()
