"""Every SQL text that Coldhouse sends, and the quoting of what goes into it. No other module builds SQL.

Nothing here speaks to a server: names and values go in, a text comes out. A text that holds a secret is a
``Statement``, which does not show itself and names what must never appear in a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import Struct

from coldhouse.model import TableName

SYSTEM_DATABASES = ("system", "information_schema", "INFORMATION_SCHEMA")

SERVER_FACTS_QUERY = "SELECT version(), hostName(), timezone(), toString(serverUUID()), currentUser()"

CLOCK_QUERY = "SELECT toUnixTimestamp64Micro(now64(6))"

#: A setting's value: numbers and booleans are written plainly, text is quoted.
SettingValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Statement:
    """An SQL text, and the secrets in it that must be cut out of every error about it."""

    text: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where BACKUP writes or RESTORE reads: the gateway's address for one operation."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)


class BackupElement(Struct, frozen=True):
    """What BACKUP takes: a table, some partitions of it (by id), or a database without some of its tables.

    A ``name`` without table is the database with everything in it except ``besides``.
    """

    name: TableName
    partitions: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()


class RestoreElement(Struct, frozen=True):
    """What RESTORE takes: a table, some partitions of it (by id), or (no table) all that is there of a database."""

    name: TableName
    into: TableName
    partitions: tuple[str, ...] = ()


def quote_identifier(name: str) -> str:
    """The name in backticks, whatever it holds."""
    return "`" + _escape(name).replace("`", "\\`") + "`"


def quote_string(text: str) -> str:
    """The text as an SQL string literal."""
    return "'" + _escape(text).replace("'", "\\'") + "'"


def quote_name(name: TableName) -> str:
    """``database.table``, or the database alone."""
    database = quote_identifier(name.database)
    return f"{database}.{quote_identifier(name.table)}" if name.table else database


def backup_statement(
    elements: Sequence[BackupElement], to: S3Place, base: S3Place | None, settings: Mapping[str, SettingValue]
) -> Statement:
    """BACKUP of the elements; the last mention of a table wins in ClickHouse, so each may appear once."""
    _each_once(elements)
    what = ", ".join(map(_element, elements))
    every = "".join(f", {setting(name, value)}" for name, value in settings.items())
    every += f", base_backup = {_s3(base)}" if base else ""
    return Statement(f"BACKUP {what} TO {_s3(to)} SETTINGS {every[2:]}", _secrets(to, base))


def restore_statement(
    elements: Sequence[RestoreElement], place: S3Place, settings: Mapping[str, SettingValue]
) -> Statement:
    """RESTORE of tables, or of all that a backup holds of databases, under the names ``into``.

    Every reference to a renamed element in the definitions is rewritten by ClickHouse.
    """
    what = ", ".join(map(_restored, elements))
    return Statement(f"RESTORE {what} FROM {_s3(place)} SETTINGS {_settings(settings)}", _secrets(place, None))


def restore_everything_statement(place: S3Place, settings: Mapping[str, SettingValue]) -> Statement:
    """RESTORE ALL: of an absent backup, it is the cheapest way to make the server call the gateway."""
    return Statement(f"RESTORE ALL FROM {_s3(place)} SETTINGS {_settings(settings)}", _secrets(place, None))


def kill_query_statement(query_id: str, *, wait: bool) -> str:
    """KILL QUERY by its id."""
    return f"KILL QUERY WHERE query_id = {quote_string(query_id)} {'SYNC' if wait else 'ASYNC'}"


def kill_other_queries_statement() -> str:
    """KILL QUERY of every query but this one: for an engine that nobody else uses."""
    return "KILL QUERY WHERE query NOT LIKE 'KILL QUERY%' ASYNC"


def select(columns: Sequence[str], table: str, where: Sequence[str] = (), order: Sequence[str] = ()) -> str:
    """A plain SELECT from ready expressions."""
    text = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 - what goes in was quoted here
    text += f" WHERE {' AND '.join(where)}" if where else ""
    return text + (f" ORDER BY {', '.join(order)}" if order else "")


def equals(column: str, value: str) -> str:
    """``column = 'value'``."""
    return f"{column} = {quote_string(value)}"


def one_of(column: str, values: Iterable[str]) -> str:
    """``column IN ('a', 'b')``; false when there are no values."""
    listed = ", ".join(map(quote_string, values))
    return f"{column} IN ({listed})" if listed else "0"


def none_of(column: str, values: Iterable[str]) -> str:
    """``column NOT IN ('a', 'b')``; true when there are no values."""
    listed = ", ".join(map(quote_string, values))
    return f"{column} NOT IN ({listed})" if listed else "1"


def matches(column: str, pattern: str) -> str:
    """Whether the regular expression (RE2) is found in the column."""
    return f"match({column}, {quote_string(pattern)})"


def tables_of(names: Iterable[TableName], database: str = "database", table: str = "table") -> str:
    """``(database, table) IN (...)``; false when there are no names."""
    listed = ", ".join(f"({quote_string(name.database)}, {quote_string(name.table)})" for name in names)
    return f"({database}, {table}) IN ({listed})" if listed else "0"


def renamed(column: str, names: Mapping[str, str]) -> str:
    """An expression that is ``column`` with some of its values replaced."""
    if not names:
        return column
    old = ", ".join(map(quote_string, names))
    new = ", ".join(map(quote_string, names.values()))
    return f"transform({column}, [{old}], [{new}], {column})"


def count_rows_query(table: TableName) -> str:
    """How many rows a table shows (without FINAL)."""
    return select(("count()",), quote_name(table))


def check_table_statement(table: TableName, part: str, seconds: int) -> str:
    """CHECK TABLE (of one part, if it has a name), a row for each part or file, with a limit of time."""
    which = f" PART {quote_string(part)}" if part else ""
    limits = f"SETTINGS check_query_single_value_result = 0, max_execution_time = {seconds}"
    return f"CHECK TABLE {quote_name(table)}{which} {limits}"


#: Whether there is any patch part at all, which costs a third of asking which of them are applied.
ANY_PATCH_QUERY = "SELECT 1 FROM system.parts WHERE active AND startsWith(name, 'patch-') LIMIT 1"


def unapplied_patches_query() -> str:
    """Tables with active patch parts that are newer than a part of their partition."""
    return (
        "SELECT database, table FROM (SELECT database, table, partition_id, maxIf(data_version, patch) AS newest, "
        "minIf(data_version, NOT patch) AS oldest, countIf(patch) AS patches, countIf(NOT patch) AS parts "
        "FROM (SELECT database, table, data_version, startsWith(name, 'patch-') AS patch, "
        "if(patch, extract(partition_id, '^patch-[0-9a-f]+-(.*)$'), partition_id) AS partition_id "
        "FROM system.parts WHERE active) GROUP BY database, table, partition_id) "
        "WHERE patches > 0 AND parts > 0 AND newest > oldest GROUP BY database, table ORDER BY database, table"
    )


def show_create_query(name: TableName, *, kind: str = "") -> str:
    """SHOW CREATE of a table, a DATABASE or a DICTIONARY."""
    return f"SHOW CREATE {kind or ('TABLE' if name.table else 'DATABASE')} {quote_name(name)}"


def check_grant_query(grant: str, on: str = "*.*") -> str:
    """Asks whether the user has a grant (ClickHouse 24.10 and later)."""
    return f"CHECK GRANT {grant} ON {on}"


def rename_table_statement(old: TableName, new: TableName, *, kind: str = "TABLE") -> str:
    """RENAME TABLE (views too) or DICTIONARY."""
    return f"RENAME {kind} {quote_name(old)} TO {quote_name(new)}"


def exchange_tables_statement(one: TableName, other: TableName) -> str:
    """EXCHANGE TABLES, which is atomic; databases of engine Atomic or Replicated only."""
    return f"EXCHANGE TABLES {quote_name(one)} AND {quote_name(other)}"


def drop_table_statement(table: TableName, *, kind: str = "TABLE") -> str:
    """DROP TABLE, VIEW or DICTIONARY, gone when the statement returns."""
    return f"DROP {kind} IF EXISTS {quote_name(table)} SYNC"


def drop_database_statement(database: str) -> str:
    """DROP DATABASE with everything in it."""
    return f"DROP DATABASE IF EXISTS {quote_identifier(database)} SYNC"


def create_database_statement(database: str) -> str:
    """CREATE DATABASE of the server's default engine."""
    return f"CREATE DATABASE IF NOT EXISTS {quote_identifier(database)}"


