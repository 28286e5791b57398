"""Write a manifest page: of parts that came now, and of parts that an earlier page holds.

The latter stay columns on their way: an increment that changes one partition of a page writes the others again as
slices, not as thousands of objects.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

import msgspec

from coldhouse.model import PackRef, Part
from coldhouse.repository.pack_format import pack_column
from coldhouse.repository.page import DAMAGED, UNHASHED, FileColumns, KeptPart, PageColumns

PagePart = Part | KeptPart

Thing = TypeVar("Thing", str, bytes)


def encode_page(parts: Sequence[PagePart], packs: Callable[[bytes], PackRef]) -> bytes:
    """The plaintext of a page of these parts, which are in the order of (partition, name).

    The same parts in the same packs always give the same bytes. ``packs`` finds the pack of an id.

    Raises:
        ValueError: a file's extents do not make up its size, or a checksum is not of 16 bytes.
    """
    files = _Files()
    for run in _runs(parts):
        files.add(run)
    refs = [packs(id) for id in files.packs]
    partitions: dict[str, int] = {}
    for part in parts:
        partitions[part.state.partition] = partitions.get(part.state.partition, 0) + 1
    return msgspec.msgpack.encode(
        PageColumns(
            pack_ids=b"".join(files.packs),
            pack_sizes=pack_column("Q", [ref.size for ref in refs]),
            pack_tables=pack_column("I", [ref.table_size for ref in refs]),
            partitions=list(partitions),
            partition_parts=pack_column("I", list(partitions.values())),
            part_names=[part.state.name for part in parts],
            part_hashes=[part.state.hash for part in parts],
            part_rows=pack_column("Q", [part.state.rows for part in parts]),
            part_bytes=pack_column("Q", [part.state.bytes for part in parts]),
            part_files=pack_column("I", [part.file_count for part in parts]),
            file_names=list(files.names),
            file_name=pack_column("I", files.name),
            file_size=pack_column("Q", files.size),
            file_checksum=bytes(files.checksum),
            file_flags=bytes(files.flags),
            file_extents=pack_column("I", files.extents),
            extent_pack=pack_column("I", files.pack),
            extent_offset=pack_column("Q", files.offset),
            extent_length=pack_column("Q", files.length),
        )
    )


def _runs(parts: Sequence[PagePart]) -> Iterator[FileColumns]:
    """The files of all parts: those of neighbours in one earlier page together, and those that came now."""
    for kept, group in groupby(parts, key=lambda part: isinstance(part, KeptPart)):
        if kept:
            yield from _kept_runs(part for part in group if isinstance(part, KeptPart))
        else:
            yield _columns([part for part in group if isinstance(part, Part)])


def _kept_runs(parts: Iterator[KeptPart]) -> Iterator[FileColumns]:
    first = last = next(parts)
    for part in parts:
        if part.page is not last.page or part.at != last.at + 1:
            yield first.page.files_of_parts(first.at, last.at + 1)
            first = part
        last = part
    yield first.page.files_of_parts(first.at, last.at + 1)


def _columns(parts: Sequence[Part]) -> FileColumns:
    files = [file for part in parts for file in part.files]
    extents = [extent for file in files for extent in file.extents]
    names = {name: at for at, name in enumerate(dict.fromkeys(file.name for file in files))}
    ids = {id: at for at, id in enumerate(dict.fromkeys(extent.pack for extent in extents))}
    checksums = b"".join([file.checksum or bytes(16) for file in files])
    if len(checksums) != 16 * len(files) or any(
        file.size != sum([extent.length for extent in file.extents]) for file in files
    ):
        raise ValueError("a file's extents do not make up its size, or its checksum is not of 16 bytes")
    return FileColumns(
        name=array("I", [names[file.name] for file in files]),
        size=array("Q", [file.size for file in files]),
        checksum=checksums,
        flags=bytes([DAMAGED * file.damaged + UNHASHED * (not file.checksum) for file in files]),
        extents=array("I", [len(file.extents) for file in files]),
        pack=array("I", [ids[extent.pack] for extent in extents]),
        offset=array("Q", [extent.offset for extent in extents]),
        length=array("Q", [extent.length for extent in extents]),
        names=list(names),
        packs=list(ids),
    )


class _Files:
    """The files of a page as they are collected; names and packs are numbered as they are met."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.packs: dict[bytes, int] = {}
        self.name, self.extents, self.pack = array("I"), array("I"), array("I")
        self.size, self.offset, self.length = array("Q"), array("Q"), array("Q")
        self.checksum, self.flags = bytearray(), bytearray()

    def add(self, columns: FileColumns) -> None:
        self.name.extend(_renumbered(columns.name, columns.names, self.names))
        self.pack.extend(_renumbered(columns.pack, columns.packs, self.packs))
        self.size.extend(columns.size)
        self.checksum += columns.checksum
        self.flags += columns.flags
        self.extents.extend(columns.extents)
        self.offset.extend(columns.offset)
        self.length.extend(columns.length)


def _renumbered(places: array[int], things: Sequence[Thing], numbers: dict[Thing, int]) -> Iterator[int]:
    """Numbers of the same things in a list that grows."""
    now = {place: numbers.setdefault(things[place], len(numbers)) for place in dict.fromkeys(places)}
    return map(now.__getitem__, places)
