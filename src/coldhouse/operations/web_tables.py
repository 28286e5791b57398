"""The parts of a snapshot's tables as the folders of ClickHouse's ``web`` disk. Pure: keys in, bytes out.

    <table>/.index                  the parts, one line each: name, tab, 1; and format_version.txt: name, tab, 0, size
    <table>/format_version.txt      1: the version of the folder, since 2017
    <table>/<part>/.index           the files of a part; a projection is a folder in it
    <table>/<part>/<file>           a file

``<table>`` is any path that the caller chose. Parts have their served names, without mutation version. Memory does not
follow the number of parts: manifest pages are read when something in them is asked for, and few are kept.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from coldhouse.clickhouse import layout
from coldhouse.gateway import Served
from coldhouse.model import Buffer, FileEntry, PageRef, Part, TableEntry
from coldhouse.operations.restore_source import ServedFile, ServedText
from coldhouse.repository import PackReader, Page

INDEX = ".index"
VERSION_FILE = "format_version.txt"
VERSION = b"1"
PAGES_KEPT = 8
PARTS_KEPT = 256
#: A read of more bytes than this is a scan, for which more is fetched at once.
SMALL = 512 * 1024


class Readers(Struct, frozen=True):
    """Two ways to the packs: ``small`` fetches little for those who want little, ``large`` much at once."""

    small: PackReader
    large: PackReader

    @property
    def bytes_fetched(self) -> int:
        """Bytes that were read from the store."""
        return self.small.bytes_fetched + self.large.bytes_fetched

    @property
    def requests(self) -> int:
        """Requests that were made to the store."""
        return self.small.requests + self.large.requests


class PageShelf:
    """The manifest pages that were used last, each with the places of its parts. Any thread may use it."""

    def __init__(self, load: Callable[[PageRef], Page], kept: int = PAGES_KEPT) -> None:
        self._load = load
        self._kept = kept
        self._lock = threading.Lock()
        self._pages: OrderedDict[bytes, tuple[Page, Mapping[str, int]]] = OrderedDict()

    def page(self, ref: PageRef) -> tuple[Page, Mapping[str, int]]:
        """A page, and the places of its parts by their served names. Raises Corruption."""
        key = ref.ref.id + ref.content
        with self._lock:
            if key in self._pages:
                self._pages.move_to_end(key)
                return self._pages[key]
        page = self._load(ref)
        places = {layout.served_part_name(state.name): place for place, state in enumerate(page.states())}
        with self._lock:
            self._pages[key] = (page, places)
            if len(self._pages) > self._kept:
                self._pages.popitem(last=False)
        return page, places


class WebTable:
    """One table as a folder; parts with files that were damaged at the source are in ``left_out`` and not in it."""

    def __init__(self, entry: TableEntry, shelf: PageShelf, readers: Readers) -> None:
        """Raises Corruption: pages with damaged files are read at once, to know which parts to leave out."""
        self.entry = entry
        self.left_out = tuple(_damaged_parts(entry.pages, shelf))
        self._shelf = shelf
        self._readers = readers
        self._firsts = [page.first for page in entry.pages]
        self._lasts = [page.last for page in entry.pages]
        self._omitted = frozenset(self.left_out)
        self._lock = threading.Lock()
        self._parts: OrderedDict[str, tuple[Page, Mapping[str, FileEntry]]] = OrderedDict()

    def parts(self) -> Iterator[tuple[str, int]]:
        """The served name and the rows of every part, page by page. Raises Corruption."""
        for ref in self.entry.pages:
            for state in self._shelf.page(ref)[0].states():
                if (name := layout.served_part_name(state.name)) not in self._omitted:
                    yield name, state.rows

    def lookup(self, path: str) -> Served | None:
        """What stands under a path below the table's folder. Raises Corruption."""
        if path == INDEX:
            return ServedText(b"".join(self._lines()))
        if path == VERSION_FILE:
            return ServedText(VERSION)
        name, _, inside = path.partition("/")
        part = self._part(name) if inside else None
        if part is None:
            return None
        page, files = part
        if inside == INDEX or inside.endswith(f"/{INDEX}"):
            lines = index_lines(files.values(), inside.removesuffix(INDEX))
            return ServedText("".join(lines).encode()) if lines else None
        file = files.get(inside)
        return None if file is None else self._served(page, file)

    def _served(self, page: Page, file: FileEntry) -> Served:
        tag = file.checksum.hex() or "empty"
        return _RangedFile(
            ServedFile(self._readers.small, page, file.extents, file.size, tag),
            ServedFile(self._readers.large, page, file.extents, file.size, tag),
        )

    def _lines(self) -> Iterator[bytes]:
        yield f"{VERSION_FILE}\t0\t{len(VERSION)}\n".encode()
        for name, _ in self.parts():
            yield f"{name}\t1\n".encode()

    def _part(self, name: str) -> tuple[Page, Mapping[str, FileEntry]] | None:
        with self._lock:
            if name in self._parts:
                self._parts.move_to_end(name)
                return self._parts[name]
        found = self._find(name)
        if found is None:
            return None
        page, part = found
        kept = page, {file.name: file for file in part.files}
        with self._lock:
            self._parts[name] = kept
            if len(self._parts) > PARTS_KEPT:
                self._parts.popitem(last=False)
        return kept

    def _find(self, name: str) -> tuple[Page, Part] | None:
        partition = layout.partition_of(name)
        if not partition or name in self._omitted:
            return None
        first = bisect_left(self._lasts, partition)
        for ref in self.entry.pages[first : bisect_right(self._firsts, partition)]:
            page, places = self._shelf.page(ref)
            if name in places:
                return page, page.part(places[name])
        return None


