"""Which parts share a page: boundaries that stay where they were, so that an unchanged page keeps its object.

The partitions of an earlier page stay together. A page whose parts all are as they were is carried; parts of changed
pages, and of small ones beside them, are collected anew, whole partitions to a page. A partition that is larger than a
page has pages of its own, cut where the hash of a part's name says so: a change moves no boundary but those around it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate

from coldhouse.model import PackRef, PageRef
from coldhouse.repository.crypto import content_digest
from coldhouse.repository.page import MAX_FILES, MAX_PARTS, digest_of_states
from coldhouse.repository.page_encoding import PagePart, encode_page

#: A page with less than this share of parts and of files is small: it may be merged with a changed neighbour.
_SMALL = 4
#: Within a partition that is larger than a page, a page ends, after so many parts, before one whose name has hash 0 (of
#: 8 bits): so one part in 256 ends a page wherever it stands.
_SHORTEST = MAX_PARTS // 4


class Pager:
    """Turns the parts of one table into pages. ``earlier`` are its pages in the parent snapshot."""

    def __init__(
        self,
        earlier: Sequence[PageRef],
        packs: Callable[[bytes], PackRef],
        load: Callable[[PageRef], Iterator[PagePart]],
        write: Callable[[bytes], PageRef],
    ) -> None:
        self._packs = packs
        self._load = load
        self._write = write
        self._contents = {page.content: page for page in earlier}
        self._digests = {(page.first, page.digest) for page in earlier}
        self._firsts = [page.first for page in earlier]
        self._pages: list[PageRef] = []
        self._together: list[PagePart] = []  # parts of one earlier page's partitions, perhaps unchanged
        self._together_files = 0
        self._place = -1
        self._loose: list[PagePart] = []  # parts that need a new page
        self._loose_files = 0

    def page(self, items: Iterable[PagePart | PageRef]) -> tuple[PageRef, ...]:
        """Page these parts, in the order of (partition, name); a PageRef stands for all parts of an earlier page.

        Raises:
            ValueError: the parts are out of order.
        """
        last = ("", "")
        for item in items:
            if isinstance(item, PageRef):
                if item.first < last[0]:
                    raise ValueError(f"the page that begins with partition {item.first} is out of order")
                self._end_together()
                self._carry(item, None)
                last = (item.last, "")
                self._place = -1
            else:
                if (item.state.partition, item.state.name) <= last and last != ("", ""):
                    raise ValueError(f"part {item.state.name} is out of order")
                last = (item.state.partition, item.state.name)
                self._add(item)
        self._end_together()
        self._end_loose()
        return tuple(self._pages)

    def _add(self, part: PagePart) -> None:
        place = max(0, bisect_right(self._firsts, part.state.partition) - 1)
        if place != self._place:
            self._end_together()
            self._place = place
        if self._loose and self._loose[-1].state.partition == part.state.partition:
            self._loosen(part)  # a partition too large for one page: it is being cut
            return
        self._together.append(part)
        self._together_files += part.file_count
        if len(self._together) > 1 and not _fits(len(self._together), self._together_files):
            for one in self._take_together():
                self._loosen(one)

    def _take_together(self) -> list[PagePart]:
        parts, self._together, self._together_files = self._together, [], 0
        return parts

    def _end_together(self) -> None:
        parts = self._take_together()
        page = self._unchanged(parts) if parts else None
        if page is not None:
            self._carry(page, parts)
        else:
            for part in parts:
                self._loosen(part)

    def _unchanged(self, parts: Sequence[PagePart]) -> PageRef | None:
        """The earlier page with exactly these parts, if there is one: same states, same files, in the same packs."""
        if (parts[0].state.partition, digest_of_states(part.state for part in parts)) in self._digests:
            return self._contents.get(content_digest(encode_page(parts, self._packs)))
        return None

    def _carry(self, page: PageRef, parts: Sequence[PagePart] | None) -> None:
        if self._loose and not self._cut_off() and is_small(page) and self._is_small():
            for part in self._load(page) if parts is None else parts:
                self._loosen(part)
            return
        partition = self._loose[-1].state.partition if self._loose else None
        if partition == page.first:  # the page goes on with this partition, so it must not share a page with others
            self._emit(next(at for at, part in enumerate(self._loose) if part.state.partition == partition))
        self._end_loose()
        self._pages.append(page)

    # ---------------------------------------------------------------------------------------------------- loose parts

    def _loosen(self, part: PagePart) -> None:
        if self._cut_off() and part.state.partition != self._loose[0].state.partition:
            self._end_loose()
        self._loose.append(part)
        self._loose_files += part.file_count
        while len(self._loose) > 1 and not _fits(len(self._loose), self._loose_files):
            self._emit(self._cut())

    def _cut_off(self) -> bool:
        """Whether the loose parts are the rest of a partition whose other parts have pages already."""
        return bool(self._loose and self._pages and self._pages[-1].last == self._loose[0].state.partition)

    def _is_small(self) -> bool:
        return len(self._loose) * _SMALL < MAX_PARTS and self._loose_files * _SMALL < MAX_FILES

    def _cut(self) -> int:
        """How many of the loose parts, which are too many, the next page takes."""
        parts = self._loose
        files = accumulate(part.file_count for part in parts)
        fitting = sum(1 for at, count in enumerate(files) if at < MAX_PARTS and count <= MAX_FILES) or 1
        for at in range(fitting, 0, -1):
            if parts[at - 1].state.partition != parts[at].state.partition:
                return at
        for at in range(min(_SHORTEST, fitting), fitting):
            if blake2b(parts[at].state.name.encode(), digest_size=1).digest() == b"\0":
                return at
        return fitting

    def _end_loose(self) -> None:
        self._emit(len(self._loose))

    def _emit(self, count: int) -> None:
        """Make a page of the first loose parts, or find that it exists."""
        parts, self._loose = self._loose[:count], self._loose[count:]
        self._loose_files -= sum(part.file_count for part in parts)
        if parts:
            plain = encode_page(parts, self._packs)
            self._pages.append(self._contents.get(content_digest(plain)) or self._write(plain))


def _fits(parts: int, files: int) -> bool:
    return parts <= MAX_PARTS and files <= MAX_FILES


def is_small(page: PageRef) -> bool:
    """Whether a page may be merged with a changed neighbour."""
    return page.parts * _SMALL < MAX_PARTS and page.files * _SMALL < MAX_FILES
