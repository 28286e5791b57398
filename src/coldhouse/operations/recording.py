"""From what was delivered, and what is kept of earlier snapshots, to the entries of a new snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain

from coldhouse.clickhouse import DatabaseState
from coldhouse.errors import BackupFailed
from coldhouse.model import Accounting, PageRef, TableEntry, TableKind, TableName
from coldhouse.operations.backup_plan import KeptPage, TablePlan
from coldhouse.operations.delivery import Delivery
from coldhouse.operations.transfer import ReceivedTable
from coldhouse.records import replace
from coldhouse.repository import Page, PagePart, SnapshotDraft

Piece = PagePart | PageRef


class Recorder:
    """Writes the entries of one snapshot, in the order of their names."""

    def __init__(
        self, pages: Iterator[tuple[PageRef, Page]], draft: SnapshotDraft, delivery: Delivery, snapshot_id: str
    ) -> None:
        """``pages`` are those that :func:`pages_to_read` names of the tables that will come, in the order of these."""
        self._pages = pages
        self._draft = draft
        self._delivery = delivery
        self._snapshot_id = snapshot_id

    def database(self, state: DatabaseState, known: TableEntry | None) -> TableEntry:
        """Record a database: its definition, carried if it is the one that is ``known``."""
        if known is not None and is_same_database(state, known):
            self._draft.carry(known)
            return known
        entry = TableEntry(
            name=TableName(state.name, ""),
            uuid=state.uuid,
            engine=state.engine,
            kind=TableKind.DEFINITION,
            definition=state.definition,
            inspected=b"",
            rows=0,
            bytes=0,
            parts=0,
            files=0,
            new_bytes=0,
            written_by=self._snapshot_id,
        )
        self._draft.carry(entry)
        return entry

    def table(self, plan: TablePlan) -> TableEntry:
        """Record a table: carried as it is, or made of kept pages and of what ClickHouse delivered."""
        if plan.carried and plan.known is not None:
            self._draft.carry(plan.known)
            return plan.known
        if not plan.asks and plan.known is not None:
            return self._add(plan, plan.known.definition, iter(()))
        deliveries = self._delivery.of(plan.table.name)
        first = next(deliveries, None)
        if first is None or not first.definition:
            raise BackupFailed(
                f"ClickHouse reported success but sent nothing of {plan.table.name}",
                hint="was it dropped at that moment? repeat the backup",
            )
        return self._add(plan, first.definition, chain((first,), deliveries))

    def _add(self, plan: TablePlan, definition: str, deliveries: Iterator[ReceivedTable]) -> TableEntry:
        table = plan.table
        tally = _Tally()
        pieces = merge(self._kept(plan.kept), tally.parts(deliveries), key=_place)
        pages = self._draft.write_pages(pieces, self._delivery.pack, plan.known.pages if plan.known else ())
        entry = TableEntry(
            name=table.name,
            uuid=table.uuid,
            engine=table.engine,
            kind=table.kind,
            definition=definition,
            inspected=table.inspected,
            rows=sum(page.rows for page in pages),
            bytes=sum(page.bytes for page in pages),
            parts=sum(page.parts for page in pages) if table.kind is TableKind.PARTS else 0,
            files=sum(page.files for page in pages),
            new_bytes=tally.new_bytes,
            written_by=self._snapshot_id,
            pages=pages,
            depends_on=table.depends_on,
            mutations=plan.mutations,
            damaged=tuple(tally.damaged),
        )
        if plan.known is not None and _same(entry, plan.known):
            entry = plan.known
        self._draft.carry(entry)
        return entry

    def _kept(self, kept: Iterable[KeptPage]) -> Iterator[Piece]:
        for each in kept:
            if each.partitions is None:
                yield each.page
                continue
            ref, page = next(self._pages)
            if ref != each.page:
                raise ValueError(f"the page of {ref.first} was read where that of {each.page.first} is needed")
            self._delivery.learn_packs(page.packs)
            yield from page.kept(each.partitions)


def pages_to_read(plans: Iterable[TablePlan]) -> Iterator[PageRef]:
    """The pages of which something is kept, and not all: in the order in which a recorder asks for them."""
    in_order = sorted(plans, key=lambda plan: plan.table.name)
    return (each.page for plan in in_order for each in plan.kept if each.partitions is not None)


@dataclass(slots=True)
class _Tally:
    """What is counted while parts stream by."""

    new_bytes: int = 0
    damaged: list[str] = field(default_factory=list)

    def parts(self, deliveries: Iterator[ReceivedTable]) -> Iterator[Piece]:
        for received in deliveries:
            self.new_bytes += received.new_bytes
            self.damaged += received.damaged
            yield from received.parts


def is_same_database(state: DatabaseState, known: TableEntry | None) -> bool:
    """Whether a database is as it was recorded."""
    return known is not None and (known.uuid, known.definition) == (state.uuid, state.definition)


def account(entries: Iterable[TableEntry], snapshot_id: str) -> Accounting:
    """D = B + I over all tables; what went over the wire and to the store is filled in by whoever knows it."""
    data = new = tables = databases = parts = files = rows = 0
    for entry in entries:
        tables += bool(entry.name.table)
        databases += not entry.name.table
        data += entry.bytes
        new += entry.new_bytes if entry.written_by == snapshot_id else 0
        parts += entry.parts
        files += entry.files
        rows += entry.rows
    return Accounting(
        data=data,
        reused=data - new,
        new=new,
        sent=0,
        stored=0,
        objects=0,
        tables=tables,
        parts=parts,
        files=files,
        rows=rows,
        databases=databases,
    )


def _same(entry: TableEntry, known: TableEntry) -> bool:
    """Whether ClickHouse, asked for a table that may have changed, delivered what is already recorded."""
    return entry.new_bytes == 0 and entry == replace(known, new_bytes=0, written_by=entry.written_by)


def _place(piece: Piece) -> str:
    return piece.first if isinstance(piece, PageRef) else piece.state.partition
