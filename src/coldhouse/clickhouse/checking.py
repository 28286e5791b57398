"""CHECK TABLE: ClickHouse looks at its own data."""

from __future__ import annotations

from collections.abc import Iterator

from coldhouse.clickhouse import sql
from coldhouse.clickhouse.source import Source
from coldhouse.clickhouse.table_state import integer, text
from coldhouse.model import TableName

#: Engines that CHECK TABLE knows; inner tables of materialized views are tables, too.
_CHECKABLE = ("engine LIKE '%MergeTree'", "engine IN ('Log', 'StripeLog', 'TinyLog')")


def tables(source: Source) -> list[tuple[TableName, str]]:
    """The tables that can be checked, with their engines."""
    where = (sql.none_of("database", sql.SYSTEM_DATABASES), f"({' OR '.join(_CHECKABLE)})")
    query = sql.select(("database", "name", "engine"), "system.tables", where, ("database", "name"))
    return [(TableName(text(row[0]), text(row[1])), text(row[2])) for row in source.rows(query)]


def parts(source: Source, table: TableName) -> list[tuple[str, int]]:
    """The active parts of a table with their bytes."""
    where = ("active", sql.equals("database", table.database), sql.equals("table", table.table))
    query = sql.select(("name", "bytes_on_disk"), "system.parts", where, ("name",))
    return [(text(row[0]), integer(row[1])) for row in source.rows(query)]


def check(source: Source, table: TableName, part: str, seconds: int) -> Iterator[tuple[str, bool, str]]:
    """Check a table, or one part: which part or file, whether it is sound, and what ClickHouse says of it.

    Raises StatementFailed: code 48 where the engine cannot be checked, 159 when the time is over.
    """
    for row in source.fetch(sql.check_table_statement(table, part, seconds)):
        # The client takes what is no SELECT for a command, whose answer it does not read into types: "0", not 0.
        yield text(row[0]), str(row[1]) == "1", text(row[2])
