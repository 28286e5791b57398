"""A new revision in the place of older ones: how a snapshot comes to refer to other objects than before."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from coldhouse.errors import ObjectExists, ObjectMissing
from coldhouse.model import Buffer
from coldhouse.repository import names, revisions
from coldhouse.repository.intents import Intent
from coldhouse.storage.base import Storage, StoredObject


class Succession(Struct, frozen=True):
    """The revisions of a snapshot: the names of those that stand, of which the first counts, and the next free one."""

    id: str
    standing: tuple[str, ...]
    next: str


def successions(objects: Iterable[StoredObject]) -> dict[str, Succession]:
    """The revisions of all snapshots among listed objects, also of those that have nothing but fences."""
    standing: dict[str, dict[int, str]] = {}
    highest: dict[str, int] = {}
    for stored in objects:
        revision = names.revision_of(stored.name)
        if revision is None:
            continue
        id, number = revision
        highest[id] = max(number, highest.get(id, 0))
        if not revisions.is_fence(stored):
            standing.setdefault(id, {})[number] = stored.name
    return {
        id: Succession(
            id,
            tuple(name for _, name in sorted(standing.get(id, {}).items())),
            names.snapshot(id, number + 1),
        )
        for id, number in sorted(highest.items())
    }


def supersede(storage: Storage, intent: Intent, succession: Succession, sealed: Buffer) -> bool:
    """Create the next revision of a snapshot, which ``intent`` declares, and put fences over those that stood before.

    False where another was faster, the name was closed, or the snapshot was forgotten meanwhile: then it stays as it
    is. Death at any point leaves at least one revision standing, and the next prune tidies. Raises StorageError.
    """
    try:
        intent.create(succession.next, sealed)
    except ObjectExists:
        return False
    storage.sync()
    kept = _stands(storage, succession.standing[0])
    for name in succession.standing if kept else (succession.next,):
        storage.put(name, names.FENCE)
    storage.sync()
    return kept


def _stands(storage: Storage, name: str) -> bool:
    try:
        return storage.size(name) != len(names.FENCE)
    except ObjectMissing:
        return False
