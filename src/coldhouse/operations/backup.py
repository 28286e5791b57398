"""Take a snapshot: look, compare, let ClickHouse send what is new, prove that it is stored, commit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Literal

from msgspec import Struct

from coldhouse.clickhouse import (
    DatabaseState,
    Inventory,
    Selection,
    Source,
    inspect,
    load_client,
    mutations,
)
from coldhouse.clickhouse.mutations import Pending
from coldhouse.errors import BackupFailed, StatementFailed, StorageFull, UsageError
from coldhouse.events import Listener, Phase, Warned, silent
from coldhouse.gateway import GatewaySettings
from coldhouse.model import Accounting, PartState, Snapshot, TableEntry, TableKind, TableName
from coldhouse.operations.backup_plan import Compare, TablePlan, batches, plan_tables
from coldhouse.operations.checkpoint import EVERY_BYTES, CheckpointWriter, Recalled, forget_recalled, recall
from coldhouse.operations.delivery import GONE, Delivery, Ends
from coldhouse.operations.disks import same_disk
from coldhouse.operations.estimate import BackupPreview, Bounds, Surroundings, estimate_backup, preview_table
from coldhouse.operations.first_look import FirstLook, Look
from coldhouse.operations.history import History
from coldhouse.operations.own_state import recalling
from coldhouse.operations.reaching import LateGateway
from coldhouse.operations.recording import Recorder, account, is_same_database, pages_to_read
from coldhouse.operations.transfer import RenameBegan
from coldhouse.records import replace
from coldhouse.repository import Intent, PackSettings, Repository, new_snapshot_id, snapshot_name
from coldhouse.storage.counted import Requests, requests_of
from coldhouse.version import SOFTWARE

LOOKS = 3


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What to back up and how; ``source`` is a URL and may hold a password.

    ``checkpoint_bytes``: how much, about, would have to be sent again after a crash. ``uploads``: how many packs are
    stored at a time, each in 36 MiB of memory; 0 is as many as is usual.
    """

    source: str = field(repr=False)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    full: bool = False
    tags: tuple[tuple[str, str], ...] = ()
    patches: Literal["apply", "fail"] = "apply"
    compression: str = "auto"
    checkpoint_bytes: int = EVERY_BYTES
    uploads: int = 0
    gateway: GatewaySettings = field(default_factory=GatewaySettings)


