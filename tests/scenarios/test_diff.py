"""What changed between two snapshots, and since one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.cli.main import run
from coldhouse.errors import UsageError
from coldhouse.model import TableName
from coldhouse.operations import diff
from coldhouse.operations.diff_plan import TableChange
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.world import PASSPHRASE, World
from tests.support.engine import EngineServer

EVENTS = (
    "CREATE TABLE {db}.events (id UInt64, day Date, v Int64, a Int64 ALIAS v * 2) ENGINE = MergeTree "
    "PARTITION BY toYYYYMM(day) ORDER BY id",
    "INSERT INTO {db}.events SELECT number, toDate('2026-01-01') + number % 90, number FROM numbers(9000)",
    "CREATE TABLE {db}.still (id UInt64) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.still SELECT number FROM numbers(100)",
    "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
    "INSERT INTO {db}.log VALUES (1)",
)


@pytest.fixture
def world(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    yield from play(embedded, folder_url)


def changes(world: World, before: str, after: str) -> dict[str, TableChange]:
    """The changed tables of the scenario's database, by name."""
    options = diff.DiffOptions(before, after, source=world.url, include=(f"{world.db}.*",))
    report = diff.run(world.repository, options)
    return {each.name.table: each for each in report.tables if each.change != "same"}


def test_nothing_changed(world: World) -> None:
    world.run(*EVENTS)
    one = world.backup().snapshot.id
    two = world.backup(full=True).snapshot.id
    assert changes(world, one, two) == {}
    assert changes(world, one, "live") == {}
    assert changes(world, "live", two) == {}


def test_no_pack_is_read_for_it(world: World, folder_url: str) -> None:
    """From manifests and system tables alone: it works where the packs are lost."""
    world.run(*EVENTS)
    one = world.backup().snapshot.id
    world.run("INSERT INTO {db}.still SELECT number FROM numbers(7)")
    two = world.backup().snapshot.id
    shutil.rmtree(Path(folder_url) / "packs")
    assert set(changes(world, one, two)) == {"still"}
    assert set(changes(world, one, "live")) == {"still"}


def test_an_untouched_table_is_the_same_after_a_restart(engine_server: EngineServer, folder_url: str) -> None:
    """Until they are first read, ClickHouse does not know how many rows tables without parts have."""
    for world in play((engine_server.url, engine_server.query), folder_url):
        for engine in ("Log", "StripeLog", "TinyLog"):
            world.run(
                f"CREATE TABLE {{db}}.{engine} (id UInt64) ENGINE = {engine}",
                f"INSERT INTO {{db}}.{engine} SELECT number FROM numbers(600)",
            )
        world.run(
            "CREATE TABLE {db}.source (id UInt64) ENGINE = Null",
            "CREATE MATERIALIZED VIEW {db}.kept ENGINE = Log AS SELECT id FROM {db}.source",
            "INSERT INTO {db}.source SELECT number FROM numbers(50)",
        )
        before = world.backup().snapshot.id
        engine_server.restart()
        assert world.ask("SELECT total_rows FROM system.tables WHERE database = '{db}' AND name = 'Log'") == "\\N"
        assert changes(world, before, "live") == {}
        engine_server.restart()
        world.run("INSERT INTO {db}.StripeLog SELECT number FROM numbers(3)")
        engine_server.restart()
        found = changes(world, before, "live")
        assert sorted(found) == ["StripeLog"]
        assert (found["StripeLog"].before.rows, found["StripeLog"].after.rows) == (600, 603)


def test_every_change_is_told(world: World) -> None:
    world.run(
        *EVENTS,
        "CREATE TABLE {db}.gone (id UInt64) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.gone SELECT number FROM numbers(7)",
        "CREATE TABLE {db}.early (id UInt64) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.early SELECT number FROM numbers(5)",
        "CREATE VIEW {db}.v AS SELECT 1 AS one",
    )
    before = world.backup().snapshot.id
    world.run(
        "INSERT INTO {db}.events SELECT number, '2026-02-01', 0 FROM numbers(10)",
        "ALTER TABLE {db}.events DROP PARTITION 202603",
        "DROP TABLE {db}.gone",
        "RENAME TABLE {db}.early TO {db}.late",
        "CREATE TABLE {db}.fresh (id UInt64) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.fresh SELECT number FROM numbers(3)",
        "ALTER TABLE {db}.still ADD COLUMN more String",
        "INSERT INTO {db}.log VALUES (2)",
        "CREATE OR REPLACE VIEW {db}.v AS SELECT 2 AS one",
    )
    after = world.backup().snapshot.id
    for target in (after, "live"):
        found = changes(world, before, target)
        assert sorted(found) == ["events", "fresh", "gone", "late", "log", "still", "v"], target
        events = found["events"]
        by_month = {each.partition: each for each in events.partitions}
        assert sorted(by_month) == ["202602", "202603"]
        assert (by_month["202602"].added.rows, by_month["202602"].removed.rows) == (10, 0)
        assert (by_month["202603"].added.parts, by_month["202603"].removed.rows) == (0, 3100)
        assert events.definition == ""
        assert (found["gone"].change, found["gone"].before.rows) == ("removed", 7)
        assert (found["fresh"].change, found["fresh"].after.rows) == ("added", 3)
        assert found["late"].was == TableName(world.db, "early")
        assert not found["late"].partitions
        assert "more" in found["still"].definition
        assert (found["log"].before.rows, found["log"].after.rows) == (1, 2)
        assert "2" in found["v"].definition
    back = changes(world, after, before)
    assert (back["gone"].change, back["fresh"].change) == ("added", "removed")


