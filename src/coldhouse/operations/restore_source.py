"""A table of a snapshot as the backup that ClickHouse's RESTORE reads: a document that lists files, and the files."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from coldhouse.cityhash import file_hash
from coldhouse.clickhouse import document, layout
from coldhouse.gateway import AtHand, Served
from coldhouse.model import Buffer, Extent, FileEntry, TableEntry
from coldhouse.operations.restore_plan import Share
from coldhouse.operations.survivors import unreadable_files
from coldhouse.repository import PackReader, Page, SweptFrames

DOCUMENT = ".backup"
DEFINITIONS = "sql"
FILES = "f"
MAX_DIGITS = 12
#: How many files are remembered: each is asked for twice, by HEAD and then by GET, and sixteen at a time.
_RECENT = 64


@dataclass(frozen=True, slots=True)
class ServedText(AtHand):
    """A short text, served from memory."""

    content: bytes

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.content)

    @property
    def etag(self) -> str:
        """Its checksum: any string serves, as long as it stays the same."""
        return file_hash(self.content).hex()

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        """Yield a range of it."""
        yield self.content[offset : offset + length]

    def at_hand(self, offset: int, length: int) -> Buffer | None:
        """A range of it."""
        return self.content[offset : offset + length]


@dataclass(frozen=True, slots=True)
class ServedFile(AtHand):
    """A file of a snapshot; every frame is authenticated before a byte of it leaves."""

    reader: PackReader
    page: Page
    extents: tuple[Extent, ...]
    size: int
    etag: str
    swept: SweptFrames | None = None

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        """Yield a range of it. Raises Corruption, naming the pack, instead of a wrong byte."""
        return self.reader.lend(self.page.packs, self.extents, offset, length, self.swept)

    def at_hand(self, offset: int, length: int) -> Buffer | None:
        """A range that lies in one frame that was read, authenticated and kept."""
        return self.reader.kept(self.extents, offset, length)


class RestoreSource:
    """What the gateway serves for one RESTORE statement: one table with some or all partitions, and definitions.

    ``pages`` hold its parts; they stay in memory while the statement runs. Parts with files that were damaged at the
    source, and with ``skip_damaged`` those that cannot be read back, are left out and named in ``left_out``. ``also``
    are definitions of tables that the statement renames along. ``bytes`` are about what the statement reads.
    """

    def __init__(
        self,
        entry: TableEntry,
        pages: Iterable[Page],
        reader: PackReader,
        *,
        partitions: Collection[str] | None = None,
        also: Collection[TableEntry] = (),
        skip_damaged: bool = False,
    ) -> None:
        self._entry = entry
        self._skip_damaged = skip_damaged
        self._reader = reader
        self._swept = reader.swept_frames()
        self._pages = list(pages)
        self._partitions = partitions
        self._starts: list[int] = []
        self.left_out: list[str] = []
        self.rows = 0
        self.share_left_out = Share()
        self.rows_known = True
        total = 0
        for page in self._pages:
            self._starts.append(total)
            total += page.file_count
        self._total = total
        self._file = lru_cache(maxsize=_RECENT)(self._find_file)
        self._definitions = [
            (layout.table_definition(table.name), table.definition.encode()) for table in (entry, *also)
        ]
        self.bytes = 0
        self._document = b"".join(document.write_restore(self._counted(self._items())))
        self.bytes += len(self._document)

    def lookup(self, key: str) -> Served | None:
        """What stands under a key below the session's prefix."""
        if key == DOCUMENT:
            return ServedText(self._document)
        kind, _, number = key.partition("/")
        if not (number.isascii() and number.isdecimal() and len(number) < MAX_DIGITS):
            return None
        if kind == DEFINITIONS and int(number) < len(self._definitions):
            return ServedText(self._definitions[int(number)][1])
        if kind == FILES and int(number) < self._total:
            return self._file(int(number))
        return None

    def _find_file(self, number: int) -> ServedFile:
        position = bisect_right(self._starts, number) - 1
        page = self._pages[position]
        file = page.file(number - self._starts[position])
        return ServedFile(self._reader, page, file.extents, file.size, file.checksum.hex(), self._swept)

    def _counted(self, items: Iterable[document.RestoreFile]) -> Iterator[document.RestoreFile]:
        for item in items:
            self.bytes += item.size
            yield item

    def _items(self) -> Iterator[document.RestoreFile]:
        for number, (path, content) in enumerate(self._definitions):
            yield document.RestoreFile(path, len(content), file_hash(content), f"{DEFINITIONS}/{number}")
        for start, page in zip(self._starts, self._pages, strict=True):
            number = start
            for part in page.parts():
                first, number = number, number + len(part.files)
                if self._partitions is not None and part.state.partition not in self._partitions:
                    continue
                damaged = [file.name for file in part.files if file.damaged]
                if not damaged and self._skip_damaged:
                    damaged = unreadable_files(self._reader, page, part)
                if damaged:
                    which = f"part {part.state.name}" if part.state.name else "all of it"
                    self.left_out.append(f"{self._entry.name} {which} ({', '.join(damaged)})")
                    size = sum(file.size for file in part.files)
                    self.share_left_out += Share(bool(part.state.name), part.state.rows, size)
                    continue
                self.rows += part.state.rows
                # TinyLog writes no row count; what an older version recorded of it is 0.
                self.rows_known &= bool(part.state.name) or part.state.rows > 0
                yield from self._part_items(part.state.name, part.files, first)

    def _part_items(self, part: str, files: tuple[FileEntry, ...], first: int) -> Iterator[document.RestoreFile]:
        for offset, file in enumerate(files):
            self._swept.add(file)
            path = layout.part_file(self._entry.name, layout.served_part_name(part), file.name)
            yield document.RestoreFile(path, file.size, file.checksum, f"{FILES}/{first + offset}")
