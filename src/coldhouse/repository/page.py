"""Manifest pages: the parts and files of a run of partitions of one table, as columns.

In memory a page stays what it is on disk, columns of numbers; parts and files become objects one at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from hashlib import blake2b
from itertools import accumulate, pairwise

import msgspec
from msgspec import Struct

from coldhouse.model import Extent, FileEntry, PackRef, PageRef, Part, PartState
from coldhouse.repository.crypto import damaged
from coldhouse.repository.pack_format import unpack_column
from coldhouse.repository.records import IMPOSSIBLE, MOST_ITEMS, check_length

#: A page ends before it has more parts or files than this, unless one part alone has more.
MAX_PARTS = 1000
MAX_FILES = 20000

DAMAGED = 1  # flag of a file
UNHASHED = 2  # flag of a file without a checksum


class PageColumns(Struct, frozen=True):
    """The page as it is stored: a MessagePack map of these fields; see FORMAT.md."""

    pack_ids: bytes
    pack_sizes: bytes
    pack_tables: bytes
    partitions: list[str]
    partition_parts: bytes
    part_names: list[str]
    part_hashes: list[bytes]
    part_rows: bytes
    part_bytes: bytes
    part_files: bytes
    file_names: list[str]
    file_name: bytes
    file_size: bytes
    file_checksum: bytes
    file_flags: bytes
    file_extents: bytes
    extent_pack: bytes
    extent_offset: bytes
    extent_length: bytes


class _Lists(msgspec.Struct, frozen=True):
    """What of a page takes more memory as objects than it takes as bytes, looked at before it is read."""

    pack_ids: bytes = b""
    partitions: msgspec.Raw = msgspec.Raw()
    part_names: msgspec.Raw = msgspec.Raw()
    part_hashes: msgspec.Raw = msgspec.Raw()
    file_names: msgspec.Raw = msgspec.Raw()


class Page:
    """A manifest page. ``packs`` holds every pack that its files lie in."""

    def __init__(self, stored: bytes, name: str) -> None:
        """Read the plaintext of a page; ``name`` is the object it came from, for errors. Raises Corruption."""
        try:
            lists = msgspec.msgpack.decode(stored, type=_Lists)
            for array in (lists.partitions, lists.part_names, lists.part_hashes, lists.file_names):
                check_length(array, name)
            if len(lists.pack_ids) > 16 * MOST_ITEMS:
                raise damaged(name, "claims more packs than any writer makes")
            self._read(msgspec.msgpack.decode(stored, type=PageColumns))
        except IMPOSSIBLE as error:
            raise damaged(name, "holds a page that cannot be read") from error

    def _read(self, columns: PageColumns) -> None:
        ids = [columns.pack_ids[at : at + 16] for at in range(0, len(columns.pack_ids), 16)]
        sizes = unpack_column("Q", columns.pack_sizes)
        tables = unpack_column("I", columns.pack_tables)
        _must(len(ids) == len(sizes) == len(tables) and len(columns.pack_ids) % 16 == 0)
        self._pack_ids = ids
        self.packs: Mapping[bytes, PackRef] = {
            id: PackRef(id, size, table) for id, size, table in zip(ids, sizes, tables, strict=True)
        }
        self._read_parts(columns)
        self._read_files(columns)

    def _read_parts(self, columns: PageColumns) -> None:
        counts = unpack_column("I", columns.partition_parts)
        _must(len(counts) == len(columns.partitions) and sum(counts) == len(columns.part_names))
        self._partitions = columns.partitions
        self._partition_ends = array("Q", accumulate(counts))
        self._names = columns.part_names
        self._hashes = columns.part_hashes
        self._rows = unpack_column("Q", columns.part_rows)
        self._bytes = unpack_column("Q", columns.part_bytes)
        _must(len(self._names) == len(self._hashes) == len(self._rows) == len(self._bytes))
        files = unpack_column("I", columns.part_files)
        _must(len(files) == len(self._names))
        self._file_starts = array("Q", accumulate(files, initial=0))

    def _read_files(self, columns: PageColumns) -> None:
        self._file_names = columns.file_names
        self._file_name = unpack_column("I", columns.file_name)
        self._sizes = unpack_column("Q", columns.file_size)
        self._checksums = columns.file_checksum
        self._flags = columns.file_flags
        counts = unpack_column("I", columns.file_extents)
        count = self._file_starts[-1]
        _must(count == len(self._file_name) == len(self._sizes) == len(self._flags) == len(counts))
        _must(len(self._checksums) == 16 * count and max(self._file_name, default=-1) < len(self._file_names))
        self._extent_starts = array("Q", accumulate(counts, initial=0))
        self._extent_pack = unpack_column("I", columns.extent_pack)
        self._extent_offset = unpack_column("Q", columns.extent_offset)
        self._extent_length = unpack_column("Q", columns.extent_length)
        extents = self._extent_starts[-1]
        _must(extents == len(self._extent_pack) == len(self._extent_offset) == len(self._extent_length))
        _must(max(self._extent_pack, default=-1) < len(self._pack_ids))
        ends = array("Q", accumulate(self._extent_length, initial=0))
        starts = self._extent_starts
        lengths = array("Q", [ends[stop] - ends[start] for start, stop in pairwise(starts)])
        _must(lengths == self._sizes)  # the extents of a file make up its size

    def __len__(self) -> int:
        """The number of parts."""
        return len(self._names)

    def part(self, index: int) -> Part:
        """One part with its files."""
        first, end = self._file_starts[index], self._file_starts[index + 1]
        return Part(self._state(index), tuple([self.file(file) for file in range(first, end)]))

    def parts(self, partitions: Iterable[str] | None = None) -> Iterator[Part]:
        """All parts with their files, or those of some partitions, in the order of (partition, name)."""
        for run in self._parts_of(partitions):
            yield from map(self.part, run)

    def kept(self, partitions: Iterable[str] | None = None) -> Iterator[KeptPart]:
        """The same parts for whoever only writes them again: their files do not become objects."""
        for run in self._parts_of(partitions):
            for at in run:
                yield KeptPart(self, at, self._state(at), self._file_starts[at + 1] - self._file_starts[at])

    def files_of_parts(self, first: int, end: int) -> FileColumns:
        """What the page says of the files of the parts from ``first`` up to ``end``, as columns."""
        files = slice(self._file_starts[first], self._file_starts[end])
        extents = slice(self._extent_starts[files.start], self._extent_starts[files.stop])
        starts = self._extent_starts[files.start : files.stop + 1]
        return FileColumns(
            name=self._file_name[files],
            size=self._sizes[files],
            checksum=self._checksums[16 * files.start : 16 * files.stop],
            flags=self._flags[files],
            extents=array("I", [stop - start for start, stop in pairwise(starts)]),
            pack=self._extent_pack[extents],
            offset=self._extent_offset[extents],
            length=self._extent_length[extents],
            names=self._file_names,
            packs=self._pack_ids,
        )

    def files_of(self, partitions: Iterable[str] | None = None) -> Iterator[range]:
        """The places, among all files of the page, of those of some partitions (None: of all), by partition."""
        for run in self._parts_of(partitions):
            yield range(self._file_starts[run.start], self._file_starts[run.stop])

    def _parts_of(self, partitions: Iterable[str] | None) -> Iterator[range]:
        wanted = None if partitions is None else frozenset(partitions)
        start = 0
        for partition, end in zip(self._partitions, self._partition_ends, strict=True):
            if wanted is None or partition in wanted:
                yield range(start, end)
            start = end

    def states(self) -> Iterator[PartState]:
        """The states of all parts, without their files."""
        return map(self._state, range(len(self)))

    @property
    def file_count(self) -> int:
        """The number of files of all parts."""
        return len(self._sizes)

    @property
    def first(self) -> str:
        """The id of the first partition."""
        return self._partitions[0]

    @property
    def last(self) -> str:
        """The id of the last partition."""
        return self._partitions[-1]

    @property
    def rows(self) -> int:
        """The rows of all parts."""
        return sum(self._rows)

    @property
    def file_bytes(self) -> int:
        """The bytes of all files."""
        return sum(self._sizes)

    @property
    def has_damage(self) -> bool:
        """Whether a file is marked as damaged."""
        return any(flags & DAMAGED for flags in self._flags)

    def damaged_files(self) -> frozenset[int]:
        """The places, among all files of the page, of those that are marked as damaged."""
        return frozenset(at for at, flags in enumerate(self._flags) if flags & DAMAGED)

    def files_in(self, packs: Set[bytes]) -> frozenset[int]:
        """The places, among all files of the page, of those that lie, wholly or in part, in some packs."""
        places = {at for at, id in enumerate(self._pack_ids) if id in packs}
        if not places:
            return frozenset()
        touched = [at for at, place in enumerate(self._extent_pack) if place in places]
        return frozenset(bisect_right(self._extent_starts, at) - 1 for at in touched)

    def file_keys(self, places: range | None = None) -> Iterator[tuple[int, bytes]]:
        """Size and checksum of every file, or of those at some places, in the order of parts and files."""
        checksums, sizes, all_flags = self._checksums, self._sizes, self._flags
        for at in range(len(sizes)) if places is None else places:
            yield sizes[at], b"" if all_flags[at] & UNHASHED else checksums[16 * at : 16 * at + 16]

    def _state(self, index: int) -> PartState:
        return PartState(
            self._partitions[bisect_right(self._partition_ends, index)],
            self._names[index],
            self._hashes[index],
            self._rows[index],
            self._bytes[index],
        )

    def file(self, index: int) -> FileEntry:
        """The file at a place among all files of the page."""
        flags = self._flags[index]
        return FileEntry(
            self._file_names[self._file_name[index]],
            self._sizes[index],
            b"" if flags & UNHASHED else self._checksums[16 * index : 16 * index + 16],
            self.extents_of(index),
            bool(flags & DAMAGED),
        )

    def extents_of(self, index: int) -> tuple[Extent, ...]:
        """Where the file at a place among all files of the page lies."""
        return tuple([self._extent(at) for at in range(self._extent_starts[index], self._extent_starts[index + 1])])

    def _extent(self, index: int) -> Extent:
        pack = self._pack_ids[self._extent_pack[index]]
        return Extent(pack, self._extent_offset[index], self._extent_length[index])


class KeptPart(Struct, frozen=True):
    """The part at a place of a page, without its files."""

    page: Page
    at: int
    state: PartState
    file_count: int


class FileColumns(Struct, frozen=True):
    """Some files of a page: numbers of ``name`` and ``pack`` are places in ``names`` and ``packs``.

    ``extents`` says how many of the extents each file has.
    """

    name: array[int]
    size: array[int]
    checksum: bytes
    flags: bytes
    extents: array[int]
    pack: array[int]
    offset: array[int]
    length: array[int]
    names: Sequence[str]
    packs: Sequence[bytes]


def _must(condition: bool) -> None:
    if not condition:
        raise ValueError("columns contradict each other")


# ------------------------------------------------------------------------------------------------------------- states


def digest_of_states(states: Iterable[PartState]) -> bytes:
    """BLAKE2b-128 over part states in the order of (partition, name): what a PageRef says of its parts."""
    digest = blake2b(digest_size=16, person=b"coldhouse states")
    encode = msgspec.msgpack.Encoder().encode
    for state in states:
        digest.update(encode((state.partition, state.name, state.hash, state.rows, state.bytes)))
    return digest.digest()


class PageMatch(Struct, frozen=True):
    """Parts as they are now, beside the earlier page that covers their partitions.

    ``unchanged``: the page holds exactly these parts, so it can be carried by its reference. ``page`` is None for parts
    that no earlier page covers; ``states`` is empty where all parts of a page are gone.
    """

    page: PageRef | None
    states: tuple[PartState, ...]
    unchanged: bool


def match_pages(pages: Sequence[PageRef], states: Iterable[PartState]) -> Iterator[PageMatch]:
    """Compare a table's earlier pages with its parts of now, one page at a time.

    Both are in the order of (partition, name). A part whose hash is unknown never matches, nor a page with damaged
    files. Partitions between two pages are told with the page before them.
    """
    groups = _groups(pages)
    firsts = [group[0].first for group in groups]
    at = 0  # the first group that was not told yet
    waiting: list[PartState] = []
    for state in states:
        place = max(0, bisect_right(firsts, state.partition) - 1)
        while at < place:
            yield from _match(groups[at], waiting)
            waiting = []
            at += 1
        waiting.append(state)
    if not groups and waiting:
        yield PageMatch(None, tuple(waiting), False)
    for group in groups[at:]:
        yield from _match(group, waiting)
        waiting = []


def _groups(pages: Sequence[PageRef]) -> list[list[PageRef]]:
    """Pages that share a partition, because it is larger than a page, stay together."""
    groups: list[list[PageRef]] = []
    for page in pages:
        if groups and groups[-1][0].first == page.first:
            groups[-1].append(page)
        else:
            groups.append([page])
    return groups


def _match(pages: Sequence[PageRef], states: list[PartState]) -> Iterator[PageMatch]:
    """Compare pages that stay together: each takes as many parts as it holds, the last one what is left."""
    start = 0
    for page in pages:
        taken = states[start:] if page is pages[-1] else states[start : start + page.parts]
        start += len(taken)
        yield PageMatch(page, tuple(taken), _same(page, taken))


def _same(page: PageRef, states: Sequence[PartState]) -> bool:
    known = len(states) == page.parts and not page.damaged and all(state.hash for state in states)
    return known and digest_of_states(states) == page.digest
