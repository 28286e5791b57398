"""Changes of data that are under way at the source, and that BACKUP would lose: mutations and lightweight updates."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

from coldhouse.clickhouse import sql
from coldhouse.clickhouse.source import Source
from coldhouse.clickhouse.table_state import text
from coldhouse.errors import StatementFailed
from coldhouse.model import Mutation, TableName

RENAME_SECONDS = 60.0

#: The mutations of each table that are not finished.
Pending = Mapping[TableName, tuple[Mutation, ...]]


def pending_mutations(source: Source, tables: Collection[TableName]) -> Pending:
    """The mutations of the tables that are not finished; BACKUP notes them, RESTORE forgets them."""
    columns = ("database", "table", "mutation_id", "command")
    # mutation_9.txt comes before mutation_10.txt of the same second
    order = ("database", "table", "create_time", "length(mutation_id)", "mutation_id")
    found: dict[TableName, tuple[Mutation, ...]] = {}
    wanted = frozenset(tables)
    for row in source.rows(sql.select(columns, "system.mutations", ("NOT is_done",), order)):
        database, table, id, command = map(text, row)
        name = TableName(database, table)
        if name in wanted:
            found[name] = (*found.get(name, ()), Mutation(id, command))
    return found


def settled_mutations(
    source: Source, tables: Collection[TableName], *, pause: Callable[[float], None] = time.sleep
) -> Pending:
    """The mutations of the tables that are not finished, when no RENAME COLUMN is among them any more.

    One that is still there after a minute is told as well (see ``renames_in``); mostly it takes moments.
    """
    deadline = time.monotonic() + RENAME_SECONDS
    while True:
        pending = pending_mutations(source, tables)
        if not renames_in(pending) or time.monotonic() > deadline:
            return pending
        pause(0.2)


def renames_in(pending: Pending) -> list[TableName]:
    """The tables of which a RENAME COLUMN is under way.

    Until its end the definition has the new name and parts have the old one: restored, the column would be empty
    (clickhouse-facts 3.6).
    """
    return [name for name, all_ in pending.items() if any("RENAME COLUMN" in each.command for each in all_)]


def unapplied_patches(source: Source, tables: Collection[TableName]) -> list[TableName]:
    """The tables with lightweight updates or deletes that are not yet in their parts: BACKUP would lose them.

    Applied patch parts stay for a while; they are as old as the parts or older (clickhouse-facts 7).
    """
    if not source.fetch(sql.ANY_PATCH_QUERY):
        return []
    found = source.rows(sql.unapplied_patches_query())
    wanted = frozenset(tables)
    names = (TableName(text(row[0]), text(row[1])) for row in found)
    return [name for name in names if name in wanted]


def apply_patches(
    source: Source, table: TableName, *, seconds: float = 3600, pause: Callable[[float], None] = time.sleep
) -> None:
    """Write lightweight updates and deletes into the parts, and wait for it.

    Raises StatementFailed when the mutation fails or does not end in time.
    """
    source.command(sql.apply_patches_statement(table))
    deadline = time.monotonic() + seconds
    step = 0.02
    while unapplied_patches(source, (table,)):
        reason = _failed_mutation(source, table)
        if reason or time.monotonic() > deadline:
            raise StatementFailed(
                f"The lightweight updates of {table} could not be applied: {reason or 'it takes too long'}.",
                hint=f"See system.mutations; then run ALTER TABLE {sql.quote_name(table)} APPLY PATCHES.",
            )
        pause(step)
        step = min(step * 1.5, 1.0)


def _failed_mutation(source: Source, table: TableName) -> str:
    where = ("NOT is_done", "latest_fail_reason != ''", sql.tables_of((table,)))
    found = source.fetch(sql.select(("latest_fail_reason",), "system.mutations", where))
    return text(found[0][0]) if found else ""
