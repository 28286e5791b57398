"""What a ClickHouse holds, by its system tables: databases, tables, parts, what BACKUP would lose."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from msgspec import Struct

from coldhouse.beside import Beside
from coldhouse.clickhouse import sql
from coldhouse.clickhouse.failures import missing_grant
from coldhouse.clickhouse.selection import Selection
from coldhouse.clickhouse.source import Source
from coldhouse.clickhouse.table_state import (
    COLUMNS,
    INNER,
    NEWER_COLUMNS,
    TableState,
    dependencies,
    inner_owners,
    integer,
    seen_table,
    table_state,
    text,
)
from coldhouse.errors import SourceTooOld, StatementFailed
from coldhouse.model import PartState, SqlFunction, TableKind, TableName

OLDEST_VERSION = (22, 8)
#: How many names a query may list before it asks for everything and the rest is left out here.
_LISTED = 1000

_ASKED_DATABASES = 50
_ARCHIVES_SINCE = (26, 7)

#: Databases that show the tables of something else; asking them can mean asking another server.
_FOREIGN_DATABASES = (
    "MySQL",
    "MaterializedMySQL",
    "PostgreSQL",
    "MaterializedPostgreSQL",
    "SQLite",
    "DataLakeCatalog",
    "Backup",
    "Dictionary",
    "Filesystem",
    "HDFS",
    "S3",
)


class DatabaseState(Struct, frozen=True):
    """A database: ``definition`` as SHOW CREATE DATABASE gives it."""

    name: str
    engine: str
    uuid: str
    definition: str


class Inventory(Struct, frozen=True):
    """Everything selected, tables in the order of their names.

    ``refused`` are tables that BACKUP takes for inner tables of views that do not exist: it does not find them.
    ``idle_exclusions`` are patterns that leave out nothing, because nothing at the source fits them.
    """

    databases: tuple[DatabaseState, ...]
    tables: tuple[TableState, ...]
    functions: tuple[SqlFunction, ...]
    refused: tuple[TableName, ...] = ()
    idle_exclusions: tuple[str, ...] = ()


class Arrivals(Struct, frozen=True):
    """The rows of parts as they came into a table; ``whole``: of no merge has everything that it merged gone since."""

    rows: int
    whole: bool


class DiskState(Struct, frozen=True):
    """A disk of the server: where it is, its size and its free space in bytes (0 where it has no limit)."""

    name: str
    kind: str
    path: str
    free: int
    total: int


def check_source(source: Source) -> None:
    """Raise SourceTooOld or MissingGrant when BACKUP cannot work here."""
    check_version(source)
    check_backup_grant(source)


def check_version(source: Source) -> None:
    """Raise SourceTooOld when this ClickHouse has no BACKUP that can be used."""
    if source.version < OLDEST_VERSION or "id" not in source.columns("system.backups"):
        raise SourceTooOld(
            f"ClickHouse {source.version_text} at {source.url} has no BACKUP that Coldhouse can use.",
            hint="Coldhouse needs ClickHouse 22.8 or later; upgrade the server.",
        )


def check_backup_grant(source: Source) -> None:
    """Raise MissingGrant when the user may back up nothing."""
    if not _may_back_up(source):
        raise missing_grant(source.user, "BACKUP is not granted")


def clock(source: Source) -> datetime:
    """What time it is for the server."""
    return datetime.fromtimestamp(integer(source.value(sql.CLOCK_QUERY)) / 1_000_000, UTC)


def inventory(source: Source, selection: Selection | None = None) -> Inventory:
    """All selected databases, tables and SQL functions.

    Raises SourceError and its kinds.
    """
    # ClickHouse makes all of its own functions to tell which are the user's: as long as all the rest here takes.
    coming = Beside(lambda: functions(source), "functions")
    return _inventory(source, selection or Selection(), coming)


def _inventory(source: Source, selection: Selection, functions: Beside[tuple[SqlFunction, ...]]) -> Inventory:
    databases = local_databases(source)
    seen = [seen_table(row) for row in source.rows(_tables_query(source, databases))]
    owners = inner_owners(seen)
    depends = dependencies(seen, owners)
    inner = {owner: table for table in seen if (owner := owners.get(table.name))}
    columns = _column_counts(source, databases)
    chosen = sorted(
        (
            table_state(table, inner.get(table.name), depends.get(table.name, set()), columns.get(table.name, 0))
            for table in seen
            if not table.name.table.startswith(INNER) and selection.takes(table.name)
        ),
        key=lambda table: table.name,
    )
    holding = {table.name.database for table in chosen}
    states = tuple(
        _database_state(source, name, engine, uuid)
        for name, (engine, uuid) in sorted(databases.items())
        if name in holding or selection.takes(TableName(name, ""))
    )
    orphans = (table.name for table in seen if table.name.table.startswith(INNER) and table.name not in owners)
    refused = tuple(sorted(name for name in orphans if selection.takes(name)))
    there = frozenset((*(table.name for table in seen), *(TableName(name, "") for name in databases)))
    return Inventory(states, tuple(chosen), functions.result(), refused, selection.idle_exclusions(there))


def table_states(source: Source, names: Collection[TableName]) -> dict[TableName, TableState]:
    """Those of the named tables that are there: what a restore meets at its target."""
    wanted = frozenset(names)
    found = inventory(source).tables
    return {table.name: table for table in found if table.name in wanted}


def part_states(
    source: Source,
    tables: Collection[TableState] | None = None,
    *,
    inactive: bool = False,
    partitions: Collection[str] = (),
) -> Iterator[tuple[TableName, PartState]]:
    """The parts of the tables (default: of all), by database, table, partition id and name, streamed.

    With ``partitions`` (ids) only parts in those, unless they are too many to be named in a query.

    Unapplied patch parts are not among them (BACKUP does not take them). With ``inactive`` also parts that merges and
    mutations have replaced, as long as the server keeps them: BACKUP may have taken those.
    """
    chosen = inventory(source).tables if tables is None else tables
    wanted = {table.name for table in chosen if table.kind is TableKind.PARTS}
    if not wanted:
        return
    counted = "files" if "files" in source.columns("system.parts") else "0"
    only = [sql.one_of("partition_id", partitions)] if 0 < len(partitions) <= _LISTED else []
    owner, taken = TableName("", ""), False
    for row in source.rows(_parts_query(chosen, inactive, counted, only)):
        database, table, partition, name, digest = map(text, row[:5])
        if table != owner.table or database != owner.database:  # seldom: they come table by table
            owner = TableName(database, table)
            taken = owner in wanted
        if taken:
            state = PartState(partition, name, bytes.fromhex(digest), integer(row[5]), integer(row[6]), integer(row[7]))
            yield owner, state


def exists(source: Source, names: Collection[TableName]) -> frozenset[TableName]:
    """Those of the names (tables, or databases with an empty table) that are there."""
    tables = [name for name in names if name.table]
    there = set[TableName]()
    for query in _name_queries("database", "name", "system.tables", tables):
        there.update(TableName(text(row[0]), text(row[1])) for row in source.rows(query))
    if len(tables) < len(names):
        there.update(TableName(text(row[0]), "") for row in source.rows(sql.select(("name",), "system.databases")))
    return frozenset(names) & there


def create_query(source: Source, table: TableName) -> str:
    """A table's CREATE statement as the server shows it."""
    return text(source.value(sql.show_create_query(table)))


