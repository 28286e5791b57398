"""Ask a snapshot questions without restoring it: SQL in a scratch engine that reads the repository in place."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Self
from urllib.parse import urlencode
from uuid import uuid4

from msgspec import Struct

from coldhouse.clickhouse import Source, changes, open_source, rewriting, sql
from coldhouse.clickhouse.definition import tokens
from coldhouse.clickhouse.scratch import ScratchEngine, ScratchLimits
from coldhouse.errors import ColdhouseError, Corruption, SourceError, StatementFailed, UsageError
from coldhouse.events import Listener, Phase, Warned, silent
from coldhouse.gateway import Gateway, GatewaySettings, WebSession
from coldhouse.model import Snapshot, TableName
from coldhouse.operations import choosing
from coldhouse.operations.attach_plan import AttachPlan, database_of, single_statement, split_format
from coldhouse.operations.attaching import Attacher, Site
from coldhouse.operations.reading import announced
from coldhouse.operations.web_tables import PageShelf, Readers, WebFolders, store_folder
from coldhouse.operations.zones import engine_zone
from coldhouse.repository import Repository

MIB = 1 << 20
#: What a query fetches from the store at least, and what one that scans fetches at once.
SPARING, SWEEPING = 256 * 1024, 2 * MIB
#: Decrypted bytes in memory; what ClickHouse has read is in its own cache on disk.
MEMORY_CACHE = 48 * MIB
CACHE_FOLDER = "snapshots/"
ALIGNMENT = 64 * 1024
#: Words with which a statement that only reads can begin.
READING = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "("})


@dataclass(frozen=True, slots=True)
class SqlOptions:
    """Which snapshots a query sees: ``snapshot`` under its own names, each of ``attach`` as ``(name, snapshot)``.

    ``database`` is where names without a database are looked for; ``cache`` bounds, in bytes, what is kept on local
    disk while the session lasts. "latest" is that of ``source``, if it is given.
    """

    snapshot: str
    attach: tuple[tuple[str, str], ...] = ()
    database: str = ""
    cache: int = 1 << 30
    limits: ScratchLimits = field(default_factory=ScratchLimits)
    source: str = field(default="", repr=False)


class Spent(Struct, frozen=True):
    """What a query cost: rows that it read, bytes and requests from the store; ``size`` of the snapshots in bytes."""

    rows: int
    bytes: int
    requests: int
    size: int


class SqlSession:
    """A scratch engine in which the tables of snapshots can be queried, as a context manager.

    Tables become readable when a query first mentions them. Raises NoSuchSnapshot, UsageError, Corruption, SourceError.
    """

    def __init__(self, repository: Repository, options: SqlOptions, listener: Listener = silent) -> None:
        self._repository = repository
        self._options = options
        self._listener = listener
        self._stack = ExitStack()
        self._plan = AttachPlan()
        self._prefixes: dict[str, Snapshot] = {}
        self._fetched = (0, 0)
        self._rows_before = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def stream(self, query: str, format: str = "") -> Generator[bytes, None, None]:
        """The answer of a query in one of ClickHouse's output formats, piece by piece; close it to cancel the query.

        A FORMAT clause of the query wins over ``format``. Raises UsageError (a statement that writes), Corruption
        (a damaged object), SourceError (ClickHouse's own error), also after the first pieces.
        """
        text, own = split_format(single_statement(query))
        _must_read(text)
        text = rewriting.with_names(text, self._named)
        self._web.forget_error()
        self._attacher.attach(self._plan.wanted(text, self.database))
        self._begin_counting()
        try:
            with closing(self._reading.stream(text, own or format or "TSV")) as pieces:
                yield from pieces
        except SourceError as failure:
            raise self._explained(failure, text) from failure
        if isinstance(self._web.error, Corruption):
            raise self._web.error

    def spent(self) -> Spent:
        """The rows that the last query read, and what was read from the store since this was last asked."""
        rows = self._rows_read()[0] - self._rows_before
        size = sum(snapshot.accounting.data for snapshot in self.snapshots)
        now = self._readers.bytes_fetched, self._readers.requests
        before, self._fetched = self._fetched, now
        return Spent(rows, now[0] - before[0], now[1] - before[1], size)

    def cancel(self) -> None:
        """Stop whatever query still runs, after its answer was closed before its end."""
        self._admin.command(sql.kill_other_queries_statement())

    @property
    def left_out(self) -> tuple[str, ...]:
        """Parts that no query sees, because they were damaged at the source."""
        return tuple(self._attacher.left_out)

    def names(self) -> list[TableName]:
        """All tables that a query can name."""
        return sorted(self._plan.names())

    def columns(self, name: TableName) -> list[str]:
        """The columns of a table, from its definition."""
        return rewriting.column_names(self._plan.attachment(name).entry.definition)

    # -------------------------------------------------------------------------------------------------------- opening

    def _open(self, stack: ExitStack) -> None:
        repository, options = self._repository, self._options
        self._listener(Phase("reading the snapshot"))
        self._choose(stack)
        self._readers = Readers(
            stack.enter_context(repository.pack_reader(cache_bytes=MEMORY_CACHE, fetch_bytes=SPARING)),
            stack.enter_context(repository.pack_reader(cache_bytes=MEMORY_CACHE, fetch_bytes=SWEEPING)),
        )
        self._listener(Phase("starting the engine"))
        gateway = stack.enter_context(Gateway(GatewaySettings()))
        engine = stack.enter_context(ScratchEngine(options.limits, timezone=self._zone()))
        self._engine = engine
        self._admin = stack.enter_context(open_source(engine.url))
        for database in self._plan.databases():
            if database != "default":
                self._admin.command(sql.create_atomic_database_statement(database))
        self._reading = stack.enter_context(self._read_only(engine))
        folders = WebFolders()
        self._web: WebSession = gateway.open_web(folders.lookup)
        cache = min(options.cache, shutil.disk_usage(engine.directory).free // 2)
        disk = sql.cached_disk(sql.web_disk(self._web.address.url), CACHE_FOLDER, cache, align=ALIGNMENT)
        shelf = PageShelf(repository.page)
        site = Site(self._admin, gateway, self._web, folders, shelf, self._readers, self._listener)
        self._attacher = Attacher(site, lambda: _in_store(disk))
        self._create_functions()

    def _choose(self, stack: ExitStack) -> None:
        """Find the snapshots and plan how their tables are named."""
        for prefix, name in (("", self._options.snapshot), *self._options.attach):
            if prefix in self._prefixes:
                raise UsageError(f"two snapshots are to be called {prefix!r}", hint="give each --attach its own name")
            snapshot = announced(
                self._repository, "sql", choosing.find(self._repository, name, self._options.source), stack
            )
            self._prefixes[prefix] = snapshot
            entries = self._repository.entries(snapshot)
            self._plan.add(entries, lambda table, prefix=prefix: _prefixed(prefix, table))  # type: ignore[misc]
        self.snapshots = tuple(self._prefixes.values())
        attached = self._attached_databases()
        own = [database for database in self._plan.databases() if database not in attached]
        holding = sorted({name.database for name in self._plan.names()} - attached)
        self.database = self._options.database or (holding[0] if len(holding) == 1 else "default")
        if self.database not in (*self._plan.databases(), "default"):
            raise UsageError(
                f"the snapshot has no database {self.database}", hint=f"it has {', '.join(own) or 'no tables at all'}"
            )

    def _zone(self) -> str:
        """The time zone of the first snapshot's source; one engine has one for all."""
        first, *others = self._prefixes.items()
        own = first[1].source.timezone
        for prefix, snapshot in others:
            if snapshot.source.timezone != own:
                there, here = (zone or "an unknown time zone" for zone in (snapshot.source.timezone, own))
                self._warn(f"{prefix} was taken in {there}: its times are read here as those of {here}")
        return engine_zone(first[1], self._warn)

    def _warn(self, text: str) -> None:
        self._listener(Warned(text))

    def _attached_databases(self) -> set[str]:
        starts = tuple(database_of(prefix, "") for prefix in self._prefixes if prefix)
        return {database for database in self._plan.databases() if starts and database.startswith(starts)}

    def _read_only(self, engine: ScratchEngine) -> Source:
        """A connection that may not change anything: 2 still lets a query choose its own settings."""
        options = urlencode({"database": self.database, "readonly": "2"})
        return open_source(f"{engine.url}/?{options}", silence=self._options.limits.seconds)

    def _create_functions(self) -> None:
        for snapshot in self.snapshots:
            for function in snapshot.functions:
                try:
                    changes.create_function(self._admin, function)
                except StatementFailed as failure:
                    self._warn(f"function {function.name} is not there: {failure.message}")

    # -------------------------------------------------------------------------------------------------------- queries

    def _named(self, prefix: str, database: str, table: str) -> TableName | None:
        """The table that ``monday.db.t`` means."""
        name = TableName(database_of(prefix, database), table)
        return name if prefix in self._prefixes and name in self._plan else None

    def _begin_counting(self) -> None:
        """Note how many rows the engine will have read before the next query: to ask for it reads some, too."""
        read, asking = self._rows_read()
        self._rows_before = read + asking

    def _rows_read(self) -> tuple[int, int]:
        """The rows that all queries read so far, and those that this question adds."""
        ((read, asking),) = self._admin.fetch(sql.selected_rows_query())
        return int(str(read)), int(str(asking))

    def _explained(self, failure: SourceError, query: str) -> ColdhouseError:
        """What really was the matter: damage, a dead engine, a table that cannot be read here."""
        if isinstance(self._web.error, Corruption):
            return self._web.error
        ended = self._engine.ended()
        if ended is not None:
            return ended
        if self._web.error is not None:
            return self._web.error
        absent = [each for each in self._plan.wanted(query, self.database) if each.name in self._attacher.absent]
        if absent and isinstance(failure, StatementFailed):
            reasons = "; ".join(f"{each.name}: {self._attacher.absent[each.name]}" for each in absent[:5])
            code = failure.clickhouse_code
            return StatementFailed(failure.message, clickhouse_code=code, hint=f"not here: {reasons}")
        return failure


def _prefixed(prefix: str, table: TableName) -> TableName:
    return TableName(database_of(prefix, table.database), table.table)


def _in_store(disk: str) -> tuple[str, rewriting.Place]:
    """A new table's folder, where a database of engine Atomic looks for it."""
    uuid = str(uuid4())
    return store_folder(uuid), rewriting.Place(disk, uuid)


def _must_read(query: str) -> None:
    row = list(tokens(query))
    inserts = any(one.is_word("INSERT") and other.is_word("INTO") for one, other in pairwise(row))
    if row[0].text.upper() not in READING or (row[0].is_word("WITH") and inserts):
        raise UsageError(
            f"a snapshot can only be read, and this is {'INSERT' if inserts else row[0].text.upper()}",
            hint="ask with SELECT; to change what was lost, see coldhouse mount and coldhouse restore",
        )
