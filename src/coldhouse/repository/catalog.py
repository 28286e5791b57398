"""The catalog of a snapshot: its table entries in the order of their names, over a few objects that can be shared."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from coldhouse.model import ManifestRef, PageRef, TableEntry, TableName
from coldhouse.repository import names
from coldhouse.repository.crypto import content_digest, damaged
from coldhouse.repository.records import check_length, decode_record

#: A catalog object ends before its plaintext has more bytes than this, unless one entry alone has more.
MAX_BYTES = 512 * 1024

Read = Callable[[ManifestRef], bytes]
Write = Callable[[bytes], ManifestRef]


def encode_entry(entry: TableEntry) -> bytes:
    """A table entry as a MessagePack map of its fields."""
    return msgspec.msgpack.encode(entry)


def decode_catalog(plain: bytes, name: str) -> list[bytes]:
    """The entries of a catalog object, each still encoded. Raises Corruption."""
    check_length(msgspec.Raw(plain), name)
    return decode_record(plain, list[bytes], name, "a catalog")


def decode_entry(stored: bytes, name: str) -> TableEntry:
    """Read a table entry; ``name`` is the object it came from. Raises Corruption."""
    return decode_record(stored, TableEntry, name, "a table entry")


def read_entries(catalog: Sequence[ManifestRef], read: Read) -> Iterator[TableEntry]:
    """All entries of a catalog, object by object. Raises Corruption."""
    for ref in catalog:
        name = names.manifest(ref.id)
        for stored in decode_catalog(read(ref), name):
            yield decode_entry(stored, name)


class _Object(Struct, frozen=True):
    """A catalog object of the parent: where it is, the names in it, and the size of its plaintext in bytes."""

    ref: ManifestRef
    tables: list[TableName]
    size: int


class ParentCatalog:
    """What the parent's catalog holds, without holding it: per table a digest and the object it is in."""

    def __init__(self, catalog: Sequence[ManifestRef], read: Read) -> None:
        self._read = read
        self._objects: list[_Object] = []
        self._digests: dict[TableName, bytes] = {}
        self._uuids: dict[str, TableName] = {}
        self._pages: set[bytes] = set()
        self._loaded: tuple[ManifestRef, dict[TableName, TableEntry]] | None = None
        for ref in catalog:
            name = names.manifest(ref.id)
            plain = read(ref)
            entries = [decode_entry(stored, name) for stored in decode_catalog(plain, name)]
            self._objects.append(_Object(ref, [entry.name for entry in entries], len(plain)))
            for entry in entries:
                self._digests[entry.name] = content_digest(encode_entry(entry))
                self._pages.update(page.content for page in entry.pages)
                if entry.uuid.strip("0-"):  # tables of databases without uuids all show the same zeros
                    self._uuids[entry.uuid] = entry.name
        self._firsts = [one.tables[0] for one in self._objects if one.tables]
        if len(self._firsts) != len(self._objects) or list(self._digests) != sorted(self._digests):
            raise damaged(names.manifest(catalog[0].id), "belongs to a catalog that is not in order")

    def holds(self, entry: TableEntry) -> bool:
        """Whether the parent has exactly this entry."""
        return self._digests.get(entry.name) == content_digest(encode_entry(entry))

    def holds_page(self, page: PageRef) -> bool:
        """Whether an entry of the parent has this page."""
        return page.content in self._pages

    def counterpart(self, entry: TableEntry) -> TableEntry | None:
        """The parent's entry of the same name, or of the same table under another name."""
        name = entry.name if entry.name in self._digests else self._uuids.get(entry.uuid)
        return None if name is None else self._entry(name)

    def arrange(self, tables: Mapping[TableName, bytes | None], write: Write) -> tuple[ManifestRef, ...]:
        """Make the catalog of these tables, sharing what did not change; None stands for an entry that is as it was."""
        now: list[list[TableName]] = [[] for _ in self._objects] or [[]]
        for name in sorted(tables):
            now[max(0, bisect_right(self._firsts, name) - 1)].append(name)
        arrangement = _Arrangement(write)
        for at, wanted in enumerate(now):
            old = self._objects[at] if self._objects else None
            stored = (tables[name] or encode_entry(self._entry(name)) for name in wanted)
            if old is not None and wanted == old.tables and all(tables[name] is None for name in wanted):
                arrangement.share(old.ref, old.size, stored)
            else:
                arrangement.add(stored)
        return arrangement.close()

    def _entry(self, name: TableName) -> TableEntry:
        ref = self._objects[max(0, bisect_right(self._firsts, name) - 1)].ref
        if self._loaded is None or self._loaded[0] != ref:
            entries = read_entries([ref], self._read)
            self._loaded = (ref, {entry.name: entry for entry in entries})
        return self._loaded[1][name]


class _Arrangement:
    """Collects entries into objects of a bounded size, between objects that are shared."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._refs: list[ManifestRef] = []
        self._waiting: list[bytes] = []
        self._size = 0

    def add(self, entries: Iterable[bytes]) -> None:
        for stored in entries:
            if self._waiting and self._size + len(stored) > MAX_BYTES:
                self._flush()
            self._waiting.append(stored)
            self._size += len(stored)

    def share(self, ref: ManifestRef, size: int, entries: Iterable[bytes]) -> None:
        """Take over an object; if it is small, and what waits is small too, they become one."""
        if self._waiting and self._size + size < MAX_BYTES // 4:
            self.add(entries)
        else:
            self._flush()
            self._refs.append(ref)

    def close(self) -> tuple[ManifestRef, ...]:
        self._flush()
        return tuple(self._refs)

    def _flush(self) -> None:
        if self._waiting:
            self._refs.append(self._write(msgspec.msgpack.encode(self._waiting)))
        self._waiting, self._size = [], 0
