"""Write packs anew that are mostly unused: what is needed moves to new packs, and every snapshot that refers to it gets
a new revision whose manifests say so. The old packs are then needed by nothing, and the collection takes them.

A rewriting is a writer like a backup: see "Collection" in FORMAT.md. What a page or an entry says beside the places of
its files, also what this version does not know, stays byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack

from msgspec import Struct

from coldhouse.errors import Corruption
from coldhouse.model import Extent, ManifestRef, PackRef
from coldhouse.repository import names, revisions
from coldhouse.repository.ahead import reading_ahead
from coldhouse.repository.condemned import Condemned
from coldhouse.repository.crypto import Kind, seal
from coldhouse.repository.intents import Intent
from coldhouse.repository.marking import Marks, PageWalk, read_root_object
from coldhouse.repository.needs import Needs
from coldhouse.repository.opened_pack import open_pack
from coldhouse.repository.pack_reader import PackReader
from coldhouse.repository.pack_writer import PackSettings, PackWriter
from coldhouse.repository.relocation import Relocation, Wanted
from coldhouse.repository.repository import Repository
from coldhouse.repository.revising import Revisor
from coldhouse.repository.rewrite_plan import PackUse, RewritePlan, choose, estimate, measure, worth_measuring
from coldhouse.repository.superseding import Succession, successions, supersede

#: How many extents are moved in one round; each takes some 80 bytes of memory.
MOST_EXTENTS = 1_500_000
#: How many bytes are moved in one round, about: what a killed prune would have to do again.
MOST_BYTES = 16 << 30
#: One intent names so many snapshots at most.
_MOST_COMMITS = 10_000
_COPYING = 3
_CACHE = 48 << 20


class RewriteSettings(Struct, frozen=True):
    """How packs are written anew; ``compression`` as for a backup."""

    compression: str = "auto"
    most_extents: int = MOST_EXTENTS
    most_bytes: int = MOST_BYTES


class Rewritten(Struct, frozen=True):
    """What was done: old packs that no snapshot needs any more, the bytes stored, and packs that could not be read."""

    rounds: int = 0
    packs: int = 0
    stored_bytes: int = 0
    objects: int = 0
    snapshots: int = 0
    damaged: tuple[str, ...] = ()
    looked_at: frozenset[bytes] = frozenset()

    def __add__(self, other: Rewritten) -> Rewritten:
        """What was done in both."""
        return Rewritten(
            self.rounds + other.rounds,
            self.packs + other.packs,
            self.stored_bytes + other.stored_bytes,
            self.objects + other.objects,
            self.snapshots + other.snapshots,
            self.damaged + other.damaged,
            self.looked_at | other.looked_at,
        )


_DEFAULT = RewriteSettings()


def _nobody(_: int) -> None:
    """Whom nobody tells anything."""


def plan_rewriting(repository: Repository, marks: Marks, max_unused: float, threads: int = 8) -> RewritePlan:
    """Choose the packs to write anew (see ``choose``); frame tables are read where marks alone do not tell.

    A pack whose table cannot be read is left as it is. Raises StorageError.
    """
    if max_unused >= 100:
        return RewritePlan((), 0, 0)
    uses = [estimate(ref, marks.frames_of(ref.id)) for ref in marks.packs() if not marks.is_whole(ref.id)]
    unsure = [use for use in uses if worth_measuring(use, max_unused)]
    known = [use for use in uses if not worth_measuring(use, max_unused)]
    with reading_ahead(threads) as ahead:
        for use in ahead.each(lambda use: _measured(repository, marks, use), unsure):
            known.append(use)
    return choose(known, max_unused)


def _measured(repository: Repository, marks: Marks, use: PackUse) -> PackUse:
    try:
        opened = open_pack(repository.storage, repository._ring, use.ref.id)
    except Corruption:
        return PackUse(use.ref, 0, measured=False)
    return measure(use.ref, opened.table, marks.frames_of(use.ref.id))


def rewrite(
    repository: Repository,
    plan: RewritePlan,
    settings: RewriteSettings = _DEFAULT,
    moved: Callable[[int], None] = _nobody,
) -> Rewritten:
    """Write the packs of a plan anew, and finish what an earlier rewriting left half done.

    ``moved`` is told of every so many bytes. Raises StorageError; Corruption where a manifest cannot be read. After
    any error every snapshot is there, and a repeat goes on.
    """
    done = Rewritten()
    waiting = [use.ref for use in plan.packs]
    while waiting or not done.rounds:
        batch = _first(waiting, settings.most_bytes)
        if not batch and not _half_done(repository):
            break
        this = _Round(repository, settings, moved).run(batch)
        done += this
        waiting = [ref for ref in waiting if ref.id not in this.looked_at]
    return done


def _first(packs: Sequence[PackRef], most_bytes: int) -> list[PackRef]:
    """As many packs as are moved in one round."""
    chosen: list[PackRef] = []
    size = 0
    for ref in packs:
        size += ref.size
        if chosen and size > most_bytes:
            break
        chosen.append(ref)
    return chosen


def _half_done(repository: Repository) -> bool:
    """Whether a snapshot has revisions that were to be replaced: their rewriting has died."""
    found = revisions.standing(repository.storage.list(names.SNAPSHOTS))
    return any(len(some) > 1 for some in found.values())


class _Round:
    """One round: a writer with an intent of its own."""

    def __init__(self, repository: Repository, settings: RewriteSettings, moved: Callable[[int], None]) -> None:
        self._repository = repository
        self._storage = repository.storage
        self._settings = settings
        self._moved = moved

    def run(self, packs: Sequence[PackRef]) -> Rewritten:
        subjects = self._subjects()
        with ExitStack() as stack:
            intents = {}
            for some in _in_groups(subjects, _MOST_COMMITS):
                intent = stack.enter_context(self._repository.intent("prune", [one.next for one in some]))
                intents.update(dict.fromkeys([one.next for one in some], intent))
            condemned = Condemned(each for intent in intents.values() for each in intent.condemned.lists)
            wanted = self._collect(subjects, packs)
            copied = self._copy(wanted, packs)
            revisor = Revisor(self._repository, copied.relocation, condemned)
            stack.callback(revisor.close)
            changed = [one for one in subjects if self._concerns(one, revisor)]
            revisor.flush()
            self._storage.sync()
            self._prove(copied.packs, revisor.written)
            made = sum(self._commit(one, revisor, intents[one.next]) for one in changed)
        return Rewritten(
            rounds=1,
            packs=len(wanted.packs) - len(copied.damaged),
            stored_bytes=sum(ref.size for ref in copied.packs) + revisor.stored_bytes,
            objects=len(copied.packs) + len(revisor.written) + made,
            snapshots=made,
            damaged=tuple(copied.damaged),
            looked_at=wanted.packs,
        )

    def _subjects(self) -> list[Succession]:
        found = successions(self._storage.list(names.SNAPSHOTS))
        return [one for one in found.values() if one.standing]

    def _collect(self, subjects: Iterable[Succession], packs: Sequence[PackRef]) -> Wanted:
        """What the snapshots need of these packs."""
        wanted = Wanted(packs, self._settings.most_extents)
        if packs:
            for page in PageWalk(self._repository).pages(one.standing[0] for one in subjects):
                wanted.see(page)
        return wanted

    def _copy(self, wanted: Wanted, packs: Sequence[PackRef]) -> _Copied:
        """Store what is needed of packs in new ones; those that are damaged stay as they are."""
        relocation = Relocation()
        damaged: list[str] = []
        with (
            self._repository.pack_reader(cache_bytes=_CACHE) as reader,
            self._repository.pack_writer(PackSettings(compression=self._settings.compression)) as writer,
            ThreadPoolExecutor(_COPYING, "rewrite") as pool,
        ):
            copier = _PackCopier(self._repository, reader, writer, self._moved)
            jobs = {pool.submit(copier.copy, ref, wanted): ref for ref in packs if ref.id in wanted.packs}
            try:
                for job in as_completed(list(jobs)):
                    try:
                        relocation.add(jobs.pop(job).id, *job.result())
                    except Corruption as error:
                        damaged.append(error.object_name)
            except BaseException:
                writer.abort()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            writer.flush()
            relocation.stored_in(writer.packs())
            return _Copied(relocation, writer.packs(), damaged)

    def _concerns(self, subject: Succession, revisor: Revisor) -> bool:
        """Make the manifests of a snapshot, and say whether it needs a new revision."""
        base = subject.standing[0]
        root = read_root_object(self._repository, base)
        revised = revisor.revise(root, base) if root is not None else None
        return revised is not None and (revised != root or len(subject.standing) > 1)

    def _prove(self, packs: Iterable[PackRef], manifests: Iterable[ManifestRef]) -> None:
        """Raise unless everything that was stored is in the store."""
        needs = Needs()
        needs.packs.update({ref.id: ref.size for ref in packs})
        needs.manifests.update({ref.id: ref.size for ref in manifests})
        needs.prove(self._storage)

    def _commit(self, subject: Succession, revisor: Revisor, intent: Intent) -> bool:
        """Put a new revision in the place of those that stand; False where it was forgotten, or another was faster."""
        base = subject.standing[0]
        root = read_root_object(self._repository, base)
        revised = revisor.revise(root, base) if root is not None else None
        if revised is None:
            return False
        sealed = seal(self._repository._ring, Kind.SNAPSHOT, subject.next, revised)
        return supersede(self._storage, intent, subject, sealed)


class _Copied(Struct, frozen=True):
    """What a round moved."""

    relocation: Relocation
    packs: tuple[PackRef, ...]
    damaged: list[str]


def _in_groups(subjects: Sequence[Succession], most: int) -> Iterator[Sequence[Succession]]:
    for start in range(0, len(subjects), most):
        yield subjects[start : start + most]


class _PackCopier:
    """Copies what is needed of a pack, file by file; checksums come from the pack's own directory."""

    def __init__(
        self, repository: Repository, reader: PackReader, writer: PackWriter, moved: Callable[[int], None]
    ) -> None:
        self._repository = repository
        self._reader = reader
        self._writer = writer
        self._moved = moved

    def copy(self, ref: PackRef, wanted: Wanted) -> tuple[list[Extent], list[tuple[Extent, ...]]]:
        extents = wanted.extents(ref.id)
        _, runs = self._repository.directory(ref.id)
        whole = {(run.offset, run.length): run for run in runs if run.length == run.size and run.checksum}
        new = []
        for extent in extents:
            run = whole.get((extent.offset, extent.length))
            checksum, verified = (run.checksum, run.verified) if run is not None else (b"", False)
            new.append(self._copy_extent(ref, extent, checksum, verified))
            self._moved(extent.length)
        return extents, new

    def _copy_extent(self, ref: PackRef, extent: Extent, checksum: bytes, verified: bool) -> tuple[Extent, ...]:
        stream = self._writer.open_file(extent.length, checksum or None)
        try:
            for piece in self._reader.read({ref.id: ref}, [extent], 0, extent.length):
                stream.write(piece)
            return stream.finish(checksum, verified=verified)
        except BaseException:
            stream.abort()
            raise
