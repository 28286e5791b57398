"""One BACKUP statement: ClickHouse sends, the gateway takes in, and what arrived becomes parts.

Nothing here is believed because ClickHouse says so: every file of the final document must have arrived, or be known
from an earlier snapshot, with its size and checksum, before the statement is allowed to succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

from coldhouse.clickhouse import document, layout
from coldhouse.errors import BackupFailed
from coldhouse.model import WHOLE_TABLE, FileEntry, Part, PartState, TableName, total_size
from coldhouse.operations.known_files import KnownFiles

if TYPE_CHECKING:
    from coldhouse.gateway import Arrived


class ReceivedTable(Struct, frozen=True):
    """A table as one statement delivered it: its parts in the order of (partition, name), and new bytes among them."""

    definition: str
    parts: tuple[Part, ...]
    new_bytes: int
    damaged: tuple[str, ...]


class RenameBegan(BackupFailed):
    """A RENAME COLUMN began after the source was looked at: what arrived would restore without that column's values."""


@dataclass(slots=True)
class _Gathering:
    """What is collected of one table while the document is read."""

    definition: document.DocumentFile | None = None
    mutations: list[str] = field(default_factory=list)  # where the gateway keeps their texts
    files: dict[str, list[FileEntry]] = field(default_factory=dict)
    new_bytes: int = 0
    damaged: list[str] = field(default_factory=list)


def base_document(known: KnownFiles) -> bytes:
    """The document of a base that holds every known file, under names that cannot be real ones."""
    return b"".join(document.write_base(known.keys()))


