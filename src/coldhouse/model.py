"""The words of the house as frozen records: everything that more than one room needs to name.

A record that is written to a repository is encoded as a MessagePack map of its fields (see repository/FORMAT.md);
a field added later needs a default, so that older snapshots stay readable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

Buffer = bytes | bytearray | memoryview
Octets = bytes  # the type, where a record has a field called bytes

#: The pseudo part that holds the files of a table whose engine has no parts (Log, Memory, ...).
WHOLE_TABLE = ""


class TableName(Struct, frozen=True, order=True):
    """A table as ClickHouse names it; an empty ``table`` stands for the database itself."""

    database: str
    table: str

    def __str__(self) -> str:
        return f"{self.database}.{self.table}" if self.table else self.database


class PackRef(Struct, frozen=True):
    """A stored pack: ``size`` of the whole object and of its sealed frame table, in bytes."""

    id: bytes
    size: int
    table_size: int


class Extent(Struct, frozen=True):
    """A run of plaintext in a pack: ``offset`` = frame number * frame size + offset in the frame, in bytes."""

    pack: bytes
    offset: int
    length: int


class FileEntry(Struct, frozen=True):
    """A file of a part: ``checksum`` is ClickHouse's CityHash128 as 16 bytes (empty for an empty file).

    ``name`` is relative to its part and may have slashes (projections). ``damaged``: the bytes that the source sent did
    not have the checksum that the source had recorded for them; they are stored as sent.
    """

    name: str
    size: int
    checksum: bytes
    extents: tuple[Extent, ...]
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class PartState:
    """A part as ``system.parts`` shows it: ``hash`` is hash_of_all_files as 16 bytes, empty if unknown.

    ``files`` is how many it has, 0 if unknown; it only weighs a part and is neither compared nor stored.
    """

    partition: str
    name: str
    hash: Octets
    rows: int
    bytes: int
    files: int = field(default=0, compare=False)


class Part(Struct, frozen=True):
    """A part as a snapshot holds it: its state at the source and its files."""

    state: PartState
    files: tuple[FileEntry, ...]

    @property
    def file_count(self) -> int:
        """How many files it has."""
        return len(self.files)


class ManifestRef(Struct, frozen=True):
    """A stored manifest object: 16 random bytes as its name, its size, and the BLAKE2b-128 of its sealed bytes."""

    id: bytes
    size: int
    digest: bytes


class PageRef(Struct, frozen=True):
    """A manifest page: a run of partitions (in the order of their ids) of one table, and what it holds.

    ``digest`` covers the states of its parts (see ``digest_of_states``); ``content`` is the BLAKE2b-128 of the page's
    own bytes; ``damaged`` counts its damaged files. The page of a small table is no object of its own but ``inline``.
    """

    ref: ManifestRef
    first: str
    last: str
    parts: int
    files: int
    rows: int
    bytes: int
    digest: Octets
    damaged: int = 0
    content: Octets = b""
    inline: Octets = b""

    @property
    def key(self) -> Octets:
        """16 bytes that stand for the page: its object's id, or the digest of one that is no object."""
        return self.content if self.inline else self.ref.id


class Mutation(Struct, frozen=True):
    """A mutation that was unfinished when the snapshot was taken: its id and its ALTER command."""

    id: str
    command: str


class TableKind(StrEnum):
    """How a table's contents are kept."""

    PARTS = "parts"  # MergeTree family: pages of parts
    FILES = "files"  # Log, Memory, ...: one pseudo part, WHOLE_TABLE
    DEFINITION = "definition"  # views, dictionaries, Distributed, Kafka, ...: nothing but the definition


class TableEntry(Struct, frozen=True):
    """A table (or, with an empty table name, a database) as a snapshot holds it.

    ``definition`` is the text of ClickHouse's own backup .sql file; ``inspected`` a digest of the definition as the
    system tables showed it, to tell whether it changed. ``new_bytes`` were first stored by snapshot ``written_by``.
    ``depends_on`` must exist before this table can be created.
    """

    name: TableName
    uuid: str
    engine: str
    kind: TableKind
    definition: str
    inspected: Octets
    rows: int
    bytes: int
    parts: int
    files: int
    new_bytes: int
    written_by: str
    pages: tuple[PageRef, ...] = ()
    depends_on: tuple[TableName, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def rows_known(self) -> bool:
        """Whether ``rows`` is a number that somebody counted: of a table of files without one, it is 0."""
        return self.kind is not TableKind.FILES or self.rows > 0 or self.bytes == 0


class SourceInfo(Struct, frozen=True):
    """Which ClickHouse a snapshot was taken from; ``url`` without credentials, ``identity`` stable over renames."""

    url: str
    identity: str
    host: str
    version: str
    timezone: str


class Accounting(Struct, frozen=True):
    """D = B + I in bytes of ClickHouse files (``data``, ``reused``, ``new``), and what went over to the store.

    ``sent`` are bytes that ClickHouse sent; ``stored`` bytes and ``objects`` that were written to the repository.
    """

    data: int
    reused: int
    new: int
    sent: int
    stored: int
    objects: int
    tables: int
    parts: int
    files: int
    rows: int
    databases: int = 0


class SqlFunction(Struct, frozen=True):
    """An SQL user-defined function: its name and its CREATE statement."""

    name: str
    definition: str


class Snapshot(Struct, frozen=True):
    """The root of a snapshot: who, when, what it cost, and where its catalog is.

    ``catalog`` holds the table entries in the order of their names. ``damaged`` names parts (``db.table part``) whose
    bytes were already damaged at the source. ``include`` and ``exclude`` are the patterns that chose the tables.
    """

    id: str
    started: datetime
    finished: datetime
    source: SourceInfo
    parent: str
    tags: dict[str, str]
    accounting: Accounting
    catalog: tuple[ManifestRef, ...]
    functions: tuple[SqlFunction, ...] = ()
    damaged: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    software: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether nothing of an earlier snapshot was reused."""
        return self.accounting.reused == 0


def total_size(files: Iterable[FileEntry]) -> int:
    """The bytes of all files together."""
    return sum(file.size for file in files)
