"""Level ``data``: every byte of the packs is read, authenticated, and compared with ClickHouse's own checksums.

Files are read as a restore reads them; what of a pack no file of a snapshot lies in (its header and directory, and
remains of files whose snapshots are gone) is read afterwards, so that each byte is read about once. Files that are
known to have been damaged at the source are read and not compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

from msgspec import Struct

from coldhouse.cityhash import FileHash
from coldhouse.errors import Corruption
from coldhouse.events import Listener, Progress
from coldhouse.model import FileEntry, PackRef, PageRef, Part, Snapshot, TableEntry
from coldhouse.operations.findings import Checked, Findings, Problem
from coldhouse.operations.ledger import Ledger
from coldhouse.repository import DamagedFrames, PackReader, Page, Repository, frames_of

#: Parts that are read at the same time: hashing and deciphering release the interpreter, and a bucket answers slowly.
READERS = 4
_WAITING = 2 * READERS

T = TypeVar("T")


class _Told(Struct, frozen=True):
    """What reading a page or a part gave."""

    checked: Checked
    problems: tuple[Problem, ...] = ()
    covered: tuple[tuple[bytes, int], ...] = ()


class _Pack(Struct, frozen=True):
    """What reading a pack gave; ``frames`` are those that are damaged, if it is nothing else of it."""

    id: bytes
    problem: Problem | None = None
    frames: frozenset[int] = frozenset()


class DataCheck:
    """Reads the chosen packs once, however many snapshots share them."""

    def __init__(
        self, repository: Repository, chosen: Mapping[bytes, PackRef], ledger: Ledger, listener: Listener
    ) -> None:
        self._repository = repository
        self._chosen = chosen
        self._ledger = ledger
        self._listener = listener
        self._pages: dict[bytes, _Told] = {}
        self._packs: dict[bytes, _Pack] = {}
        self._suspects: set[bytes] = set()  # packs with files that are not what ClickHouse wrote
        self._covered: dict[bytes, int] = {}  # frames of a pack that were read, one bit each
        self._total = sum(ref.size for ref in chosen.values())
        self._done = 0
        self._reader = repository.pack_reader()
        self._pool = ThreadPoolExecutor(READERS, "verify")

    def __enter__(self) -> DataCheck:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    @property
    def broken(self) -> frozenset[bytes]:
        """The packs, of those read so far, in which something is damaged."""
        return frozenset(self._suspects).union(pack for pack, told in self._packs.items() if told.problem)

    @property
    def sound(self) -> frozenset[bytes]:
        """The packs, of those read so far, in which nothing is."""
        return frozenset(self._packs) - self.broken

    def run(self, snapshot: Snapshot, findings: Findings) -> set[bytes]:
        """Check what a snapshot needs of the chosen packs; returns all packs that it needs.

        Raises StorageError. What cannot be read at all has been found by the check of its structure.
        """
        needed: set[bytes] = set()
        looked_at = findings.checked.objects
        findings.checked = Checked()
        for catalog in snapshot.catalog:
            with _known_already():
                for entry in self._repository.catalog(catalog):
                    self._table(entry, needed, findings)
        self._keep_packs(snapshot, needed & self._chosen.keys(), findings)
        findings.checked += Checked(objects=looked_at - len(needed - self._chosen.keys()))
        return needed

    def _keep_packs(self, snapshot: Snapshot, packs: Collection[bytes], findings: Findings) -> None:
        """Damage of a pack is news if no table was named for it, and a remark where only the rest is needed."""
        told = [pack for pack in self._in_turn(self._pack_task(id) for id in sorted(packs)) if pack.problem]
        named = {problem.object for problem in findings.problems}
        news = [pack for pack in told if pack.problem and pack.problem.object not in named]
        needed = self._needed_frames(snapshot, {pack.id for pack in news if pack.frames})
        for pack in news:
            if pack.problem and (not pack.frames or pack.frames & needed[pack.id]):
                findings.add(pack.problem)
            elif pack.problem:
                findings.beside = True
                findings.remark(f"a part of {pack.problem.object} that this snapshot does not need is damaged")

    def _needed_frames(self, snapshot: Snapshot, packs: Collection[bytes]) -> dict[bytes, set[int]]:
        needed: dict[bytes, set[int]] = {pack: set() for pack in packs}
        if not packs:
            return needed
        for catalog in snapshot.catalog:
            with _known_already():
                for entry in self._repository.catalog(catalog):
                    for ref in entry.pages:
                        with _known_already():
                            self._add_frames(ref, needed)
        return needed

    def _add_frames(self, ref: PageRef, needed: dict[bytes, set[int]]) -> None:
        page = self._repository.page(ref)
        if needed.keys() & page.packs.keys():
            for file in (file for part in page.parts() for file in part.files):
                for pack, frame in frames_of(file.extents):
                    if pack in needed:
                        needed[pack].add(frame)

    def _table(self, entry: TableEntry, needed: set[bytes], findings: Findings) -> None:
        for ref in entry.pages:
            with _known_already():
                self._page(entry, ref, needed, findings)

    def _page(self, entry: TableEntry, ref: PageRef, needed: set[bytes], findings: Findings) -> None:
        page = self._repository.page(ref)
        needed.update(page.packs)
        if not self._chosen.keys() & page.packs.keys():
            return
        key = ref.content
        told = self._pages.get(key)
        if told is None:
            told = self._pages[key] = self._read_page(entry, page)
        _keep(told, findings)

    def _read_page(self, entry: TableEntry, page: Page) -> _Told:
        checked = Checked()
        problems: list[Problem] = []
        tasks = (self._part_task(str(entry.name), page, part) for part in page.parts())
        for told in self._in_turn(tasks):
            checked += told.checked
            problems += told.problems
            for pack, frame in told.covered:
                self._covered[pack] = self._covered.get(pack, 0) | 1 << frame
            self._done += told.checked.bytes
            self._listener(Progress(min(self._done, self._total), self._total))
        return _Told(checked, tuple(problems))

    # ---------------------------------------------------------------------------------------------------------- tasks

    def _part_task(self, table: str, page: Page, part: Part) -> Callable[[], _Told]:
        return lambda: self._read_part(table, page, part)

    def _read_part(self, table: str, page: Page, part: Part) -> _Told:
        problems: list[Problem] = []
        covered: dict[tuple[bytes, int], None] = {}
        files = size = 0
        complete = True
        for file in part.files:
            if any(extent.pack not in self._chosen for extent in file.extents):
                complete = False  # only a sample: what is chosen of it is authenticated with its pack
                continue
            try:
                right = _compare(self._reader, page, file)
            except Corruption as error:
                problems.append(Problem("corrupt", error.message, error.object_name, table, part.state.name))
                complete = False
                continue
            files += 1
            size += file.size
            covered.update(dict.fromkeys(frames_of(file.extents)))
            if not right:
                message = f"{file.name} of {table} {part.state.name} has not the checksum that ClickHouse computed"
                problems.append(Problem("checksum", message, "", table, part.state.name))
                self._suspects.update(extent.pack for extent in file.extents)
                complete = False
        whole = complete and bool(part.state.name)
        checked = Checked(0, size, files, int(whole), part.state.rows if complete else 0)
        return _Told(checked, tuple(dict.fromkeys(problems)), tuple(covered))

    def _pack_task(self, pack: bytes) -> Callable[[], _Pack]:
        return lambda: self._read_pack(pack)

    def _read_pack(self, pack: bytes) -> _Pack:
        """Read what of a pack has not been read yet. Two snapshots never come here at the same time."""
        if pack in self._packs:
            return self._packs[pack]
        bits = self._covered.pop(pack, 0)
        known = {frame for frame in range(bits.bit_length()) if bits >> frame & 1}
        try:
            self._repository.check_pack(pack, known)
        except Corruption as error:
            frames = error.frames if isinstance(error, DamagedFrames) else frozenset()
            told = _Pack(pack, Problem("corrupt", error.message, error.object_name), frames)
            self._ledger.broken(pack)
        else:
            told = _Pack(pack)
            if pack in self._suspects:
                self._ledger.broken(pack)
            else:
                self._ledger.sound(pack, datetime.now(UTC))
        self._packs[pack] = told
        return told

    def _in_turn(self, tasks: Iterator[Callable[[], T]]) -> Iterator[T]:
        """The results of tasks in their order; only a few wait to be asked for."""
        waiting: deque[Future[T]] = deque()
        for task in tasks:
            waiting.append(self._pool.submit(task))
            if len(waiting) >= _WAITING:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _compare(reader: PackReader, page: Page, file: FileEntry) -> bool:
    """Read a file; whether it has the checksum that ClickHouse computed. Raises Corruption."""
    hashing = FileHash()
    for piece in reader.read(page.packs, file.extents, 0, file.size):
        hashing.update(piece)
    return file.damaged or not file.checksum or hashing.digest() == file.checksum


def _keep(told: _Told, findings: Findings) -> None:
    findings.checked += told.checked
    for problem in told.problems:
        findings.add(problem)


@contextmanager
def _known_already() -> Iterator[None]:
    """Manifests that cannot be read were found, and told, by the check of the structure."""
    try:
        yield
    except Corruption:
        return
