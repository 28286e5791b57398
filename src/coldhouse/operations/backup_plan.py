"""What a backup will ask ClickHouse for, decided from values alone: what changed, and in which statements it is sent.

A table is compared with what an earlier snapshot holds of it page by page, then partition by partition. Partitions are
the unit because ClickHouse's BACKUP can be asked for one, and because merges and mutations never cross them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import groupby

from msgspec import Struct

from coldhouse.clickhouse import TableState
from coldhouse.errors import Corruption
from coldhouse.model import Mutation, PageRef, PartState, TableEntry, TableKind, TableName
from coldhouse.records import replace
from coldhouse.repository import Ahead, Page, digest_of_states

#: How many files a part is taken to have where the source does not say.
USUAL_FILES = 10

#: Files in one BACKUP statement, about: it bounds the memory that its list of files takes here and in ClickHouse.
FILES_PER_STATEMENT = 200_000
TABLES_PER_STATEMENT = 1_000

#: From so many files of so few bytes on the average, one archive costs the server less than a request for each file.
FILES_OF_AN_ARCHIVE = 500
BYTES_OF_AN_ARCHIVED_FILE = 64 * 1024


class PartitionLoad(Struct, frozen=True):
    """A partition to send: how many files it has, about, its bytes at the source, and how many parts."""

    id: str
    files: int
    bytes: int
    parts: int = 0


class KeptPage(Struct, frozen=True):
    """A page of an earlier snapshot, and which of its partitions are still as they were (None: all)."""

    page: PageRef
    partitions: frozenset[str] | None = None


class TablePlan(Struct, frozen=True):
    """What happens to one table: ``known`` is what an earlier snapshot holds of it.

    ``kept`` pages are taken over by reference; ``send`` are the partitions to ask for, all of the table if ``whole``.
    A table with nothing to send and nothing new to record is ``carried`` as it is.
    """

    table: TableState
    known: TableEntry | None
    mutations: tuple[Mutation, ...]
    kept: tuple[KeptPage, ...] = ()
    send: tuple[PartitionLoad, ...] = ()
    whole: bool = False

    @property
    def asks(self) -> bool:
        """Whether ClickHouse has to send anything for this table."""
        return self.whole or bool(self.send)

    @property
    def carried(self) -> bool:
        """Whether the earlier snapshot's entry is right as it stands."""
        known = self.known
        return (
            known is not None
            and not self.asks
            and known.name == self.table.name
            and known.mutations == self.mutations
            and len(self.kept) == len(known.pages)
            and all(kept.partitions is None for kept in self.kept)
        )


class Earlier(Struct, frozen=True):
    """The pages of earlier snapshots; ``broken`` are packs and manifests that are not to be built upon."""

    load: Callable[[PageRef], Page]
    broken: frozenset[bytes] = frozenset()

    def whole(self, ref: PageRef) -> bool:
        """Whether nothing that a page refers to is known to be broken; reads it only if something is."""
        if not self.broken:
            return True
        page = self.page(ref)
        return page is not None and not self.broken & page.packs.keys()

    def page(self, ref: PageRef) -> Page | None:
        """A page, or None if it cannot be read."""
        if not ref.inline and ref.ref.id in self.broken:
            return None
        try:
            return self.load(ref)
        except Corruption:
            return None

    def pages(self, refs: Sequence[PageRef]) -> list[Page]:
        """Pages that belong together: all, or none if one of them cannot be read."""
        found = [page for ref in refs if (page := self.page(ref)) is not None]
        return found if len(found) == len(refs) else []


class BatchItem(Struct, frozen=True):
    """One table of a BACKUP statement: all of it (``partitions`` is None), or these partitions."""

    table: TableName
    partitions: tuple[str, ...] | None = None


class Batch(Struct, frozen=True):
    """One BACKUP statement: about how many bytes it brings, in how many files."""

    items: tuple[BatchItem, ...]
    bytes: int
    files: int = 0

    @property
    def small_files(self) -> bool:
        """Whether an archive is the better way for it."""
        return self.files >= FILES_OF_AN_ARCHIVE and self.bytes <= self.files * BYTES_OF_AN_ARCHIVED_FILE