def replace_partition_statement(source: TableName, partition: str, to: TableName) -> str:
    """Puts a copy of a partition (by its id) into the place of the one that is there, atomically."""
    return f"ALTER TABLE {quote_name(to)} REPLACE PARTITION ID {quote_string(partition)} FROM {quote_name(source)}"


def move_partition_statement(source: TableName, partition: str, to: TableName) -> str:
    """Moves a partition (by its id) to a table of the same structure."""
    return f"ALTER TABLE {quote_name(source)} MOVE PARTITION ID {quote_string(partition)} TO TABLE {quote_name(to)}"


def attach_partition_statement(source: TableName, partition: str, to: TableName) -> str:
    """Adds a copy of a partition (by its id); the source keeps it. Repeated, it doubles the rows."""
    return f"ALTER TABLE {quote_name(to)} ATTACH PARTITION ID {quote_string(partition)} FROM {quote_name(source)}"


def drop_partition_statement(table: TableName, partition: str) -> str:
    """Drops a partition by its id."""
    return f"ALTER TABLE {quote_name(table)} DROP PARTITION ID {quote_string(partition)}"


def insert_everything_statement(source: TableName, to: TableName) -> str:
    """Copies all rows: for engines that have no partitions."""
    return f"INSERT INTO {quote_name(to)} SELECT * FROM {quote_name(source)}"  # noqa: S608


