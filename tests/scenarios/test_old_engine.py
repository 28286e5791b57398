"""The oldest engine that can BACKUP and be tested here (26.7), alone and together with the newest.

Losses, mutations and increments are played in it as well, in files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.test_restore_options import SHOP
from tests.scenarios.test_round_trips import NO_MERGES, comes_back
from tests.scenarios.world import World
from tests.support.engine import EngineServer


@pytest.fixture
def old_world(old_server: Clickhouse, tmp_path: Path) -> Iterator[World]:
    yield from play(old_server, str(tmp_path / "repository"))


def test_tables_of_many_kinds_come_back(old_world: World) -> None:
    old_world.run(
        *SHOP,
        "CREATE TABLE {db}.types (id UInt64, a Array(String), m Map(String, UInt8), n Nullable(Float64), j JSON, "
        "d Dynamic, v Variant(UInt8, String), l LowCardinality(String), PROJECTION p (SELECT l, count() GROUP BY l), "
        "INDEX i n TYPE minmax) ENGINE = MergeTree ORDER BY id SETTINGS min_bytes_for_wide_part = 0",
        """INSERT INTO {db}.types SELECT number, [toString(number)], map('k', 1), if(number % 2 = 0, NULL, number),
        '{"a": {"b": 1}}', number::Dynamic, 'x'::Variant(UInt8, String), toString(number % 3) FROM numbers(1000)""",
        "CREATE TABLE {db}.tiny (id UInt64) ENGINE = TinyLog",
        "INSERT INTO {db}.tiny VALUES (1), (2)",
        "CREATE TABLE {db}.stripe (id UInt64) ENGINE = StripeLog",
        "INSERT INTO {db}.stripe VALUES (1), (2)",
        "CREATE TABLE {db}.memory (id UInt64) ENGINE = Memory",
        "INSERT INTO {db}.memory VALUES (1), (2)",
        f"CREATE TABLE {{db}}.r (id UInt32, v UInt32) ENGINE = ReplacingMergeTree ORDER BY id SETTINGS {NO_MERGES}",
        *(f"INSERT INTO {{db}}.r SELECT number, {turn} FROM numbers(10)" for turn in range(11)),
        'CREATE TABLE {db}.`naïve / "%20"` (`a.b` UInt8) ENGINE = Log',
        'INSERT INTO {db}.`naïve / "%20"` VALUES (1)',
    )
    comes_back(old_world, final=True)


def test_a_series_comes_back(old_world: World) -> None:
    world = old_world
    world.run(*SHOP)
    series = [(world.backup().snapshot, world.content())]
    for change in (
        "INSERT INTO {db}.sales SELECT number, '2026-02-02', 9 FROM numbers(100)",
        "INSERT INTO {db}.notes SELECT 'grown' FROM numbers(5)",
        "ALTER TABLE {db}.sales UPDATE shop = shop + 1 WHERE id % 2 = 0 SETTINGS mutations_sync = 2",
        "ALTER TABLE {db}.sales RENAME COLUMN shop TO store SETTINGS mutations_sync = 2",
    ):
        if "RENAME" in change:
            world.run("DROP VIEW {db}.view", "DROP VIEW {db}.mv", "DROP VIEW {db}.mv_to")
        world.run(change)
        series.append((world.backup().snapshot, world.content()))
    again = world.backup().snapshot.accounting
    assert (again.sent, again.new) == (0, 0)
    for snapshot, content in series:
        world.drop()
        world.restore(snapshot)
        assert world.content() == content


def test_after_a_restore_mutations_take_effect(old_world: World) -> None:
    """A part keeps its mutation number through RESTORE; served with it, later mutations would do nothing."""
    world = old_world
    world.run(
        "CREATE TABLE {db}.t (id UInt32, s String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.t SELECT number, 'a' FROM numbers(10)",
        "ALTER TABLE {db}.t UPDATE s = 'b' WHERE id < 5 SETTINGS mutations_sync = 2",
    )
    comes_back(world)
    world.run(
        "ALTER TABLE {db}.t RENAME COLUMN s TO name SETTINGS mutations_sync = 2",
        "ALTER TABLE {db}.t UPDATE name = 'c' WHERE id = 9 SETTINGS mutations_sync = 2",
    )
    assert world.ask(
        "SELECT groupArray((name, n)) FROM (SELECT name, count() AS n FROM {db}.t GROUP BY name ORDER BY name)"
    ) == ("[('a',4),('b',5),('c',1)]")


@pytest.mark.parametrize("direction", ["older to newer", "newer to older"])
def test_between_versions(old_server: Clickhouse, module_engine: EngineServer, tmp_path: Path, direction: str) -> None:
    new_server = (module_engine.url, module_engine.query)
    source, target = (old_server, new_server) if direction == "older to newer" else (new_server, old_server)
    for world in play(source, str(tmp_path / "repository")):
        world.run(*SHOP)
        world.backup()
        other = World(*target, world.repository, world.db)
        other.restore()
        assert other.content() == world.content()
        other.drop()
