"""Where extents of packs that are written anew lie afterwards, in about 50 bytes an extent."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from coldhouse.model import Extent, PackRef
from coldhouse.repository.id_index import IdIndex
from coldhouse.repository.page_extents import PageExtents


class Wanted:
    """The extents that pages have in some packs, each once. Used by one thread.

    At most about ``most`` extents are kept: where there are more, whole packs are given up, the last ones first.
    """

    def __init__(self, packs: Iterable[PackRef], most: int) -> None:
        self._found: dict[bytes, array[int]] = {ref.id: array("Q") for ref in packs}
        self._count = 0  # of extents as they were seen, some of them more than once
        self._most = most

    @property
    def packs(self) -> frozenset[bytes]:
        """The packs whose extents are all known, once every page was seen."""
        return frozenset(self._found)

    def see(self, page: PageExtents) -> None:
        """Take note of a page."""
        columns = [self._found.get(ref.id) for ref in page.packs]
        if not any(column is not None for column in columns):
            return
        for pack, offset, length in zip(page.pack, page.offset, page.length, strict=True):
            column = columns[pack]
            if column is not None and length:
                column.append(offset)
                column.append(length)
                self._count += 1
        if self._count > self._most:
            self._make_room()

    def extents(self, pack: bytes) -> list[Extent]:
        """The distinct extents in a pack, by their places."""
        return [Extent(pack, offset, length) for offset, length in _pairs(self._found[pack])]

    def _make_room(self) -> None:
        for pack, column in self._found.items():
            self._found[pack] = array("Q", [number for pair in _pairs(column) for number in pair])
        self._count = sum(len(column) for column in self._found.values()) // 2
        while self._count > self._most * 3 // 4 and len(self._found) > 1:
            _, column = self._found.popitem()
            self._count -= len(column) // 2


def _pairs(column: array[int]) -> list[tuple[int, int]]:
    return sorted(set(zip(column[::2], column[1::2], strict=True)))


class Relocation:
    """Where the extents of packs went."""

    def __init__(self) -> None:
        self._ids = IdIndex()  # of the packs that they went to
        self._refs: dict[bytes, PackRef] = {}
        self._moved: dict[bytes, _MovedPack] = {}

    def add(self, pack: bytes, old: Sequence[Extent], new: Iterable[Sequence[Extent]]) -> None:
        """The extents of a pack (as :meth:`Wanted.extents` gave them), and where each went."""
        self._moved[pack] = _MovedPack(old, new, self._ids)

    def stored_in(self, packs: Iterable[PackRef]) -> None:
        """The packs that they went to, once these are stored."""
        self._refs.update({ref.id: ref for ref in packs})

    def touches(self, page: PageExtents) -> bool:
        """Whether anything of a page went elsewhere."""
        return any(ref.id in self._moved for ref in page.packs)

    def move(self, extent: Extent) -> tuple[Extent, ...] | None:
        """Where an extent is now; None if it stayed. Raises KeyError for one of a moved pack that did not move."""
        moved = self._moved.get(extent.pack)
        if moved is None or not extent.length:
            return None
        return tuple([Extent(self._ids.id_at(at), offset, length) for at, offset, length in moved.find(extent)])

    def pack(self, id: bytes) -> PackRef:
        """One of the packs that they went to."""
        return self._refs[id]


class _MovedPack:
    """The extents of one pack as columns."""

    def __init__(self, old: Sequence[Extent], new: Iterable[Sequence[Extent]], ids: IdIndex) -> None:
        self._offsets = array("Q", [extent.offset for extent in old])
        self._lengths = array("Q", [extent.length for extent in old])
        self._starts = array("I", [0])
        self._pieces = array("Q")
        for extents in new:
            for extent in extents:
                self._pieces.extend((ids.add(extent.pack), extent.offset, extent.length))
            self._starts.append(len(self._pieces) // 3)
        if len(self._starts) != len(self._offsets) + 1:
            raise ValueError("not every extent went somewhere")

    def find(self, extent: Extent) -> Iterator[tuple[int, int, int]]:
        at = bisect_left(self._offsets, extent.offset)
        while at < len(self._offsets) and self._offsets[at] == extent.offset:
            if self._lengths[at] == extent.length:
                pieces = self._pieces
                for piece in range(self._starts[at], self._starts[at + 1]):
                    yield pieces[3 * piece], pieces[3 * piece + 1], pieces[3 * piece + 2]
                return
            at += 1
        raise KeyError(extent)