def detach_table_statement(table: TableName) -> str:
    """DETACH TABLE until ATTACH or the next start of the server."""
    return f"DETACH TABLE {quote_name(table)} SYNC"


def attach_table_statement(table: TableName) -> str:
    """ATTACH TABLE of a detached table."""
    return f"ATTACH TABLE {quote_name(table)}"


def web_disk(endpoint: str) -> str:
    """The expression of a read-only disk whose files are served over HTTP; ``endpoint`` ends with a slash."""
    return f"disk(type = 'web', endpoint = {quote_string(endpoint)})"


def cached_disk(disk: str, folder: str, size: int, *, align: int) -> str:
    """The expression of a disk whose byte ranges are kept on local disk, ``size`` bytes at most.

    ``folder`` lies in the server's folder of caches. What is not there is fetched from ``align`` to ``align`` bytes
    (4 MiB where nobody says), and by the query that asks alone, nothing ahead of it in the background. The path of a
    file is its key: two disks must not share a folder.
    """
    return (
        f"disk(type = 'cache', path = {quote_string(folder)}, max_size = '{size}', boundary_alignment = '{align}', "
        f"max_file_segment_size = '{max(align, 1 << 20)}', background_download_threads = 0, disk = {disk})"
    )


def export_query(table: TableName) -> str:
    """All of a table; where the format is statements, they fill a table of the same name."""
    name = quote_string(quote_identifier(table.table))
    return select(("*",), quote_name(table)) + f" SETTINGS output_format_sql_insert_table_name = {name}"


def selected_rows_query() -> str:
    """How many rows all queries of this server have read so far, and how many this one reads, which come after."""
    return select((f"sumIf(value, {equals('event', 'SelectedRows')})", "count()"), "system.events")


def running_operations_query(ids: str) -> str:
    """The BACKUPs and RESTOREs that run, of those whose id is like ``ids`` (RE2), and for how many seconds they do."""
    where = (one_of("toString(status)", ("RESTORING", "CREATING_BACKUP")), matches("id", ids))
    return select(("id", "toString(status)", "dateDiff('second', start_time, now())"), "system.backups", where, ("id",))


def nothing_of_query(table: str) -> str:
    """Reads no row of a system table: whether the user may read it."""
    return f"{select(('1',), table)} LIMIT 0"


def databases_with_comment_query(beginning: str) -> str:
    """The names and comments of databases whose comment begins so."""
    return select(("name", "comment"), "system.databases", (f"startsWith(comment, {quote_string(beginning)})",))


def loaded_parts_query(table: TableName) -> str:
    """The active parts of a table and their rows."""
    where = (equals("database", table.database), equals("table", table.table), "active")
    return select(("name", "rows"), "system.parts", where)


class RowsOf(Struct, frozen=True):
    """A table, or the rows of some of its parts."""

    table: TableName
    parts: tuple[str, ...] | None = None

    @property
    def source(self) -> str:
        """What stands after FROM."""
        if self.parts is None:
            return quote_name(self.table)
        return f"{quote_name(self.table)} WHERE {one_of('_part', self.parts)}"


