"""A repository that lost something: everything else comes back, exactly, and what does not is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.errors import Corruption
from coldhouse.operations import restore
from coldhouse.operations.restore_plan import Share
from coldhouse.repository import manifest_name
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.damage import flip, flip_data_of, packs
from tests.scenarios.world import World

MAKE = (
    "CREATE TABLE {db}.t (id UInt64, p UInt8, text String CODEC(NONE)) ENGINE = MergeTree PARTITION BY p ORDER BY id",
    "CREATE TABLE {db}.other (id UInt64) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.other SELECT number FROM numbers(1000)",
    "CREATE TABLE {db}.log (a String) ENGINE = Log",
    "INSERT INTO {db}.log SELECT toString(number) FROM numbers(100)",
)
FILL = "INSERT INTO {db}.t SELECT number, %s, randomString(600) FROM numbers(4000)"


@pytest.fixture
def world(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    yield from play(embedded, folder_url)


def skipping(world: World, partitions: tuple[tuple[str, str], ...] = ()) -> restore.RestoreReport:
    """What is lost is lost: restore the rest of the latest snapshot into an empty place."""
    world.drop()
    return world.restore(partitions=partitions, skip_damaged=True)


def rows(world: World, partitions: set[str] | None = None) -> str:
    """Count and hash of the rows of some partitions of ``t``, or of all."""
    chosen = "1" if partitions is None else "_partition_id IN (" + ", ".join(f"'{one}'" for one in partitions) + ")"
    return world.ask(f"SELECT count(), sum(cityHash64(*)), groupBitXor(cityHash64(*)) FROM {{db}}.t WHERE {chosen}")


def there(world: World, table: str) -> tuple[int, int]:
    """How many parts and rows a table has now, by ClickHouse's own word."""
    where = f"database = '{{db}}' AND table = '{table}' AND active"
    parts, count = world.ask(f"SELECT count(), sum(rows) FROM system.parts WHERE {where}").split("\t")
    return int(parts), int(count)


def stored_in(world: World, table: str, partitions: set[str]) -> int:
    """The bytes of the files of some partitions in the latest snapshot."""
    parts = world.repository.parts(world.entry(table), partitions)
    return sum(file.size for part in parts for file in part.files)


def lost_parts(report: restore.RestoreReport, db: str) -> set[str]:
    """The partitions of the parts of ``t`` that the report names (part names begin with them)."""
    named = [re.match(rf"{db}\.t part (\w+?)_", text) for text in report.left_out]
    return {match[1] for match in named if match}


def test_parts_in_a_damaged_frame_are_left_out_and_all_others_come_back(world: World) -> None:
    world.run(*MAKE, FILL % "number % 8")
    others = {name: world.content_of(name) for name in ("other", "log")}
    world.backup()
    every = {str(number) for number in range(8)}
    before = {partition: rows(world, {partition}) for partition in every}
    pack = flip_data_of(world, "t")
    world.drop()
    with pytest.raises(Corruption, match=pack.name):
        world.restore()

    report = skipping(world)

    assert not report.complete
    lost = lost_parts(report, world.db)
    assert len(lost) == 1  # the one that lies in that frame
    assert all(f"packs/{pack.name[:2]}/{pack.name}" in text for text in report.left_out)
    assert rows(world) == rows(world, every - lost)
    assert {one: rows(world, {one}) for one in every - lost} == {one: before[one] for one in every - lost}
    assert {name: world.content_of(name) for name in ("other", "log")} == others
    outcomes = {one.name.table: one for one in report.tables}
    assert {name: one.status for name, one in outcomes.items()} == {
        "t": "in part",
        "other": "restored",
        "log": "restored",
    }
    assert outcomes["t"].left_out.rows == 500 * len(lost)
    assert outcomes["t"].brought == Share(*there(world, "t"), stored_in(world, "t", every - lost))
    assert outcomes["other"].brought == Share(*there(world, "other"), world.entry("other").bytes)