def count_rows(source: Source, table: TableName) -> int:
    """The rows that a SELECT sees (without FINAL); a view is computed."""
    return integer(source.value(sql.count_rows_query(table)))


def part_rows(source: Source, tables: Collection[TableState]) -> dict[TableName, tuple[int, int]]:
    """How many active parts, and how many rows in them, each table has, by its name.

    Rows that a lightweight delete has masked count.
    """
    owners = _stored_names(tables)
    columns = ("database", f"{sql.renamed('table', owners)} AS owner", "count()", "sum(rows)")
    where = ["active", "NOT startsWith(name, 'patch-')", *_of_tables(tables)]
    query = sql.select(columns, "system.parts", where) + " GROUP BY database, owner"
    found = {TableName(text(row[0]), text(row[1])): (integer(row[2]), integer(row[3])) for row in source.rows(query)}
    return {table.name: found.get(table.name, (0, 0)) for table in tables if table.kind is TableKind.PARTS}


def stored_rows(source: Source, table: TableName) -> int:
    """The rows in the active parts of one table, or of the one in which a materialized view keeps its rows.

    It costs two short queries whatever else the server holds; rows that a lightweight delete has masked count.
    """
    parts = ("active", *_kept_in(source, table))
    return integer(source.value(sql.select(("sum(rows)",), "system.parts", parts)))


def arrived_rows(source: Source, table: TableName) -> Arrivals:
    """The rows of a table as RESTORE brought them, before any merge, as far as the server still has what it merged.

    RESTORE gives each part a block number of its own, and a merge of several makes a part that spans theirs. A merge of
    one alone raises its level.
    """
    columns = ("partition_id", "min_block_number", "max_block_number", "level", "data_version", "rows")
    first: dict[tuple[str, int], tuple[int, int, int]] = {}
    merged: list[tuple[str, int, int]] = []
    for row in source.rows(sql.select(columns, "system.parts", _kept_in(source, table))):
        partition, low, high, level, version, rows = text(row[0]), *map(integer, row[1:])
        if low == high:
            version_of_it = (level, version, rows)
            first[partition, low] = min(first.get((partition, low), version_of_it), version_of_it)
        else:
            merged.append((partition, low, high))
    blocks = sorted(first)
    whole = all(
        bisect_left(blocks, (partition, low)) < bisect_right(blocks, (partition, high))
        for partition, low, high in merged
    )
    return Arrivals(sum(rows for _, _, rows in first.values()), whole)


