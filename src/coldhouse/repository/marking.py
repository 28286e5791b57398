"""Marking: walk from the roots to everything that they need, each object read once, in bounded memory.

A root is a snapshot object, of any revision, or a note that refers to packs. What is marked is kept as columns: about
30 bytes for a manifest and 50 for a pack, and a byte for each frame of a pack, whose bits tell which of its eighths
are used.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from coldhouse.model import ManifestRef, PackRef, PageRef, Snapshot
from coldhouse.repository import names, revisions
from coldhouse.repository.ahead import THREADS, reading_ahead
from coldhouse.repository.crypto import Kind, damaged, unseal
from coldhouse.repository.id_index import IdIndex
from coldhouse.repository.manifests import read_manifest
from coldhouse.repository.pack_format import FRAME_SIZE, frames_in
from coldhouse.repository.page_extents import PageExtents, read_extents, spans

if TYPE_CHECKING:
    from coldhouse.repository.repository import Repository

#: A frame is marked in pieces of this many bytes: what lies in a piece that is used counts as used.
PIECE = FRAME_SIZE // 8
ALL = 0xFF
#: Frames are reserved in steps of so many.
_STEP = 16


class PageWalk:
    """Everything that roots refer to, page by page; each object is read once. Used by one thread, reads with others."""

    def __init__(self, repository: Repository, threads: int = THREADS) -> None:
        self.manifests = IdIndex()
        self.sizes = array("Q")  # of the manifests, in bytes
        self._repository = repository
        self._threads = threads

    def pages(self, objects: Iterable[str]) -> Iterator[PageExtents]:
        """Every page behind these snapshot objects (names) that was not told before. Raises Corruption."""
        with reading_ahead(self._threads) as ahead:
            roots = ahead.each(lambda name: read_root(self._repository, name), objects)
            catalogs = (ref for root in roots if root is not None for ref in root.catalog if self._is_new(ref))
            tables = ahead.each(self._read_catalog, catalogs)
            pages = (page for some in tables for page in some if page.inline or self._is_new(page.ref))
            yield from ahead.each(self._read_page, pages)

    def _is_new(self, ref: ManifestRef) -> bool:
        place = self.manifests.add(ref.id)
        if place < len(self.sizes):
            return False
        self.sizes.append(ref.size)
        return True

    def _read_catalog(self, ref: ManifestRef) -> tuple[PageRef, ...]:
        return tuple([page for entry in self._repository.catalog(ref) for page in entry.pages])

    def _read_page(self, ref: PageRef) -> PageExtents:
        if ref.inline:
            return read_extents(ref.inline, "the catalog")
        plain = read_manifest(self._repository.storage, self._repository._ring, Kind.PAGE, ref.ref)
        return read_extents(plain, names.manifest(ref.ref.id))


class Marks:
    """What is needed, as far as it was walked. Used by one thread, which reads with others."""

    def __init__(self, repository: Repository, threads: int = THREADS) -> None:
        self._walk = PageWalk(repository, threads)
        self._packs = IdIndex()
        self._pack_sizes = array("Q")
        self._pack_tables = array("I")
        self._frame_starts = array("Q")
        self._frame_counts = array("I")
        self._frames = bytearray()
        self._whole = IdIndex()

    def add(self, objects: Iterable[str]) -> None:
        """Walk from snapshot objects, given by their names; one that is gone, or a fence by now, needs nothing.

        Raises:
            Corruption: an object on the way is missing or damaged; what it needs is not marked.
            WriteOnlyKey: the key cannot read.
        """
        for extents in self._walk.pages(objects):
            self._mark(extents)

    def add_packs(self, packs: Iterable[PackRef]) -> None:
        """Mark whole packs: what is referred to by other things than snapshots that could be changed, such as notes."""
        for ref in packs:
            self._place(ref)
            self._whole.add(ref.id)

    def is_whole(self, id: bytes) -> bool:
        """Whether a pack is needed as a whole, and under its name."""
        return id in self._whole

    def has_pack(self, id: bytes) -> bool:
        """Whether a root needs this pack."""
        return id in self._packs

    def has_manifest(self, id: bytes) -> bool:
        """Whether a root needs this manifest."""
        return id in self._walk.manifests

    def packs(self) -> Iterator[PackRef]:
        """Every pack that is needed."""
        for place, id in enumerate(self._packs):
            yield PackRef(id, self._pack_sizes[place], self._pack_tables[place])

    def manifests(self) -> Iterator[tuple[bytes, int]]:
        """Every manifest that is needed, as (id, size in bytes)."""
        return zip(self._walk.manifests, self._walk.sizes, strict=True)

    def frames_of(self, id: bytes) -> bytes:
        """One byte for each frame number of a pack, whose bits are the used pieces of it; frames beyond are unused."""
        place = self._packs.find(id)
        if place is None:
            return b""
        start = self._frame_starts[place]
        return bytes(self._frames[start : start + self._frame_counts[place]])

    # -------------------------------------------------------------------------------------------------------- marking

    def _mark(self, extents: PageExtents) -> None:
        places = [self._place(ref) for ref in extents.packs]
        for pack, begin, end in spans(extents):
            if begin < end:
                self._mark_span(places[pack], begin, end)

    def _mark_span(self, place: int, begin: int, end: int) -> None:
        first, inside = divmod(begin, FRAME_SIZE)
        last, behind = divmod(end - 1, FRAME_SIZE)
        if last >= self._frame_counts[place]:
            self._reserve(place, last + 1)
        start, frames = self._frame_starts[place], self._frames
        head = ALL << inside // PIECE & ALL
        tail = (2 << behind // PIECE) - 1
        if first == last:
            frames[start + first] |= head & tail
            return
        frames[start + first] |= head
        frames[start + first + 1 : start + last] = bytes([ALL]) * (last - first - 1)
        frames[start + last] |= tail

    def _place(self, ref: PackRef) -> int:
        place = self._packs.add(ref.id)
        if place == len(self._pack_sizes):
            self._pack_sizes.append(ref.size)
            self._pack_tables.append(ref.table_size)
            self._frame_starts.append(len(self._frames))
            self._frame_counts.append(0)
        return place

    def _reserve(self, place: int, count: int) -> None:
        """Make room for the marks of so many frames; where something stands behind them they move."""
        start, before = self._frame_starts[place], self._frame_counts[place]
        if count <= before:
            return
        # Packs that lost frame numbers have higher ones than frames, so the table's size is a good guess and no bound.
        wanted = max(count, min(frames_in(self._pack_tables[place]), 4096))
        wanted += -wanted % _STEP
        if start + before != len(self._frames):
            self._frame_starts[place] = len(self._frames)
            self._frames += self._frames[start : start + before]
        self._frames += bytes(wanted - before)
        self._frame_counts[place] = wanted


def mark(repository: Repository, snapshot_objects: Iterable[str], threads: int = THREADS) -> Marks:
    """Walk from these snapshot objects (their names, of any revision), reading with so many threads, or with none (0).

    Raises Corruption, WriteOnlyKey.
    """
    marks = Marks(repository, threads)
    marks.add(snapshot_objects)
    return marks


def read_root(repository: Repository, name: str) -> Snapshot | None:
    """The snapshot in an object, whichever revision it is, also below quarantine/; None if it is gone, or a fence.

    Raises Corruption, WriteOnlyKey.
    """
    stored = read_root_object(repository, name)
    if stored is None:
        return None
    try:
        return msgspec.msgpack.decode(stored, type=Snapshot)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, "holds no snapshot that can be read") from error


def read_root_object(repository: Repository, name: str) -> bytes | None:
    """The plaintext of a snapshot object; None if it is gone, or a fence. Raises Corruption, WriteOnlyKey."""
    stored = revisions.read_object(repository.storage, name)
    if stored is None:
        return None
    id = name.rpartition("/")[2].partition(".")[0]  # every revision is sealed under the name of the first
    return unseal(repository._ring, Kind.SNAPSHOT, names.snapshot(id), stored)
