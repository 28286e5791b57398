"""Level ``drill``: the snapshot is restored into a scratch engine, checked there, and asked questions."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import TYPE_CHECKING

from coldhouse.clickhouse import Selection, Source, checking, open_source
from coldhouse.clickhouse.rehearsal import adapt
from coldhouse.clickhouse.scratch import ScratchEngine, ScratchLimits
from coldhouse.errors import ColdhouseError, Corruption, SourceError, StatementFailed
from coldhouse.events import Listener, Phase
from coldhouse.model import Snapshot, TableEntry, TableKind, TableName
from coldhouse.operations import restore
from coldhouse.operations.findings import Checked, Findings, Problem
from coldhouse.operations.restore import Rehearsal, RestoreOptions, RestoreReport
from coldhouse.operations.zones import engine_zone
from coldhouse.records import replace
from coldhouse.repository import Repository

if TYPE_CHECKING:
    from coldhouse.operations.verify import VerifyOptions

#: No merges: they cost time, and may make rows fewer, so that counts could not be compared.
NO_MERGES = """<merge_tree>
<max_bytes_to_merge_at_max_space_in_pool>1</max_bytes_to_merge_at_max_space_in_pool>
<max_bytes_to_merge_at_min_space_in_pool>1</max_bytes_to_merge_at_min_space_in_pool>
</merge_tree>"""
#: A damaged block can make the engine search for the flipped bit for minutes.
CHECK_SECONDS = 60
CHECK_BYTES_PER_SECOND = 5_000_000
#: What the engine writes beside the data: indices in memory, logs, temporary files.
ROOM = 64 << 20

_NOT_IMPLEMENTED = 48
_TIMEOUT = 159


class Drill:
    """A rehearsal of one snapshot's restore."""

    def __init__(
        self,
        repository: Repository,
        snapshot: Snapshot,
        options: VerifyOptions,
        findings: Findings,
        listener: Listener,
    ) -> None:
        self._repository = repository
        self._snapshot = snapshot
        self._options = options
        self._findings = findings
        self._listener = listener
        self._selection = Selection(options.include, options.exclude)

    def run(self) -> bool:
        """Restore, check, ask; returns whether only a part of the snapshot was drilled.

        Raises SourceError when the engine does not start, or ends because of its limits or by itself; UsageError for a
        pattern that fits no table.
        """
        findings = self._findings
        findings.checked = Checked(objects=findings.checked.objects)
        try:
            partitions, size = self._plan()
        except Corruption as error:  # in a manifest: the check of the structure has told the tables
            findings.corrupt(error)
            return True
        self._require_room(size)
        options = self._options
        limits = ScratchLimits(memory=options.memory, seconds=options.seconds)
        zone = engine_zone(self._snapshot, findings.remark)
        self._listener(Phase("starting a scratch engine"))
        with (
            ScratchEngine(limits, directory=options.scratch, configuration=NO_MERGES, timezone=zone) as engine,
            _explained(engine),
            open_source(engine.url) as target,
        ):
            report = self._restore(engine, partitions)
            if report is not None:
                self._count(report)
            self._check(target)
            self._ask(target)
        return bool(options.include or options.exclude) or options.sample < 100

    # ------------------------------------------------------------------------------------------------------- planning

    def _plan(self) -> tuple[tuple[tuple[TableName, str], ...], int]:
        """The partitions to restore if only some are, and the bytes of everything that will be restored."""
        chosen: list[tuple[TableName, str]] = []
        total = 0
        for entry in self._repository.entries(self._snapshot):
            if not entry.name.table or not self._selection.takes(entry.name):
                continue
            if self._options.sample == 100 or entry.kind is not TableKind.PARTS:
                total += entry.bytes
                continue
            sizes = self._partition_sizes(entry)
            for partition in _sample(sorted(sizes), self._options.sample):
                chosen.append((entry.name, partition))
                total += sizes[partition]
        return tuple(chosen), total

    def _partition_sizes(self, entry: TableEntry) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for ref in entry.pages:
            for state in self._repository.page(ref).states():
                sizes[state.partition] = sizes.get(state.partition, 0) + state.bytes
        return sizes

    def _require_room(self, size: int) -> None:
        folder = self._options.scratch or tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if free < size + ROOM:
            raise ColdhouseError(
                f"a drill needs {(size + ROOM) / 2**20:,.0f} MiB in {folder}, and {free / 2**20:,.0f} MiB are free",
                hint="give another folder with --scratch-dir, or drill some tables (--table) or partitions (--sample)",
            )

    # ------------------------------------------------------------------------------------------------------ restoring

    def _restore(self, engine: ScratchEngine, partitions: tuple[tuple[TableName, str], ...]) -> RestoreReport | None:
        options = self._options
        wanted = RestoreOptions(
            target=engine.url,
            snapshot=self._snapshot.id,
            # A restore of partitions is one of their tables alone, unless patterns ask for others beside them.
            include=options.include or (("*.*",) if partitions else ()),
            exclude=options.exclude,
            partitions=partitions,
        )
        try:
            report = restore.run(self._repository, wanted, self._listener, Rehearsal(self._prepare, self._note_failure))
        except Corruption as error:
            self._findings.corrupt(error)
            return None
        for warning in report.warnings:
            self._findings.remark(warning)
        for part in report.left_out:
            self._findings.remark(f"{part} was damaged at the source and was left out")
        return report

    def _prepare(self, entry: TableEntry) -> TableEntry:
        adapted = adapt(entry.definition)
        if self._selection.takes(entry.name) or not entry.name.table:
            for change in adapted.changes:
                self._findings.remark(f"{entry.name}: {change}")
        if not adapted.bare:
            return replace(entry, definition=adapted.definition)
        return replace(
            entry, definition=adapted.definition, kind=TableKind.DEFINITION, pages=(), rows=0, bytes=0, parts=0, files=0
        )

    def _note_failure(self, what: str, error: ColdhouseError) -> None:
        """A table that does not come back; but a scratch engine that is too small says nothing of the snapshot."""
        if "MEMORY_LIMIT_EXCEEDED" in error.message:
            raise _too_small(error) from error
        if isinstance(error, Corruption):
            self._findings.corrupt(error, table=what)
        else:
            self._findings.add(Problem("restore", error.message, table=what))

    def _count(self, report: RestoreReport) -> None:
        self._findings.checked += Checked(
            bytes=sum(outcome.brought.bytes for outcome in report.tables),
            parts=sum(outcome.brought.parts for outcome in report.tables),
            rows=sum(outcome.brought.rows for outcome in report.tables),
        )

    # ------------------------------------------------------------------------------------------------ checking, asking

    def _check(self, target: Source) -> None:
        """CHECK TABLE, part by part where there are parts, so that each has its time."""
        for name, engine in checking.tables(target):
            self._listener(Phase(f"checking {name} in the scratch engine"))
            for part, size in checking.parts(target, name) if engine.endswith("MergeTree") else (("", 0),):
                self._check_one(target, name, part, size)

    def _check_one(self, target: Source, name: TableName, part: str, size: int) -> None:
        seconds = CHECK_SECONDS + size // CHECK_BYTES_PER_SECOND
        table = str(name)
        try:
            for which, passed, message in checking.check(target, name, part, seconds):
                if not passed:
                    text = f"CHECK TABLE finds {which or name} damaged: {message}"
                    self._findings.add(Problem("check", text, table=table, part=part))
        except StatementFailed as error:
            if error.clickhouse_code == _NOT_IMPLEMENTED:
                return
            if "MEMORY_LIMIT_EXCEEDED" in error.message:
                raise _too_small(error) from error
            text = f"CHECK TABLE fails: {error.message}"
            if error.clickhouse_code == _TIMEOUT:
                text = f"CHECK TABLE did not end within {seconds:,} seconds"
            self._findings.add(Problem("check", text, table=table, part=part))

    def _ask(self, target: Source) -> None:
        for query in self._options.assertions:
            self._listener(Phase(f"asserting {query}"))
            try:
                rows = target.fetch(query)
            except StatementFailed as error:
                self._findings.add(Problem("assertion", f"{query}: {error.message}"))
                continue
            if len(rows) != 1 or len(rows[0]) != 1 or rows[0][0] not in (1, "1"):
                shown = repr(rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else rows[:3])
                self._findings.add(Problem("assertion", f"{query}: returned {shown} instead of 1"))


def _sample(partitions: list[str], percent: float) -> list[str]:
    """Some partitions at random, others every time; at least one if there are any."""
    count = ceil(len(partitions) * percent / 100)
    return sorted(secrets.SystemRandom().sample(partitions, count))


@contextmanager
def _explained(engine: ScratchEngine) -> Iterator[None]:
    """An engine that has ended leaves only closed connections behind: say why it did."""
    try:
        yield
    except SourceError as error:
        ended = engine.ended()
        if ended is None:
            raise
        raise _too_small(ended) from error


def _too_small(error: ColdhouseError) -> SourceError:
    return SourceError(
        f"the drill could not be finished, which says nothing about the snapshot: {error.message}",
        hint="give the scratch engine more with --memory or --time-limit, or drill less with --table or --sample",
    )
