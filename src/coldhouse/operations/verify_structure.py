"""Level ``structure``: everything that a snapshot needs is there, of the right size, and its manifests make sense.

Costs one listing of packs and manifests for all snapshots together, and each manifest once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from msgspec import Struct

from coldhouse.errors import Corruption
from coldhouse.model import PackRef, PageRef, Snapshot, TableEntry, TableKind, TableName
from coldhouse.operations.broken import Broken
from coldhouse.operations.findings import Checked, Findings, Problem
from coldhouse.repository import Page, Repository, digest_of_states, manifest_name, pack_name, snapshot_name


@dataclass(slots=True)
class _Sums:
    """What the entries of a snapshot add up to, to compare with what its root says."""

    tables: int = 0
    databases: int = 0
    parts: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0

    def add(self, entry: TableEntry) -> None:
        self.tables += bool(entry.name.table)
        self.databases += not entry.name.table
        self.parts += entry.parts
        self.files += entry.files
        self.rows += entry.rows
        self.bytes += entry.bytes


@dataclass(slots=True)
class _Tour:
    """What one snapshot was found to need so far."""

    findings: Findings
    packs: set[bytes] = field(default_factory=set)
    pages: set[bytes] = field(default_factory=set)
    sums: _Sums = field(default_factory=_Sums)
    whole: bool = True


class _Look(Struct, frozen=True):
    """A page as it was read, or why it cannot be; None where there was no need, or it is not there."""

    table: str
    ref: PageRef
    page: Page | Corruption | None


class StructureCheck:
    """Checks snapshots against one listing; pages that snapshots share are read once.

    ``packs`` are all packs that the snapshots checked so far need, as the manifests know them; ``read`` are the
    manifests that could be read, ``broken`` is what could not, or is not there.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._stored_packs = dict(repository.stored_packs())
        self._stored_manifests = dict(repository.stored_manifests())
        self._sound: dict[bytes, tuple[bytes, ...]] = {}  # page: the packs that it needs
        self.packs: dict[bytes, PackRef] = {}
        self.broken = Broken()
        self.read: set[bytes] = set()

    def run(self, snapshot_id: str, findings: Findings) -> Snapshot | None:
        """Check one snapshot; returns its root if that can be read. Raises NoSuchSnapshot, StorageError."""
        name = snapshot_name(snapshot_id)
        try:
            snapshot = self._repository.snapshot(snapshot_id)
        except Corruption as error:
            findings.corrupt(error)
            findings.checked += Checked(objects=1)
            return None
        tour = _Tour(findings)
        with self._repository.reading_ahead() as ahead:
            pages = self._pages(snapshot, tour)
            for look in ahead.each(self._look, pages, waits=self._waits):
                tour.packs.update(self._page(look, tour))
        if tour.whole:
            self._compare(name, snapshot, tour)
        held = sum(self._stored_packs.get(pack, 0) for pack in tour.packs)
        findings.checked += Checked(
            objects=1 + len(tour.packs),
            bytes=held,
            files=tour.sums.files,
            parts=tour.sums.parts,
            rows=tour.sums.rows,
        )
        return snapshot

    @property
    def stored(self) -> Collection[bytes]:
        """Every pack in the store."""
        return self._stored_packs.keys()

    def exists(self, pack: bytes) -> bool:
        """Whether a pack is in the store, and of the size that the manifests say."""
        ref = self.packs.get(pack)
        return ref is not None and self._stored_packs.get(pack) == ref.size

    def _entries(self, snapshot: Snapshot, tour: _Tour) -> Iterator[TableEntry]:
        """The entries of all catalog objects that can be read, in the order that they must have."""
        last: TableName | None = None
        for ref in snapshot.catalog:
            name = manifest_name(ref.id)
            if not self._is_there(name, self._stored_manifests.get(ref.id), ref.size, tour):
                tour.whole = False
                continue
            tour.findings.checked += Checked(objects=1, bytes=ref.size)
            try:
                entries = list(self._repository.catalog(ref))
            except Corruption as error:
                self.broken = self.broken.found(damaged=[ref.id])
                tour.findings.corrupt(error)
                tour.whole = False
                continue
            self.read.add(ref.id)
            for entry in entries:
                if last is not None and entry.name <= last:
                    tour.findings.add(Problem("inconsistent", f"{name} is not in order", name, str(entry.name)))
                last = entry.name
                yield entry

    def _pages(self, snapshot: Snapshot, tour: _Tour) -> Iterator[tuple[str, PageRef]]:
        """Every page with the name of its table, whose entry was checked before."""
        for entry in self._entries(snapshot, tour):
            tour.sums.add(entry)
            table, pages = str(entry.name), entry.pages
            agree = (
                sum(page.files for page in pages) == entry.files and sum(page.bytes for page in pages) == entry.bytes
            )
            if agree and entry.kind is TableKind.PARTS:
                parts, rows = sum(page.parts for page in pages), sum(page.rows for page in pages)
                agree = (parts, rows) == (entry.parts, entry.rows)
            if not agree:
                message = "the pages of a table hold another amount than its entry"
                tour.findings.add(Problem("inconsistent", message, "", table))
            for ref in pages:
                yield table, ref

    def _look(self, wanted: tuple[str, PageRef]) -> _Look:
        """Read a page if need be; not always in the caller's thread."""
        table, ref = wanted
        if not self._is_to_be_read(wanted):
            return _Look(table, ref, None)
        try:
            return _Look(table, ref, self._repository.page(ref))
        except Corruption as error:
            return _Look(table, ref, error)

    def _is_to_be_read(self, wanted: tuple[str, PageRef]) -> bool:
        """Whether a page is there and was not found sound before."""
        _, ref = wanted
        there = ref.inline or self._stored_manifests.get(ref.ref.id) == ref.ref.size
        return there and ref.key not in self._sound

    def _waits(self, wanted: tuple[str, PageRef]) -> bool:
        return not wanted[1].inline and self._is_to_be_read(wanted)

    def _page(self, look: _Look, tour: _Tour) -> tuple[bytes, ...]:
        """Check a page unless that was done; the packs that it needs."""
        ref, key = look.ref, look.ref.key
        if not ref.inline and key not in tour.pages:
            tour.pages.add(key)
            tour.findings.checked += Checked(objects=1, bytes=ref.ref.size)
        if key in self._sound:
            return self._sound[key]
        name = "" if ref.inline else manifest_name(ref.ref.id)
        page = look.page
        if page is None:
            self._is_there(name, self._stored_manifests.get(ref.ref.id), ref.ref.size, tour, look.table)
            return ()
        if isinstance(page, Corruption):
            self.broken = self.broken.found(damaged=[ref.ref.id])
            tour.findings.corrupt(page, table=look.table)
            return ()
        if not ref.inline:
            self.read.add(ref.ref.id)
        packs = tuple(self._known(pack) for pack in page.packs.values())
        if not _agrees(page, ref):
            message = "a page holds other parts than its catalog says"
            tour.findings.add(Problem("inconsistent", message, name, look.table))
        elif self._has_packs(page, look.table, tour):
            self._sound[key] = packs
        return packs

    def _known(self, ref: PackRef) -> bytes:
        """Remember a pack once; returns its id as remembered, so that thousands of pages share it."""
        return self.packs.setdefault(ref.id, ref).id

    def _has_packs(self, page: Page, table: str, tour: _Tour) -> bool:
        """Check that the packs of a page are there; tells every part that needs one that is not."""
        wrong = {ref.id: ref for ref in page.packs.values() if self._stored_packs.get(ref.id) != ref.size}
        if not wrong:
            return True
        for part in page.parts():
            for pack in {extent.pack for file in part.files for extent in file.extents} & wrong.keys():
                name, stored = pack_name(pack), self._stored_packs.get(pack)
                self._is_there(name, stored, wrong[pack].size, tour, table, part.state.name)
        return False

    def _is_there(self, name: str, stored: int | None, size: int, tour: _Tour, table: str = "", part: str = "") -> bool:
        if stored != size:
            self.broken = self.broken.found(lost=[bytes.fromhex(name.rpartition("/")[2])])
        if stored is None:
            tour.findings.add(Problem("missing", f"{name} is missing", name, table, part))
        elif stored != size:
            message = f"{name} has {stored:,} bytes instead of {size:,}"
            tour.findings.add(Problem("size", message, name, table, part))
        return stored == size

    @staticmethod
    def _compare(name: str, snapshot: Snapshot, tour: _Tour) -> None:
        said, sums = snapshot.accounting, tour.sums
        if (said.tables, said.databases, said.parts, said.files, said.rows, said.data) != (
            sums.tables,
            sums.databases,
            sums.parts,
            sums.files,
            sums.rows,
            sums.bytes,
        ):
            tour.findings.add(Problem("inconsistent", "the catalog holds another amount than the snapshot says", name))


def _agrees(page: Page, ref: PageRef) -> bool:
    states = list(page.states())
    return (
        len(states) == ref.parts
        and page.file_count == ref.files
        and sum(state.rows for state in states) == ref.rows
        and sum(size for size, _ in page.file_keys()) == ref.bytes
        and (states[0].partition, states[-1].partition) == (ref.first, ref.last)
        and digest_of_states(states) == ref.digest
    )