def test_without_a_pack_everything_that_lies_elsewhere_comes_back(world: World, folder_url: str) -> None:
    world.run(*MAKE, FILL % "1")
    kept = rows(world)
    world.backup()
    before = set(packs(Path(folder_url)))
    world.run(FILL % "2")
    world.backup()
    (added,) = set(packs(Path(folder_url))) - before
    added.unlink()

    report = skipping(world)

    assert lost_parts(report, world.db) == {"2"}
    assert rows(world) == kept


def test_a_table_without_parts_is_left_out_whole_and_its_definition_comes_back(world: World, folder_url: str) -> None:
    world.run("CREATE TABLE {db}.log (a String) ENGINE = Log", "INSERT INTO {db}.log VALUES ('a')")
    world.backup()
    for pack in packs(Path(folder_url)):
        pack.unlink()
    report = skipping(world)
    assert len(report.left_out) == 1
    assert report.left_out[0].startswith(f"{world.db}.log all of it (")
    assert world.ask("SELECT count() FROM {db}.log") == "0"
    (outcome,) = report.tables
    assert (outcome.status, outcome.brought) == ("in part", Share())


def test_a_lost_page_costs_its_partitions_and_a_lost_catalog_is_counted(world: World, folder_url: str) -> None:
    world.run(*MAKE, (FILL % "number % 40").replace("600", "6"))
    world.backup()
    entry = world.entry("t")
    (page,) = entry.pages
    Path(folder_url, manifest_name(page.ref.id)).unlink()

    report = skipping(world)
    assert [text for text in report.left_out if "40 parts with 4,000 rows" in text]
    assert [text for text in report.left_out if manifest_name(page.ref.id) in text]
    assert world.ask("SELECT count() FROM {db}.t") == "0"
    assert world.ask("SELECT count() FROM {db}.other") == "1000"
    outcomes = {one.name.table: one for one in report.tables}
    assert (outcomes["t"].status, outcomes["t"].brought) == ("in part", Share())

    (catalog,) = world.snapshots()[-1].catalog
    flip(Path(folder_url, manifest_name(catalog.id)))
    world.drop()
    with pytest.raises(Corruption):
        world.restore()
    report = skipping(world)
    assert report.left_out == (f"3 tables whose names and definitions were in {manifest_name(catalog.id)}",)
    assert not report.complete


def test_a_repeat_with_skip_damaged_goes_on_where_damage_ended_the_first_one(world: World) -> None:
    world.run(*MAKE, FILL % "number % 8")
    other = world.content_of("other")
    world.backup()
    flip_data_of(world, "t")
    world.drop()
    with pytest.raises(Corruption):
        world.restore()
    report = world.restore(skip_damaged=True)  # no --existing: what the first one made is its own
    assert not report.complete
    assert world.content_of("other") == other
    assert {one.name.table: one.status for one in report.tables} == {
        "t": "in part",
        "other": "restored",
        "log": "restored",
    }


@pytest.mark.long
def test_of_a_partition_that_lost_one_of_its_pages_what_came_back_is_counted(world: World, folder_url: str) -> None:
    world.run(
        "CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree PARTITION BY id % 1 ORDER BY id "
        "SETTINGS parts_to_delay_insert = 9999, parts_to_throw_insert = 9999",
        "SYSTEM STOP MERGES {db}.t",
        "INSERT INTO {db}.t SELECT number FROM numbers(1001) "
        "SETTINGS max_block_size = 1, min_insert_block_size_rows = 1, min_insert_block_size_bytes = 1",
    )
    world.backup()
    lost, *others = world.entry("t").pages
    assert others
    Path(folder_url, manifest_name(lost.ref.id)).unlink()
    report = skipping(world, partitions=(("t", "0"),))
    (outcome,) = report.tables
    assert outcome.status == "in part"
    assert outcome.brought.rows == sum(page.rows for page in others) == there(world, "t")[1]


def test_nothing_is_left_out_of_a_sound_snapshot(world: World) -> None:
    world.run(*MAKE, FILL % "number % 3")
    before = world.content()
    world.backup()
    assert skipping(world).complete
    assert world.content() == before
    assert skipping(world, partitions=(("t", "1"),)).complete
