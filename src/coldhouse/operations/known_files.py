"""The files that the repository holds already, by size and checksum: what ClickHouse need not send again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from msgspec import Struct

from coldhouse.cityhash import file_hash
from coldhouse.model import Extent, PackRef
from coldhouse.operations.checkpoint import Recalled
from coldhouse.repository import Page

#: Where a file is: a page, and the index of the file in it. Two small integers in place of a tree of objects.
_Place = tuple[int, int]


class KnownPage(Struct, frozen=True):
    """A page, and the partitions (None: all) whose files may be delivered again.

    Files of the others would match by chance alone: no part ever changes its partition.
    """

    page: Page
    partitions: frozenset[str] | None = None


class KnownFiles:
    """An index over manifest pages; it costs about 150 bytes a file while a statement runs.

    Damaged files are left out, so that ClickHouse sends them again and a repaired disk heals the next snapshot.
    ``definitions`` are the texts of known .sql files, which are kept beside the pages. ``recalled`` are files that a
    backup stored and did not live to put into a snapshot: nothing has to be sent for them, but they are new. Files that
    lie in a ``broken`` pack are not known.
    """

    def __init__(
        self,
        pages: Iterable[KnownPage],
        definitions: Iterable[str] = (),
        recalled: Recalled | None = None,
        broken: AbstractSet[bytes] = frozenset(),
    ) -> None:
        #: Every pack that the pages refer to.
        self.packs: dict[bytes, PackRef] = {}
        self._pages: list[KnownPage] = []
        self._places: dict[tuple[int, bytes], _Place] = {}
        contents = (text.encode() for text in definitions)
        self._definitions = {(len(content), file_hash(content)): content for content in contents}
        for known in pages:
            page = known.page
            damaged = page.damaged_files() | page.files_in(broken)
            for places in page.files_of(known.partitions):
                for index, key in zip(places, page.file_keys(places), strict=True):
                    if key[0] and index not in damaged:
                        self._places.setdefault(key, (len(self._pages), index))
            self._pages.append(known)
            self.packs.update(page.packs)
        recalled = recalled or Recalled()
        self._recalled = {
            (file.size, file.checksum): file.extents
            for file in recalled.files
            if (file.size, file.checksum) not in self._places
            and not any(extent.pack in broken for extent in file.extents)
        }
        self.packs.update((pack.id, pack) for pack in recalled.packs)

    def __len__(self) -> int:
        return len(self._places) + len(self._definitions) + len(self._recalled)

    def __contains__(self, key: tuple[int, bytes]) -> bool:
        return key in self._places or key in self._recalled

    def keys(self) -> Iterator[tuple[int, bytes]]:
        """The (size in bytes, checksum) of every known file and definition."""
        yield from self._places
        yield from self._definitions
        yield from self._recalled

    def definition(self, key: tuple[int, bytes]) -> str | None:
        """The text of a known definition; None if there is none of this size and checksum."""
        content = self._definitions.get(key)
        return None if content is None else content.decode()

    def in_a_snapshot(self, key: tuple[int, bytes]) -> bool:
        """Whether a known file is part of an earlier snapshot."""
        return key in self._places

    def part_rows(self, key: tuple[int, bytes]) -> int | None:
        """The rows of a known part whose count.txt has this size and checksum; None if there is none."""
        for known in self._pages:
            for part in known.page.parts(known.partitions):
                if any(file.name == "count.txt" and (file.size, file.checksum) == key for file in part.files):
                    return part.state.rows
        return None

    def extents(self, key: tuple[int, bytes]) -> tuple[Extent, ...]:
        """Where the bytes of a known file are."""
        if key in self._recalled:
            return self._recalled[key]
        page, index = self._places[key]
        return self._pages[page].page.file(index).extents
