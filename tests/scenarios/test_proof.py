"""Verifying what a real ClickHouse wrote: sound snapshots pass, and what would not restore is found before it must."""

from __future__ import annotations

import contextlib
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self

import pytest

from coldhouse.cityhash import file_hash
from coldhouse.cli.main import run as command
from coldhouse.clickhouse.scratch import ScratchEngine
from coldhouse.clickhouse.scratch_server import SLACK
from coldhouse.errors import ColdhouseError, SourceError, UsageError
from coldhouse.model import Part, Snapshot, TableName
from coldhouse.operations import proof, verify
from coldhouse.operations.verify import VerifyOptions, VerifyReport
from coldhouse.records import replace
from coldhouse.repository import new_snapshot_id
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.damage import flip, flip_data_of, packs, source_file
from tests.scenarios.world import PASSPHRASE, World

DRILL = VerifyOptions("latest", "drill")
SLOW = "SELECT sum(sleepEachRow(1)) FROM numbers(30) SETTINGS function_sleep_max_microseconds_per_block = 0"


@pytest.fixture
def world(server: Clickhouse, folder_url: str) -> Iterator[World]:
    """A server over HTTP: the drill has an engine of its own in any case."""
    yield from play(server, folder_url)


@pytest.fixture
def shop(world: World) -> World:
    """Some of every kind of table."""
    world.run(
        "CREATE TABLE {db}.orders (id UInt64, day Date, note String) ENGINE = MergeTree PARTITION BY toYYYYMM(day) "
        "ORDER BY id",
        "INSERT INTO {db}.orders SELECT number, toDate('2026-01-01') + number % 120, randomPrintableASCII(30) "
        "FROM numbers(50000)",
        "CREATE TABLE {db}.states (k UInt32, v UInt32) ENGINE = ReplacingMergeTree ORDER BY k",
        "SYSTEM STOP MERGES {db}.states",
        "INSERT INTO {db}.states SELECT number % 100, 1 FROM numbers(100)",
        "INSERT INTO {db}.states SELECT number % 100, 2 FROM numbers(100)",
        "CREATE TABLE {db}.expiring (at DateTime, v UInt8) ENGINE = MergeTree ORDER BY v TTL at + INTERVAL 1 DAY "
        "SETTINGS merge_with_ttl_timeout = 0",
        "SYSTEM STOP TTL MERGES {db}.expiring",
        "SYSTEM STOP MERGES {db}.expiring",
        "INSERT INTO {db}.expiring SELECT now() - INTERVAL 2 DAY, number FROM numbers(10)",
        "CREATE TABLE {db}.journal (line String) ENGINE = Log",
        "INSERT INTO {db}.journal SELECT toString(number) FROM numbers(500)",
        "CREATE VIEW {db}.daily AS SELECT day, count() AS n FROM {db}.orders GROUP BY day",
        "CREATE MATERIALIZED VIEW {db}.sums ENGINE = SummingMergeTree ORDER BY month POPULATE "
        "AS SELECT toYYYYMM(day) AS month, count() AS n FROM {db}.orders GROUP BY month",
        "CREATE DICTIONARY {db}.names (k UInt64, v UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(TABLE 'states' DB '{db}')) "
        "LAYOUT(FLAT()) LIFETIME(0)",
    )
    return world


def verified(world: World, options: VerifyOptions) -> VerifyReport:
    (report,) = verify.run(world.repository, options)
    return report


def defined_as(world: World, snapshot: Snapshot, definitions: dict[str, str]) -> Snapshot:
    """The same snapshot, with other definitions of some tables: authentic, complete, and what the test says."""
    repository = world.repository
    with repository.draft(snapshot) as draft:
        for entry in repository.entries(snapshot):
            text = definitions.get(entry.name.table)
            draft.carry(entry if text is None else replace(entry, definition=text.replace("{db}", world.db)))
        return draft.commit(replace(snapshot, id=new_snapshot_id(datetime.now(UTC)), parent=snapshot.id))


def with_parts(world: World, snapshot: Snapshot, table: str, change: Callable[[Part], Part]) -> Snapshot:
    """The same snapshot, with other parts of one table: authentic, consistent with itself, and what the test says."""
    repository = world.repository
    with repository.draft(snapshot) as draft:
        rows = snapshot.accounting.rows
        for entry in repository.entries(snapshot):
            if entry.name != TableName(world.db, table):
                draft.carry(entry)
                continue
            known = {id: ref for page in entry.pages for id, ref in repository.page(page).packs.items()}
            added = draft.add(replace(entry, damaged=()), map(change, repository.parts(entry)), known.__getitem__)
            rows += added.rows - entry.rows
        made = replace(snapshot, id=new_snapshot_id(datetime.now(UTC)), parent=snapshot.id, damaged=())
        return draft.commit(replace(made, accounting=replace(snapshot.accounting, rows=rows)))


