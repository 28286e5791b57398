"""Find what is damaged, put back what can be proven to be right, and set the rest aside; nothing is ever deleted.

An object is put back from a copy of the repository (``--from``), authenticated as it is read. What was damaged is kept
below ``quarantine/``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from msgspec import Struct

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing, UsageError
from coldhouse.events import Listener, Phase, silent
from coldhouse.model import Buffer, ManifestRef, PackRef
from coldhouse.operations import broken, rebuild
from coldhouse.operations.diagnosis import BadObject, Diagnosis, Doctor, Hurt
from coldhouse.operations.opening import NO_LIMITS, Limits, store_at
from coldhouse.records import replace
from coldhouse.repository import Repository, id_of, quarantined_name
from coldhouse.repository.names import FENCE, SNAPSHOTS
from coldhouse.repository.replica import open_replica, sealed_key, sealed_manifest, sealed_pack, sealed_revision
from coldhouse.repository.superseding import successions, supersede
from coldhouse.storage.base import Storage

#: replaced: the same object was put back from the copy. set aside: nothing of it can be read, it is in quarantine.
#: kept: parts of it can still be read, or it is missing: it stays as it is.
Action = Literal["replaced", "set aside", "kept"]


class Treatment(Struct, frozen=True):
    """What was done, or in a dry run would be done, about an object."""

    object: str
    problem: str
    action: Action


class RepairReport(Struct, frozen=True):
    """What was found and done.

    ``hurt``: what snapshots cannot give back; after a repair, what they still cannot. ``curable``: what a dry run found
    besides, and would give back from the copy. ``remaining`` are the objects that are still damaged or missing, as far
    as snapshots need them; ``rebuilt`` are the snapshots whose manifests refer now (in a dry run: would refer) to other
    packs that hold the same files.
    """

    dry_run: bool
    snapshots: int
    treatments: tuple[Treatment, ...]
    rebuilt: tuple[str, ...]
    hurt: tuple[Hurt, ...]
    remaining: tuple[str, ...] = ()
    curable: tuple[Hurt, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.treatments

    @property
    def healed(self) -> bool:
        """Whether every snapshot is there, and can be restored in full now."""
        return not self.dry_run and not self.hurt and not self.remaining


def run(
    repository: Repository,
    *,
    data: bool = False,
    copy: Storage | None = None,
    dry_run: bool = True,
    listener: Listener = silent,
) -> RepairReport:
    """Look for damage and, unless ``dry_run``, treat it.

    Args:
        repository: what to repair.
        data: read every pack, not only listings, manifests and the packs that a verification found damaged.
        copy: another store of the same repository, from which objects are taken.
        dry_run: change nothing; say what would be done.
        listener: is told of the progress.

    Raises:
        UsageError: the copy is another repository.
        StorageError: one of the stores failed; the same call continues.
    """
    replica = _replica(repository, copy) if copy is not None else None
    with repository.reading("repair"):
        return _repair(repository, replica, data=data, dry_run=dry_run, listener=listener)


def _repair(
    repository: Repository, replica: Repository | None, *, data: bool, dry_run: bool, listener: Listener
) -> RepairReport:
    found = Doctor(repository, listener, suspected=broken.read(repository).damaged).look(data=data)
    if dry_run:
        treatments = tuple(_plan(repository, replica, bad) for bad in found.objects.values())
        rest = _without(found, {one.object for one in treatments if one.action == "replaced"})
        rebuilt = rebuild.plan(repository, rest, listener).ids if rest.hurt else ()
        curable = tuple(hurt for hurt in found.hurt if hurt not in rest.hurt)
        return RepairReport(True, found.snapshots, treatments, rebuilt, tuple(rest.hurt), curable=curable)
    listener(Phase("repairing"))
    treatments = tuple(_treat(repository, replica, bad) for bad in found.objects.values())
    repository.storage.sync()
    left = _look_again(repository, found, treatments, listener)
    rebuilt = rebuild.run(repository, left, listener) if left.hurt else ()
    if rebuilt:
        left = _look_again(repository, found, treatments, listener)
    _note_broken(repository, treatments, left)
    return RepairReport(False, found.snapshots, treatments, rebuilt, tuple(left.hurt), tuple(left.objects))


def run_from(
    repository: Repository,
    copy_url: str,
    *,
    data: bool = False,
    dry_run: bool = True,
    limits: Limits = NO_LIMITS,
    listener: Listener = silent,
) -> RepairReport:
    """The same, with the copy (none if empty) at a folder or bucket URL."""
    if not copy_url:
        return run(repository, data=data, dry_run=dry_run, listener=listener)
    copy = store_at(copy_url, limits)
    try:
        return run(repository, data=data, copy=copy, dry_run=dry_run, listener=listener)
    finally:
        copy.close()


def _replica(repository: Repository, copy: Storage) -> Repository:
    replica = open_replica(repository, copy)
    if replica is None:
        raise UsageError(
            f"{copy.url} is another repository, so its objects cannot stand in for these",
            hint="--from takes a copy that was made object by object (copy --init-like); from others, restore",
        )
    return replica


def _look_again(
    repository: Repository, found: Diagnosis, treatments: tuple[Treatment, ...], listener: Listener
) -> Diagnosis:
    """What is wrong after the treatment; a pack that was damaged, and is not replaced, still is.

    A snapshot that was set aside is in no listing any more, and lost all the same.
    """
    actions = {treatment.object: treatment.action for treatment in treatments}
    known = [bad for bad in found.objects.values() if isinstance(bad.ref, PackRef) and actions[bad.name] != "replaced"]
    left = Doctor(repository, listener, known=known).look(data=False)
    lost = (hurt for hurt in found.hurt if hurt.object.startswith(SNAPSHOTS) and actions[hurt.object] == "set aside")
    left.hurt += lost
    return left


def _without(found: Diagnosis, replaced: set[str]) -> Diagnosis:
    """What would be left if these objects were put back."""
    return replace(
        found,
        objects={name: bad for name, bad in found.objects.items() if name not in replaced},
        hurt=[hurt for hurt in found.hurt if hurt.object not in replaced],
    )


def _note_broken(repository: Repository, treatments: tuple[Treatment, ...], left: Diagnosis) -> None:
    """Let the next backup build on what was put back, and on nothing that is still broken."""
    before = broken.read(repository)
    replaced = {id for one in treatments if one.action == "replaced" and (id := id_of(one.object)) is not None}
    bad = {id: one.there for one in left.objects.values() if (id := id_of(one.name)) is not None}
    lost = [id for id, there in bad.items() if not there]
    after = before.over(sound=replaced).found(lost=lost, damaged=bad.keys() - lost)
    broken.write(repository, before, after)


def _plan(repository: Repository, replica: Repository | None, bad: BadObject) -> Treatment:
    """What would be done, as far as it shows without reading the copy."""
    if replica is not None and _is_at(replica.storage, bad):
        return Treatment(bad.name, bad.problem, "replaced")
    return Treatment(bad.name, bad.problem, "set aside" if bad.there and not _readable(repository, bad) else "kept")


def _treat(repository: Repository, replica: Repository | None, bad: BadObject) -> Treatment:
    sound = _fetch(replica, bad) if replica is not None else None
    storage = repository.storage
    if sound is not None:
        if bad.name.startswith(SNAPSHOTS):
            return _supersede(repository, bad, sound)
        if bad.there:
            _keep_aside(storage, bad.name)
            storage.put(bad.name, sound)  # in one step: it never is absent
        else:
            with suppress(ObjectExists):
                storage.create(bad.name, sound)
        return Treatment(bad.name, bad.problem, "replaced")
    if not bad.there or _readable(repository, bad):
        return Treatment(bad.name, bad.problem, "kept")
    _keep_aside(storage, bad.name)
    storage.sync()
    if bad.name.startswith(SNAPSHOTS):
        storage.put(bad.name, FENCE)
    else:
        storage.delete([bad.name])
    return Treatment(bad.name, bad.problem, "set aside")


def _supersede(repository: Repository, bad: BadObject, sound: Buffer) -> Treatment:
    """Put a sound snapshot in the place of a damaged one, as the next revision: beside it somebody may forget it."""
    storage = repository.storage
    _keep_aside(storage, bad.name)
    found = successions(storage.list(SNAPSHOTS))
    mine = next((one for one in found.values() if bad.name in one.standing), None)
    if mine is not None:
        with repository.intent("repair", [mine.next]) as intent:
            if supersede(storage, intent, mine, sound):
                return Treatment(bad.name, bad.problem, "replaced")
    return Treatment(bad.name, bad.problem, "kept")


def _readable(repository: Repository, bad: BadObject) -> bool:
    """Whether parts of a damaged object can be read: of a pack whose frame table is sound. A key slot always stays."""
    if bad.name.startswith("keys/"):
        return True
    if not isinstance(bad.ref, PackRef):
        return False
    try:
        return repository.directory(bad.ref.id)[0] == bad.ref
    except Corruption:
        return False


def _fetch(replica: Repository, bad: BadObject) -> Buffer | None:
    """The same object from the copy, authenticated; None if it is not sound there either."""
    try:
        if isinstance(bad.ref, PackRef):
            return sealed_pack(replica, bad.ref)
        if isinstance(bad.ref, ManifestRef):
            return sealed_manifest(replica, bad.ref)
        if bad.name.startswith(SNAPSHOTS):
            return sealed_revision(replica, bad.name)
        return sealed_key(replica, bad.name)
    except (Corruption, ObjectMissing):
        return None


def _is_at(storage: Storage, bad: BadObject) -> bool:
    try:
        size = storage.size(bad.name)
    except ObjectMissing:
        return False
    return bad.ref is None or size == bad.ref.size


def _keep_aside(storage: Storage, name: str) -> None:
    """Store an object's bytes below quarantine/ as well; of several of one name, each gets a number."""
    stored = storage.get(name)
    for number in range(1, 1000):
        place = quarantined_name(name, number)
        try:
            storage.create(place, stored)
        except ObjectExists:
            if bytes(storage.get(place)) == bytes(stored):
                return
            continue
        return
