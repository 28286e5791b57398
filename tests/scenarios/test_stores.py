"""The same work with the repository in a bucket: S3 (SeaweedFS), Azure (Azurite), Google (a stub of its interface)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from coldhouse.errors import NoRepository
from coldhouse.operations.opening import open_at
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.world import PASSPHRASE, World

ROWS = (
    "CREATE TABLE {db}.t (id UInt64, day Date, s String, r String CODEC(NONE)) ENGINE = MergeTree "
    "PARTITION BY toYYYYMM(day) ORDER BY id SETTINGS min_bytes_for_wide_part = 0",
    "INSERT INTO {db}.t SELECT number, toDate('2026-01-01') + number % 60, toString(number), randomString(100) "
    "FROM numbers(20000)",
    "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
    "INSERT INTO {db}.log SELECT number FROM numbers(1000)",
    "CREATE VIEW {db}.v AS SELECT count() AS n FROM {db}.t",
)


@pytest.fixture(params=["s3_url", "az_url", "gs_url"])
def bucket(request: pytest.FixtureRequest) -> str:
    """An empty place in a bucket; the environment holds what is needed to use it."""
    return cast("str", request.getfixturevalue(request.param))


@pytest.fixture
def bucket_world(clickhouse: Clickhouse, bucket: str) -> Iterator[World]:
    yield from play(clickhouse, bucket)


def test_a_series_in_a_bucket_comes_back(bucket_world: World) -> None:
    world = bucket_world
    world.run(*ROWS)
    before = world.content()
    first = world.backup().snapshot
    world.run(
        "INSERT INTO {db}.t SELECT number, '2026-02-02', 'x', 'y' FROM numbers(500)",
        "ALTER TABLE {db}.t DELETE WHERE id % 1000 = 0 SETTINGS mutations_sync = 2",
        "INSERT INTO {db}.log SELECT number FROM numbers(10)",
    )
    after = world.content()
    second = world.backup().snapshot
    assert second.parent == first.id
    assert second.accounting.data == second.accounting.reused + second.accounting.new
    assert world.backup().snapshot.accounting.sent == 0
    world.drop()
    world.restore(second)
    assert world.content() == after
    world.drop()
    world.restore(first)
    assert world.content() == before


def test_a_repository_in_a_bucket_opens_again(bucket_world: World, bucket: str) -> None:
    bucket_world.run(*ROWS)
    made = bucket_world.backup().snapshot
    with open_at(bucket, PASSPHRASE) as repository:
        assert repository.snapshot_ids() == [made.id]
    with pytest.raises(NoRepository):
        open_at(f"{bucket.split('?', maxsplit=1)[0]}-elsewhere", PASSPHRASE)
