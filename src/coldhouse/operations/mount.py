"""Give a running ClickHouse a snapshot's tables to read, as long as this process lives.

The tables lie on ``web`` disks at the gateway, below a token that nobody can guess, in databases of engine Memory: such
a server forgets their tables when it ends, so that nothing keeps it from starting again without us.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from msgspec import Struct

from coldhouse.clickhouse import Selection, Source, inspect, open_source, rewriting, sql
from coldhouse.errors import Corruption, SourceError, StorageError, UsageError
from coldhouse.events import Listener, Phase, Warned, silent
from coldhouse.gateway import Gateway, GatewaySettings, WebSession
from coldhouse.model import Snapshot, TableEntry, TableName
from coldhouse.operations import choosing, mount_note
from coldhouse.operations.attach_plan import JOINT, AttachPlan, Way
from coldhouse.operations.attaching import Attacher, Site
from coldhouse.operations.reaching import reach_gateway
from coldhouse.operations.reading import announced
from coldhouse.operations.sql import MEMORY_CACHE, SPARING, SWEEPING
from coldhouse.operations.web_tables import PageShelf, Readers, WebFolders
from coldhouse.repository import Repository


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What to mount where: ``target`` is a URL and may hold a password, ``database`` the name that it gets there.

    "latest" is that of ``source``, if it is given.
    """

    target: str = field(repr=False)
    snapshot: str
    database: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    source: str = field(default="", repr=False)


class MountedTable(Struct, frozen=True):
    """A table of the snapshot and its name in the server; ``absent`` says why it is not there, if it is not."""

    name: TableName
    target: TableName
    rows: int
    absent: str = ""


class Mount:
    """A mounted snapshot, as a context manager; what it made in the server goes with it.

    Raises NoSuchSnapshot, UsageError (a database of that name is there), GatewayUnreachable, Corruption, SourceError.
    """

    def __init__(self, repository: Repository, options: MountOptions, listener: Listener = silent) -> None:
        self._repository = repository
        self._options = options
        self._listener = listener
        self._stack = ExitStack()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def damage(self) -> Corruption | None:
        """The last damaged object that the server met."""
        error = self._web.error
        return error if isinstance(error, Corruption) else None

    # -------------------------------------------------------------------------------------------------------- opening

    def _open(self, stack: ExitStack) -> None:
        self._listener(Phase("reading the snapshot"))
        found = choosing.find(self._repository, self._options.snapshot, self._options.source)
        self.snapshot: Snapshot = announced(self._repository, "mount", found, stack)
        plan = self._plan()
        self._target: Source = stack.enter_context(open_source(self._options.target))
        for database in mount_note.clear_dead(self._repository, self._target):
            self._listener(Warned(f"database {database} was left behind by a mount that was killed; it was dropped"))
        self._require_free(plan.databases())
        readers = Readers(
            stack.enter_context(self._repository.pack_reader(cache_bytes=MEMORY_CACHE, fetch_bytes=SPARING)),
            stack.enter_context(self._repository.pack_reader(cache_bytes=MEMORY_CACHE, fetch_bytes=SWEEPING)),
        )
        gateway = stack.enter_context(Gateway(self._options.gateway))
        reach_gateway(self._target, gateway)
        folders = WebFolders()
        self._web: WebSession = gateway.open_web(folders.lookup)
        site = Site(
            self._target, gateway, self._web, folders, PageShelf(self._repository.page), readers, self._listener
        )
        self._begin(plan, stack)
        self._attach(plan, Attacher(site, _own_disks(self._web.address.url), load=False))

    def _plan(self) -> AttachPlan:
        """How the tables are called: in one database where they are of one, else in one for each."""
        selection = Selection(self._options.include, self._options.exclude)
        entries = [
            entry
            for entry in self._repository.entries(self.snapshot)
            if entry.name.table and selection.takes(entry.name)
        ]
        if not entries:
            raise UsageError("the snapshot has no such table", hint="coldhouse show lists what it holds")
        plan = AttachPlan()
        plan.add(entries, renaming(entries, self._options.database))
        return plan

    def _require_free(self, databases: list[str]) -> None:
        there = inspect.exists(self._target, [TableName(database, "") for database in databases])
        if there:
            raise UsageError(
                f"the server has a database {', '.join(sorted(name.database for name in there))} already",
                hint="choose another name with --as; it exists only as long as the mount",
            )

    def _begin(self, plan: AttachPlan, stack: ExitStack) -> None:
        """Note what will be made before it is, and see to it that it goes."""
        note = mount_note.new_note(self._target.identity, tuple(plan.databases()), self.snapshot.id)
        mount_note.write(self._repository, note)
        stack.callback(self._end, note)
        beating = threading.Thread(target=self._beat, args=(note,), name="coldhouse-mount", daemon=True)
        beating.start()
        stack.callback(beating.join)
        stack.callback(self._over.set)
        for database in plan.databases():
            comment = f"{mount_note.COMMENT}{note.id}"
            self._target.command(sql.create_memory_database_statement(database, comment))

    def _attach(self, plan: AttachPlan, attacher: Attacher) -> None:
        self._listener(Phase("mounting the tables"))
        self._tell_missing_functions()
        attacher.attach(plan.with_needs(plan.names()))
        self.left_out = tuple(attacher.left_out)
        self.tables = tuple(
            MountedTable(each.entry.name, name, each.entry.rows, attacher.absent.get(name, ""))
            for name, each in ((name, plan.attachment(name)) for name in sorted(plan.names()))
        )
        if not any(not table.absent for table in self.tables):
            table = self.tables[0]
            raise UsageError(f"none of the tables can be mounted; {table.name}: {table.absent}")
        for name in sorted(plan.names()):
            if name in attacher.absent and plan.attachment(name).way is not Way.ABSENT:
                self._listener(Warned(f"{name} is not there: {attacher.absent[name]}"))

    def _tell_missing_functions(self) -> None:
        """Functions are not made: they would stay, and are most often there. Definitions that need them say so."""
        missing = {function.name for function in self.snapshot.functions}
        missing -= {function.name for function in inspect.functions(self._target)}
        for name in sorted(missing):
            self._listener(Warned(f"the server has no function {name}, which the snapshot's definitions may use"))

    def _beat(self, note: mount_note.MountNote) -> None:
        while not self._over.wait(mount_note.BEAT_SECONDS):
            try:
                mount_note.write(self._repository, note)
            except StorageError as error:
                self._listener(Warned(f"the repository does not answer: {error.message}"))

    def _end(self, note: mount_note.MountNote) -> None:
        """Drop what was made; where the server does not answer, the note stays for the next mount."""
        try:
            mount_note.clear_away(self._repository, self._target, note)
        except SourceError as error:
            self._listener(
                Warned(f"{', '.join(note.databases)} could not be dropped, the next mount will do it: {error.message}")
            )


def renaming(entries: list[TableEntry], database: str) -> Callable[[TableName], TableName]:
    """The names of mounted tables: ``shop.t`` is ``<database>.t``, or ``<database>__shop.t`` if there are several."""
    several = len({entry.name.database for entry in entries}) > 1
    return lambda name: TableName(f"{database}{JOINT}{name.database}" if several else database, name.table)


def _own_disks(url: str) -> Callable[[], tuple[str, rewriting.Place]]:
    """A disk for each table, below the address: ClickHouse remembers what it listed at an endpoint."""
    numbers = itertools.count()

    def next_place() -> tuple[str, rewriting.Place]:
        number = str(next(numbers))
        return number, rewriting.Place(sql.web_disk(f"{url}{number}/"), projections=True)

    return next_place