@pytest.mark.parametrize("level", ["structure", "data", "drill"])
def test_a_sound_snapshot_raises_no_alarm(shop: World, level: proof.Level) -> None:
    snapshot = shop.backup().snapshot
    report = verified(shop, VerifyOptions("latest", level))
    assert report.problems == ()
    assert report.checked.rows == snapshot.accounting.rows
    assert not report.partial
    best = proof.known(shop.repository, snapshot.id).best
    assert best is not None
    assert best.level == level


def test_increments_pass_as_well(shop: World) -> None:
    shop.backup()
    shop.run("INSERT INTO {db}.orders SELECT number, '2026-09-01', 'more' FROM numbers(1000)")
    shop.run("ALTER TABLE {db}.orders UPDATE note = 'new' WHERE id = 1 SETTINGS mutations_sync = 2")
    shop.backup()
    for level in ("structure", "data", "drill"):
        assert all(report.ok for report in verify.run(shop.repository, VerifyOptions(level=level)))


def test_nothing_expires_and_nothing_merges_during_a_drill(shop: World) -> None:
    shop.backup()
    asserted = (
        f"SELECT count() = 10 FROM {shop.db}.expiring",
        f"SELECT count() = 200 FROM {shop.db}.states",
        f"SELECT sum(n) = 50000 FROM {shop.db}.daily",
        f"SELECT sum(n) = 50000 FROM {shop.db}.sums",
        f"SELECT dictGet('{shop.db}.names', 'v', 7::UInt64) IN (1, 2)",
    )
    report = verified(shop, replace(DRILL, assertions=asserted))
    assert report.problems == ()
    assert f"{shop.db}.expiring: TTL removed" in report.remarks


def test_a_definition_that_no_longer_parses_is_found_by_the_drill_alone(shop: World) -> None:
    snapshot = shop.backup().snapshot
    broken = defined_as(shop, snapshot, {"journal": "CREATE TABLE {db}.journal (`line` String) ENGINE = "})
    assert verified(shop, VerifyOptions(broken.id, "structure")).ok
    assert verified(shop, VerifyOptions(broken.id, "data")).ok
    report = verified(shop, VerifyOptions(broken.id, "drill"))
    assert [(problem.kind, problem.table) for problem in report.problems] == [("restore", f"{shop.db}.journal")]
    assert proof.known(shop.repository, broken.id).damaged_at is not None
    assert verified(shop, VerifyOptions(snapshot.id, "drill")).ok, "the snapshot that it came from is sound"


def test_a_table_that_needs_a_missing_one_is_found_and_the_others_are_still_tried(shop: World) -> None:
    snapshot = shop.backup().snapshot
    text = "CREATE MATERIALIZED VIEW {db}.sums TO {db}.nowhere (`m` UInt32) AS SELECT 1 AS m FROM {db}.nothing"
    definition = "CREATE TABLE {db}.states (`k` UInt32, `v` UInt32, `new` NoSuchType) ENGINE = MergeTree ORDER BY k"
    broken = defined_as(shop, snapshot, {"sums": text, "states": definition})
    report = verified(shop, VerifyOptions(broken.id, "drill"))
    assert f"{shop.db}.states" in {problem.table for problem in report.problems}
    assert report.checked.rows >= 50000, "the table before it was restored"


def test_fewer_rows_than_the_snapshot_says_are_found_by_the_drill_alone(shop: World) -> None:
    def promised(part: Part) -> Part:
        return replace(part, state=replace(part.state, rows=part.state.rows + 1))

    short = with_parts(shop, shop.backup().snapshot, "orders", promised)
    assert verified(shop, VerifyOptions(short.id, "structure")).ok, "it is consistent with itself"
    assert verified(shop, VerifyOptions(short.id, "data")).ok, "its bytes are those that were backed up"
    (problem,) = verified(shop, VerifyOptions(short.id, "drill")).problems
    assert (problem.kind, problem.table) == ("restore", f"{shop.db}.orders")
    assert "50,000 rows" in problem.message
    assert "50,004" in problem.message


def test_a_part_that_was_backed_up_as_it_was_and_fails_check_table_is_found_by_the_drill_alone(shop: World) -> None:
    where = "database = '{db}' AND table = 'states' AND active"
    name = shop.ask(f"SELECT max(name) FROM system.parts WHERE {where}")
    path = source_file(shop, "states", f"{name}/data.bin")
    flip(path)
    rot = file_hash(path.read_bytes())

    def believed(part: Part) -> Part:
        files = (replace(file, damaged=False, checksum=rot if file.damaged else file.checksum) for file in part.files)
        return replace(part, files=tuple(files))

    snapshot = shop.backup().snapshot
    assert snapshot.damaged == (f"{shop.db}.states {name}/data.bin",)
    bad = with_parts(shop, snapshot, "states", believed)
    assert verified(shop, VerifyOptions(bad.id, "structure")).ok
    assert verified(shop, VerifyOptions(bad.id, "data")).ok
    report = verified(shop, VerifyOptions(bad.id, "drill"))
    (problem,) = report.problems
    assert (problem.kind, problem.table) == ("check", f"{shop.db}.states")
    assert problem.part == name
    assert "CHECK TABLE finds" in problem.message
    assert proof.known(shop.repository, bad.id).damaged_at is not None


