"""What a line of system.tables means for a backup: kind, dependencies, inner tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from msgspec import Struct

from coldhouse.clickhouse import definition
from coldhouse.clickhouse.source import Row
from coldhouse.model import TableKind, TableName

_FILE_ENGINES = frozenset({"Log", "TinyLog", "StripeLog", "Memory", "EmbeddedRocksDB", "KeeperMap", "TimeSeries"})
#: What BACKUP takes for the inner table of a view, by its name alone.
INNER = (".inner.", ".inner_id.", ".tmp.inner.", ".tmp.inner_id.")
_CONTENTS_LOST = frozenset({"Set", "Join", "File", "Buffer"})


class TableState(Struct, frozen=True):
    """A table as the system tables show it.

    ``inspected``: 16 bytes that change when the definition does. A materialized view with an inner table stands for
    it: ``kind``, rows, bytes and ``storage_policy`` are those of the inner table, named ``stored_as``; its parts are
    reported under the view's name, as BACKUP stores them. ``caution``: what BACKUP does not keep of this table.
    """

    name: TableName
    uuid: str
    engine: str
    kind: TableKind
    inspected: bytes
    total_rows: int | None
    total_bytes: int | None
    depends_on: tuple[TableName, ...]
    create_query: str
    storage_policy: str
    stored_as: str = ""
    caution: str = ""
    data_paths: tuple[str, ...] = ()
    columns: int = 0


class Seen(Struct, frozen=True):
    """A line of system.tables."""

    name: TableName
    uuid: str
    engine: str
    total_rows: int | None
    total_bytes: int | None
    create_query: str
    storage_policy: str
    changed: int
    data_paths: tuple[str, ...]
    dependents: tuple[TableName, ...]
    needs: tuple[TableName, ...]
    target: TableName | None


#: What is read of system.tables, each with what stands for it in a version that does not have it.
COLUMNS = {
    "database": "''",
    "name": "''",
    "toString(uuid)": "''",
    "engine": "''",
    "total_rows": "NULL",
    "total_bytes": "NULL",
    "create_table_query": "''",
    "storage_policy": "''",
    "toUnixTimestamp(metadata_modification_time)": "0",
    "data_paths": "[]",
    "dependencies_database": "[]",
    "dependencies_table": "[]",
    "loading_dependencies_database": "[]",
    "loading_dependencies_table": "[]",
    "target_database": "''",
    "target_table": "''",
}
NEWER_COLUMNS = frozenset(
    {"loading_dependencies_database", "loading_dependencies_table", "target_database", "target_table"}
)


def seen_table(row: Row) -> Seen:
    """Read a row of COLUMNS."""
    target = TableName(text(row[14]), text(row[15]))
    return Seen(
        name=TableName(text(row[0]), text(row[1])),
        uuid=text(row[2]),
        engine=text(row[3]),
        total_rows=None if row[4] is None else integer(row[4]),
        total_bytes=None if row[5] is None else integer(row[5]),
        create_query=text(row[6]),
        storage_policy=text(row[7]),
        changed=integer(row[8]),
        data_paths=_texts(row[9]),
        dependents=_names(row[10], row[11]),
        needs=_names(row[12], row[13]),
        target=target if target.table else None,
    )


def table_state(seen: Seen, inner: Seen | None, depends: set[TableName], columns: int) -> TableState:
    """``inner`` is the table in which a materialized view keeps its rows; a time series has three."""
    if seen.engine == "TimeSeries" or _is_recomputed(seen):
        inner = None
    stored = inner or seen
    return TableState(
        name=seen.name,
        uuid=seen.uuid,
        engine=seen.engine,
        kind=_kind(stored.engine),
        inspected=_digest(seen, inner),
        total_rows=stored.total_rows,
        total_bytes=stored.total_bytes,
        depends_on=tuple(sorted(depends - {seen.name})),
        create_query=seen.create_query,
        storage_policy=stored.storage_policy,
        stored_as=inner.name.table if inner else "",
        caution=_caution(seen),
        data_paths=stored.data_paths,
        columns=columns,
    )


def _kind(engine: str) -> TableKind:
    if engine.endswith("MergeTree"):
        return TableKind.PARTS
    return TableKind.FILES if engine in _FILE_ENGINES else TableKind.DEFINITION


def _is_recomputed(seen: Seen) -> bool:
    return seen.engine == "MaterializedView" and definition.is_recomputed(seen.create_query)


def _caution(seen: Seen) -> str:
    if _is_recomputed(seen):
        return "BACKUP keeps the definition of a refreshable materialized view; its next refresh brings the rows back."
    if seen.engine in _CONTENTS_LOST:
        return f"BACKUP keeps the definition of an engine {seen.engine} table but not its contents."
    return ""


def _digest(seen: Seen, inner: Seen | None) -> bytes:
    """A secret is shown as [HIDDEN]: only the time of the last ALTER tells that it was changed."""
    changed = seen.changed if "[HIDDEN]" in seen.create_query else 0
    parts = (seen.uuid, seen.engine, seen.create_query, str(changed), inner.create_query if inner else "")
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).digest()


def inner_owners(seen: Iterable[Seen]) -> dict[TableName, TableName]:
    """From each inner table to the view (or time series) whose rows it keeps.

    ``.inner_id.<uuid of the view>``, in databases without UUIDs ``.inner.<name of the view>``; a refresh in progress
    fills ``.tmp.inner_id.<uuid>``, a time series has ``.inner_id.data.<uuid>`` and two more.
    """
    known = list(seen)
    by_uuid = {(table.name.database, table.uuid): table.name for table in known}
    by_name = {table.name for table in known if table.engine in ("MaterializedView", "WindowView", "TimeSeries")}
    owners: dict[TableName, TableName] = {}
    for table in known:
        database, name = table.name.database, table.name.table
        if name.startswith((".inner_id.", ".tmp.inner_id.")):
            owner = by_uuid.get((database, name.rsplit(".", 1)[-1]))
        elif name.startswith((".inner.", ".tmp.inner.")):
            owner = TableName(database, name.split(".inner.", 1)[1])
        else:
            continue
        if owner in by_name:
            owners[table.name] = owner
    return owners


def dependencies(seen: Iterable[Seen], owners: Mapping[TableName, TableName]) -> dict[TableName, set[TableName]]:
    """What must be there before each table, as far as the system tables and the definitions tell."""
    known = list(seen)
    names = {table.name for table in known}
    needs: dict[TableName, set[TableName]] = {table.name: set(table.needs) for table in known}
    for table in known:
        for dependent in table.dependents:
            needs.setdefault(dependent, set()).add(table.name)
        if table.target:
            needs[table.name].add(table.target)
        if table.engine in _READING:
            needs[table.name].update(name for name in definition.mentioned(table.create_query) if name in names)
    return {name: {owners.get(other, other) for other in others} for name, others in needs.items()}


_READING = frozenset(
    {"View", "MaterializedView", "LiveView", "WindowView", "Dictionary", "Buffer", "Distributed", "Merge"}
)


def text(value: object) -> str:
    """A value of a text column."""
    return value if isinstance(value, str) else str(value)


def integer(value: object) -> int:
    """A value of a whole-number column."""
    if not isinstance(value, int):
        raise TypeError(f"not a whole number: {value!r}")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(text, value)) if isinstance(value, list | tuple) else ()


def _names(databases: object, tables: object) -> tuple[TableName, ...]:
    return tuple(map(TableName, _texts(databases), _texts(tables)))
