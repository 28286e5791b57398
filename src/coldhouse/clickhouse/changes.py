"""What a restore changes at its target besides RESTORE itself: databases, functions, names, partitions.

Whether to drop or replace anything is decided elsewhere; these only do as they are told, one statement each.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from coldhouse.clickhouse import definition, inspect, sql
from coldhouse.clickhouse.source import Source
from coldhouse.clickhouse.table_state import text
from coldhouse.errors import StatementFailed, TargetExists
from coldhouse.model import Mutation, SqlFunction, TableName

#: Databases of these engines can exchange two tables in one step.
_EXCHANGING = frozenset({"Atomic", "Replicated", "Shared"})


def create_database(source: Source, name: str, query: str) -> bool:
    """Create a database under a (new) name by the source's CREATE statement; without one, or where the server does not
    know its engine, by the server's default. Returns whether the given statement was used.
    """
    if query:
        try:
            source.command(definition.create_database(query, name))
        except StatementFailed:
            source.command(sql.create_database_statement(name))
            return False
        return True
    source.command(sql.create_database_statement(name))
    return True


def create_function(source: Source, function: SqlFunction) -> None:
    """Create an SQL function if there is none of its name."""
    source.command(definition.create_function(function.definition))


def rename_table(source: Source, old: TableName, new: TableName) -> None:
    """Give a table, view or dictionary another name."""
    source.command(sql.rename_table_statement(old, new, kind=_kind(source, old)))


def drop_table(source: Source, name: TableName) -> None:
    """Drop a table, view or dictionary, if it is there; done when it returns, whatever its size."""
    if name in inspect.exists(source, (name,)):
        source.command(sql.drop_table_statement(name, kind=_kind(source, name)))


def swap_tables(source: Source, one: TableName, other: TableName) -> None:
    """Exchange the names of two tables of one database, in one step where the database's engine can."""
    engine = text(source.value(sql.select(("engine",), "system.databases", (sql.equals("name", one.database),))))
    if engine in _EXCHANGING:
        source.command(sql.exchange_tables_statement(one, other))
        return
    aside = TableName(one.database, f"{one.table}_{uuid4().hex[:8]}")
    rename_table(source, other, aside)
    rename_table(source, one, other)
    rename_table(source, aside, one)


def partitions(source: Source, table: TableName) -> Sequence[str]:
    """The ids of the partitions that a table has, in their order."""
    where = ("active", sql.equals("database", table.database), sql.equals("table", table.table))
    query = sql.select(("DISTINCT partition_id",), "system.parts", where, ("partition_id",))
    return [text(row[0]) for row in source.rows(query)]


def move_partition(source: Source, table: TableName, partition: str, to: TableName) -> None:
    """Move a partition to a table of the same structure."""
    source.command(sql.move_partition_statement(table, partition, to))


def replace_partition(source: Source, table: TableName, partition: str, to: TableName) -> None:
    """Put a copy of a partition into the place of the one that ``to`` has."""
    source.command(sql.replace_partition_statement(table, partition, to))


def submit_mutation(source: Source, table: TableName, mutation: Mutation) -> None:
    """Submit a mutation again; it runs in the background."""
    source.command(sql.mutation_statement(table, mutation.command))


def mutation_commands(source: Source, table: TableName) -> Sequence[str]:
    """The commands of all mutations that a table has seen, finished ones too, as far as the server remembers."""
    where = (sql.equals("database", table.database), sql.equals("table", table.table))
    return [text(row[0]) for row in source.rows(sql.select(("command",), "system.mutations", where))]


def require_same_structure(source: Source, table: TableName, expected: str) -> None:
    """Raise TargetExists unless a table's definition says the same as ``expected``, names and UUIDs apart."""
    different = definition.difference(inspect.create_query(source, table), expected)
    if different:
        raise TargetExists(
            f"{table} is defined differently than in the snapshot: {different}",
            hint="restore it under another name with --rename, then INSERT ... SELECT what you need",
        )


def running_operations(source: Source, prefix: str) -> Sequence[str]:
    """The ids of BACKUPs and RESTOREs that still run, of those that begin with ``prefix``."""
    where = (
        f"startsWith(id, {sql.quote_string(prefix)})",
        sql.one_of("toString(status)", ("RESTORING", "CREATING_BACKUP")),
    )
    return [text(row[0]) for row in source.rows(sql.select(("id",), "system.backups", where))]


def _kind(source: Source, name: TableName) -> str:
    """An ENGINE = Dictionary table shows the same engine as a dictionary, but is none."""
    where = (sql.equals("database", name.database), sql.equals("name", name.table))
    found = source.fetch(sql.select(("create_table_query",), "system.tables", where))
    return "DICTIONARY" if found and text(found[0][0]).startswith("CREATE DICTIONARY") else "TABLE"
