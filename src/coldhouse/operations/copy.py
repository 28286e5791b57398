"""Copy snapshots to a second repository, without the source that they were taken from.

Between two stores of the same repository (the same id and keys) objects are copied as they are; into a repository with
keys of its own, contents are opened and sealed anew (see copy_anew). Either way a snapshot appears there last, and only
after everything that it needs was seen to be there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from coldhouse import repository as repositories
from coldhouse.errors import Corruption, NoSuchSnapshot, UsageError
from coldhouse.events import Listener, Phase, Warned, silent
from coldhouse.model import Snapshot
from coldhouse.operations.copy_objects import ObjectCopier, Tally
from coldhouse.operations.opening import NO_LIMITS, Limits, store_at
from coldhouse.repository import Repository
from coldhouse.repository.replica import copy_keys, init_replica, open_replica
from coldhouse.storage.base import Storage

Method = Literal["objects", "anew"]


@dataclass(frozen=True, slots=True)
class CopiedSnapshot:
    """What became of one snapshot; ``objects`` and ``bytes`` were stored at the target, the snapshot included.

    ``status`` is copied, there (it was there already) or failed; ``note`` says why.
    """

    id: str
    status: Literal["copied", "there", "failed"]
    objects: int = 0
    bytes: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class CopyReport:
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
        """Whether every snapshot that was asked for is at the target."""
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
    there = frozenset(target.snapshot_ids())
    method: Method = "objects" if source.id == target.id else "anew"
    copier: Callable[[Snapshot], Tally]
    if method == "objects":
        if copy_keys(source.storage, target.storage):
            listener(Warned("keys that were added since the last copy open the copy from now on"))
        copier = ObjectCopier(source, target, transfers, listener).copy
    else:
        from coldhouse.operations.copy_anew import AnewCopier

        copier = AnewCopier(source, target, transfers, compression, listener).copy
    done: list[CopiedSnapshot] = []
    for number, id in enumerate(ids, 1):
        if id in there:
            done.append(CopiedSnapshot(id, "there"))
            continue
        listener(Phase(f"snapshot {id} ({number} of {len(ids)})"))
        done.append(_copy_one(source, id, copier, listener))
    return CopyReport(
        source=source.url,
        target=target.url,
        method=method,
        snapshots=tuple(done),
        objects=sum(one.objects for one in done),
        bytes=sum(one.bytes for one in done),
        seconds=time.monotonic() - began,
    )


def _copy_one(source: Repository, id: str, copier: Callable[[Snapshot], Tally], listener: Listener) -> CopiedSnapshot:
    try:
        tally = copier(source.snapshot(id))
    except (Corruption, NoSuchSnapshot) as error:  # of the source; what is wrong at the target is a StorageError
        listener(Warned(f"snapshot {id} cannot be copied: {error.message}"))
        return CopiedSnapshot(id, "failed", note=error.message)
    return CopiedSnapshot(id, "copied", tally.objects, tally.bytes)


def _chosen(source: Repository, wanted: Sequence[str]) -> list[str]:
    """Ids, oldest first, each once."""
    if not wanted:
        return source.snapshot_ids()
    return sorted({source.find(name).id for name in wanted})