class BackupReceipt(Struct, frozen=True):
    """What a backup did: the committed snapshot, where it is, how long it took (seconds), what is not sound in it.

    ``requests`` are those to the store since the repository was opened; None where the store does not count.
    """

    snapshot: Snapshot
    location: str
    seconds: float
    damaged: tuple[str, ...]
    warnings: tuple[str, ...]
    requests: Requests | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for is in the snapshot, sound."""
        return not self.damaged


def prepare(options: BackupOptions) -> FirstLook:
    """Import what its modules do not import by themselves, and begin to look: for who has time at the moment.

    Raises UsageError (URL).
    """
    load_client()
    return FirstLook(options.source, options.include, options.exclude)


def run(
    repository: Repository,
    options: BackupOptions,
    listener: Listener = silent,
    first_look: FirstLook | None = None,
) -> BackupReceipt:
    """Take one snapshot and return its receipt; nothing is visible in the repository before it is complete.

    ``first_look`` is what ``prepare`` gave, if it was called.

    Raises SourceError where ClickHouse refuses, GatewayUnreachable where it cannot reach us, StorageError where the
    repository fails, BackupFailed where the statement fails, Interrupted on Ctrl-C.
    """
    first_look = first_look or prepare(options)
    with (
        first_look as source,
        recalling(repository, lambda text: listener(Warned(text))) as recalled,
    ):
        for attempt in range(1, LOOKS + 1):
            try:
                listener(Phase("looking at the source"))
                return _Backup(recalled, source, options, listener, first_look.look(source)).run()
            except StatementFailed as error:
                if error.clickhouse_code not in GONE or attempt == LOOKS:
                    raise
                listener(Warned("a table was dropped while the backup began; looking again"))
            except RenameBegan as error:
                if attempt == LOOKS:
                    raise
                listener(Warned(f"{error.message}; looking again"))
    raise BackupFailed("the tables of the source keep changing", hint="repeat when no table is being dropped")


def preview(
    repository: Repository,
    options: BackupOptions,
    listener: Listener = silent,
    first_look: FirstLook | None = None,
) -> BackupPreview:
    """Say what :func:`run` would do and what it would cost; nothing is sent, stored or changed.

    Raises SourceError, UsageError, StorageError, StorageFull as :func:`run` does.
    """
    first_look = first_look or prepare(options)
    with (
        first_look as source,
        recalling(repository, lambda text: listener(Warned(text))) as recalled,
    ):
        listener(Phase("looking at the source"))
        return _Backup(recalled, source, options, listener, first_look.look(source)).preview()


class _Backup:
    """One attempt; what it holds is what its steps share."""

    def __init__(
        self, repository: Repository, source: Source, options: BackupOptions, listener: Listener, look: Look
    ) -> None:
        self._repository = repository
        self._source = source
        self._options = options
        self._listener = listener
        self._inventory = look.inventory
        self._started = look.at
        self._clock = time.monotonic()
        self._id = new_snapshot_id(self._started)
        self._warnings: list[str] = []

    def run(self) -> BackupReceipt:
        options, inventory = self._options, self._inventory
        self._refuse_nothing(inventory)
        self._warn_of_shared_disk()
        self._materialize_patches(inventory)
        pending = self._settled_mutations(inventory)
        # Announced before anything of the repository is read that the new snapshot could refer to: see FORMAT.md.
        with self._repository.intent("backup", [snapshot_name(self._id)]) as intent:
            patterns = (options.include, options.exclude)
            history = History.of(
                self._repository, self._source.identity, patterns, full=options.full, condemned=intent.condemned.ids
            )
            for text in history.warnings:
                self._warn(text)
            plans = self._plan(inventory, history, pending)
            self._check_room(plans)
            snapshot = self._store(inventory, plans, history, intent)
        return self._receipt(snapshot)

    def preview(self) -> BackupPreview:
        """Everything up to the plan, and what follows from it."""
        options, inventory = self._options, self._inventory
        self._refuse_nothing(inventory)
        self._warn_of_shared_disk()
        names = [table.name for table in inventory.tables]
        for name in mutations.unapplied_patches(self._source, names):
            self._warn(f"{name}: lightweight updates are not applied yet; the parts that they change are not counted")
        patterns = (options.include, options.exclude)
        history = History.of(self._repository, self._source.identity, patterns, full=options.full)
        for text in history.warnings:
            self._warn(text)
        pending = mutations.pending_mutations(self._source, names)
        plans = self._plan(inventory, history, pending)
        self._check_room(plans)
        around = self._surroundings(inventory, plans, history)
        until_now = requests_of(self._repository.storage) or Requests()
        estimate = estimate_backup(plans, batches(plans), around)
        if estimate.lists:
            stored = (_count(self._repository.stored_packs()), _count(self._repository.stored_manifests()))
            estimate = estimate_backup(plans, batches(plans), replace(around, stored=stored))
        return BackupPreview(
            self._repository.url,
            history.parent.id if history.parent else "",
            tuple(map(preview_table, plans)),
            estimate,
            Bounds(until_now, until_now) + estimate.bounds,
            tuple(self._warnings),
        )

    def _surroundings(self, inventory: Inventory, plans: Sequence[TablePlan], history: History) -> Surroundings:
        recalled = Recalled() if self._options.full else recall(self._repository, self._source.identity)
        databases = [(state, history.database(state.name)) for state in inventory.databases]
        new = history.shared is None or any(known is None for _, known in databases)
        new = new or any(plan.known is None or plan.known.name != plan.table.name for plan in plans)
        same = all(is_same_database(state, known) for state, known in databases)
        changed = new or not same or not all(plan.carried for plan in plans)
        return Surroundings(
            catalog=history.shared.catalog if history.shared else (),
            new=new,
            changed=changed or history.entries != len(plans) + len(databases),
            frames=PackSettings().frames,
            checkpoint_bytes=0 if self._repository.write_only else self._options.checkpoint_bytes,
            recalled=len(recalled.notes),
        )

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._listener(Warned(text))

    def _refuse_nothing(self, inventory: Inventory) -> None:
        selection = Selection(self._options.include, self._options.exclude)
        databases = (TableName(database.name, "") for database in inventory.databases)
        idle = selection.idle(frozenset((*databases, *(table.name for table in inventory.tables))))
        if idle:
            raise UsageError(
                f"no table matches {', '.join(idle)}",
                hint="patterns are database.table with * and ?; SHOW TABLES lists what is there",
            )
        if inventory.idle_exclusions:
            self._warn(f"nothing at the source matches --exclude {', '.join(inventory.idle_exclusions)}")
        for table in inventory.tables:
            if table.caution:
                self._warn(f"{table.name}: {table.caution}")
        for name in inventory.refused:
            self._warn(
                f"{name} is not in the backup: BACKUP takes it for the inner table of a view, and no view has it; "
                "give it another name if it is to be kept"
            )

    def _warn_of_shared_disk(self) -> None:
        """A backup on the disk that it is to replace is lost with it."""
        if same_disk(self._repository.url, self._source):
            self._warn(
                f"the repository {self._repository.url} is on the same disk as the data: "
                "one broken disk would take both; keep a copy elsewhere"
            )

    def _materialize_patches(self, inventory: Inventory) -> None:
        """BACKUP leaves patch parts out silently (ClickHouse issue 116677): apply them first, or refuse."""
        waiting = mutations.unapplied_patches(self._source, [table.name for table in inventory.tables])
        if waiting and self._options.patches == "fail":
            raise BackupFailed(
                f"lightweight updates are not yet applied in {', '.join(map(str, waiting))}; BACKUP would lose them",
                hint="use --patches apply, or run ALTER TABLE ... APPLY PATCHES first",
            )
        for name in waiting:
            self._listener(Phase(f"applying lightweight updates of {name}"))
            mutations.apply_patches(self._source, name)

    def _settled_mutations(self, inventory: Inventory) -> Pending:
        """What is not finished. The column of a RENAME that has not reached all parts would be empty for ever."""
        pending = mutations.settled_mutations(self._source, [table.name for table in inventory.tables])
        renaming = mutations.renames_in(pending)
        if renaming:
            raise BackupFailed(
                f"a RENAME COLUMN is unfinished in {', '.join(map(str, renaming))}; BACKUP would lose that column",
                hint="repeat when system.mutations says that it is done, or back up the other tables with --exclude",
            )
        return pending

    def _plan(self, inventory: Inventory, history: History, pending: Pending) -> list[TablePlan]:
        """Compare every table with what earlier snapshots hold; parts are read in one pass over system.parts."""
        self._listener(Phase("comparing with the earlier snapshot"))
        with self._repository.reading_ahead() as ahead:
            return list(plan_tables(self._compared(inventory, history, pending), history.pages, ahead))

    def _compared(self, inventory: Inventory, history: History, pending: Pending) -> Iterator[Compare]:
        with_parts = [table for table in inventory.tables if table.kind is TableKind.PARTS]
        listed = groupby(inspect.part_states(self._source, with_parts), key=lambda pair: pair[0])
        ahead = next(listed, None)
        for table in inventory.tables:
            states: Iterator[PartState] = iter(())
            mine = ahead is not None and ahead[0] == table.name
            if ahead is not None and mine:
                states = (state for _, state in ahead[1])
            yield Compare(table, states, history.table(table), pending.get(table.name, ()))
            if mine:
                ahead = next(listed, None)

    def _check_room(self, plans: Sequence[TablePlan]) -> None:
        """Stop before the work, not after hours of it, where the repository clearly has no room."""
        free = self._repository.storage.free_space()
        needed = sum(load.bytes for plan in plans for load in plan.send)
        if free is None or needed <= free:
            return
        if needed > 2 * free:
            raise StorageFull(
                f"about {needed:,} bytes are to be stored and {free:,} are free at {self._repository.url}",
                hint="make room there, or choose fewer tables with --table / --exclude",
            )
        self._warn(f"about {needed:,} bytes changed and {free:,} are free at {self._repository.url}: it may not fit")

    def _store(self, inventory: Inventory, plans: Sequence[TablePlan], history: History, intent: Intent) -> Snapshot:
        """Let everything that is asked for be delivered and stored, then commit."""
        entries: list[TableEntry] = []
        settings = pack_settings(self._options.compression, self._options.uploads)
        with (
            LateGateway(self._options.gateway) as gateway,
            self._repository.pack_writer(settings) as writer,
            self._repository.draft(history.shared, intent) as draft,
            closing(self._repository.pages(pages_to_read(plans))) as pages,
        ):
            recalled = Recalled() if self._options.full else recall(self._repository, self._source.identity)
            checkpoints = CheckpointWriter(
                self._repository, self._source.identity, self._id, self._options.checkpoint_bytes
            )
            delivery = Delivery(
                Ends(self._source, self._repository, writer, gateway, checkpoints, recalled),
                batches(plans),
                history,
                {table.name: table for table in inventory.tables},
                self._listener,
            )
            recorder = Recorder(pages, draft, delivery, self._id)
            for item in _in_order(inventory, plans):
                entries.append(
                    recorder.database(item, history.database(item.name))
                    if isinstance(item, DatabaseState)
                    else recorder.table(item)
                )
            self._listener(Phase("proving that everything is stored"))
            writer.flush()
            accounting = account(entries, self._id)
            accounting = replace(accounting, sent=delivery.sent, stored=writer.stored_bytes, objects=writer.objects)
            snapshot = draft.commit(self._root(inventory, accounting, entries, history))
            checkpoints.forget()
            forget_recalled(self._repository, recalled)
            return snapshot

    def _root(
        self, inventory: Inventory, accounting: Accounting, entries: Sequence[TableEntry], history: History
    ) -> Snapshot:
        return Snapshot(
            id=self._id,
            started=self._started,
            finished=datetime.now(UTC),
            source=self._source.info(),
            parent=history.parent.id if history.parent else "",
            tags=dict(self._options.tags),
            accounting=accounting,
            catalog=(),
            functions=inventory.functions,
            damaged=tuple(f"{entry.name} {part}" for entry in entries for part in entry.damaged),
            warnings=tuple(self._warnings),
            software=SOFTWARE,
            include=self._options.include,
            exclude=self._options.exclude,
        )

    def _receipt(self, snapshot: Snapshot) -> BackupReceipt:
        return BackupReceipt(
            snapshot,
            self._repository.url,
            time.monotonic() - self._clock,
            snapshot.damaged,
            snapshot.warnings,
            requests_of(self._repository.storage),
        )


def pack_settings(compression: str, uploads: int) -> PackSettings:
    """How packs are written where so many are to be stored at a time: while these are, another one is filled."""
    usual = PackSettings(compression=compression)
    return replace(usual, uploads=uploads, buffers=max(usual.buffers, uploads + 1)) if uploads else usual


def _count(listed: Iterable[object]) -> int:
    return sum(1 for _ in listed)


def _in_order(inventory: Inventory, plans: Sequence[TablePlan]) -> list[DatabaseState | TablePlan]:
    """Databases and tables in the order in which a catalog holds them: a database just before its tables."""
    items: list[DatabaseState | TablePlan] = [*inventory.databases, *plans]
    return sorted(
        items, key=lambda item: TableName(item.name, "") if isinstance(item, DatabaseState) else item.table.name
    )
