"""What a dry run of a restore expects, beside what the restore then asks of the store and serves to ClickHouse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from coldhouse import repository as repositories
from coldhouse.operations.restore import RestoreReport
from coldhouse.operations.restore_estimate import RestoreEstimate
from coldhouse.storage import open_storage
from coldhouse.storage.counted import CountedStorage, Requests
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.world import PASSPHRASE, World

KINDS = ("put", "get", "list", "head", "delete")

#: A table of many small parts in few frames, one with columns longer than a run of 2 MiB, and others than MergeTree.
TABLES = (
    "CREATE TABLE {db}.small (id UInt64, day Date, s String) ENGINE = MergeTree ORDER BY id PARTITION BY toYYYYMM(day)",
    "INSERT INTO {db}.small SELECT number, toDate('2016-01-01') + number % 365, toString(number) FROM numbers(4000)",
    "CREATE TABLE {db}.wide (id UInt64, r String CODEC(NONE), q String CODEC(NONE)) ENGINE = MergeTree ORDER BY id "
    "SETTINGS min_bytes_for_wide_part = 0",
    "INSERT INTO {db}.wide SELECT number, randomString(90), randomString(30) FROM numbers(100000)",
    "CREATE TABLE {db}.empty (id UInt64) ENGINE = MergeTree ORDER BY id",
    "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
    "INSERT INTO {db}.log SELECT number FROM numbers(100000)",
    "CREATE VIEW {db}.view AS SELECT count() AS n FROM {db}.small",
)


@dataclass(frozen=True)
class Counting:
    """A world whose store counts."""

    world: World
    storage: CountedStorage

    def planned(self, restore: Callable[[bool], RestoreReport]) -> tuple[RestoreEstimate, Requests, Requests]:
        """What a dry run says, with both bounds of the requests since it began."""
        before = self.storage.requests
        report = restore(True)
        assert report.estimate is not None
        assert report.requests is None
        bounds = report.estimate.bounds
        return report.estimate, bounds.least - before, bounds.most - before

    def done(self, restore: Callable[[bool], RestoreReport]) -> tuple[RestoreReport, Requests]:
        """What a restore did, and the requests since it began."""
        before = self.storage.requests
        report = restore(False)
        assert report.estimate is None
        assert report.requests == self.storage.requests
        return report, self.storage.requests - before


@pytest.fixture(params=["folder_url", "s3_url"])
def counting(request: pytest.FixtureRequest, embedded: Clickhouse) -> Iterator[Counting]:
    """Two snapshots of these tables, in a folder and in a bucket; the second holds frames of both."""
    url, query = embedded
    storage = CountedStorage(open_storage(cast("str", request.getfixturevalue(request.param))))
    with repositories.init(storage, PASSPHRASE, kdf=CHEAP) as repository:
        world = World(url, query, repository, "counting")
        world.run("CREATE DATABASE {db}", *TABLES)
        world.backup()
        world.run("INSERT INTO {db}.small SELECT number, '2016-04-04', 'more' FROM numbers(10)")
        world.backup()
        yield Counting(world, storage)
        world.drop()


def check(counting: Counting, restore: Callable[[bool], RestoreReport], *, served: bool = True) -> Requests:
    """Run a restore dry and then really: what it does lies within what was said. Returns what it asked for."""
    estimate, least, most = counting.planned(restore)
    report, asked = counting.done(restore)
    for kind in (*KINDS, "uploaded", "downloaded"):
        bounds = getattr(least, kind), getattr(most, kind)
        assert bounds[0] <= getattr(asked, kind) <= bounds[1], (kind, asked, least, most)
    files = sum(counting.world.entry(each.name.table).files for each in report.tables)
    beside = (32 << 10) * len(report.tables) + 512 * files
    assert estimate.served_least <= report.served <= estimate.served_most + beside
    assert (estimate.served_most > 0) is served
    return asked


def test_everything(counting: Counting) -> None:
    world = counting.world
    before = world.content()
    world.drop()
    check(counting, lambda dry: world.restore(dry_run=dry))
    assert world.content() == before


def test_one_partition_reads_less_than_everything(counting: Counting) -> None:
    world = counting.world
    world.drop()
    asked = check(counting, lambda dry: world.restore(partitions=(("small", "201604"),), dry_run=dry))
    assert asked.downloaded < world.entry("wide").bytes / 2


def test_of_a_schema_nothing_is_open(counting: Counting) -> None:
    world = counting.world
    world.drop()
    _, least, most = counting.planned(lambda dry: world.restore(schema_only=True, dry_run=dry))
    assert all(getattr(least, kind) == getattr(most, kind) for kind in (*KINDS, "downloaded"))
    check(counting, lambda dry: world.restore(schema_only=True, dry_run=dry), served=False)


def test_what_lies_in_a_frame_of_its_own_is_known_to_the_request(counting: Counting) -> None:
    """A Log table is a few small files: open is at most whether their frames come one by one."""
    world = counting.world
    world.drop()
    _, least, most = counting.planned(lambda dry: world.restore(include=("counting.log",), dry_run=dry))
    assert all(getattr(least, kind) == getattr(most, kind) for kind in KINDS if kind != "get")
    assert most.get - least.get <= 4
    check(counting, lambda dry: world.restore(include=("counting.log",), dry_run=dry))


def test_a_table_of_long_columns(counting: Counting) -> None:
    world = counting.world
    world.drop()
    check(counting, lambda dry: world.restore(include=("counting.wide",), dry_run=dry))


@pytest.mark.parametrize("existing", ["replace", "append", "skip"])
def test_beside_what_is_there(counting: Counting, existing: str) -> None:
    world = counting.world
    how = cast("Callable[..., RestoreReport]", world.restore)
    check(counting, lambda dry: how(existing=existing, dry_run=dry), served=existing != "skip")


def test_what_looks_for_damage_first_reads_up_to_twice(counting: Counting) -> None:
    world = counting.world
    world.drop()
    check(counting, lambda dry: world.restore(skip_damaged=True, dry_run=dry))


def test_a_dry_run_reads_no_more_manifests_than_the_restore(counting: Counting) -> None:
    world = counting.world
    world.drop()
    before = counting.storage.requests
    world.restore(partitions=(("small", "201604"),), dry_run=True)
    dry = counting.storage.requests - before
    _, asked = counting.done(lambda dry: world.restore(partitions=(("small", "201604"),), dry_run=dry))
    assert dry.get < asked.get
    assert dry.downloaded < asked.downloaded