def _kept_in(source: Source, table: TableName) -> tuple[str, ...]:
    """Conditions on system.parts: the parts of one table, or of the one in which a materialized view keeps its rows."""
    where = (sql.equals("database", table.database), sql.equals("name", table.table))
    found = source.fetch(sql.select(("toString(uuid)",), "system.tables", where))
    inner = [f".inner_id.{text(row[0])}" for row in found]
    names = (TableName(table.database, each) for each in (table.table, f".inner.{table.table}", *inner))
    return ("NOT startsWith(name, 'patch-')", sql.tables_of(names))


def functions(source: Source) -> tuple[SqlFunction, ...]:
    """The SQL user-defined functions, in the order of their names."""
    query = sql.select(("name", "create_query"), "system.functions", ("origin = 'SQLUserDefined'",), ("name",))
    return tuple(SqlFunction(text(row[0]), text(row[1])) for row in source.rows(query))


def storage_policies(source: Source) -> frozenset[str]:
    """The names of the server's storage policies."""
    query = sql.select(("DISTINCT policy_name",), "system.storage_policies")
    return frozenset(text(row[0]) for row in source.rows(query))


def disks(source: Source) -> tuple[DiskState, ...]:
    """The server's disks; their paths are those of its own machine."""
    columns = ("name", "toString(type)", "path", "free_space", "total_space")
    return tuple(
        DiskState(text(name), text(kind), text(path), _limited(free), _limited(total))
        for name, kind, path, free, total in source.rows(sql.select(columns, "system.disks"))
    )


def sends_archives(source: Source) -> bool:
    """Whether BACKUP may write archives: of a version where they were seen to be right, and from local disks alone.

    An archive is written by one thread, which would wait for each file of an object store.
    """
    return source.version >= _ARCHIVES_SINCE and all(disk.kind.lower() == "local" for disk in disks(source))


def local_databases(source: Source) -> dict[str, tuple[str, str]]:
    """The databases that hold tables of their own, with engine and UUID; neither ClickHouse's nor another system's."""
    where = (sql.none_of("name", sql.SYSTEM_DATABASES), sql.none_of("engine", _FOREIGN_DATABASES))
    query = sql.select(("name", "engine", "toString(uuid)"), "system.databases", where)
    return {text(row[0]): (text(row[1]), text(row[2])) for row in source.rows(query)}


def _column_counts(source: Source, databases: Collection[str]) -> dict[TableName, int]:
    where = (sql.one_of("database", databases),)
    query = sql.select(("database", "table", "count()"), "system.columns", where) + " GROUP BY database, table"
    return {TableName(text(row[0]), text(row[1])): integer(row[2]) for row in source.rows(query)}


def _database_state(source: Source, name: str, engine: str, uuid: str) -> DatabaseState:
    return DatabaseState(name, engine, uuid, text(source.value(sql.show_create_query(TableName(name, "")))))


def _tables_query(source: Source, databases: Collection[str]) -> str:
    there = source.columns("system.tables")
    columns = [default if name in NEWER_COLUMNS and name not in there else name for name, default in COLUMNS.items()]
    return sql.select(columns, "system.tables", ("NOT is_temporary", sql.one_of("database", databases)))


def _parts_query(tables: Collection[TableState], inactive: bool, files: str, only: Collection[str]) -> str:
    owner = f"{sql.renamed('table', _stored_names(tables))} AS owner"
    columns = ("database", owner, "partition_id", "name", "hash_of_all_files", "rows", "bytes_on_disk", files)
    where = ["NOT startsWith(name, 'patch-')", sql.none_of("database", sql.SYSTEM_DATABASES)]
    where += [] if inactive else ["active"]
    where += _of_tables(tables) + list(only)
    return sql.select(columns, "system.parts", where, ("database", "owner", "partition_id", "name"))


def _of_tables(tables: Collection[TableState]) -> list[str]:
    if len(tables) > _LISTED:
        return []
    return [sql.tables_of(TableName(table.name.database, table.stored_as or table.name.table) for table in tables)]


def _stored_names(tables: Collection[TableState]) -> dict[str, str]:
    return {table.stored_as: table.name.table for table in tables if table.stored_as}


def _name_queries(database: str, table: str, of: str, names: Collection[TableName]) -> Iterator[str]:
    if len(names) > _LISTED:
        yield sql.select((database, table), of)
    elif names:
        yield sql.select((database, table), of, (sql.tables_of(names, database, table),))


def _may_back_up(source: Source) -> bool:
    """CHECK GRANT (24.10) of everything, or of any database; on an older server only the attempt tells."""
    query = sql.select(("name",), "system.databases", (sql.none_of("name", sql.SYSTEM_DATABASES),))
    try:
        if integer(source.value(sql.check_grant_query("BACKUP"))):
            return True
        names = [text(row[0]) for row in source.fetch(query)[:_ASKED_DATABASES]]
        on = (f"{sql.quote_identifier(name)}.*" for name in names)
        return any(integer(source.value(sql.check_grant_query("BACKUP", each))) for each in on)
    except StatementFailed:
        return True


def _limited(size: object) -> int:
    """Object disks say 2^64 - 1 for no limit."""
    number = integer(size)
    return 0 if number >= 1 << 62 else number
