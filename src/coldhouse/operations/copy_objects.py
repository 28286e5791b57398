"""Copy a snapshot by its objects, to another store of the same repository.

Order: packs; sync; manifests; sync; then the target is asked for the size of everything that the snapshot needs; then
the snapshot object. A crash leaves at worst objects that nothing refers to, and a repeat sends only what is missing.

An object that was deleted at the target, or is about to be, never comes back there under its name: a late deletion
would take it away again. A snapshot that needs one is sealed anew instead (see copy_anew).

Every object is authenticated between its reading and its writing: packs frame by frame, manifests by the digest in what
refers to them. On arrival sizes are compared; manifests and snapshots are read back. Reading packs back would double
the traffic: ``verify --level data`` at the target does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from coldhouse.errors import ObjectExists, ObjectMissing, StorageError
from coldhouse.events import Listener, Phase, Progress
from coldhouse.model import Buffer, ManifestRef, PackRef, PageRef, Snapshot
from coldhouse.repository import Intent, Repository, manifest_name, pack_name
from coldhouse.repository.names import FENCE
from coldhouse.repository.replica import sealed_manifest, sealed_pack, sealed_snapshot
from coldhouse.storage.base import StoredObject

T = TypeVar("T")

#: Up to so many objects are asked for one by one before a commit; more are found by listing.
_ASK = 100


@dataclass(slots=True)
class Tally:
    """What was stored at the target."""

    objects: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one object."""
        self.objects += 1
        self.bytes += size


@dataclass(slots=True)
class Needs:
    """Everything that snapshots refer to, each object once."""

    packs: dict[bytes, PackRef] = field(default_factory=dict)
    manifests: dict[bytes, ManifestRef] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every object by its name."""
        packs = {pack_name(ref.id): ref.size for ref in self.packs.values()}
        return packs | {manifest_name(ref.id): ref.size for ref in self.manifests.values()}


def needs_of(repository: Repository, snapshot: Snapshot) -> Needs:
    """Walk a snapshot's catalog and pages. Raises Corruption."""
    needs = Needs(manifests={ref.id: ref for ref in snapshot.catalog})

    def pages() -> Iterator[PageRef]:
        for entry in repository.entries(snapshot):
            for page in entry.pages:
                if page.inline:
                    yield page
                elif page.ref.id not in needs.manifests:
                    needs.manifests[page.ref.id] = page.ref
                    yield page

    for _, page in repository.pages(pages()):
        needs.packs.update(page.packs)
    return needs


class Buried(Exception):
    """Objects of this snapshot were deleted at the target, or are about to be: their names must not come back there."""


def fenced(target: Repository) -> StorageError:
    """The error of a copy whose name was closed while it was made."""
    return StorageError(
        f"A prune at {target.url} took this copy for dead, because nothing was heard of it for hours; "
        "or the snapshot was forgotten there meanwhile.",
        hint="Run the copy again. If this machine sleeps in between, give prune a longer --dead-after.",
    )


