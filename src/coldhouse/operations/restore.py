"""Bring back tables of a snapshot: choose, plan, let ClickHouse read them through the gateway, compare."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from itertools import islice

from coldhouse.clickhouse import (
    Selection,
    Source,
    changes,
    definition,
    inspect,
    load_client,
    statements,
)
from coldhouse.errors import (
    Corruption,
    RestoreFailed,
    SourceError,
    StatementFailed,
    StorageError,
    StorageFull,
    StorageRefused,
    UsageError,
)
from coldhouse.events import Listener, Phase, Warned, silent
from coldhouse.gateway import GatewaySettings, load_server
from coldhouse.model import Snapshot, TableEntry, TableName
from coldhouse.operations import choosing
from coldhouse.operations.connecting import Connecting
from coldhouse.operations.reaching import Reaching
from coldhouse.operations.renaming import Renaming
from coldhouse.operations.restore_note import RestoreNote
from coldhouse.operations.restore_options import Rehearsal, RestoreOptions, RestoreReport
from coldhouse.operations.restore_plan import (
    RestorePlan,
    Share,
    TableOutcome,
    TableStep,
    choose,
    plan_restore,
    require_effect,
)
from coldhouse.operations.restore_table import TableRestore, Workplace
from coldhouse.operations.resubmitting import resubmit
from coldhouse.operations.survivors import Survivors
from coldhouse.records import replace
from coldhouse.repository import Page, Repository
from coldhouse.storage.counted import Requests, requests_of

__all__ = ["Prepared", "Rehearsal", "RestoreOptions", "RestoreReport", "TableOutcome", "run"]


#: RESTORE reads each file once, from beginning to end: what a pack holds of a larger one is fetched by one request.
SWEEP = 2 << 20


class Prepared:
    """What a restore can begin without a repository, and the imports that it needs, for who has time at the moment.

    A context manager that ends what was not used.
    """

    def __init__(self, target: str, gateway: GatewaySettings | None) -> None:
        """Connect to the target, and let it knock at the gateway; None: nothing will be restored.

        Raises UsageError (the URL, the gateway's settings), GatewayError.
        """
        load_client()
        self.connecting = Connecting(target)
        self.reaching: Reaching | None = None
        load_server()
        if gateway is not None and self.connecting.begun is not None:
            self.reaching = Reaching(gateway, self.connecting.begun.result)

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_: object) -> None:
        if self.reaching is not None:
            self.reaching.stop()


def run(
    repository: Repository,
    options: RestoreOptions,
    listener: Listener = silent,
    rehearsal: Rehearsal | None = None,
    prepared: Prepared | None = None,
) -> RestoreReport:
    """Restore tables of a snapshot and return the report; ``prepared`` is what was begun for it.

    Raises NoSuchSnapshot, UsageError, TargetExists (nothing touched), Corruption (naming the object), SourceError,
    RestoreFailed, Interrupted; after those the same call continues where this one ended.
    """
    snapshot = _chosen_snapshot(repository, options)
    noted = False
    with ExitStack() as stack:
        if rehearsal is None:  # a drill has announced itself
            noted = stack.enter_context(repository.reading("restore", [snapshot.id]))
            snapshot = repository.snapshot(snapshot.id)
        target = stack.enter_context(prepared.connecting if prepared else Connecting(options.target))
        restore = _Restore(repository, snapshot, target, options, listener, rehearsal)
        if options.dry_run:
            return restore.preview(noted=noted)
        report = restore.run(prepared.reaching if prepared else None)
    return replace(report, requests=requests_of(repository.storage))


def _chosen_snapshot(repository: Repository, options: RestoreOptions) -> Snapshot:
    if bool(options.snapshot) == (options.at is not None):
        raise UsageError("say which snapshot: its id, or --at TIME", hint="coldhouse snapshots lists them")
    return choosing.of_one_source(repository, options.snapshot, options.at, options.source)


class _Restore:
    """One restore; what it holds is what its steps share."""

    def __init__(
        self,
        repository: Repository,
        snapshot: Snapshot,
        target: Source,
        options: RestoreOptions,
        listener: Listener,
        rehearsal: Rehearsal | None,
    ) -> None:
        self._repository = repository
        self._snapshot = snapshot
        self._target = target
        self._options = options
        self._listener = listener
        self._rehearsal = rehearsal
        self._clock = time.monotonic()
        self._warnings: list[str] = []
        self._renaming = Renaming.parse(options.renames)
        self._survivors = Survivors(repository) if options.skip_damaged else None
        self._note = RestoreNote(repository if rehearsal is None else None, self._key())
        self._served = 0

    def run(self, reaching: Reaching | None) -> RestoreReport:
        plan = self._look()
        self._stop_leftovers()
        self._begin(plan)
        try:
            tables, left_out = self._restore(plan, reaching or Reaching(self._options.gateway, lambda: self._target))
        except BaseException:
            self._keep_what_was_made(plan)
            raise
        self._resubmit(plan)
        self._forget()
        return self._report(plan, tables, left_out)

    def preview(self, *, noted: bool) -> RestoreReport:
        """Everything up to the plan, and what follows from it; ``noted``: the store took the announcement."""
        from coldhouse.operations.estimate import Bounds
        from coldhouse.operations.restore_estimate import RestoreSurroundings, TableReads, estimate_restore

        plan = self._look()
        until_now = requests_of(self._repository.storage) or Requests()
        around = RestoreSurroundings(
            sweep=SWEEP,
            noted=noted,
            resumed=self._note.resumed,
            schema_only=self._options.schema_only,
            resubmit=self._options.resubmit_mutations,
            skip_damaged=self._survivors is not None,
        )
        moved = [step for step in plan.tables if step.action != "skip"]
        pages = self._pages(moved)
        found = ((page for page in islice(pages, len(step.pages)) if page is not None) for step in moved)
        estimate = estimate_restore(map(TableReads, moved, found), around)
        report = self._report(plan, tuple(step.outcome("planned") for step in plan.tables), ())
        return replace(report, estimate=replace(estimate, bounds=Bounds(until_now, until_now) + estimate.bounds))

    def _look(self) -> RestorePlan:
        """What will be done."""
        self._listener(Phase("reading the snapshot"))
        wanted = self._wanted_partitions()
        selection = Selection(self._options.include, self._options.exclude)
        entries = list(self._entries())
        chosen = choose(entries, selection, wanted)
        if self._rehearsal is None:  # patterns of a drill are for all of several snapshots
            require_effect(entries, chosen, selection, self._renaming)
        return self._plan(chosen, wanted)

    def _pages(self, steps: Iterable[TableStep]) -> Iterator[Page | None]:
        """All pages of some tables in their order; None for one that is lost, where that is to be survived."""
        survivors = self._survivors
        if survivors is None:
            return (page for _, page in self._repository.pages(ref for step in steps for ref in step.pages))
        return (survivors.page(ref, step.entry.name) for step in steps for ref in step.pages)

    def _begin(self, plan: RestorePlan) -> None:
        """Note what is begun; a store that is full or read-only is no reason not to read from it.

        Only an append needs the note: without it a repeat could double rows.
        """
        try:
            self._note.begin(frozenset(step.target for step in plan.tables if step.action == "create"))
        except (StorageFull, StorageRefused) as error:
            if any(step.action == "append" for step in plan.tables):
                raise
            self._note.keep_nowhere()
            self._warn(f"if this restore is interrupted, a repeat cannot continue it: {error.message}")

    def _forget(self) -> None:
        """Everything is back: that the note of it cannot be removed makes no failure of it."""
        try:
            self._note.finish()
        except StorageError as error:
            self._warn(f"the restore is complete, but its note in the repository could not be removed: {error.message}")

    def _keep_what_was_made(self, plan: RestorePlan) -> None:
        """After a failure only tables that are there now are ours: one that somebody creates later is not.

        Tables that stand beside others, to replace or join them, are found again by the id of the note.
        """
        beside = any(step.action in ("replace", "append") for step in plan.tables)
        try:
            self._note.narrow(inspect.exists(self._target, self._note.creating), keep=beside)
        except (SourceError, StorageError) as error:
            self._listener(Warned(f"what this restore has begun could not be noted: {error.message}"))

    def _entries(self) -> Iterator[TableEntry]:
        reader = self._survivors or self._repository
        entries = reader.entries(self._snapshot)
        return entries if self._rehearsal is None else map(self._rehearsal.prepare, entries)

    @contextmanager
    def _rehearsed(self, what: str) -> Iterator[None]:
        """In a rehearsal, a failure of ClickHouse or damage is told and does not end the rest."""
        try:
            yield
        except (Corruption, RestoreFailed, StatementFailed) as error:
            if self._rehearsal is None:
                raise
            self._rehearsal.failed(what, error)

    def _key(self) -> str:
        """The same for a repeat of the same restore, and for nothing else."""
        options = self._options
        asked = (
            self._target.identity,
            self._snapshot.id,
            options.include,
            options.exclude,
            options.partitions,
            options.renames,
            options.schema_only,
            options.existing,
        )
        return hashlib.sha256(repr(asked).encode()).hexdigest()

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self._listener(Warned(text))

    def _wanted_partitions(self) -> dict[TableName, frozenset[str]]:
        wanted: dict[TableName, frozenset[str]] = {}
        for name, partition in self._options.partitions:
            wanted[name] = wanted.get(name, frozenset()) | {partition}
        return wanted

    def _plan(self, chosen: list[TableEntry], wanted: Mapping[TableName, frozenset[str]]) -> RestorePlan:
        targets = [self._renaming.of(entry.name) for entry in chosen]
        databases = [TableName(target.database, "") for target in targets]
        there = inspect.exists(self._target, frozenset((*targets, *databases)))
        plan = plan_restore(
            chosen,
            self._renaming,
            there,
            self._options.existing,
            {entry.name: self._share(entry, wanted[entry.name]) for entry in chosen if entry.name in wanted},
            schema_only=self._options.schema_only,
            ours=self._note.creating,
        )
        return replace(plan, tables=tuple(map(self._with_known_policy, plan.tables)))

    def _with_known_policy(self, step: TableStep) -> TableStep:
        """A table on disks that the target does not have comes back on the target's own."""
        named = definition.storage_policy(step.entry.definition)
        if step.action == "skip" or not named or named in self._policies:
            return step
        self._warn(f"{step.target}: the target has no storage policy {named}; the table gets the target's default one")
        elsewhere = replace(step.entry, definition=definition.without_storage_policy(step.entry.definition))
        return replace(step, entry=elsewhere)

    @cached_property
    def _policies(self) -> frozenset[str]:
        return inspect.storage_policies(self._target)

    def _share(self, entry: TableEntry, partitions: frozenset[str]) -> tuple[frozenset[str], Share]:
        """How much the partitions of a table hold. Raises UsageError for one that the snapshot does not have."""
        parts = list((self._survivors or self._repository).parts(entry, partitions))
        missing = partitions - {part.state.partition for part in parts}
        if missing:
            known = sorted({page.first for page in entry.pages} | {page.last for page in entry.pages})
            raise UsageError(
                f"{entry.name} has no partition with the id {', '.join(sorted(missing))} in this snapshot",
                hint=f"ids are those of system.parts.partition_id, here from {known[0]} to {known[-1]}"
                if known
                else "the table was empty",
            )
        size = sum(file.size for part in parts for file in part.files)
        return partitions, Share(len(parts), sum(part.state.rows for part in parts), size)

    def _stop_leftovers(self) -> None:
        """A run of this restore that was killed may have left its statement running in the server."""
        if not self._note.resumed:
            return
        for operation in changes.running_operations(self._target, self._note.id):
            self._listener(Phase("stopping what an earlier run of this restore left behind"))
            statements.cancel(self._target, operation)

    def _make_room(self, plan: RestorePlan) -> None:
        """Create databases and SQL functions that are not there."""
        for database in plan.databases:
            if not changes.create_database(self._target, database.name, database.definition):
                self._warn(f"database {database.name} was created with the server's default engine")
        functions = self._snapshot.functions
        known = {function.name for function in inspect.functions(self._target)} if functions else set[str]()
        for function in functions:
            if function.name not in known:
                with self._rehearsed(f"function {function.name}"):
                    changes.create_function(self._target, function)

    def _restore(self, plan: RestorePlan, reaching: Reaching) -> tuple[tuple[TableOutcome, ...], tuple[str, ...]]:
        entries = {step.entry.name: step.entry for step in plan.tables}
        with (
            reaching as gateway,
            self._repository.pack_reader(sweep_bytes=SWEEP) as reader,
        ):
            self._make_room(plan)
            restore = TableRestore(
                Workplace(
                    repository=self._repository,
                    target=self._target,
                    gateway=gateway,
                    reader=reader,
                    note=self._note,
                    renaming=self._renaming,
                    entries=entries.get,
                    listener=self._listener,
                    warn=self._warn,
                    schema_only=self._options.schema_only,
                    total=plan.bytes,
                    exact=self._rehearsal is not None,
                    survivors=self._survivors,
                )
            )
            outcomes = []
            for step in plan.tables:
                with self._rehearsed(str(step.entry.name)):
                    outcomes.append(restore.run(step))
        self._served = restore.served
        return tuple(outcomes), tuple(restore.left_out)

    def _resubmit(self, plan: RestorePlan) -> None:
        """Unfinished mutations are not part of a RESTORE: say so, or submit them again if asked."""
        for step in plan.tables:
            if step.action == "skip" or not step.entry.mutations:
                continue
            if self._options.resubmit_mutations:
                parts = [part.state for part in self._repository.parts(step.entry, step.partitions)]
                resubmit(self._target, step, parts, self._warn)
                continue
            for mutation in step.entry.mutations:
                self._warn(
                    f"{step.target}: the mutation {mutation.command} was unfinished in the snapshot and was not "
                    "applied; --resubmit-mutations submits such again"
                )

    def _report(self, plan: RestorePlan, tables: tuple[TableOutcome, ...], left_out: tuple[str, ...]) -> RestoreReport:
        return RestoreReport(
            snapshot=self._snapshot,
            tables=tables,
            warnings=tuple(self._warnings),
            mutations=tuple((step.target, mutation) for step in plan.tables for mutation in step.entry.mutations),
            left_out=(*left_out, *(self._survivors.left_out if self._survivors else ())),
            seconds=time.monotonic() - self._clock,
            dry_run=self._options.dry_run,
            served=self._served,
        )