class Compare(Struct, frozen=True):
    """A table to be compared with what is ``known`` of it; ``states`` are its active parts by (partition, name)."""

    table: TableState
    states: Iterable[PartState]
    known: TableEntry | None
    mutations: tuple[Mutation, ...] = ()


class _Range(Struct, frozen=True):
    """Pages of an earlier snapshot, and the parts that are now where those were; ``begun`` is the plan without them."""

    begun: TablePlan
    run: Sequence[PageRef] = ()
    now: Sequence[PartState] = ()


class _Compared(Struct, frozen=True):
    """What a range adds to a plan."""

    begun: TablePlan
    kept: tuple[KeptPage, ...] = ()
    send: tuple[PartitionLoad, ...] = ()


def plan_tables(tables: Iterable[Compare], earlier: Earlier, ahead: Ahead) -> Iterator[TablePlan]:
    """Compare tables with what is known of them and say what to keep and what to send, in their order.

    Of ``earlier`` only those pages are read whose digest no longer matches, and all if something is broken, as far
    ``ahead`` as that goes; the states of the tables are asked for in the caller's thread.
    """
    ranges = (_by_digest(found, earlier) for one in tables for found in _ranges(one))
    compared = ahead.each(lambda one: _by_pages(one, earlier), ranges, waits=lambda one: isinstance(one, _Range))
    for _, group in groupby(compared, key=lambda found: found.begun.table.name):
        found = list(group)
        begun = found[0].begun
        kept = tuple(page for one in found for page in one.kept)
        send = tuple(load for one in found for load in one.send)
        yield begun if begun.whole else replace(begun, kept=kept, send=send, whole=bool(send) and not kept)


def _ranges(one: Compare) -> Iterator[_Range]:
    """What of a table is to be compared; first a range without anything, which stands for the table."""
    table, known = one.table, one.known
    redefined = known is None or known.inspected != table.inspected or known.name != table.name
    if redefined or (known is not None and known.damaged) or table.kind is TableKind.FILES:
        loads = tuple(_load(part_id, list(group)) for part_id, group in _by_partition(one.states))
        yield _Range(TablePlan(table, known, one.mutations, send=loads, whole=True))
        return
    begun = TablePlan(table, known, one.mutations)
    yield _Range(begun)
    if table.kind is not TableKind.DEFINITION and known is not None:
        for run, now in _along_pages(known.pages, one.states):
            yield _Range(begun, run, now)


def _by_digest(one: _Range, earlier: Earlier) -> _Compared | _Range:
    """Compare a range without reading anything; if that is not enough, it is returned."""
    if not one.run:
        return _Compared(one.begun, send=_loads(_compare({}, one.now)[1]))
    if not earlier.broken and _untouched(one.run, one.now):
        return _Compared(one.begun, tuple(map(KeptPage, one.run)))
    return one


def _by_pages(one: _Compared | _Range, earlier: Earlier) -> _Compared:
    """Compare a range with its pages, unless that was not needed."""
    if isinstance(one, _Compared):
        return one
    if earlier.broken and _untouched(one.run, one.now) and all(map(earlier.whole, one.run)):
        return _Compared(one.begun, tuple(map(KeptPage, one.run)))
    same, changed = _compare(_partitions_of(earlier.pages(one.run), earlier.broken), one.now)
    kept = tuple(KeptPage(page, frozenset(same)) for page in one.run) if same else ()
    return _Compared(one.begun, kept, _loads(changed))


def _loads(changed: Sequence[tuple[str, list[PartState]]]) -> tuple[PartitionLoad, ...]:
    return tuple(_load(part_id, parts) for part_id, parts in changed)


def _untouched(run: Sequence[PageRef], now: Sequence[PartState]) -> bool:
    """Whether the pages of a run hold exactly these states, sound and with known hashes."""
    if sum(page.parts for page in run) != len(now):
        return False
    start = 0
    for page in run:
        states = now[start : start + page.parts]
        if page.damaged or not all(state.hash for state in states) or digest_of_states(states) != page.digest:
            return False
        start += page.parts
    return True


