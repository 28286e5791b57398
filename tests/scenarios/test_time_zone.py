"""A snapshot is asked on a machine in another time zone than its source's, and answers as the source did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coldhouse.events import Event, Warned
from coldhouse.model import Snapshot, TableName
from coldhouse.operations import diff, export, verify
from coldhouse.operations.sql import SqlOptions, SqlSession
from coldhouse.operations.verify import VerifyOptions
from coldhouse.records import replace
from coldhouse.repository import new_snapshot_id
from tests.scenarios.asking import asking
from tests.scenarios.conftest import play
from tests.scenarios.world import World
from tests.support.engine import EngineServer

ZONE = "America/New_York"
#: Four days, hour by hour, around the end of a month: of each day's hours, some belong to another day elsewhere.
VISITS = (
    "CREATE TABLE {db}.visits (id UInt32, at DateTime) ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY at",
    "INSERT INTO {db}.visits SELECT number, toDateTime('2026-01-30 00:00:00') + number * 3600 FROM numbers(96)",
    "CREATE VIEW {db}.daily AS SELECT toDate(at) AS day, count() AS n FROM {db}.visits GROUP BY day ORDER BY day",
)
QUESTIONS = (
    "SELECT count() FROM {db}.visits WHERE toDate(at) = '2026-02-01'",
    "SELECT count(), max(id) FROM {db}.visits WHERE at >= '2026-01-31 20:00:00' AND at < '2026-02-01'",
    "SELECT day, n FROM {db}.daily",
    "SELECT id, at FROM {db}.visits ORDER BY id",
)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    """A server that is somewhere else."""
    with EngineServer(tmp_path_factory.mktemp("far"), timezone=ZONE) as server:
        yield server


@pytest.fixture
def world(far: EngineServer, folder_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Its tables, and a machine here that counts its hours otherwise."""
    monkeypatch.setenv("TZ", "UTC")
    for world in play((far.url, far.query), folder_url):
        world.run(*VISITS)
        yield world


def taken_in(world: World, snapshot: Snapshot, zone: str) -> Snapshot:
    """The same snapshot, as if its source had been in another time zone."""
    elsewhere = replace(snapshot.source, timezone=zone)
    with world.repository.draft(snapshot) as draft:
        for entry in world.repository.entries(snapshot):
            draft.carry(entry)
        return draft.commit(
            replace(snapshot, id=new_snapshot_id(datetime.now(UTC)), parent=snapshot.id, source=elsewhere)
        )


def test_sql_answers_as_the_source(world: World) -> None:
    expected = [world.ask(question) for question in QUESTIONS]
    assert world.backup().snapshot.source.timezone == ZONE
    with asking(world) as snapshot:
        assert [snapshot.ask(question) for question in QUESTIONS] == expected


def test_an_export_holds_the_hours_of_the_source(world: World, tmp_path: Path) -> None:
    expected = world.ask("SELECT * FROM {db}.visits ORDER BY at FORMAT CSVWithNames")
    world.backup()
    export.run(world.repository, export.ExportOptions("latest", TableName(world.db, "visits"), tmp_path / "visits.csv"))
    assert sorted((tmp_path / "visits.csv").read_text().splitlines()) == sorted(expected.splitlines())


def test_rows_that_differ_are_shown_in_the_hours_of_the_source(world: World) -> None:
    before = world.backup().snapshot.id
    world.run("INSERT INTO {db}.visits VALUES (1000, '2026-02-01 22:30:00')")
    options = diff.DiffOptions(before, world.backup().snapshot.id)
    with diff.RowDiff(world.repository, options, TableName(world.db, "visits")) as rows:
        assert b"".join(rows.rows("TSV", 10)) == b"+\t1000\t2026-02-01 22:30:00\n"


def test_an_assertion_that_holds_at_the_source_holds_in_a_drill(world: World) -> None:
    asserted = (
        f"SELECT count() = 24 FROM {world.db}.visits WHERE toDate(at) = '2026-02-01'",
        f"SELECT min(n) = 24 AND count() = 4 FROM {world.db}.daily",
    )
    assert [world.ask(query) for query in asserted] == ["1", "1"]
    world.backup()
    (report,) = verify.run(world.repository, VerifyOptions("latest", "drill", assertions=asserted))
    assert report.problems == ()


def test_a_time_zone_that_nobody_here_knows_is_told_and_utc_stands_for_it(world: World) -> None:
    lost = taken_in(world, world.backup().snapshot, "Atlantis/Capital")
    said: list[Event] = []
    with SqlSession(world.repository, SqlOptions(lost.id), said.append) as session:
        assert b"".join(session.stream("SELECT timezone()")) == b"UTC\n"
    (warning,) = [event.text for event in said if isinstance(event, Warned)]
    assert "Atlantis/Capital" in warning
    (report,) = verify.run(world.repository, VerifyOptions(lost.id, "drill"))
    assert report.ok
    assert any("Atlantis/Capital" in remark for remark in report.remarks)


def test_a_snapshot_that_says_no_time_zone_is_asked_in_that_of_this_machine(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    silent = taken_in(world, world.backup().snapshot, "")
    with asking(world, silent.id) as snapshot:
        assert snapshot.ask("SELECT timezone()") == "Asia/Tokyo"


def test_an_attached_snapshot_of_another_time_zone_is_told(world: World) -> None:
    here = world.backup().snapshot
    tokyo = taken_in(world, here, "Asia/Tokyo")

    def warnings(attached: Snapshot) -> list[str]:
        said: list[Event] = []
        with SqlSession(world.repository, SqlOptions(here.id, (("other", attached.id),)), said.append) as session:
            assert b"".join(session.stream("SELECT timezone()")) == f"{ZONE}\n".encode()
        return [event.text for event in said if isinstance(event, Warned)]

    assert warnings(here) == []
    (warning,) = warnings(tokyo)
    assert "other" in warning
    assert "Asia/Tokyo" in warning
    assert ZONE in warning