class _RangedFile(Struct, frozen=True):
    """A file whose small ranges are fetched sparingly and whose large ones in few requests."""

    sparing: ServedFile
    sweeping: ServedFile

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.sparing.size

    @property
    def etag(self) -> str:
        """Its checksum."""
        return self.sparing.etag

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        """Yield a range of it. Raises Corruption, naming the pack, instead of a wrong byte."""
        return (self.sparing if length <= SMALL else self.sweeping).read(offset, length)


class WebFolders:
    """The namespace of one web disk: tables by the paths of their folders. Any thread may use it."""

    def __init__(self) -> None:
        self._tables: dict[str, WebTable] = {}

    def add(self, folder: str, table: WebTable) -> None:
        """Let a table be read below ``folder``, a path without slashes at its ends."""
        self._tables[folder] = table

    def lookup(self, key: str) -> Served | None:
        """What stands under a key. Raises Corruption."""
        for depth in range(1, key.count("/") + 1):
            steps = key.split("/", depth)
            table = self._tables.get("/".join(steps[:depth]))
            if table is not None:
                return table.lookup(steps[depth])
        return None


def store_folder(uuid: str) -> str:
    """Where a database of engine Atomic has the table of a UUID, on every disk."""
    return f"store/{uuid[:3]}/{uuid}"


def index_lines(files: Iterable[FileEntry], folder: str) -> list[str]:
    """The lines of a folder's ``.index``: its files with their sizes, and the folders in it once each."""
    lines: dict[str, str] = {}
    for file in files:
        if file.name.startswith(folder):
            name, slash, _ = file.name[len(folder) :].partition("/")
            lines[name] = f"{name}\t1\n" if slash else f"{name}\t0\t{file.size}\n"
    return list(lines.values())


def _damaged_parts(pages: Sequence[PageRef], shelf: PageShelf) -> Iterator[str]:
    for ref in pages:
        if ref.damaged:
            for part in shelf.page(ref)[0].parts():
                if any(file.damaged for file in part.files):
                    yield layout.served_part_name(part.state.name)
