"""Give snapshots back what lies somewhere else as well: the part of ``repair`` that needs no copy.

A file that cannot be read is looked for, by its size and ClickHouse's checksum, in the pages of all snapshots and then
in the packs' own directories (packs that no snapshot needs count, too); it is believed when its bytes, read, have that
checksum. A page that is lost is put together from other snapshots' pages of that table, if these hold exactly the parts
that its reference tells. What is found goes into new pages, and these into a new revision of each snapshot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from msgspec import Struct

from coldhouse.cityhash import FileHash
from coldhouse.errors import Corruption, NoSuchSnapshot
from coldhouse.events import Listener, Phase
from coldhouse.model import Extent, FileEntry, PackRef, PageRef, Part, PartState, TableEntry
from coldhouse.operations.diagnosis import Diagnosis, readable_entries
from coldhouse.records import replace
from coldhouse.repository import Page, Repository, Run, id_of
from coldhouse.repository.rebuilding import Rebuilder, same_parts, standing

#: A file by its size in bytes and its checksum.
Key = tuple[int, bytes]


class Place(Struct, frozen=True):
    """Where a file lies whole: its extents, and their packs."""

    extents: tuple[Extent, ...]
    packs: tuple[PackRef, ...]


@dataclass(slots=True)
class RebuildPlan:
    """What can be given back: places of files, the pages that need them, lost pages with where their parts are.

    ``snapshots`` are those that refer to such a page.
    """

    places: dict[Key, Place] = field(default_factory=dict)
    pages: dict[bytes, PageRef] = field(default_factory=dict)  # by content: pages with files to be found elsewhere
    lost: dict[bytes, tuple[PageRef, tuple[PageRef, ...]]] = field(default_factory=dict)  # and pages with its parts
    snapshots: dict[str, set[bytes]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """The snapshots that would get a new revision."""
        usable = self.pages.keys() | self.lost.keys()
        return tuple(sorted(id for id, contents in self.snapshots.items() if contents & usable))


def plan(repository: Repository, found: Diagnosis, listener: Listener) -> RebuildPlan:
    """Look for what is damaged or lost in everything that is not. Raises StorageError."""
    return _Search(repository, found, listener).run()


def run(repository: Repository, found: Diagnosis, listener: Listener) -> tuple[str, ...]:
    """Rebuild what can be; the ids of the snapshots that got a new revision.

    Raises BackupFailed beside a prune that takes away what was found: repeat it then. Raises StorageError.
    """
    subjects = standing(repository, found.damaged_snapshots)
    if not subjects:
        return ()
    with repository.intent("repair", [one.next for one in subjects]) as intent:
        chosen = plan(repository, found, listener)
        if not chosen.ids:
            return ()
        listener(Phase("writing what was found into new revisions"))
        with Rebuilder(repository, _bad_packs(found)) as rebuilder:
            for ref in chosen.pages.values():
                page = repository.page(ref)
                parts, packs = _moved(page.parts(), page.packs, chosen.places)
                rebuilder.replace(ref, parts, packs.__getitem__)
            for ref, others in chosen.lost.values():
                whole = _between(repository, others, ref)
                if whole is not None:
                    parts, packs = _moved(whole[0], whole[1], chosen.places)
                    rebuilder.replace(ref, parts, packs.__getitem__)
            return tuple(rebuilder.commit([one for one in subjects if one.id in chosen.ids], intent))


def _bad_packs(found: Diagnosis) -> frozenset[bytes]:
    names = (name for name in found.objects if name.startswith("packs/"))
    return frozenset(id for name in names if (id := id_of(name)) is not None)


class _Search:
    def __init__(self, repository: Repository, found: Diagnosis, listener: Listener) -> None:
        self._repository = repository
        self._listener = listener
        self._bad = _bad_packs(found)
        self._reader = repository.pack_reader()
        self._plan = RebuildPlan()
        self._needed: dict[bytes, frozenset[Key]] = {}  # by content of the page: what of it is to be found elsewhere
        self._tables: list[tuple[str, TableEntry]] = []  # whose pages are looked through for the parts of lost ones
        self._lost: dict[bytes, tuple[PageRef, TableEntry]] = {}

    def run(self) -> RebuildPlan:
        self._listener(Phase("looking for what is damaged in the rest of the repository"))
        with self._reader:
            self._survey()
            self._find_pages()
            missing = {key for keys in self._needed.values() for key in keys}
            self._look_in_pages(missing)
            if missing:
                self._look_in_packs(missing)
        places = self._plan.places.keys()
        self._plan.pages = {content: ref for content, ref in self._plan.pages.items() if self._needed[content] & places}
        return self._plan

    def _survey(self) -> None:
        """Find the pages that are lost, and the files of the others that lie in bad packs."""
        for id, entry in self._entries():
            for ref in entry.pages:
                if ref.content in self._lost or ref.content in self._plan.pages:
                    self._plan.snapshots.setdefault(id, set()).add(ref.content)
                elif ref.content not in self._needed:
                    self._see(id, entry, ref)

    def _see(self, id: str, entry: TableEntry, ref: PageRef) -> None:
        try:
            page = self._repository.page(ref)
        except Corruption:
            self._lost[ref.content] = ref, entry
            self._plan.snapshots.setdefault(id, set()).add(ref.content)
            return
        keys = frozenset(self._endangered(page))
        self._needed[ref.content] = keys
        if keys:
            self._plan.pages[ref.content] = ref
            self._plan.snapshots.setdefault(id, set()).add(ref.content)

    def _endangered(self, page: Page) -> Iterator[Key]:
        """The files in bad packs; also those that can be read there still, if they lie better elsewhere."""
        for at in page.files_in(self._bad):
            file = page.file(at)
            if file.checksum and not file.damaged:
                yield file.size, file.checksum

    def _find_pages(self) -> None:
        """For each lost page, the pages of another snapshot that hold the same parts."""
        for content, (ref, entry) in self._lost.items():
            for _, other in self._entries():
                if not _same_table(entry, other):
                    continue
                pages = tuple(page for page in other.pages if page.first <= ref.last and page.last >= ref.first)
                if content in {page.content for page in pages} or not _may_hold(pages, ref):
                    continue
                if _between(self._repository, pages, ref) is not None:
                    self._plan.lost[content] = ref, pages
                    break

    def _look_in_pages(self, missing: set[Key]) -> None:
        """Other snapshots' pages know where most files lie a second time, if they do."""
        seen: set[bytes] = set()
        for _, entry in self._entries() if missing else ():
            for ref in entry.pages:
                if ref.content in seen or ref.content in self._lost or not missing:
                    continue
                seen.add(ref.content)
                page = self._repository.page(ref)
                bad = page.files_in(self._bad)
                for at, key in enumerate(page.file_keys()):
                    if key in missing and at not in bad:
                        self._try(key, page.file(at).extents, page.packs, missing)

    def _look_in_packs(self, missing: set[Key]) -> None:
        self._listener(Phase("reading the directories of all packs"))
        runs: dict[tuple[bytes, int], list[tuple[PackRef, Run]]] = defaultdict(list)
        for id, _ in self._repository.stored_packs():
            if id in self._bad:
                continue
            try:
                ref, listed = self._repository.directory(id)
            except Corruption:
                continue
            for one in listed:
                if (one.size, one.checksum) in missing:
                    runs[one.session, one.file].append((ref, one))
        for pieces in runs.values():
            extents = whole_file([(ref.id, one) for ref, one in pieces])
            key = pieces[0][1].size, pieces[0][1].checksum
            if extents and key in missing:
                self._try(key, extents, {ref.id: ref for ref, _ in pieces}, missing)

    def _try(self, key: Key, extents: tuple[Extent, ...], packs: Mapping[bytes, PackRef], missing: set[Key]) -> None:
        """Read a file where it is said to be: only its own bytes prove that it is the one."""
        if any(extent.pack in self._bad for extent in extents):
            return
        hashing = FileHash()
        try:
            for piece in self._reader.read(packs, extents, 0, key[0]):
                hashing.update(piece)
        except Corruption:
            return
        if hashing.digest() == key[1]:
            self._plan.places[key] = Place(extents, tuple(packs[id] for id in {one.pack: None for one in extents}))
            missing.discard(key)

    def _entries(self) -> Iterator[tuple[str, TableEntry]]:
        for id in self._repository.snapshot_ids():
            try:
                snapshot = self._repository.snapshot(id)
            except (Corruption, NoSuchSnapshot):
                continue
            for entry in readable_entries(self._repository, snapshot):
                yield id, entry