def test_what_a_scratch_engine_cannot_have_is_replaced_and_said(shop: World) -> None:
    shop.run(
        "CREATE TABLE {db}.sink (a String, topic String) ENGINE = MergeTree ORDER BY a",
        "CREATE TABLE {db}.queue (a String, _topic String) ENGINE = Null",
        "CREATE MATERIALIZED VIEW {db}.pump TO {db}.sink AS SELECT a, _topic AS topic FROM {db}.queue",
        "CREATE TABLE {db}.everywhere (id UInt64) ENGINE = Null",
    )
    snapshot = shop.backup().snapshot
    elsewhere = defined_as(
        shop,
        snapshot,
        {
            "orders": "CREATE TABLE {db}.orders UUID '4b1c0a1e-3d55-4f0e-8a3c-0d0d8f4f8c11' (`id` UInt64, `day` Date, "
            "`note` String TTL day + toIntervalDay(1)) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}'"
            ", '{replica}') PARTITION BY toYYYYMM(day) ORDER BY id TTL day + toIntervalDay(1) "
            "SETTINGS storage_policy = 'tiered', index_granularity = 8192",
            "queue": "CREATE TABLE {db}.queue (`a` String) ENGINE = Kafka('broker:9092', 'topic', 'group', 'CSV')",
            "everywhere": "CREATE TABLE {db}.everywhere (`id` UInt64) ENGINE = Distributed('all', '{db}', 'orders')",
            "names": "CREATE DICTIONARY {db}.names (`k` UInt64, `v` UInt64) PRIMARY KEY k "
            "SOURCE(MYSQL(HOST 'db' PORT 3306 USER 'u' PASSWORD 'p' DB 'd' TABLE 't')) LAYOUT(FLAT()) LIFETIME(0)",
        },
    )
    asserted = f"SELECT 50000 = count() FROM {shop.db}.orders"
    report = verified(shop, VerifyOptions(elsewhere.id, "drill", assertions=(asserted,)))
    assert report.problems == ()
    assert {remark.replace(shop.db, "db") for remark in report.remarks} >= {
        "db.orders: engine ReplicatedMergeTree became MergeTree",
        "db.orders: TTL removed",
        "db.orders: storage policy became the default",
        "db.queue: engine Kafka reads from elsewhere: schema only",
        "db.everywhere: engine Distributed reads from elsewhere: schema only",
        "db.names: the source of the dictionary (MYSQL) is elsewhere: schema only",
    }


def test_an_assertion_that_does_not_return_1_fails_the_verification_and_is_no_damage(shop: World) -> None:
    snapshot = shop.backup().snapshot
    asserted = (f"SELECT count() > 1e9 FROM {shop.db}.orders", "SELECT nonsense")
    report = verified(shop, replace(DRILL, assertions=asserted))
    assert [problem.kind for problem in report.problems] == ["assertion", "assertion"]
    assert "returned 0 instead of 1" in report.problems[0].message
    record = proof.known(shop.repository, snapshot.id)
    assert record.damaged_at is None
    assert record.best is not None
    assert record.best.level == "structure"


def test_a_drill_of_some_tables_or_partitions(shop: World) -> None:
    shop.backup()
    some = verified(shop, replace(DRILL, include=(f"{shop.db}.states", f"{shop.db}.journal")))
    assert (some.ok, some.partial, some.checked.rows) == (True, True, 700)
    sample = verified(shop, replace(DRILL, sample=50))
    assert (sample.ok, sample.partial) == (True, True)
    assert 20_000 < sample.checked.rows < 40_000, "two of four months, and the other tables"
    with pytest.raises(UsageError, match="no table"):
        verified(shop, replace(DRILL, include=("no.such",)))


def test_a_flipped_byte_is_told_by_object_and_table_and_the_drill_goes_on(shop: World) -> None:
    shop.backup()
    pack = flip_data_of(shop, "orders")
    name = f"packs/{pack.parent.name}/{pack.name}"
    assert verified(shop, VerifyOptions("latest", "structure")).ok, "structure reads no data"
    data = verified(shop, VerifyOptions("latest", "data"))
    drill = verified(shop, DRILL)
    for report in (data, drill):
        assert {(problem.object, problem.table) for problem in report.problems} == {(name, f"{shop.db}.orders")}
    entries = shop.repository.entries(shop.repository.find("latest"))
    sound = sum(entry.rows for entry in entries if entry.name.table != "orders")
    assert drill.checked.rows == sound, "the other tables were restored all the same"


