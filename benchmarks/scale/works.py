"""The works that are measured, each on a repository that holds one snapshot of an invented database."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.scale.invented import DATABASE, Invented, InventedDelivery, PretendedPacks, Shape
from coldhouse import repository as repositories
from coldhouse.clickhouse import DatabaseState, Selection
from coldhouse.model import Snapshot, SourceInfo, TableName
from coldhouse.operations import pin, prune, show, snapshots
from coldhouse.operations.backup_plan import Compare, batches, plan_tables
from coldhouse.operations.history import History
from coldhouse.operations.recording import Recorder, account, pages_to_read
from coldhouse.operations.renaming import Renaming
from coldhouse.operations.restore_plan import Share, choose, plan_restore
from coldhouse.repository import KdfCost, Repository, new_snapshot_id
from coldhouse.storage.counted import CountedStorage, Requests

PASSPHRASE = "nothing is secret here"
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)
SOURCE = SourceInfo("http://localhost:8123", "an invented database", "localhost", "26.9.1.1", "UTC")

FIRST = "first snapshot"
UNCHANGED = "increment, nothing changed"
RECENT = "increment, 2 % changed, last partitions"
ONE_PARTITION = "plan the restore of one partition"
LAST_CHANGE = "every partition"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a work cost: seconds and requests."""

    seconds: float
    requests: Requests


@dataclass(frozen=True, slots=True)
class Place:
    """A repository in a folder, for an invented database of this shape."""

    folder: Path
    shape: Shape

    def open(self, change: str = "nothing") -> tuple[Repository, CountedStorage]:
        """The repository, and the store that counts what it is asked from now on."""
        storage = CountedStorage(PretendedPacks(self.folder, Invented(self.shape, change).packs()))
        return repositories.open_repository(storage, PASSPHRASE), storage


def build(place: Place) -> Measured:
    """Make the repository, and the first snapshot."""
    storage = PretendedPacks(place.folder, ())
    repositories.init(storage, PASSPHRASE, kdf=CHEAP).close()
    return _timed(place, "nothing", lambda repository: back_up(repository, Invented(place.shape)))


def increment(place: Place, change: str) -> Measured:
    """The next snapshot after a change; it is taken away again, so that the next work finds the same parent."""
    made: list[str] = []

    def work(repository: Repository) -> None:
        made.append(back_up(repository, Invented(place.shape, change)).id)

    measured = _timed(place, change, work)
    repository, _ = place.open()
    with repository:
        repository.forget(made)
    return measured


def listing(place: Place) -> Measured:
    """What ``coldhouse snapshots`` reads."""

    def work(repository: Repository) -> None:
        found = snapshots.run(repository)
        snapshots.proofs(repository, found)
        pin.known_pins(repository)

    return _timed(place, "nothing", work)


def showing(place: Place) -> Measured:
    """What ``coldhouse show`` reads."""
    return _timed(place, "nothing", lambda repository: show.run(repository, "latest"))


def restore_plan(place: Place) -> Measured:
    """The plan of a restore of one partition, and the page that its RESTORE statement will need."""
    name = TableName(DATABASE, f"t{place.shape.tables // 2:05}")
    wanted = frozenset((f"{place.shape.partitions // 2:07}",))

    def work(repository: Repository) -> None:
        snapshot = repository.find("latest")
        chosen = choose(repository.entries(snapshot), Selection(), {name: wanted})
        (entry,) = (each for each in chosen if each.name == name)
        parts = list(repository.parts(entry, wanted))
        if len(parts) != place.shape.partition:
            raise AssertionError(f"{len(parts)} parts found")
        share = Share(len(parts), sum(part.state.rows for part in parts), 0)
        plan_restore(chosen, Renaming.parse(()), frozenset(), "fail", {name: (wanted, share)})

    return _timed(place, "nothing", work)


def pruning(place: Place) -> Measured:
    """Walk from the snapshot that is left, and delete what the increments stored that were taken away again."""

    def work(repository: Repository) -> None:
        report = prune.run(repository, prune.PruneOptions(max_unused=100))  # invented packs cannot be written anew
        if not report.collected.deleted.packs or not report.collected.deleted.manifests:
            raise AssertionError(f"nothing was found to delete: {report}")

    return _timed(place, LAST_CHANGE, work)


WORKS: dict[str, Callable[[Place], Measured]] = {
    FIRST: build,
    UNCHANGED: lambda place: increment(place, "nothing"),
    RECENT: lambda place: increment(place, "last partitions"),
    "increment, 2 % changed, every 50th partition": lambda place: increment(place, "every 50th partition"),
    "increment, 2 % changed, a part of every partition": lambda place: increment(place, LAST_CHANGE),
    "list the snapshots": listing,
    "show the snapshot": showing,
    ONE_PARTITION: restore_plan,
    "prune": pruning,
}


def back_up(repository: Repository, database: Invented) -> Snapshot:
    """A backup without its ClickHouse: compare, let what changed be delivered, record, commit."""
    history = History.of(repository, SOURCE.identity, ((), ()), full=False)
    tables = (Compare(table, database.states(table.name), history.table(table)) for table in database.tables)
    with repository.reading_ahead() as ahead:
        plans = list(plan_tables(tables, history.pages, ahead))
    moment = datetime.now(UTC)
    id = new_snapshot_id(moment)
    state = DatabaseState(DATABASE, "Atomic", "00000000-0000-4000-8000-00000000ffff", "CREATE DATABASE shop")
    with repository.draft(history.shared) as draft:
        delivery = InventedDelivery(repository, database, batches(plans), history)
        recorder = Recorder(repository.pages(pages_to_read(plans)), draft, delivery, id)
        entries = [recorder.database(state, history.database(DATABASE)), *map(recorder.table, plans)]
        return draft.commit(
            Snapshot(
                id=id,
                started=moment,
                finished=moment,
                source=SOURCE,
                parent=history.parent.id if history.parent else "",
                tags={},
                accounting=account(entries, id),
                catalog=(),
            )
        )


def _timed(place: Place, change: str, work: Callable[[Repository], object]) -> Measured:
    repository, storage = place.open(change)
    with repository:
        before, start = storage.requests, time.perf_counter()
        work(repository)
        return Measured(time.perf_counter() - start, storage.requests - before)
