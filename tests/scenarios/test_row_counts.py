"""The rows that come back are counted, and compared with those that the snapshot says it has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coldhouse.clickhouse import inspect
from coldhouse.clickhouse.document import RestoreFile
from coldhouse.errors import RestoreFailed
from coldhouse.model import TableName
from coldhouse.operations.restore_plan import TableOutcome, TableStep
from coldhouse.operations.restore_source import RestoreSource
from coldhouse.operations.restore_table import TableRestore
from tests.scenarios.world import World

REPLACING = "ReplacingMergeTree ORDER BY a"


def filled(world: World, engine: str, rows: int = 30) -> None:
    """A table in three parts (or three blocks) of so many rows together; nothing merges at the source."""
    world.run(f"CREATE TABLE {{db}}.t (a UInt64) ENGINE = {engine}")
    if "MergeTree" in engine:
        world.run("SYSTEM STOP MERGES {db}.t")
    for start in range(0, rows, rows // 3):
        world.run(f"INSERT INTO {{db}}.t SELECT {start} + number FROM numbers({rows // 3})")


# ------------------------------------------------------------------------------------------------- tables without parts


def test_the_rows_of_a_tinylog_table_are_counted_at_the_source(world: World) -> None:
    filled(world, "TinyLog")
    receipt = world.backup()
    entry = world.entry("t")
    assert (entry.rows, entry.rows_known, receipt.snapshot.accounting.rows) == (30, True, 30)
    world.drop()
    (outcome,) = world.restore().tables
    assert (outcome.rows, outcome.rows_restored) == (30, 30)


def test_an_empty_tinylog_table_is_known_to_be_empty(world: World) -> None:
    world.run("CREATE TABLE {db}.t (a UInt64) ENGINE = TinyLog")
    world.backup()
    assert world.entry("t").rows_known
    world.drop()
    (outcome,) = world.restore().tables
    assert (outcome.rows, outcome.rows_known, outcome.rows_restored) == (0, True, 0)


def test_rows_that_were_written_while_the_table_was_sent_are_not_guessed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(world, "TinyLog")
    real = inspect.count_rows

    def count_and_write(*asked: object) -> int:
        found = real(*asked)  # type: ignore[arg-type]
        world.run("INSERT INTO {db}.t VALUES (1000)")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(inspect, "count_rows", count_and_write)
        world.backup()
    assert (world.entry("t").rows, world.entry("t").rows_known) == (0, False)
    world.drop()
    (outcome,) = world.restore().tables
    assert (outcome.rows_known, outcome.rows_restored) == (False, 31)

    world.backup()  # in peace
    assert (world.entry("t").rows, world.entry("t").rows_known) == (31, True)


# --------------------------------------------------------------------------------------------------- what does not come


@pytest.mark.parametrize("engine", ["MergeTree ORDER BY a", REPLACING, "MergeTree ORDER BY a COMMENT 'no TTL here'"])
def test_a_part_that_does_not_come_back_fails_the_restore(
    world: World, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    filled(world, engine)
    world.backup()
    world.drop()
    real = RestoreSource._items

    def without_a_part(self: RestoreSource) -> Iterator[RestoreFile]:
        return (file for file in real(self) if "/all_2_2_" not in file.name)

    monkeypatch.setattr(RestoreSource, "_items", without_a_part)
    with pytest.raises(RestoreFailed, match="20 rows after the restore; the snapshot holds 30"):
        world.restore()


@pytest.mark.parametrize("engine", ["Log", "TinyLog", "StripeLog", "Memory"])
def test_fewer_rows_than_the_snapshot_holds_fail_the_restore(
    world: World, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    filled(world, engine)
    world.backup()
    world.drop()
    real = RestoreSource.__init__

    def expecting_more(self: RestoreSource, *given: object, **named: object) -> None:
        real(self, *given, **named)  # type: ignore[arg-type]
        self.rows += 1

    monkeypatch.setattr(RestoreSource, "__init__", expecting_more)
    with pytest.raises(RestoreFailed, match="30 rows after the restore; the snapshot holds 31"):
        world.restore()


# --------------------------------------------------------------------------------------------- what merges make of them


def merged_at_once(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Let the restored table merge before its rows are counted."""
    real = inspect.stored_rows

    def merge_first(source: object, table: TableName) -> int:
        world.query(f"OPTIMIZE TABLE `{table.database}`.`{table.table}` FINAL")
        return real(source, table)  # type: ignore[arg-type]

    monkeypatch.setattr(inspect, "stored_rows", merge_first)


def test_rows_that_merges_replaced_since_they_came_have_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(world, REPLACING)
    world.run("INSERT INTO {db}.t SELECT number FROM numbers(30)")
    world.backup()
    world.drop()
    merged_at_once(monkeypatch, world)
    report = world.restore()
    assert world.ask("SELECT count() FROM {db}.t") == "30"
    assert [(each.rows, each.rows_restored, report.warnings) for each in report.tables] == [(60, 60, ())]


