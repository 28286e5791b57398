"""Restore one table, by one RESTORE statement, whatever stands in its place.

One statement per table, because a failed RESTORE of several tables leaves full ones beside empty ones and cannot be
repeated. What is to replace or join an existing table is first restored beside it, under a name of our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

from msgspec import Struct

from coldhouse.clickhouse import (
    OperationState,
    RestoreElement,
    RestoreRequest,
    S3Place,
    Source,
    changes,
    inspect,
    statements,
)
from coldhouse.clickhouse.forwarding import with_renamed
from coldhouse.errors import RestoreFailed
from coldhouse.events import Listener, Phase, Progress, Warned
from coldhouse.gateway import Gateway, ServeSession
from coldhouse.model import PageRef, TableEntry, TableKind, TableName
from coldhouse.operations import row_counts
from coldhouse.operations.renaming import Renaming
from coldhouse.operations.restore_note import RestoreNote
from coldhouse.operations.restore_plan import Share, TableOutcome, TableStep
from coldhouse.operations.restore_source import RestoreSource
from coldhouse.operations.survivors import Survivors
from coldhouse.operations.watching import run_to_end
from coldhouse.records import replace
from coldhouse.repository import PackReader, Page, Repository


class Workplace(Struct, frozen=True):
    """What every table of a restore shares: both ends, and who is told."""

    repository: Repository
    target: Source
    gateway: Gateway
    reader: PackReader
    note: RestoreNote
    renaming: Renaming
    entries: Callable[[TableName], TableEntry | None]
    listener: Listener
    warn: Callable[[str], None]
    schema_only: bool
    total: int
    exact: bool = False
    survivors: Survivors | None = None  # what is damaged is left out instead of ending the restore


class _Done(Struct, frozen=True):
    """What was done to one table: how many rows came (None: nobody counted), and what there is to say of it."""

    rows: int | None
    note: str = ""


class TableRestore:
    """Restores tables one after the other; collects the parts that had to be left out, and the bytes ``served``."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self.left_out: list[str] = []
        self.bytes_done = 0
        self.served = 0
        self._left_out = Share()
        self._in_part = False

    def run(self, step: TableStep) -> TableOutcome:
        """Do what the step says. Raises RestoreFailed, Corruption, SourceError, Interrupted."""
        if step.action == "skip":
            return step.outcome("skipped", "it is already there")
        self._left_out, self._in_part = Share(), False
        if step.action == "replace":
            done = self._replace(step)
        elif step.action == "append":
            done = self._append(step)
        else:
            done = self._create(step)
        outcome = step.outcome("in part" if self._in_part else "restored", done.note)
        return replace(outcome, left_out=self._left_out, rows_restored=done.rows)

    def _create(self, step: TableStep) -> _Done:
        """Restore a table that was not there when this restore first began.

        Only an earlier run can have made it since; if somebody else has, RESTORE says so.
        """
        if not self._place.note.resumed or not self._exists(step.target):
            return self._made(step)
        note = "restored by an earlier run of this restore"
        if step.rows == 0 and step.bytes == 0:
            return _Done(0, note)
        entry, place = step.entry, self._place
        found = row_counts.current_if_countable(place.target, entry, step.target)
        if step.target in place.note.restored or (step.rows_known and found == step.rows):
            return _Done(found, note)
        if found and row_counts.came(place.target, entry, step.target, step.rows):
            return _Done(step.rows, note)
        if found == 0:
            return self._made(step)
        aside = TableName(step.target.database, f"{step.target.table}__partial_{uuid4().hex[:8]}")
        changes.rename_table(place.target, step.target, aside)
        place.listener(Warned(f"{step.target} was restored in part by an earlier run; it was moved to {aside}"))
        return replace(self._made(step), note=f"the unfinished table of an earlier run is now {aside}")

    def _made(self, step: TableStep) -> _Done:
        rows = self._fill(step, step.target)
        self._place.note.add_restored(step.target)
        return _Done(rows)

    def _replace(self, step: TableStep) -> _Done:
        """Bring the snapshot's table into the place of another, which stays whole until the new one is proven."""
        target = self._place.target
        staging = self._staging(step)
        changes.drop_table(target, staging)
        movable = step.entry.kind is not TableKind.DEFINITION and step.entry.engine != "MaterializedView"
        if step.partitions is not None and movable:
            rows = self._fill(step, staging)
            for partition in sorted(step.partitions):
                changes.replace_partition(target, staging, partition, step.target)
        elif movable:
            rows = self._fill(step, staging)
            changes.swap_tables(target, staging, step.target)
        else:
            rows = self._replace_definition(step, staging)
        changes.drop_table(target, staging)
        return _Done(rows)

    def _replace_definition(self, step: TableStep, staging: TableName) -> int | None:
        """A view or dictionary keeps no place of its own: the old one waits aside until the new one is made."""
        target = self._place.target
        changes.rename_table(target, step.target, staging)
        try:
            return self._fill(step, step.target)
        except BaseException:
            if not self._exists(step.target):
                changes.rename_table(target, staging, step.target)
            raise

    def _append(self, step: TableStep) -> _Done:
        """Add the snapshot's rows to a table of the same structure; each step can be repeated without doubling rows."""
        target = self._place.target
        if step.entry.kind is TableKind.DEFINITION:
            return _Done(0, "it has no rows of its own; the existing definition stays")
        changes.require_same_structure(target, step.target, step.entry.definition)
        if step.entry.kind is TableKind.FILES or step.entry.engine == "MaterializedView":
            return self._append_whole(step)
        staging = self._staging(step)
        done = _Done(None, "an earlier run of this restore has counted its rows")
        if step.target not in self._place.note.staged:
            changes.drop_table(target, staging)
            policy = inspect.table_states(target, (step.target,))[step.target].storage_policy
            done = _Done(self._fill(step, staging, policy=policy))
            self._place.note.add_staged(step.target)
        if self._exists(staging):
            for partition in changes.partitions(target, staging):
                changes.move_partition(target, staging, partition, step.target)
            changes.drop_table(target, staging)
        return done

    def _append_whole(self, step: TableStep) -> _Done:
        """Append to a table that has no partitions to move: the row count before tells whether a repeat is needed."""
        found = row_counts.current(self._place.target, step.entry, step.target)
        before = self._place.note.rows_before(step.target)
        if before is None:
            self._place.note.add_appending(step.target, found)
        elif step.rows and found == before + step.rows:
            return _Done(step.rows, "appended by an earlier run of this restore")
        elif found != before:
            or_whole = "" if step.rows_known else " or, as the snapshot does not say how many rows come, as a whole"
            raise RestoreFailed(
                f"{step.target} has {found:,} rows; it had {before:,} before an earlier run began to append",
                hint=f"someone else wrote to it, or it was appended in part{or_whole}: restore beside it with --rename",
            )
        return _Done(self._fill(step, step.target, append=True))

    def _fill(self, step: TableStep, into: TableName, *, append: bool = False, policy: str = "") -> int | None:
        """Run one RESTORE into ``into``, and compare the rows; returns how many came, if that can be counted."""
        place = self._place
        if place.survivors is not None and step.bytes:
            place.listener(Phase(f"reading {step.entry.name} to see what of it is damaged"))
        elements, along = self._elements(step, into)
        source = RestoreSource(
            self._following(step.entry),
            () if place.schema_only else self._pages(step),
            place.reader,
            partitions=step.partitions,
            also=along,
            skip_damaged=place.survivors is not None,
        )
        before = row_counts.current(place.target, step.entry, into) if append else None
        served = place.gateway.open_serve(source.lookup, source.bytes)
        address = served.address
        try:
            request = RestoreRequest(
                id=f"{place.note.id}-{uuid4().hex}",
                elements=elements,
                place=S3Place(address.url, address.access_key, address.secret_key),
                structure_only=place.schema_only or step.entry.kind is TableKind.DEFINITION,
                append=append or bool(along),
                different_definition=bool(along),
                storage_policy=policy,
            )
            self._statement(step, request, served)
        finally:
            place.gateway.close(address)
        self.served += served.sent_bytes
        self.left_out += source.left_out
        self._in_part |= bool(source.left_out)
        self._left_out += source.share_left_out
        return self._compare(step.entry, into, source, before)

    def _statement(self, step: TableStep, request: RestoreRequest, served: ServeSession) -> None:
        """Run RESTORE to its end; damage that the gateway met counts before what ClickHouse says of it."""
        place = self._place
        place.listener(Phase(f"ClickHouse restores {step.target}"))
        done = self.bytes_done
        statements.start_restore(place.target, request)
        ended = run_to_end(
            place.target,
            request.id,
            lambda _: place.listener(Progress(min(done + served.sent_bytes, place.total), place.total)),
            lambda: served.refuse("the restore was interrupted"),
            served.wait,
        )
        if served.error is not None:
            raise served.error
        if ended.state is not OperationState.DONE:
            raise RestoreFailed(
                f"ClickHouse could not restore {step.target}: {ended.error}",
                hint="tables that are already restored stay; the same command continues with the rest",
            )
        self.bytes_done += step.bytes

    def _compare(self, entry: TableEntry, into: TableName, source: RestoreSource, before: int | None) -> int | None:
        """The rows that came, which must be those of the manifest; ``before`` there were so many, of other origin."""
        place = self._place
        if place.schema_only or entry.kind is TableKind.DEFINITION:
            return 0
        if not source.rows_known:
            now = row_counts.current_if_countable(place.target, entry, into)
            return None if now is None else now - (before or 0)
        found = row_counts.current(place.target, entry, into) - (before or 0)
        if found == source.rows:
            return found
        alone = into if before is None else None
        if alone is not None and row_counts.came(place.target, entry, alone, source.rows):
            return source.rows
        if place.exact or not row_counts.may_have_shrunk(place.target, entry, alone, found, source.rows):
            raise RestoreFailed(
                f"{into} has {found:,} rows after the restore; the snapshot holds {source.rows:,}",
                hint="did something else write to it meanwhile? check before you use it",
            )
        place.warn(f"{into} has {found:,} of {source.rows:,} rows: its merges or TTL make them fewer, as they may")
        return found

    def _pages(self, step: TableStep) -> Iterator[Page]:
        for page in step.pages:
            yield from self._page(step, page)

    def _page(self, step: TableStep, ref: PageRef) -> Iterator[Page]:
        survivors = self._place.survivors
        page = self._place.repository.page(ref) if survivors is None else survivors.page(ref, step.entry.name)
        if page is not None:
            yield page
            return
        self._in_part = True
        if step.partitions is None:  # else the plan, which was made by reading, does not count the page
            self._left_out += Share(ref.parts if step.entry.parts else 0, ref.rows, ref.bytes)

    def _elements(self, step: TableStep, into: TableName) -> tuple[tuple[RestoreElement, ...], list[TableEntry]]:
        """What RESTORE is told to restore, and the other tables whose definitions must be served with it.

        References in a definition follow only names that the statement itself changes. A table that moves with its
        database is restored as "all of the database", of which only it is served: ClickHouse then rewrites every
        reference to that database, also those that we do not know of. Else what it refers to is named beside it.
        """
        name, renaming = step.entry.name, self._place.renaming
        needed = [self._place.entries(other) for other in step.entry.depends_on if renaming.of(other) != other]
        along = [entry for entry in needed if entry is not None]
        moved = renaming.database_moved(name) and into == renaming.of(name)
        if moved and all(renaming.database_moved(entry.name) for entry in along):
            elsewhere = [entry for entry in along if entry.name.database != name.database]
            databases = dict.fromkeys((name.database, *(entry.name.database for entry in elsewhere)))
            names = [TableName(database, "") for database in databases]
            return tuple(RestoreElement(each, renaming.of(each)) for each in names), elsewhere
        beside = (RestoreElement(entry.name, renaming.of(entry.name)) for entry in along)
        return (RestoreElement(name, into), *beside), along

    def _following(self, entry: TableEntry) -> TableEntry:
        """The entry with those references renamed that ClickHouse would leave.

        Not where names change places: what is renamed here, ClickHouse would then rename once more.
        """
        renaming = self._place.renaming
        new = {name: renaming.of(name) for name in entry.depends_on if self._place.entries(name) is not None}
        if all(old == name for old, name in new.items()) or any(renaming.of(name) != name for name in new.values()):
            return entry
        return replace(entry, definition=with_renamed(entry.definition, new))

    def _staging(self, step: TableStep) -> TableName:
        """A name of our own beside the target, the same in every attempt of this restore."""
        return TableName(step.target.database, f"coldhouse_{self._place.note.id}_{step.target.table}"[:180])

    def _exists(self, name: TableName) -> bool:
        return name in inspect.exists(self._place.target, (name,))