def test_bit_rot_at_the_source_is_a_remark(shop: World) -> None:
    snapshot = shop.backup().snapshot

    def rotten(part: Part) -> Part:
        sound = part.state.partition != "202601"
        return part if sound else replace(part, files=tuple(replace(file, damaged=True) for file in part.files))

    rot = with_parts(shop, snapshot, "orders", rotten)
    for level in ("structure", "data", "drill"):
        assert verified(shop, VerifyOptions(rot.id, level)).problems == ()
    remarks = verified(shop, VerifyOptions(rot.id, "drill")).remarks
    assert any("damaged at the source" in remark and "orders" in remark for remark in remarks)


def test_a_drill_without_room_says_so_before_it_begins(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.backup()
    monkeypatch.setattr("coldhouse.operations.drill.ROOM", 1 << 60)
    with pytest.raises(ColdhouseError, match="are free"):
        verified(shop, DRILL)


def test_a_drill_that_runs_out_of_time_accuses_nobody(shop: World) -> None:
    snapshot = shop.backup().snapshot
    with pytest.raises(SourceError, match="time limit") as raised:
        verified(shop, replace(DRILL, seconds=10, assertions=(SLOW,)))
    assert "says nothing about the snapshot" in raised.value.message
    assert proof.known(shop.repository, snapshot.id).damaged_at is None


def test_a_drill_leaves_nothing_behind(shop: World, tmp_path: Path) -> None:
    shop.backup()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert verified(shop, replace(DRILL, scratch=scratch)).ok
    assert list(scratch.iterdir()) == []
    assert list(shop.repository.notes("restore")) == []


class Watched(ScratchEngine):
    """Remembers the most memory of its own that the engine's process ever held, in bytes."""

    peaks: ClassVar[list[int]] = []

    def start(self) -> Self:
        super().start()
        statm = Path(f"/proc/{self.pid}/statm")
        threading.Thread(target=self._watch, args=(statm,), daemon=True).start()
        return self

    def _watch(self, statm: Path) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            while True:
                _, resident, shared = (int(word) for word in statm.read_text().split()[:3])
                self.peaks.append((resident - shared) * resource.getpagesize())
                time.sleep(0.05)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_drill_keeps_its_memory_limit_on_a_snapshot_that_is_larger(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coldhouse.operations.drill.ScratchEngine", Watched)
    world.run(
        "CREATE TABLE {db}.big (id UInt64, noise String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.big SELECT number, randomString(1000) FROM numbers(1500000) SETTINGS max_threads = 1",
        "OPTIMIZE TABLE {db}.big FINAL",
    )
    assert world.backup().snapshot.accounting.data > 1_400_000_000
    asserted = f"SELECT count() = 1500000 AND uniqExact(cityHash64(noise)) = 1500000 FROM {world.db}.big"
    limit = 512 << 20
    report = verified(world, replace(DRILL, memory=limit, assertions=(asserted,)))
    assert report.problems == ()
    assert max(Watched.peaks) < limit + SLACK


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def _environment(folder_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDHOUSE_REPO", folder_url)
    monkeypatch.setenv("COLDHOUSE_PASSWORD", PASSPHRASE)


@pytest.mark.usefixtures("_environment")
def test_on_the_command_line(shop: World, folder_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str, status: int) -> str:
        assert command([*arguments, "--quiet"]) == status
        return capsys.readouterr().out

    snapshot = shop.backup().snapshot
    listed = json.loads(said("snapshots", "--json", status=0))
    assert (listed[0]["verified_at"], listed[0]["verified_level"]) == (None, None)
    document = json.loads(said("verify", "latest", "--level", "drill", "--json", status=0))
    assert (document["snapshot"], document["level"], document["ok"]) == (snapshot.id, "drill", True)
    assert document["checked"]["rows"] == snapshot.accounting.rows
    assert document["problems"] == []
    listed = json.loads(said("snapshots", "--json", status=0))
    assert listed[0]["verified_level"] == "drill"
    assert json.loads(said("show", "latest", "--json", status=0))["verified_at"] == listed[0]["verified_at"]
    assert "drill 20" in said("show", "latest", status=0)

    flip(max(packs(Path(folder_url)), key=lambda path: path.stat().st_size))
    (document,) = json.loads(said("verify", "--level", "data", "--json", status=20))
    assert document["problems"][0].keys() == {"kind", "object", "table", "part", "message"}
    assert "FAILED" in said("verify", "--level", "data", status=20)
    assert "DAMAGE FOUND" in said("snapshots", status=0)
    assert json.loads(said("snapshots", "--json", status=0))[0]["damage_found_at"] is not None
