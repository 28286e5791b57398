"""Many small files come as one archive; what is in the snapshot, and what it refuses, is the same as without."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.clickhouse import inspect
from coldhouse.events import Event, Warned
from coldhouse.gateway import archive
from coldhouse.gateway.archive import ArchiveSink
from coldhouse.operations import backup_plan, show
from tests.scenarios.conftest import play
from tests.scenarios.damage import flip, source_file
from tests.scenarios.test_restore_options import SHOP
from tests.scenarios.test_round_trips import NO_MERGES, comes_back
from tests.scenarios.world import World
from tests.support.engine import EngineServer
from tests.support.fixtures_engine import OLD_ENGINE


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The list of files of every archive that arrived whole."""
    arrived: list[bytes] = []
    real = ArchiveSink.document

    def document(sink: ArchiveSink) -> bytes:
        arrived.append(real(sink))
        return arrived[-1]

    monkeypatch.setattr(ArchiveSink, "document", document)
    return arrived


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch, archives: list[bytes]) -> list[bytes]:
    """The same, and every statement brings one, whatever its files."""
    monkeypatch.setattr(backup_plan, "FILES_OF_AN_ARCHIVE", 0)
    monkeypatch.setattr(backup_plan, "BYTES_OF_AN_ARCHIVED_FILE", 1 << 40)
    return archives


def fill(world: World, parts: int) -> None:
    world.run(
        f"CREATE TABLE {{db}}.t (p UInt32, id UInt64, s String) ENGINE = MergeTree PARTITION BY p ORDER BY id "
        f"SETTINGS {NO_MERGES}",
        f"INSERT INTO {{db}}.t SELECT number % {parts}, number, toString(number) FROM numbers({parts * 10}) "
        "SETTINGS max_partitions_per_insert_block = 0",
    )


def test_a_table_of_many_small_parts_comes_as_one_archive_and_comes_back(world: World, archives: list[bytes]) -> None:
    fill(world, 80)
    world.backup()
    assert len(archives) == 1
    world.run("INSERT INTO {db}.t VALUES (7, 1, 'one more')")
    second = world.backup().snapshot
    assert len(archives) == 1, "a few files come one by one"
    assert second.accounting.reused > 0
    before = world.content()
    world.drop()
    world.restore(second)
    assert world.content() == before


def test_large_files_come_one_by_one(world: World, archives: list[bytes]) -> None:
    world.run(
        "CREATE TABLE {db}.t (id UInt64, s String CODEC(NONE)) ENGINE = MergeTree ORDER BY id "
        "SETTINGS min_bytes_for_wide_part = 0",
        "INSERT INTO {db}.t SELECT number, randomString(1000) FROM numbers(5000)",
    )
    comes_back(world)
    assert archives == []


def series(world: World) -> None:
    """Changes of every kind; each snapshot restores to what was there at its time."""
    world.run(*SHOP, "CREATE TABLE {db}.big (id UInt64, s String CODEC(NONE)) ENGINE = MergeTree ORDER BY id")
    made = [(world.backup().snapshot, world.content())]
    for change in (
        "INSERT INTO {db}.big SELECT number, randomString(1000) FROM numbers(5000)",
        "INSERT INTO {db}.sales SELECT number, '2026-02-02', 9 FROM numbers(100)",
        "INSERT INTO {db}.notes SELECT 'grown' FROM numbers(5)",
        "ALTER TABLE {db}.sales UPDATE shop = shop + 1 WHERE id % 2 = 0 SETTINGS mutations_sync = 2",
    ):
        world.run(change)
        made.append((world.backup().snapshot, world.content()))
    for snapshot, content in made:
        world.drop()
        world.restore(snapshot)
        assert world.content() == content


def test_every_kind_of_table_and_change_comes_back_from_archives(world: World, always: list[bytes]) -> None:
    series(world)
    assert len(always) >= 5


def test_the_oldest_engine_sends_the_same(tmp_path: Path, always: list[bytes]) -> None:
    if not (OLD_ENGINE / "chdb").is_dir():
        pytest.skip(f"no chdb-core 26.7 in {OLD_ENGINE}")
    with EngineServer(tmp_path / "data", site=OLD_ENGINE) as old:
        for world in play((old.url, old.query), str(tmp_path / "repository")):
            series(world)
    assert len(always) >= 5


@pytest.fixture
def rotten(world: World) -> Iterator[World]:
    """One of many parts has other bytes than its own checksum says."""
    fill(world, 80)
    part = world.ask("SELECT name FROM system.parts WHERE database = '{db}' AND partition_id = '42'")
    flip(source_file(world, "t", f"{part}/data.bin"))
    yield world


def test_rot_at_the_source_is_seen_in_an_archive_too(rotten: World, archives: list[bytes]) -> None:
    receipt = rotten.backup()
    assert len(archives) == 1
    assert len(receipt.damaged) == 1
    assert receipt.damaged[0].startswith(f"{rotten.db}.t 42_") and receipt.damaged[0].endswith("/data.bin")
    assert show.run(rotten.repository, "latest").snapshot.damaged == receipt.damaged


def test_an_archive_that_cannot_be_read_is_asked_for_file_by_file(
    world: World, always: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a server of a later version, which might write other archives."""

    def frombuf(*_: object) -> tarfile.TarInfo:
        raise tarfile.HeaderError("of another kind")

    monkeypatch.setattr(archive, "_plain_entry", lambda _: None)
    monkeypatch.setattr(tarfile.TarInfo, "frombuf", frombuf)
    fill(world, 80)
    told: list[Event] = []
    before = world.content()
    receipt = world.backup(listener=told.append)
    assert always == []
    assert [each.text for each in told if isinstance(each, Warned) and "one file at a time" in each.text]
    world.drop()
    world.restore(receipt.snapshot)
    assert world.content() == before


@pytest.mark.parametrize(
    ("version", "kinds", "expected"),
    [
        ((26, 7, 2, 1), ["Local"], True),
        ((27, 1), ["Local", "local"], True),
        ((26, 6, 9), ["Local"], False),
        ((26, 9), ["Local", "ObjectStorage"], False),
    ],
)
def test_archives_are_asked_of_servers_that_read_local_disks(
    version: tuple[int, ...], kinds: list[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        def __init__(self) -> None:
            self.version = version

    disks = tuple(inspect.DiskState("d", kind, "/d/", 0, 0) for kind in kinds)
    monkeypatch.setattr(inspect, "disks", lambda _: disks)
    assert inspect.sends_archives(Server()) is expected  # type: ignore[arg-type]
