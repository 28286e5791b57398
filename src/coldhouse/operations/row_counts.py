"""Whether the rows of a restored table are those of the snapshot, although merges may have made them fewer since."""

from __future__ import annotations

from coldhouse.clickhouse import Source, clauses, inspect
from coldhouse.errors import StatementFailed, UsageError
from coldhouse.model import TableEntry, TableKind, TableName

#: Engines whose merges make rows fewer without losing any.
SHRINKING = ("Replacing", "Collapsing", "Summing", "Aggregating", "Graphite", "Coalescing")


def current(target: Source, entry: TableEntry, name: TableName) -> int:
    """Rows as the manifest counts them: those of active parts, masked ones too, or what a SELECT counts."""
    if entry.kind is not TableKind.PARTS:
        return inspect.count_rows(target, name)
    return inspect.stored_rows(target, name)


def current_if_countable(target: Source, entry: TableEntry, name: TableName) -> int | None:
    """The same; None for what a SELECT cannot count, such as a TimeSeries table."""
    try:
        return current(target, entry, name)
    except StatementFailed:
        return None


def came(target: Source, entry: TableEntry, name: TableName, expected: int) -> bool:
    """Whether merges alone explain another number: the parts that came, as far as the server still has them, tell."""
    return entry.kind is TableKind.PARTS and inspect.arrived_rows(target, name).rows == expected


def may_have_shrunk(target: Source, entry: TableEntry, name: TableName | None, found: int, expected: int) -> bool:
    """Whether fewer rows can be the work of merges or a TTL; ``name`` is that of a table in which nothing else is.

    Where the parts that came are still there, their rows are known, and what is missing never came.
    """
    if not 0 < found < expected:
        return False
    try:
        creation = clauses.take_apart(entry.definition)
    except UsageError:
        return False
    if clauses.has_ttl(creation):
        return True
    engine = clauses.engine(creation).name or entry.engine
    if not any(word in engine for word in SHRINKING):
        return False
    return name is None or not inspect.arrived_rows(target, name).whole
