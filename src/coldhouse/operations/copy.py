"""Copy snapshots to a second repository, without the source that they were taken from.

Between two stores of the same repository (the same id and keys) objects are copied as they are; into a repository with
keys of its own, contents are opened and sealed anew (see copy_anew). Either way a snapshot appears there last, and only
after everything that it needs was seen to be there. At the target a copy is a writer like a backup: it may run beside a
prune.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Literal

from msgspec import Struct

from coldhouse import repository as repositories
from coldhouse.errors import Corruption, NoSuchSnapshot, UsageError
from coldhouse.events import Listener, Phase, Warned, silent
from coldhouse.operations.copy_objects import Buried, ObjectCopier, Tally
from coldhouse.operations.opening import NO_LIMITS, Limits, store_at
from coldhouse.repository import Intent, Repository, snapshot_name
from coldhouse.repository.names import any_revision
from coldhouse.repository.replica import copy_keys, init_replica, open_replica
from coldhouse.repository.revisions import were_removed
from coldhouse.repository.superseding import successions
from coldhouse.storage.base import Storage

Method = Literal["objects", "anew"]

#: Notes at the target: this snapshot is being copied.
KIND = "copying"


class CopiedSnapshot(Struct, frozen=True):
    """What became of one snapshot; ``objects`` and ``bytes`` were stored at the target, the snapshot included.

    ``status`` is copied, there (it was there already), forgotten (there, and nobody asked for it by name) or failed;
    ``note`` says why.
    """

    id: str
    status: Literal["copied", "there", "forgotten", "failed"]
    objects: int = 0
    bytes: int = 0
    note: str = ""


class CopyReport(Struct, frozen=True):
    """What a copy did. ``method``: objects as they are, or contents sealed anew under the keys of the target."""

    source: str
    target: str
    method: Method
    snapshots: tuple[CopiedSnapshot, ...]
    objects: int
    bytes: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every snapshot that was asked for, and was not forgotten there, is at the target."""
        return all(snapshot.status != "failed" for snapshot in self.snapshots)


def open_target(
    source: Repository, storage: Storage, passphrase: Callable[[], str], *, init_like: bool = False
) -> Repository:
    """Open the repository to copy to, or with ``init_like`` make it another store of the same repository.

    The passphrase is only asked for if it is a repository with keys of its own. Raises NoRepository, RepositoryExists,
    WrongPassphrase, Corruption, StorageError, and UsageError if both are one place.
    """
    if storage.url == source.storage.url:
        raise UsageError("a repository cannot be copied to itself", hint="--to is another place than --repo")
    if init_like:
        return init_replica(source, storage)
    return open_replica(source, storage) or repositories.open_repository(storage, passphrase())


def open_target_at(
    source: Repository,
    url: str,
    passphrase: Callable[[], str],
    *,
    init_like: bool = False,
    limits: Limits = NO_LIMITS,
) -> Repository:
    """The same, at a folder or bucket URL."""
    storage = store_at(url, limits)
    try:
        return open_target(source, storage, passphrase, init_like=init_like)
    except BaseException:
        storage.close()
        raise


def run(
    source: Repository,
    target: Repository,
    snapshots: Sequence[str] = (),
    *,
    transfers: int = 4,
    compression: str = "auto",
    listener: Listener = silent,
) -> CopyReport:
    """Copy snapshots (ids, unique beginnings of ids, ``latest``; by default all) that the target does not have.

    Objects are copied by ``transfers`` threads, each with one pack in memory; ``compression`` is for contents that are
    sealed anew. A snapshot whose objects are damaged at the source is reported as failed and does not end the rest.
    A copy that was interrupted is continued by the same call.

    Raises NoSuchSnapshot, and StorageError, also where the target's own objects are damaged.
    """
    began = time.monotonic()
    ids = _chosen(source, snapshots)
    same = source.id == target.id
    if same and copy_keys(source.storage, target.storage):
        listener(Warned("keys that were added since the last copy open the copy from now on"))
    places = _places(target, ids, named=bool(snapshots))
    for place in places:
        if place.noted:  # else it would come back after somebody forgets it there
            target.delete_note(KIND, place.id)
    with ExitStack() as stack:
        if any(place.name for place in places):
            # Before its objects are listed: what is there now stays, even if a prune finds that nothing needs it.
            stack.enter_context(target.intent("copy"))
            stack.enter_context(source.reading("copy", ids))
            copiers = _Copiers(source, target, transfers, compression, listener)
        done = [
            _copy_one(copiers, place, f"({number} of {len(ids)})") if place.name else _passed_over(place)
            for number, place in enumerate(places, 1)
        ]
    return CopyReport(
        source=source.url,
        target=target.url,
        method="objects" if same else "anew",
        snapshots=tuple(done),
        objects=sum(one.objects for one in done),
        bytes=sum(one.bytes for one in done),
        seconds=time.monotonic() - began,
    )


