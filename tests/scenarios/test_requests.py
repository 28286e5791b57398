"""What small works ask of a store, to the single request: a regression in cost is seen here, without a clock.

The numbers are in one place, COSTS. Packs are not counted exactly where several threads may fill them; these tables are
so small that all they send goes into one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from coldhouse import repository as repositories
from coldhouse.operations import backup, backup_plan, forget, pin, show, snapshots, verify
from coldhouse.operations.estimate import BackupPreview, Bounds
from coldhouse.records import replace
from coldhouse.repository import open_repository
from coldhouse.storage import open_storage
from coldhouse.storage.counted import CountedStorage, Requests
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.world import PASSPHRASE, World

T = TypeVar("T")

#: Work by work, in the order of the story below: PUT, GET, LIST, HEAD and DELETE, and how many objects there are then.
COSTS = {
    "init": "2 PUT 1 GET 2 LIST 0 HEAD 0 DELETE, 2 objects",
    "open": "0 PUT 2 GET 1 LIST 0 HEAD 0 DELETE, 2 objects",
    "first backup of one small table": "5 PUT 0 GET 3 LIST 3 HEAD 1 DELETE, 6 objects",
    "snapshots": "0 PUT 1 GET 3 LIST 0 HEAD 0 DELETE, 6 objects",
    "show": "0 PUT 3 GET 2 LIST 0 HEAD 0 DELETE, 6 objects",
    "dry run of the restore": "1 PUT 5 GET 1 LIST 0 HEAD 1 DELETE, 6 objects",
    "restore of the table": "2 PUT 7 GET 1 LIST 0 HEAD 2 DELETE, 6 objects",
    "increment, nothing changed": "2 PUT 4 GET 3 LIST 1 HEAD 1 DELETE, 11 objects",
    "increment, one of 12 partitions changed": "5 PUT 8 GET 3 LIST 6 HEAD 1 DELETE, 15 objects",
    "restore of the schema": "2 PUT 7 GET 1 LIST 0 HEAD 2 DELETE, 15 objects",
    "restore of one partition": "2 PUT 15 GET 1 LIST 0 HEAD 2 DELETE, 15 objects",
    "verify --level structure": "2 PUT 8 GET 4 LIST 0 HEAD 1 DELETE, 16 objects",
    "forget": "1 PUT 6 GET 9 LIST 0 HEAD 0 DELETE, 16 objects",
}

TABLE = (
    "CREATE TABLE {db}.events (id UInt64, day Date, s String) ENGINE = MergeTree ORDER BY id PARTITION BY "
    "toYYYYMM(day)",
    "INSERT INTO {db}.events SELECT number, toDate('2016-01-01') + number % 365, toString(number) FROM numbers(4000)",
)
NO_MERGES = "SYSTEM STOP MERGES {db}.events"
CHANGE = "INSERT INTO {db}.events SELECT number, '2016-04-04', 'more' FROM numbers(10)"


class Bill:
    """Runs works and says what each one asked of the store."""

    def __init__(self, storage: CountedStorage) -> None:
        self._storage = storage
        self.found: dict[str, str] = {}

    def run(self, name: str, work: Callable[[], T]) -> T:
        before = self._storage.requests
        done = work()
        asked = self._storage.requests - before
        numbers = " ".join(
            f"{getattr(asked, kind)} {kind.upper()}" for kind in ("put", "get", "list", "head", "delete")
        )
        objects = sum(1 for _ in open_storage(self._storage.url).list(""))
        self.found[name] = f"{numbers}, {objects} objects"
        return done


@pytest.fixture
def storage(folder_url: str) -> CountedStorage:
    return CountedStorage(open_storage(folder_url))


def test_every_work_costs_what_it_costs(embedded: Clickhouse, storage: CountedStorage) -> None:
    """One story: make a repository, back up, look, lose, restore, back up again, prove, forget."""
    url, query = embedded
    bill = Bill(storage)
    bill.run("init", lambda: repositories.init(storage, PASSPHRASE, kdf=CHEAP))
    repository = bill.run("open", lambda: open_repository(storage, PASSPHRASE))
    world = World(url, query, repository, "billed")
    world.run("CREATE DATABASE {db}", *TABLE)
    first = bill.run("first backup of one small table", world.backup).snapshot
    bill.run("snapshots", lambda: _list(world))
    bill.run("show", lambda: show.run(repository, "latest"))
    world.drop()
    bill.run("dry run of the restore", lambda: world.restore(dry_run=True))
    bill.run("restore of the table", world.restore)
    # What ClickHouse restores it numbers anew, so the next backup compares with what it has just seen.
    world.backup()
    bill.run("increment, nothing changed", world.backup)
    world.run(NO_MERGES, CHANGE)
    bill.run("increment, one of 12 partitions changed", world.backup)
    world.drop()
    bill.run("restore of the schema", lambda: world.restore(schema_only=True))
    world.drop()
    bill.run("restore of one partition", lambda: world.restore(partitions=(("events", "201604"),)))
    bill.run("verify --level structure", lambda: verify.run(repository, verify.VerifyOptions("latest")))
    bill.run("forget", lambda: _forget(world, first.id))
    world.drop()
    assert list(bill.found) == list(COSTS)
    assert [line for line in bill.found.items() if line not in COSTS.items()] == []


def _list(world: World) -> None:
    found = snapshots.run(world.repository)
    snapshots.proofs(world.repository, found)
    pin.known_pins(world.repository)


def _forget(world: World, id: str) -> None:
    plan = forget.prepare(world.repository, forget.ForgetOptions(names=(id,)))
    assert forget.execute(world.repository, plan).forgotten == (id,)


# ------------------------------------------------------------------------------------------------------- estimates


@pytest.fixture
def counted(embedded: Clickhouse, storage: CountedStorage) -> Iterator[World]:
    """A world whose store counts."""
    url, query = embedded
    with repositories.init(storage, PASSPHRASE, kdf=CHEAP) as repository:
        world = World(url, query, repository, "estimated")
        world.run("CREATE DATABASE {db}", *TABLE)
        yield world
        world.drop()


def test_an_unchanged_increment_is_known_exactly_before_it_happens(counted: World, storage: CountedStorage) -> None:
    counted.backup()
    preview, before = _preview(counted, storage)
    assert (preview.estimate.statements, preview.estimate.sent) == (0, 0)
    counted.backup()
    asked = storage.requests - before
    least, most = preview.requests.least, preview.requests.most
    assert replace(least, uploaded=0) == replace(most, uploaded=0) == replace(asked, uploaded=0)
    assert 0 < asked.uploaded <= most.uploaded


CHANGES = {
    "a row in one partition, and a new table": (
        CHANGE,
        "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
        "INSERT INTO {db}.log SELECT number FROM numbers(100000)",
    ),
    "every part": ("ALTER TABLE {db}.events UPDATE s = 'x' WHERE 1 SETTINGS mutations_sync = 2",),
    "another definition": ("ALTER TABLE {db}.events ADD COLUMN n UInt8",),
    "a partition and a table less": (
        "ALTER TABLE {db}.events DROP PARTITION ID '201604'",
        "DROP TABLE {db}.log SYNC",
    ),
}


@pytest.mark.parametrize("archives", [False, True])
def test_what_happens_lies_within_what_was_estimated(
    counted: World, storage: CountedStorage, archives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first backup, and one after each change: every kind of request, and the bytes each way."""
    monkeypatch.setattr(backup_plan, "FILES_OF_AN_ARCHIVE", 0 if archives else 1 << 30)
    monkeypatch.setattr(backup_plan, "BYTES_OF_AN_ARCHIVED_FILE", 1 << 40)
    for change, statements in {"at first": (), **CHANGES}.items():
        counted.run(*statements)
        preview, before = _preview(counted, storage)
        snapshot = counted.backup().snapshot
        asked = storage.requests - before
        for kind in ("put", "get", "list", "head", "delete", "uploaded", "downloaded"):
            bounds = getattr(preview.requests.least, kind), getattr(preview.requests.most, kind)
            assert bounds[0] <= getattr(asked, kind) <= bounds[1], (change, kind, asked, preview.requests)
        assert snapshot.accounting.sent <= preview.estimate.sent, change
        assert snapshot.parent == preview.parent, change


def test_a_dry_run_stores_nothing_and_names_what_it_would_ask_for(counted: World, storage: CountedStorage) -> None:
    counted.backup()
    counted.run(CHANGE, "CREATE TABLE {db}.young (id UInt8) ENGINE = MergeTree ORDER BY id")
    objects = sorted(each.name for each in storage.list(""))
    preview, _ = _preview(counted, storage)
    assert sorted(each.name for each in storage.list("")) == objects
    said = [(each.name.table, each.action, each.partitions) for each in preview.tables]
    assert said == [("events", "ask", 1), ("young", "ask", None)]


def _preview(world: World, storage: CountedStorage) -> tuple[BackupPreview, Requests]:
    """What a dry run says, its own requests counted from here on."""
    before = storage.requests
    preview = backup.preview(world.repository, backup.BackupOptions(source=world.url, include=(f"{world.db}.*",)))
    shift = Requests() - before
    moved = Bounds(preview.requests.least + shift, preview.requests.most + shift)
    return replace(preview, requests=moved), storage.requests