def _compare(
    before: dict[str, list[PartState]], now: Sequence[PartState]
) -> tuple[list[str], list[tuple[str, list[PartState]]]]:
    """Split the partitions that exist now into those equal to ``before`` and those that are not."""
    same: list[str] = []
    changed: list[tuple[str, list[PartState]]] = []
    for part_id, group in _by_partition(now):
        parts = list(group)
        if before.get(part_id) == parts and all(state.hash for state in parts):
            same.append(part_id)
        else:
            changed.append((part_id, parts))
    return same, changed


def _along_pages(
    pages: Sequence[PageRef], states: Iterable[PartState]
) -> Iterator[tuple[list[PageRef], list[PartState]]]:
    """Walk the known pages and the states of now side by side, range by range.

    Pages that end with the same partition form one range (a partition too large for one page); states after the last
    page come with no page at all.
    """
    runs = deque(list(group) for _, group in groupby(pages, key=lambda page: page.last))
    current: list[PartState] = []
    for state in states:
        while runs and state.partition > runs[0][-1].last:
            yield runs.popleft(), current
            current = []
        current.append(state)
    for run in runs:
        yield run, current
        current = []
    if current:
        yield [], current


def _partitions_of(pages: Sequence[Page], broken: Set[bytes]) -> dict[str, list[PartState]]:
    """The states that pages hold, by partition; one with damaged files counts as not held, so that it is sent again.

    So does one with files in a broken pack.
    """
    found: dict[str, list[PartState]] = {}
    for page in pages:
        for state in page.states():
            found.setdefault(state.partition, []).append(state)
    for page in pages:
        for part in page.parts() if page.has_damage or broken & page.packs.keys() else ():
            if any(file.damaged or any(extent.pack in broken for extent in file.extents) for file in part.files):
                found.pop(part.state.partition, None)
    return found


def _by_partition(states: Iterable[PartState]) -> Iterator[tuple[str, Iterator[PartState]]]:
    return groupby(states, key=lambda state: state.partition)


def _load(part_id: str, parts: Sequence[PartState]) -> PartitionLoad:
    files = sum(state.files or USUAL_FILES for state in parts)
    return PartitionLoad(part_id, files, sum(state.bytes for state in parts), len(parts))


def batches(plans: Iterable[TablePlan], *, files: int = FILES_PER_STATEMENT) -> list[Batch]:
    """Put what the plans ask for into as few statements as the limits allow, in the order of the plans.

    A table is asked for as a whole where it fits, because BACKUP then takes all of it at one moment; a larger one is
    asked for partition by partition.
    """
    result: list[Batch] = []
    items: list[BatchItem] = []
    weight = size = 0
    for item, item_files, item_bytes in _items(plans, files):
        if items and (
            weight + item_files > files or len(items) >= TABLES_PER_STATEMENT or items[-1].table == item.table
        ):
            result.append(Batch(tuple(items), size, weight))
            items, weight, size = [], 0, 0
        items.append(item)
        weight += item_files
        size += item_bytes
    if items:
        result.append(Batch(tuple(items), size, weight))
    return result


def _items(plans: Iterable[TablePlan], limit: int) -> Iterator[tuple[BatchItem, int, int]]:
    for plan in plans:
        if not plan.asks:
            continue
        files = sum(load.files for load in plan.send)
        if plan.whole and files <= limit:
            yield BatchItem(plan.table.name), files, sum(load.bytes for load in plan.send)
            continue
        chosen: list[PartitionLoad] = []
        weight = 0
        for load in plan.send:
            if chosen and weight + load.files > limit:
                yield _some(plan, chosen)
                chosen, weight = [], 0
            chosen.append(load)
            weight += load.files
        yield _some(plan, chosen)


def _some(plan: TablePlan, loads: Sequence[PartitionLoad]) -> tuple[BatchItem, int, int]:
    item = BatchItem(plan.table.name, tuple(load.id for load in loads))
    return item, sum(load.files for load in loads), sum(load.bytes for load in loads)