def test_a_part_that_does_not_come_back_is_missed_also_after_a_merge(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(world, REPLACING)
    world.backup()
    world.drop()
    real = RestoreSource._items
    monkeypatch.setattr(
        RestoreSource, "_items", lambda self: (file for file in real(self) if "/all_2_2_" not in file.name)
    )
    merged_at_once(monkeypatch, world)
    with pytest.raises(RestoreFailed, match="20 rows after the restore; the snapshot holds 30"):
        world.restore()


def test_fewer_rows_of_which_nobody_can_tell_whether_they_came_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(world, REPLACING + " SETTINGS old_parts_lifetime = 0")
    world.run("INSERT INTO {db}.t SELECT number FROM numbers(30)")
    world.backup()
    world.drop()
    merged_at_once(monkeypatch, world)
    monkeypatch.setattr(inspect, "arrived_rows", lambda *_: inspect.Arrivals(30, whole=False))
    report = world.restore()
    assert [(each.rows, each.rows_restored) for each in report.tables] == [(60, 30)]
    assert report.warnings == (f"{world.db}.t has 30 of 60 rows: its merges or TTL make them fewer, as they may",)


def test_rows_that_a_ttl_took_are_no_loss(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run(
        "CREATE TABLE {db}.t (a UInt64, t DateTime, v UInt8 TTL t + INTERVAL 1 DAY) ENGINE = MergeTree ORDER BY a "
        "TTL t + INTERVAL 1 DAY",
        "SYSTEM STOP TTL MERGES {db}.t",
        "INSERT INTO {db}.t SELECT number, if(number < 10, now(), toDateTime('2020-01-01')), 1 FROM numbers(30) "
        "SETTINGS materialize_ttl_after_modify = 0",
    )
    world.backup()
    world.drop()
    merged_at_once(monkeypatch, world)
    (outcome,) = world.restore().tables
    assert world.ask("SELECT count() FROM {db}.t") == "10"
    assert outcome.rows_restored in (outcome.rows, 10)


# ------------------------------------------------------------------------------------------------------------- a repeat


def restore_that_fails_at(world: World, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TableRestore.run

    def fail_there(self: TableRestore, step: TableStep) -> TableOutcome:
        if step.target.table == table:
            raise RestoreFailed("it could not be")
        return real(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(TableRestore, "run", fail_there)
        with pytest.raises(RestoreFailed):
            world.restore()


def test_a_table_that_came_whole_and_shrank_since_is_not_brought_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(world, REPLACING)
    world.run("INSERT INTO {db}.t SELECT number FROM numbers(30)", "CREATE TABLE {db}.u (a UInt8) ENGINE = Log")
    world.backup()
    world.drop()
    restore_that_fails_at(world, "u", monkeypatch)
    world.run("OPTIMIZE TABLE {db}.t FINAL")
    monkeypatch.setattr(inspect, "arrived_rows", lambda *_: inspect.Arrivals(30, whole=False))
    report = world.restore()
    assert world.tables() == ["t", "u"]
    assert [(each.name.table, each.rows_restored, each.note) for each in report.tables] == [
        ("t", 30, "restored by an earlier run of this restore"),
        ("u", 0, ""),
    ]


def test_a_view_that_an_earlier_run_has_made_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(world, "Log")
    world.run("CREATE VIEW {db}.v AS SELECT a FROM {db}.t", "CREATE VIEW {db}.w AS SELECT a FROM {db}.v")
    world.backup()
    world.drop()
    restore_that_fails_at(world, "w", monkeypatch)
    report = world.restore()
    assert world.tables() == ["t", "v", "w"]
    assert [(each.name.table, each.rows_restored) for each in report.tables] == [("t", 30), ("v", 0), ("w", 0)]


def test_fewer_rows_alone_do_not_say_that_an_earlier_run_has_restored_a_table(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(world, REPLACING)
    world.backup()
    world.drop()
    with monkeypatch.context() as patch:
        patch.setattr("coldhouse.operations.restore_table.TableRestore._compare", _fail)
        with pytest.raises(RestoreFailed):
            world.restore()
    world.run("ALTER TABLE {db}.t DELETE WHERE a < 10 SETTINGS mutations_sync = 2")
    monkeypatch.setattr(inspect, "arrived_rows", lambda *_: inspect.Arrivals(20, whole=False))
    world.restore()
    assert world.ask("SELECT count() FROM {db}.t") == "30"
    assert len(world.tables()) == 2, "the unfinished table is kept aside"


def _fail(*_: object) -> int:
    raise RestoreFailed("the rows differ")