def test_a_merge_changes_parts_and_no_row(world: World) -> None:
    world.run(*EVENTS, "INSERT INTO {db}.still SELECT number FROM numbers(100, 100)")
    before = world.backup().snapshot.id
    world.run("OPTIMIZE TABLE {db}.still FINAL")
    after = world.backup().snapshot.id
    (merged,) = changes(world, before, after)["still"].partitions
    assert (merged.added.parts, merged.removed.parts) == (1, 2)
    assert merged.added.rows == merged.removed.rows == 200
    options = diff.DiffOptions(before, after)
    with diff.RowDiff(world.repository, options, TableName(world.db, "still")) as rows:
        assert rows.counts() == diff.RowCounts(0, 0)


def test_rows_that_differ_are_counted_and_shown(world: World) -> None:
    world.run(*EVENTS)
    before = world.backup().snapshot.id
    world.run(
        "ALTER TABLE {db}.events UPDATE v = -1 WHERE id = 5 SETTINGS mutations_sync = 2",
        "ALTER TABLE {db}.events DELETE WHERE id = 8 SETTINGS mutations_sync = 2",
        "INSERT INTO {db}.events SELECT 9, toDate('2026-01-10'), 9",  # a second one that is the same
    )
    after = world.backup().snapshot.id
    with diff.RowDiff(world.repository, diff.DiffOptions(before, after), TableName(world.db, "events")) as rows:
        assert rows.counts() == diff.RowCounts(removed=2, added=2)
        shown = b"".join(rows.rows("TSV", 10)).decode().splitlines()
    assert sorted(shown) == sorted(
        [
            "-\t5\t2026-01-06\t5",
            "-\t8\t2026-01-09\t8",
            "+\t5\t2026-01-06\t-1",
            "+\t9\t2026-01-10\t9",
            "+\t9\t2026-01-10\t9",
        ]
    )


def test_rows_of_tables_without_parts_and_of_changed_columns(world: World) -> None:
    world.run(*EVENTS)
    before = world.backup().snapshot.id
    world.run("INSERT INTO {db}.log VALUES (2)", "ALTER TABLE {db}.still ADD COLUMN more String DEFAULT 'x'")
    world.run("INSERT INTO {db}.still (id) VALUES (777)")
    options = diff.DiffOptions(before, world.backup().snapshot.id)
    with diff.RowDiff(world.repository, options, TableName(world.db, "log")) as rows:
        assert b"".join(rows.rows("TSV", 10)) == b"+\t2\n"
    with diff.RowDiff(world.repository, options, TableName(world.db, "still")) as rows:
        assert rows.counts() == diff.RowCounts(0, 1)
        assert b"".join(rows.rows("TSV", 10)) == b"+\t777\n"


def test_what_cannot_be_compared(world: World) -> None:
    world.run(*EVENTS)
    world.backup()
    with pytest.raises(UsageError, match="No source"):
        diff.run(world.repository, diff.DiffOptions("latest", "live"))
    with pytest.raises(UsageError, match="no table"):
        diff.RowDiff(world.repository, diff.DiffOptions("latest", "latest"), TableName(world.db, "nothing"))
    with pytest.raises(UsageError, match="between snapshots"):
        diff.RowDiff(world.repository, diff.DiffOptions("latest", "live"), TableName(world.db, "events"))


def test_the_command(
    world: World, folder_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLDHOUSE_REPO", folder_url)
    monkeypatch.setenv("COLDHOUSE_PASSWORD", PASSPHRASE)
    monkeypatch.setenv("COLDHOUSE_SOURCE", world.url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    world.run(*EVENTS)
    before = world.backup().snapshot.id
    world.run("INSERT INTO {db}.events VALUES (1, '2026-01-01', 0)")
    capfd.readouterr()
    assert run(["diff", before, "live", "--json", "--table", f"{world.db}.*"]) == 0
    document = json.loads(capfd.readouterr().out)
    (events,) = document["tables"]
    assert (events["table"], events["change"], events["added"]["rows"], events["removed"]["parts"]) == (
        "events",
        "changed",
        1,
        0,
    )
    world.backup()
    assert run(["diff", before, "latest", "--rows", f"{world.db}.events", "--format", "CSV"]) == 0
    out = capfd.readouterr().out
    assert "202601: +1 -0 parts, +1 rows" in out
    assert "0 only before, 1 only after" in out
    assert out.endswith('"+",1,"2026-01-01",0\n')
    assert run(["diff", "latest", "latest"]) == 0
    assert "Nothing changed" in capfd.readouterr().out


def test_rows_that_the_system_tables_do_not_tell_are_not_compared(world: World) -> None:
    """Of a TinyLog table, a snapshot has counted the rows; what is live has not been."""
    world.run("CREATE TABLE {db}.t (v UInt8) ENGINE = TinyLog", "INSERT INTO {db}.t VALUES (1), (2)")
    snapshot = world.backup().snapshot
    options = diff.DiffOptions(snapshot.id, "live", source=world.url, include=(f"{world.db}.*",))
    assert {each.change for each in diff.run(world.repository, options).tables} == {"same"}