def whole_file(pieces: Sequence[tuple[bytes, Run]]) -> tuple[Extent, ...]:
    """The extents of a file from its runs, each with the pack that it lies in; nothing if they do not cover it."""
    extents: list[Extent] = []
    end = 0
    for pack, one in sorted(pieces, key=lambda piece: (piece[1].start, -piece[1].length)):
        if one.start > end:
            return ()
        if one.start == end and one.length:
            extents.append(Extent(pack, one.offset, one.length))
            end += one.length
    return tuple(extents) if pieces and end == pieces[0][1].size else ()


def _same_table(one: TableEntry, other: TableEntry) -> bool:
    known = one.uuid.strip("0-")
    return one.name == other.name or bool(known and one.uuid == other.uuid)


def _may_hold(pages: Sequence[PageRef], ref: PageRef) -> bool:
    return bool(pages) and sum(page.parts for page in pages) >= ref.parts


def _between(
    repository: Repository, pages: Sequence[PageRef], ref: PageRef
) -> tuple[list[Part], Mapping[bytes, PackRef]] | None:
    """The parts of a lost page, from pages of another snapshot that cover its partitions; None if they are others.

    Parts that the other one has besides may be left out, as many as are too many, if they stand side by side: those of
    a new partition, or those that were inserted into one.
    """
    parts: list[Part] = []
    packs: dict[bytes, PackRef] = {}
    try:
        for each in pages:
            page = repository.page(each)
            packs.update(page.packs)
            parts += [part for part in page.parts() if ref.first <= part.state.partition <= ref.last]
    except Corruption:
        return None
    for start, end in left_out([part.state for part in parts], ref):
        rest = parts[:start] + parts[end:]
        if same_parts(ref, rest):
            return rest, packs
    return None


def left_out(states: Sequence[PartState], ref: PageRef) -> Iterator[tuple[int, int]]:
    """The runs of parts without which there are as many parts and rows as a page had."""
    extra = len(states) - ref.parts
    rows = [0, *accumulate(state.rows for state in states)]
    for start in range(ref.parts + 1 if extra > 0 else extra + 1):
        if rows[-1] - (rows[start + extra] - rows[start]) == ref.rows:
            yield start, start + extra


def _moved(
    parts: Iterator[Part] | Sequence[Part], packs: Mapping[bytes, PackRef], places: Mapping[Key, Place]
) -> tuple[list[Part], dict[bytes, PackRef]]:
    """Parts whose files lie where they can be read, as far as a place is known, and all packs that are needed then."""
    known = dict(packs)
    moved: list[Part] = []
    for part in parts:
        files: list[FileEntry] = []
        for file in part.files:
            place = None if file.damaged else places.get((file.size, file.checksum))
            if place is not None:
                known.update((ref.id, ref) for ref in place.packs)
            files.append(file if place is None else replace(file, extents=place.extents))
        moved.append(Part(part.state, tuple(files)))
    return moved, known