class _Place(Struct, frozen=True):
    """A snapshot, and the name that it gets at the target; empty if it is there, or was forgotten there.

    ``noted``: a copy that began it did not come to take back its note.
    """

    id: str
    name: str
    forgotten: bool = False
    noted: bool = False


def _places(target: Repository, ids: Sequence[str], *, named: bool) -> list[_Place]:
    """Where each snapshot goes. A name that is closed stays closed: the next revision is taken instead, or any
    one that was never used, where fences are not there any more.

    A copy that died left a note, and its name may have been closed by a prune; a snapshot without one was forgotten,
    and is copied again only if it was asked for by name.
    """
    begun = {id for id, _ in target.notes(KIND)}
    taken = successions(target.storage.list("snapshots/"))
    lacking = any(id not in taken or not taken[id].standing for id in ids)
    removed = lacking and were_removed(target.storage)
    places = []
    for id in ids:
        there = taken.get(id)
        if there is not None and there.standing:
            places.append(_Place(id, "", noted=id in begun))
        elif there is not None and not named and id not in begun:
            places.append(_Place(id, "", forgotten=True))
        else:
            free = there.next if there is not None else snapshot_name(id)
            places.append(_Place(id, any_revision(id) if removed else free))
    return places


class _Copiers:
    """Copies one snapshot after the other, by objects where that is possible, else anew."""

    def __init__(
        self, source: Repository, target: Repository, transfers: int, compression: str, listener: Listener
    ) -> None:
        self.source = source
        self.target = target
        self.listener = listener
        self._objects = ObjectCopier(source, target, transfers, listener) if source.id == target.id else None
        self._transfers = transfers
        self._compression = compression

    def copy(self, id: str, intent: Intent) -> Tally:
        """Copy a snapshot. Raises as the copiers do."""
        if self._objects is not None:
            try:
                return self._objects.copy(id, intent)
            except Buried:
                self.listener(Warned(f"some of {id} was deleted at the target before; it is stored anew"))
        from coldhouse.operations.copy_anew import AnewCopier

        return AnewCopier(self.source, self.target, self._transfers, self._compression, self.listener).copy(id, intent)


def _passed_over(place: _Place) -> CopiedSnapshot:
    if not place.forgotten:
        return CopiedSnapshot(place.id, "there")
    return CopiedSnapshot(place.id, "forgotten", note="it was forgotten there; name it to copy it again")


def _copy_one(copiers: _Copiers, place: _Place, count: str) -> CopiedSnapshot:
    id, target = place.id, copiers.target
    copiers.listener(Phase(f"snapshot {id} {count}"))
    target.put_note(KIND, id, b"")
    try:
        with target.intent("copy", [place.name]) as intent:
            tally = copiers.copy(id, intent)
    except (Corruption, NoSuchSnapshot) as error:  # of the source; what is wrong at the target is a StorageError
        copiers.listener(Warned(f"snapshot {id} cannot be copied: {error.message}"))
        return CopiedSnapshot(id, "failed", note=error.message)
    target.delete_note(KIND, id)
    return CopiedSnapshot(id, "copied", tally.objects, tally.bytes)


def _chosen(source: Repository, wanted: Sequence[str]) -> list[str]:
    """Ids, oldest first, each once."""
    if not wanted:
        return source.snapshot_ids()
    return sorted({source.find(name).id for name in wanted})
