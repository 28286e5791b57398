"""One BACKUP statement: ClickHouse sends, the gateway takes in, and what arrived becomes parts.

Nothing here is believed because ClickHouse says so: every file of the final document must have arrived, or be known
from an earlier snapshot, with its size and checksum, before the statement is allowed to succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coldhouse.clickhouse import document, layout
from coldhouse.errors import BackupFailed
from coldhouse.model import WHOLE_TABLE, FileEntry, Part, PartState, TableName, total_size
from coldhouse.operations.known_files import KnownFiles

if TYPE_CHECKING:
    from coldhouse.gateway import Arrived, IngestSession


@dataclass(frozen=True, slots=True)
class ReceivedTable:
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

    definition: str = ""
    files: dict[str, list[FileEntry]] = field(default_factory=dict)
    new_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    renaming: bool = False


def base_document(known: KnownFiles) -> bytes:
    """The document of a base that holds every known file, under names that cannot be real ones."""
    return b"".join(document.write_base(known.keys()))


def check_document(content: bytes, arrived: Mapping[str, Arrived], known: KnownFiles) -> str | None:
    """Say why a `.backup` document must be refused, or None: every file it lists is here with its size."""
    _, files = document.parse(content)
    for item in files:
        if item.size == 0:
            continue
        if item.use_base:
            if item.base_size not in (0, item.size) or not _is_known(item, known):
                return f"{item.name}: said to be in the earlier snapshot, which does not hold it"
            continue
        there = arrived.get(item.data_file)
        if there is None:
            return f"{item.name}: listed, but never sent"
        if there.size != item.size:
            return f"{item.name}: {there.size} bytes arrived, {item.size} are listed"
    return None


def _is_known(item: document.DocumentFile, known: KnownFiles) -> bool:
    key = (item.size, item.checksum)
    if isinstance(layout.member(item.name), layout.TableDefinition):
        return known.definition(key) is not None
    return key in known


def gather(
    session: IngestSession,
    known: KnownFiles,
    states: Callable[[], Iterator[tuple[TableName, PartState]]],
    read_text: Callable[[FileEntry], str],
    counted: Mapping[TableName, int],
) -> dict[TableName, ReceivedTable]:
    """Turn a finished statement into tables and parts.

    ``states`` are the parts of its tables at the source now, inactive ones too; a part that is already gone there gets
    its rows from its own count.txt (read by ``read_text``) and an unknown hash: the next backup asks for it again.
    ``counted`` are the rows of tables that have no count.txt.

    Raises RenameBegan.
    """
    tables: dict[TableName, _Gathering] = {}
    _, files = document.parse(session.document or b"")
    for item in files:
        match layout.member(item.name):
            case layout.TableDefinition(table=name):
                tables.setdefault(name, _Gathering()).definition = _definition(item, session, known)
            case layout.PartFile(table=name, part=part, file=file):
                new = not (item.use_base and known.in_a_snapshot((item.size, item.checksum)))
                _add_file(tables.setdefault(name, _Gathering()), part, _entry(file, item, session, known), new=new)
            case layout.TableFile(table=name, file=file):
                new = not (item.use_base and known.in_a_snapshot((item.size, item.checksum)))
                entry = _entry(file, item, session, known)
                _add_file(tables.setdefault(name, _Gathering()), WHOLE_TABLE, entry, new=new)
            case layout.MutationFile(table=name) if b"RENAME COLUMN" in session.kept.get(item.data_file, b""):
                tables.setdefault(name, _Gathering()).renaming = True
    _refuse_renames(name for name, table in tables.items() if table.renaming)
    known_states = {(name, state.name): state for name, state in states() if name in tables}
    for name in counted.keys() & tables.keys():
        size = total_size(tables[name].files.get(WHOLE_TABLE, ()))
        known_states[name, WHOLE_TABLE] = PartState("", WHOLE_TABLE, b"", counted[name], size)
    return {
        name: ReceivedTable(
            table.definition,
            _parts(name, table, known_states, read_text),
            table.new_bytes,
            tuple(table.damaged),
        )
        for name, table in tables.items()
    }


def _refuse_renames(renaming: Iterable[TableName]) -> None:
    if names := ", ".join(map(str, renaming)):
        raise RenameBegan(
            f"a RENAME COLUMN began in {names} while the backup ran; the backup would have lost that column",
            hint="repeat when system.mutations says that it is done, or back up the other tables with --exclude",
        )


def _definition(item: document.DocumentFile, session: IngestSession, known: KnownFiles) -> str:
    """The text of a .sql; empty where the server did not send one that looks like a definition."""
    if item.use_base:
        return known.definition((item.size, item.checksum)) or ""
    return session.kept.get(item.data_file, b"").decode()


def _entry(name: str, item: document.DocumentFile, session: IngestSession, known: KnownFiles) -> FileEntry:
    if item.size == 0:
        return FileEntry(name, 0, b"", ())
    if item.use_base:
        return FileEntry(name, item.size, item.checksum, known.extents((item.size, item.checksum)))
    there = session.arrived[item.data_file]
    return FileEntry(name, item.size, item.checksum, there.extents, damaged=there.checksum != item.checksum)


def _add_file(table: _Gathering, part: str, entry: FileEntry, *, new: bool) -> None:
    table.files.setdefault(part, []).append(entry)
    if new:
        table.new_bytes += entry.size
    if entry.damaged:
        table.damaged.append(f"{part}/{entry.name}" if part else entry.name)


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