class RowDifference(Struct, frozen=True):
    """Queries about the rows that two tables do not share, each row as often as it is there; by some columns."""

    before: RowsOf
    after: RowsOf
    columns: tuple[str, ...]

    def counts(self) -> str:
        """How many rows went, and how many came."""
        return f"SELECT -sumIf(n, n < 0), sumIf(n, n > 0) FROM ({self._differing()})"  # noqa: S608

    def rows(self, limit: int) -> str:
        """The rows that went (``-``) and those that came (``+``), at most so many of each."""
        return " UNION ALL ".join(
            f"SELECT * FROM (SELECT {quote_string(sign)} AS `change`, {self._listed} FROM {rows.source} "  # noqa: S608
            f"{'WHERE' if rows.parts is None else 'AND'} {self._row} IN "
            f"(SELECT h FROM ({self._differing()}) WHERE n {than} 0) LIMIT {limit})"
            for sign, rows, than in (("-", self.before, "<"), ("+", self.after, ">"))
        )

    @property
    def _listed(self) -> str:
        return ", ".join(map(quote_identifier, self.columns))

    @property
    def _row(self) -> str:
        return f"sipHash128(formatRow('TSV', {self._listed}))"

    def _differing(self) -> str:
        before = f"SELECT {self._row} AS h, -1 AS s FROM {self.before.source}"  # noqa: S608
        after = f"SELECT {self._row} AS h, 1 AS s FROM {self.after.source}"  # noqa: S608
        return f"SELECT h, sum(s) AS n FROM ({before} UNION ALL {after}) GROUP BY h HAVING n != 0"  # noqa: S608


def create_atomic_database_statement(database: str) -> str:
    """CREATE DATABASE, whatever the default engine is."""
    return f"{create_database_statement(database)} ENGINE = Atomic"


def create_memory_database_statement(database: str, comment: str) -> str:
    """CREATE DATABASE whose tables the server forgets when it ends."""
    return f"CREATE DATABASE {quote_identifier(database)} ENGINE = Memory COMMENT {quote_string(comment)}"


def apply_patches_statement(table: TableName) -> str:
    """Materializes lightweight updates and deletes; a mutation that runs in the background."""
    return f"ALTER TABLE {quote_name(table)} APPLY PATCHES SETTINGS mutations_sync = 0"


def mutation_statement(table: TableName, command: str) -> str:
    """Submits a mutation again; ``command`` is trusted SQL from system.mutations of an authenticated snapshot."""
    return f"ALTER TABLE {quote_name(table)} {command} SETTINGS mutations_sync = 0"


def stop_view_statement(view: TableName) -> str:
    """Stops the refreshing of a refreshable materialized view."""
    return f"SYSTEM STOP VIEW {quote_name(view)}"


def start_view_statement(view: TableName) -> str:
    """Starts it again."""
    return f"SYSTEM START VIEW {quote_name(view)}"


def setting(name: str, value: SettingValue) -> str:
    """``name = value``; the name is ours, never input."""
    if isinstance(value, bool):
        return f"{name} = {int(value)}"
    return f"{name} = {value}" if isinstance(value, int) else f"{name} = {quote_string(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def _element(element: BackupElement) -> str:
    if not element.name.table:
        besides = ", ".join(quote_name(TableName(element.name.database, table)) for table in element.besides)
        return f"DATABASE {quote_name(element.name)}" + (f" EXCEPT TABLES {besides}" if besides else "")
    some = f" {_partitions(element.partitions)}" if element.partitions else ""
    return f"TABLE {quote_name(element.name)}{some}"


def _restored(element: RestoreElement) -> str:
    kind = "TABLE" if element.name.table else "DATABASE"
    renamed = f" AS {quote_name(element.into)}" if element.into != element.name else ""
    some = f" {_partitions(element.partitions)}" if element.partitions else ""
    return f"{kind} {quote_name(element.name)}{renamed}{some}"


def _each_once(elements: Sequence[BackupElement]) -> None:
    whole = {element.name.database for element in elements if not element.name.table}
    seen: set[TableName] = set()
    for element in elements:
        covered = element.name.table and element.name.database in whole
        if element.name in seen or covered:
            raise ValueError(f"{element.name} is named twice in one BACKUP")
        seen.add(element.name)


def _partitions(ids: Sequence[str]) -> str:
    return "PARTITIONS " + ", ".join(f"ID {quote_string(each)}" for each in ids)


def _s3(place: S3Place) -> str:
    return f"S3({quote_string(place.url)}, {quote_string(place.access_key)}, {quote_string(place.secret_key)})"


def _secrets(place: S3Place, base: S3Place | None) -> tuple[str, ...]:
    return (place.secret_key, base.secret_key) if base else (place.secret_key,)


def _settings(settings: Mapping[str, SettingValue]) -> str:
    return ", ".join(setting(name, value) for name, value in settings.items())
