"""A running server reads a snapshot's tables, puts lost rows back from them, and keeps nothing of it."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldhouse.errors import Corruption, UsageError
from coldhouse.events import Event, Warned
from coldhouse.operations import mount_note
from coldhouse.operations.mount import Mount, MountOptions
from coldhouse.records import replace
from tests.scenarios.asking import content_queries
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.test_round_trips import FAMILY, NO_MERGES, TYPES
from tests.scenarios.test_sql import LARGE, SALES, damage
from tests.scenarios.world import PASSPHRASE, World
from tests.support.engine import CHECKOUT

PARTS = (
    "CREATE TABLE {db}.t (id UInt64, day Date, v String, PROJECTION by_v (SELECT v, count() GROUP BY v)) "
    "ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY id",
    "INSERT INTO {db}.t SELECT number, toDate('2026-01-01') + number % 90, toString(number % 10) FROM numbers(9000)",
    "ALTER TABLE {db}.t UPDATE v = concat(v, '!') WHERE id % 3 = 0 SETTINGS mutations_sync = 2",
)


@pytest.fixture
def world(server: Clickhouse, folder_url: str) -> Iterator[World]:
    """A server over HTTP: what this is for."""
    yield from play(server, folder_url)


def mounting(world: World, listener: Callable[[Event], None] = lambda _: None, include: tuple[str, ...] = ()) -> Mount:
    return Mount(world.repository, MountOptions(world.url, "latest", f"{world.db}_past", include=include), listener)


def left_in_the_server(world: World) -> str:
    return world.ask("SELECT name FROM system.databases WHERE name LIKE '{db}_past%' OR comment LIKE 'coldhouse%'")


def test_mounted_tables_answer_as_they_were(world: World) -> None:
    for name, (engine, columns, rows) in FAMILY.items():
        group = " GROUP BY id" if "State" in rows else ""
        world.run(
            f"CREATE TABLE {{db}}.{name} ({columns}) ENGINE = {engine} ORDER BY id SETTINGS {NO_MERGES}",
            *(f"INSERT INTO {{db}}.{name} SELECT {rows} FROM numbers({at}, 40){group}" for at in (0, 40, 80)),
        )
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    names = ", ".join("nested.k, nested.v" if name == "nested" else f"`{name}`" for name in TYPES)
    values = ", ".join(value for _, value in TYPES.values())
    world.run(
        f"CREATE TABLE {{db}}.types (id UInt64, {columns}, odd LowCardinality(UInt8)) ENGINE = MergeTree ORDER BY id "
        "SETTINGS min_bytes_for_wide_part = 0, allow_suspicious_low_cardinality_types = 1",
        f"INSERT INTO {{db}}.types (id, {names}) SELECT number, {values} FROM numbers(200)",
        "CREATE VIEW {db}.v AS SELECT id, count() AS n FROM {db}.Replacing GROUP BY id",
        "CREATE MATERIALIZED VIEW {db}.mv (id UInt64) ENGINE = MergeTree ORDER BY id "
        "POPULATE AS SELECT toUInt64(id) AS id FROM {db}.Summing",
    )
    queries = content_queries(world, final=True)
    before = [world.ask(query) for query in queries]
    world.backup()
    world.run("TRUNCATE TABLE {db}.types", "DROP TABLE {db}.v", "TRUNCATE TABLE {db}.Replacing")
    with mounting(world) as mounted:
        assert [table for table in mounted.tables if table.absent] == []
        assert [world.ask(query.replace(world.db, f"{world.db}_past")) for query in queries] == before
    assert left_in_the_server(world) == ""


def test_lost_rows_and_partitions_are_put_back(world: World) -> None:
    world.run(*PARTS)
    before = world.content_of("t")
    rows = "SELECT count(), sum(cityHash64(*)) FROM {db}.t"
    expected = world.ask(rows)
    world.backup()
    world.run("ALTER TABLE {db}.t DELETE WHERE id < 100 SETTINGS mutations_sync = 2")
    world.run("ALTER TABLE {db}.t DROP PARTITION ID '202603'")
    with mounting(world):
        world.run(
            "ALTER TABLE {db}.t ATTACH PARTITION ID '202603' FROM {db}_past.t",
            "INSERT INTO {db}.t SELECT * FROM {db}_past.t WHERE id NOT IN (SELECT id FROM {db}.t)",
        )
    assert world.ask(rows) == expected
    assert world.content_of("t").partition("\n")[2] == before.partition("\n")[2]
    world.run("ALTER TABLE {db}.t UPDATE v = 'new' WHERE 1 SETTINGS mutations_sync = 2")
    assert world.ask("SELECT DISTINCT v FROM {db}.t") == "new", "mutations work on what was put back"
    assert "by_v" in world.ask("EXPLAIN SELECT v, count() FROM {db}.t GROUP BY v")


def test_rows_put_back_pass_through_materialized_views_and_partitions_do_not(world: World) -> None:
    world.run(
        PARTS[0],
        "CREATE MATERIALIZED VIEW {db}.seen (id UInt64) ENGINE = MergeTree ORDER BY id AS SELECT id FROM {db}.t",
        PARTS[1],
    )
    world.backup()
    with mounting(world):
        world.run("ALTER TABLE {db}.t DROP PARTITION ID '202603'")
        world.run("ALTER TABLE {db}.t ATTACH PARTITION ID '202603' FROM {db}_past.t")
        assert world.ask("SELECT count() FROM {db}.seen") == "9000"
        world.run("INSERT INTO {db}.t SELECT * FROM {db}_past.t WHERE id < 100")
        assert world.ask("SELECT count() FROM {db}.seen") == "9100"


def test_a_mounted_table_cannot_be_changed(world: World) -> None:
    world.run(*SALES)
    world.backup()
    with mounting(world):
        for statement in ("INSERT INTO {db}_past.sales VALUES (1, 1, 1)", "ALTER TABLE {db}_past.sales DELETE WHERE 1"):
            with pytest.raises(AssertionError, match=r"read-?only|READONLY|READ_ONLY"):
                world.run(statement)
        assert world.ask("SELECT count() FROM {db}_past.sales") == "1000"


def test_tables_of_several_databases(world: World) -> None:
    world.run(*SALES, "CREATE DATABASE {db}_copy", "CREATE TABLE {db}_copy.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    world.run("INSERT INTO {db}_copy.t VALUES (7)", "CREATE VIEW {db}_copy.v AS SELECT count() AS n FROM {db}.sales")
    world.backup(include=(f"{world.db}.*", f"{world.db}_copy.*"))
    with mounting(world):
        assert world.ask("SELECT a FROM {db}_past__{db}_copy.t") == "7"
        assert world.ask("SELECT n FROM {db}_past__{db}_copy.v") == "1000"
        assert world.ask("SELECT count() FROM {db}_past__{db}.sales") == "1000"
    with mounting(world, include=(f"{world.db}_copy.t",)):
        assert world.ask("SELECT a FROM {db}_past.t") == "7"
    assert left_in_the_server(world) == ""


def test_what_cannot_be_mounted_is_said(world: World) -> None:
    world.run(*SALES, "CREATE TABLE {db}.log (id UInt64) ENGINE = Log", "INSERT INTO {db}.log VALUES (1)")
    world.backup()
    with mounting(world) as mounted:
        (log,) = [table for table in mounted.tables if table.absent]
        assert (log.name.table, "no parts" in log.absent) == ("log", True)
    world.run("CREATE DATABASE {db}_past COMMENT 'of somebody else'")
    try:
        with pytest.raises(UsageError, match="already"), mounting(world):
            pass
        assert left_in_the_server(world) == f"{world.db}_past", "it is not ours to drop"
    finally:
        world.run("DROP DATABASE {db}_past")
    with pytest.raises(UsageError, match="no such table"), mounting(world, include=("nothing.*",)):
        pass
    assert mount_note.notes(world.repository) == []


def test_a_damaged_pack_is_an_error_for_the_server_and_for_us(world: World, folder_url: str) -> None:
    world.run(*(statement.replace("{rows}", "200000") for statement in LARGE))
    world.backup()
    damage(folder_url, 0.5)
    with mounting(world) as mounted:
        with pytest.raises(AssertionError, match="damaged"):
            world.ask("SELECT sum(cityHash64(*)) FROM {db}_past.large")
        assert isinstance(mounted.damage, Corruption)
        assert mounted.damage.object_name.startswith("packs/")


# --------------------------------------------------------------------------------------------------- command, kill


@contextmanager
def mount_command(world: World, folder_url: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    """``coldhouse mount --json`` that has said that the tables are there."""
    command = ["mount", "latest", "--as", f"{world.db}_past", "--repo", folder_url, "--target", world.url, "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "coldhouse", *command, *more],
        env=os.environ | {"COLDHOUSE_PASSWORD": PASSPHRASE, "PYTHONPATH": str(CHECKOUT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:  # the embedded engine may hold a thousand files of this process
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(60)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_a_mount_in_good_order(world: World, folder_url: str) -> None:
    world.run(*SALES)
    world.backup()
    with mount_command(world, folder_url) as process:
        assert world.ask("SELECT count() FROM {db}_past.sales") == "1000"
        process.send_signal(2)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    document = json.loads(out)
    assert [(each["mounted_as"], each["rows"]) for each in document["tables"]] == [(f"{world.db}_past.sales", 1000)]
    assert left_in_the_server(world) == ""
    assert mount_note.notes(world.repository) == []


def test_the_next_mount_clears_away_what_a_killed_one_left(world: World, folder_url: str) -> None:
    world.run(*SALES)
    world.backup()
    with mount_command(world, folder_url) as process:
        (note,) = mount_note.notes(world.repository)
        assert mount_note.is_alive(note)
        with pytest.raises(UsageError, match="already"), mounting(world):
            pass
        process.kill()
        process.communicate()
    assert not mount_note.is_alive(note)
    assert left_in_the_server(world) == f"{world.db}_past"
    told: list[Event] = []
    with mounting(world, told.append):
        assert world.ask("SELECT count() FROM {db}_past.sales") == "1000"
    assert any(isinstance(event, Warned) and "left behind" in event.text for event in told)
    assert left_in_the_server(world) == ""
    assert mount_note.notes(world.repository) == []


def test_a_mount_on_another_machine_lives_as_long_as_it_is_heard_of() -> None:
    note = replace(mount_note.new_note("server", ("past",), "snapshot"), host="another machine")
    now = datetime.now(UTC)
    assert mount_note.is_alive(note, now)
    assert not mount_note.is_alive(note, now + timedelta(minutes=6))


def test_the_path_that_the_server_reads_cannot_be_guessed_and_dies_with_the_mount(world: World) -> None:
    world.run(*SALES)
    world.backup()
    with mounting(world) as mounted:
        address = f"{mounted._web.address.url}0/"
        assert "HIDDEN" in world.ask("SHOW CREATE TABLE {db}_past.sales")
        assert len(address.split("/")[4]) >= 32
        with urllib.request.urlopen(f"{address}.index") as answer:
            assert b"all_1_1_0\t1" in answer.read()
        elsewhere = address.replace(address.split("/")[4], "0" * 48)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{elsewhere}.index")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address}.index")


def test_the_path_serves_what_is_mounted_and_nothing_else(world: World) -> None:
    """Neither a table that was not chosen, nor another snapshot, nor what lies beside the parts."""
    world.run(*SALES, "CREATE TABLE {db}.secret (id UInt64) ENGINE = MergeTree ORDER BY id")
    world.run("INSERT INTO {db}.secret VALUES (1)")
    world.backup()
    with mounting(world, include=(f"{world.db}.sales",)) as mounted:
        address = mounted._web.address.url
        with urllib.request.urlopen(f"{address}0/.index") as answer:
            assert answer.status == 200
        for other in ("1/.index", "secret/.index", ".index", ".backup", "0/../1/.index", "0/nothing_1_1_0/.index"):
            with pytest.raises(urllib.error.HTTPError, match=r"40[034]"):
                urllib.request.urlopen(f"{address}{other}")


def test_the_repository_folder_is_all_that_a_mount_writes(world: World, folder_url: str) -> None:
    world.run(*SALES)
    world.backup()
    before = sorted(str(path) for path in Path(folder_url).rglob("*") if path.is_file())
    with mounting(world):
        pass
    assert sorted(str(path) for path in Path(folder_url).rglob("*") if path.is_file()) == before
