"""The main job: back up, change, back up again, lose it, get it back."""

from __future__ import annotations

from tests.scenarios.world import World

MIXED = """
CREATE TABLE {db}.events
(id UInt64, day Date, kind LowCardinality(String), tags Array(String), price Nullable(Decimal(10, 2)))
ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY id
"""
FILL = """
INSERT INTO {db}.events SELECT number, toDate('2026-01-01') + number % 90, ['a', 'b', 'c'][1 + number % 3],
arrayMap(i -> toString(i), range(number % 4)), if(number % 5 = 0, NULL, number / 100) FROM numbers(20000)
"""


def test_a_lost_database_comes_back_as_it_was(world: World) -> None:
    world.run(MIXED, FILL, "CREATE VIEW {db}.v AS SELECT kind, count() AS n FROM {db}.events GROUP BY kind")
    before = world.content()
    receipt = world.backup()
    assert receipt.complete
    assert receipt.snapshot.full

    world.drop()
    report = world.restore()

    assert report.complete
    assert world.content() == before


def test_an_increment_stores_only_what_changed_and_restores_everything(world: World) -> None:
    world.run(MIXED, FILL)
    first = world.backup().snapshot
    world.run("INSERT INTO {db}.events SELECT number, '2026-03-31', 'new', [], 1 FROM numbers(100)")
    before = world.content()
    second = world.backup().snapshot
    d = second.accounting
    assert d.data == d.reused + d.new
    assert 0 < d.new < first.accounting.new / 5
    assert second.parent == first.id

    world.drop()
    world.restore(second)
    assert world.content() == before


def test_nothing_changed_sends_nothing(world: World) -> None:
    world.run(MIXED, FILL)
    world.backup()
    again = world.backup().snapshot.accounting
    assert (again.new, again.sent) == (0, 0)
    assert again.data == again.reused > 0