class ObjectCopier:
    """Copies snapshots one after the other; what is at the target already is listed once."""

    def __init__(self, source: Repository, target: Repository, transfers: int, listener: Listener) -> None:
        self._source = source
        self._target = target
        self._transfers = transfers
        self._listener = listener
        self._there = {stored.name: stored.size for stored in _stored(target)}

    def copy(self, id: str, intent: Intent) -> Tally:
        """Copy one snapshot to the name that ``intent`` declares.

        Raises Buried where it cannot be done object by object; Corruption of the source's objects, StorageError.
        """
        self._listener(Phase("looking for what is missing"))
        snapshot, stored = sealed_snapshot(self._source, id)
        needs = needs_of(self._source, snapshot)
        for gone in (intent.condemned, self._target.graves()):
            if any(map(gone.pack, needs.packs)) or any(map(gone.manifest, needs.manifests)):
                raise Buried
        packs = [ref for ref in needs.packs.values() if self._lacks(pack_name(ref.id), ref.size)]
        manifests = [ref for ref in needs.manifests.values() if self._lacks(manifest_name(ref.id), ref.size)]
        tally = Tally()
        self._listener(Phase("copying"))
        total = sum(ref.size for ref in packs)
        run_each(self._transfers, self._send_pack, packs, lambda ref: self._sent(ref.size, total, tally))
        self._target.storage.sync()
        run_each(self._transfers, self._send_manifest, manifests, lambda ref: tally.add(ref.size))
        self._target.storage.sync()
        self._prove(needs.sizes)
        tally.add(self._commit(intent, stored))
        return tally

    def _sent(self, size: int, total: int, tally: Tally) -> None:
        tally.add(size)
        self._listener(Progress(tally.bytes, total))

    def _lacks(self, name: str, size: int) -> bool:
        found = self._there.get(name)
        if found is not None and found != size:
            raise _wrong_size(name, found, size, self._target)
        return found is None

    def _send_pack(self, ref: PackRef) -> None:
        self._create(pack_name(ref.id), sealed_pack(self._source, ref))

    def _send_manifest(self, ref: ManifestRef) -> None:
        name = manifest_name(ref.id)
        stored = sealed_manifest(self._source, ref)
        self._create(name, stored)
        self._read_back(name, stored)

    def _create(self, name: str, stored: Buffer) -> None:
        with suppress(ObjectExists):  # another copy sends the same; before the commit its size is looked at
            self._target.storage.create(name, stored)
        self._there[name] = len(stored)

    def _read_back(self, name: str, stored: Buffer) -> None:
        if bytes(self._target.storage.get_range(name, 0, len(stored))) != bytes(stored):
            raise StorageError(
                f"{name} did not arrive at {self._target.url} as it was sent.",
                object_name=name,
                hint="That store or the way to it damages data: look into it before you rely on it.",
            )

    def _prove(self, sizes: Mapping[str, int]) -> None:
        """Raise unless everything that the snapshot needs is at the target now."""
        few = len(sizes) <= _ASK
        found = _asked(self._target, sizes) if few else {one.name: one.size for one in _stored(self._target)}
        for name, size in sizes.items():
            if name not in found:
                raise StorageError(
                    f"{name} is not at {self._target.url}, though it was stored there.",
                    object_name=name,
                    hint="Does somebody else delete objects there? Run the copy again.",
                )
            if found[name] != size:
                raise _wrong_size(name, found[name], size, self._target)

    def _commit(self, intent: Intent, stored: Buffer) -> int:
        name = intent.commits[0]
        try:
            intent.create(name, stored)
        except ObjectExists as error:
            if self._target.storage.size(name) == len(FENCE):
                raise fenced(self._target) from error
        self._target.storage.sync()  # another copy was faster: what is there is compared here
        self._read_back(name, stored)
        return len(stored)


def run_each(threads: int, act: Callable[[T], None], items: Iterable[T], done: Callable[[T], None]) -> None:
    """Act on all items in a few threads; ``done`` is called in this one. The first failure ends it and is raised."""
    with ThreadPoolExecutor(threads, "copy") as pool:
        futures = {pool.submit(act, item): item for item in items}
        try:
            for future in as_completed(futures):
                future.result()
                done(futures[future])
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _stored(repository: Repository) -> Iterable[StoredObject]:
    yield from repository.storage.list("packs/")
    yield from repository.storage.list("manifests/")


def _asked(target: Repository, sizes: Mapping[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}

    def ask(name: str) -> None:
        try:
            found[name] = target.storage.size(name)
        except ObjectMissing:
            return

    run_each(8, ask, sizes, lambda _: None)
    return found


def _wrong_size(name: str, found: int, size: int, target: Repository) -> StorageError:
    return StorageError(
        f"{name} at {target.url} has {found:,} bytes instead of {size:,}.",
        object_name=name,
        hint="It is damaged there: run coldhouse repair on that repository with --from this one.",
    )