class Incoming:
    """What one statement brings: collected while its document is checked, so that the document is read once."""

    def __init__(self, known: KnownFiles) -> None:
        self._known = known
        self._tables: dict[TableName, _Gathering] = {}

    def check(self, content: bytes, arrived: Mapping[str, Arrived]) -> str | None:
        """Say why a `.backup` document must be refused, or None: every file it lists is here with its size.

        Raises Corruption when it is no such document.
        """
        tables: dict[TableName, _Gathering] = {}
        _, files = document.parse(content)
        for item in files:
            member = layout.member(item.name)
            reason = self._refusal(item, member, arrived)
            if reason:
                return reason
            self._collect(tables, item, member, arrived)
        self._tables = tables
        return None

    def tables(
        self,
        kept: Mapping[str, bytes],
        states: Callable[[], Iterator[tuple[TableName, PartState]]],
        read_text: Callable[[FileEntry], str],
        counted: Mapping[TableName, int],
    ) -> dict[TableName, ReceivedTable]:
        """Turn what the document that was let pass lists into tables and parts.

        ``kept`` are the texts that the gateway kept. ``states`` are the parts of its tables at the source now, inactive
        ones too; a part that is already gone there gets its rows from its own count.txt (read by ``read_text``) and an
        unknown hash: the next backup asks for it again. ``counted`` are the rows of tables that have no count.txt.

        Raises RenameBegan.
        """
        tables = self._tables
        _refuse_renames(
            name
            for name, table in tables.items()
            if any(b"RENAME COLUMN" in kept.get(key, b"") for key in table.mutations)
        )
        known_states = {(name, state.name): state for name, state in states() if name in tables}
        for name in counted.keys() & tables.keys():
            size = total_size(tables[name].files.get(WHOLE_TABLE, ()))
            known_states[name, WHOLE_TABLE] = PartState("", WHOLE_TABLE, b"", counted[name], size)
        return {
            name: ReceivedTable(
                self._definition(table.definition, kept),
                _parts(name, table, known_states, read_text),
                table.new_bytes,
                tuple(table.damaged),
            )
            for name, table in tables.items()
        }

    def _refusal(
        self, item: document.DocumentFile, member: layout.Member, arrived: Mapping[str, Arrived]
    ) -> str | None:
        if item.size == 0:
            return None
        if item.use_base:
            if item.base_size in (0, item.size) and self._is_known(item, member):
                return None
            return f"{item.name}: said to be in the earlier snapshot, which does not hold it"
        there = arrived.get(item.data_file)
        if there is None:
            return f"{item.name}: listed, but never sent"
        if there.size != item.size:
            return f"{item.name}: {there.size} bytes arrived, {item.size} are listed"
        return None

    def _is_known(self, item: document.DocumentFile, member: layout.Member) -> bool:
        key = (item.size, item.checksum)
        if isinstance(member, layout.TableDefinition):
            return self._known.definition(key) is not None
        return key in self._known

    def _collect(
        self,
        tables: dict[TableName, _Gathering],
        item: document.DocumentFile,
        member: layout.Member,
        arrived: Mapping[str, Arrived],
    ) -> None:
        match member:
            case layout.PartFile(table=name, part=part, file=file):
                self._add_file(_of(tables, name), part, self._entry(file, item, arrived), item)
            case layout.TableFile(table=name, file=file):
                self._add_file(_of(tables, name), WHOLE_TABLE, self._entry(file, item, arrived), item)
            case layout.TableDefinition(table=name):
                _of(tables, name).definition = item
            case layout.MutationFile(table=name):
                _of(tables, name).mutations.append(item.data_file)

    def _definition(self, item: document.DocumentFile | None, kept: Mapping[str, bytes]) -> str:
        """The text of a .sql; empty where the server did not send one that looks like a definition."""
        if item is None:
            return ""
        if item.use_base:
            return self._known.definition((item.size, item.checksum)) or ""
        return kept.get(item.data_file, b"").decode()

    def _entry(self, name: str, item: document.DocumentFile, arrived: Mapping[str, Arrived]) -> FileEntry:
        if item.size == 0:
            return FileEntry(name, 0, b"", ())
        if item.use_base:
            return FileEntry(name, item.size, item.checksum, self._known.extents((item.size, item.checksum)))
        there = arrived[item.data_file]
        return FileEntry(name, item.size, item.checksum, there.extents, damaged=there.checksum != item.checksum)

    def _add_file(self, table: _Gathering, part: str, entry: FileEntry, item: document.DocumentFile) -> None:
        files = table.files.get(part)
        if files is None:
            files = table.files[part] = []
        files.append(entry)
        if not (item.use_base and self._known.in_a_snapshot((item.size, item.checksum))):
            table.new_bytes += entry.size
        if entry.damaged:
            table.damaged.append(f"{part}/{entry.name}" if part else entry.name)


def _of(tables: dict[TableName, _Gathering], name: TableName) -> _Gathering:
    table = tables.get(name)
    if table is None:
        table = tables[name] = _Gathering()
    return table


def _refuse_renames(renaming: Iterable[TableName]) -> None:
    if names := ", ".join(map(str, renaming)):
        raise RenameBegan(
            f"a RENAME COLUMN began in {names} while the backup ran; the backup would have lost that column",
            hint="repeat when system.mutations says that it is done, or back up the other tables with --exclude",
        )


def _parts(
    name: TableName,
    table: _Gathering,
    states: Mapping[tuple[TableName, str], PartState],
    read_text: Callable[[FileEntry], str],
) -> tuple[Part, ...]:
    parts = [
        Part(states.get((name, part)) or _state_from_files(part, files, read_text), tuple(files))
        for part, files in table.files.items()
    ]
    return tuple(sorted(parts, key=lambda part: (part.state.partition, part.state.name)))


def _state_from_files(part: str, files: list[FileEntry], read_text: Callable[[FileEntry], str]) -> PartState:
    rows = 0
    for file in files:
        if file.name == "count.txt" and not file.damaged:
            text = read_text(file).strip()
            rows = int(text) if text.isdigit() else 0
    return PartState(layout.partition_of(part), part, b"", rows, sum(file.size for file in files))
