"""Compare two snapshots, or a snapshot with a ClickHouse as it is now; count and show differing rows."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import blake2b
from types import TracebackType
from typing import Protocol, Self

from msgspec import Struct

from coldhouse.clickhouse import (
    DatabaseState,
    Selection,
    Source,
    TableState,
    inspect,
    layout,
    open_source,
    rewriting,
    sql,
)
from coldhouse.errors import UsageError
from coldhouse.events import Listener, Phase, silent
from coldhouse.model import PageRef, PartState, Snapshot, TableEntry, TableKind, TableName
from coldhouse.operations import choosing
from coldhouse.operations.attach_plan import database_of
from coldhouse.operations.diff_plan import Amount, TableChange, TableFacts, changed_parts, compare
from coldhouse.operations.reading import announced
from coldhouse.operations.sql import SqlOptions, SqlSession
from coldhouse.records import replace
from coldhouse.repository import Repository

#: What stands for the source as it is now.
LIVE = "live"
#: The name under which the earlier snapshot is attached to compare rows.
EARLIER = "earlier"
#: More parts than this are not listed in a query: all rows are compared then.
MOST_PARTS = 2000
#: Engines without parts that keep the number of their rows, so that a manifest has it.
COUNTED = frozenset({"Log", "StripeLog"})


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """What to compare: ``before`` and ``after`` are snapshots or "live"; ``source`` is the URL of what is live.

    "latest" is that of ``source``, if it is given.
    """

    before: str
    after: str
    source: str = field(default="", repr=False)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class DiffReport(Struct, frozen=True):
    """Every table of either side, in the order of the names; ``before`` and ``after`` say what was compared."""

    before: str
    after: str
    tables: tuple[TableChange, ...]


class RowCounts(Struct, frozen=True):
    """Rows of a table that are only in the earlier snapshot, and only in the later."""

    removed: int
    added: int


def run(repository: Repository, options: DiffOptions, listener: Listener = silent) -> DiffReport:
    """Compare from manifests and system tables; rows are counted only of live Log tables nobody read since a restart.

    Raises NoSuchSnapshot, UsageError, Corruption, SourceError.
    """
    with ExitStack() as stack:
        sides = [_side(repository, name, options, stack) for name in (options.before, options.after)]
        listener(Phase("comparing"))
        before, after = sides
        tables = compare(before.tables, after.tables, lambda old, new: _parts_of(before, old, after, new))
        return DiffReport(before.label, after.label, tuple(tables))


class _Side(Protocol):
    """One of the two states that are compared."""

    @property
    def label(self) -> str: ...

    @property
    def tables(self) -> Mapping[TableName, TableFacts]: ...

    def pages(self, facts: TableFacts) -> Sequence[PageRef]:
        """The manifest pages of a table; none if there is no manifest."""

    def states(self, facts: TableFacts, besides: frozenset[PageRef]) -> Iterator[PartState]:
        """The parts of a table, without those of some pages."""


def _side(repository: Repository, name: str, options: DiffOptions, stack: ExitStack) -> _Side:
    selection = Selection(options.include, options.exclude)
    if name != LIVE:
        return _Stored(
            repository, announced(repository, "diff", choosing.find(repository, name, options.source), stack), selection
        )
    if not options.source:
        raise UsageError("which ClickHouse is live? No source is given", hint="give --source URL")
    return _Live(stack.enter_context(open_source(options.source)), selection)


def _parts_of(
    before: _Side, old: TableFacts, after: _Side, new: TableFacts
) -> tuple[Iterable[PartState], Iterable[PartState]]:
    shared = _shared_pages(before.pages(old), after.pages(new))
    return before.states(old, shared), after.states(new, shared)


def _shared_pages(one: Sequence[PageRef], other: Sequence[PageRef]) -> frozenset[PageRef]:
    """The pages that both sides hold, and whose partitions no page reaches into that only one of them holds."""
    both = frozenset(one) & frozenset(other)
    alone = [page for page in (*one, *other) if page not in both]
    return frozenset(
        page for page in both if not any(page.first <= each.last and each.first <= page.last for each in alone)
    )


class _Stored:
    """A snapshot."""

    def __init__(self, repository: Repository, snapshot: Snapshot, selection: Selection) -> None:
        self.label = snapshot.id
        self._repository = repository
        self._entries = {entry.name: entry for entry in repository.entries(snapshot) if selection.takes(entry.name)}
        self.tables = {name: self._facts(entry) for name, entry in self._entries.items()}

    def pages(self, facts: TableFacts) -> Sequence[PageRef]:
        """The manifest pages of a table."""
        return self._entries[facts.name].pages

    def states(self, facts: TableFacts, besides: frozenset[PageRef]) -> Iterator[PartState]:
        """The parts of a table."""
        for ref in self._entries[facts.name].pages:
            if ref not in besides:
                yield from self._repository.page(ref).states()

    def _digest(self, entry: TableEntry) -> bytes:
        """What the files of a table without parts are, wherever they are stored."""
        digest = blake2b(digest_size=16)
        for ref in entry.pages:
            for part in self._repository.page(ref).parts():
                for file in sorted(part.files, key=lambda file: file.name):
                    digest.update(f"{file.name}\0{file.size}\0".encode() + file.checksum)
        return digest.digest()

    def _facts(self, entry: TableEntry) -> TableFacts:
        digest = b""
        if entry.kind is TableKind.FILES:
            digest = self._digest(entry)
        amount = Amount(entry.parts, entry.rows, entry.bytes)
        return TableFacts(
            entry.name, entry.uuid, entry.engine, entry.kind, entry.definition, amount, digest, entry.rows_known
        )


class _Live:
    """A ClickHouse as it is now."""

    def __init__(self, source: Source, selection: Selection) -> None:
        self.label = f"live ({source.url})"
        self._source = source
        inventory = inspect.inventory(source, selection)
        self._states: dict[TableName, TableState] = {table.name: table for table in inventory.tables}
        found = [self._facts(table) for table in inventory.tables]
        found += map(_database_facts, inventory.databases)
        self.tables = {facts.name: facts for facts in found}

    def pages(self, _: TableFacts) -> Sequence[PageRef]:
        """There is no manifest."""
        return ()

    def states(self, facts: TableFacts, _: frozenset[PageRef]) -> Iterator[PartState]:
        """The parts of a table."""
        for _name, state in inspect.part_states(self._source, (self._states[facts.name],)):
            yield state

    def _facts(self, table: TableState) -> TableFacts:
        rows = self._rows(table)
        amount = Amount(0, rows or 0, table.total_bytes or 0)
        facts = TableFacts(table.name, table.uuid, table.engine, table.kind, table.create_query, amount)
        return replace(facts, counted=rows is not None)

    def _rows(self, table: TableState) -> int | None:
        """Rows as a manifest counts them; after a restart ClickHouse does not know them before they are first read."""
        unread = table.total_rows is None and table.kind is TableKind.FILES
        if unread and rewriting.inner_engine(table.create_query) in COUNTED:
            return inspect.count_rows(self._source, table.name)
        return table.total_rows


def _database_facts(state: DatabaseState) -> TableFacts:
    name = TableName(state.name, "")
    return TableFacts(name, state.uuid, state.engine, TableKind.DEFINITION, state.definition, Amount())


class RowDiff:
    """The rows of one table that two snapshots do not share, as a context manager; only parts that differ are read.

    Rows are compared by the columns that both have, as a multiset: a row that is there twice and was there once is one
    added row.
    """

    def __init__(
        self, repository: Repository, options: DiffOptions, table: TableName, listener: Listener = silent
    ) -> None:
        """Raises UsageError if one side is live or has no such table, NoSuchSnapshot, Corruption."""
        if LIVE in (options.before, options.after):
            raise UsageError("rows can only be compared between snapshots", hint="take one first: coldhouse backup")
        self._table = table
        before, after = (
            _Stored(repository, choosing.find(repository, name, options.source), Selection())
            for name in (options.before, options.after)
        )
        for side in (before, after):
            if table not in side.tables:
                raise UsageError(f"there is no table {table} in snapshot {side.label}")
        self._limits = _limits(before, after, table)
        known = rewriting.stored_column_names(before.tables[table].definition)
        stored = rewriting.stored_column_names(after.tables[table].definition)
        self._columns = tuple(column for column in stored if column in known)
        attach = ((EARLIER, options.before),)
        self._session = SqlSession(
            repository, SqlOptions(options.after, attach=attach, source=options.source), listener
        )

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, value, trace)

    def counts(self) -> RowCounts:
        """How many rows only one side has."""
        removed, added = b"".join(self._session.stream(self._query.counts(), "TSV")).split()
        return RowCounts(int(removed), int(added))

    def rows(self, format: str, limit: int) -> Generator[bytes, None, None]:
        """Up to ``limit`` rows of each kind with a first column ``change``, - or +, in one of ClickHouse's formats."""
        return self._session.stream(self._query.rows(limit), format)

    @property
    def _query(self) -> sql.RowDifference:
        earlier = TableName(database_of(EARLIER, self._table.database), self._table.table)
        return sql.RowDifference(
            sql.RowsOf(earlier, self._limits[0]), sql.RowsOf(self._table, self._limits[1]), self._columns
        )


def _limits(before: _Stored, after: _Stored, table: TableName) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The served names of the parts to which a comparison can be limited on each side; None for all rows."""
    old, new = before.tables[table], after.tables[table]
    if TableKind.PARTS not in (old.kind, new.kind) or old.kind is not new.kind:
        return None, None
    went, came = changed_parts(*_parts_of(before, old, after, new))
    if len(went) + len(came) > MOST_PARTS:
        return None, None
    return tuple(map(layout.served_part_name, went)), tuple(map(layout.served_part_name, came))
