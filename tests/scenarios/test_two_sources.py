"""Two ClickHouses in one repository: the newest snapshot is not taken for that of another source."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coldhouse.article import DatabaseManager
from coldhouse.errors import Corruption, NoSuchSnapshot
from coldhouse.model import Snapshot
from coldhouse.operations import choosing, diff, forget, mount, pin, restore, show, verify
from coldhouse.records import replace
from tests.scenarios.conftest import Clickhouse
from tests.scenarios.world import PASSPHRASE, World
from tests.support.spoiling import spoiled


@pytest.fixture
def two(world: World, embedded: Clickhouse, server: Clickhouse) -> tuple[World, World, Snapshot, Snapshot]:
    """Two sources with a table of one name, each in a snapshot of its own; the second was backed up last."""
    url, query = server if world.url == embedded[0] else embedded
    other = World(url, query, world.repository, world.db)
    other.run("CREATE DATABASE {db}")
    for place, value in ((world, 1), (other, 2)):
        place.run(
            "CREATE TABLE {db}.t (v UInt8) ENGINE = MergeTree ORDER BY v", f"INSERT INTO {{db}}.t VALUES ({value})"
        )
    return world, other, world.backup().snapshot, other.backup().snapshot


def restored(world: World, **which: str | datetime) -> restore.RestoreReport:
    options = restore.RestoreOptions(target=world.url, existing="replace", **which)  # type: ignore[arg-type]
    return restore.run(world.repository, options)


def test_the_latest_of_several_sources_is_nobodys(two: tuple[World, World, Snapshot, Snapshot]) -> None:
    first, second, _, newest = two
    for which in ({"snapshot": "latest"}, {"at": datetime.now(UTC)}):
        with pytest.raises(NoSuchSnapshot, match="2 sources") as caught:
            restored(first, **which)
        for place in (first, second):
            assert place.url.rpartition("@")[2] in caught.value.message
        assert "--source" in caught.value.hint
    assert first.ask("SELECT v FROM {db}.t") == "1"

    restored(first, snapshot=newest.id)  # an id leaves no doubt
    assert first.ask("SELECT v FROM {db}.t") == "2"
    second.drop()


def test_the_latest_of_a_source_is_its_own(two: tuple[World, World, Snapshot, Snapshot]) -> None:
    first, second, old, new = two
    for source in (first.url, old.source.url, old.source.identity):
        first.run("TRUNCATE TABLE {db}.t")
        assert restored(first, snapshot="latest", source=source).snapshot.id == old.id
        assert first.ask("SELECT v FROM {db}.t") == "1"
    assert restored(second, at=datetime.now(UTC), source=second.url).snapshot.id == new.id
    with pytest.raises(NoSuchSnapshot, match="no snapshot of http://elsewhere"):
        restored(first, snapshot="latest", source="http://elsewhere:8123")
    second.drop()


def test_every_verb_takes_the_latest_of_a_source(two: tuple[World, World, Snapshot, Snapshot]) -> None:
    first, second, old, new = two
    repository = first.repository
    assert show.run(repository, "latest").snapshot.id == new.id  # looking harms nobody
    assert show.run(repository, "latest", source=first.url).snapshot.id == old.id
    assert pin.pin(repository, "latest", source=first.url).snapshot.id == old.id
    assert pin.unpin(repository, "latest", source=first.url).snapshot.id == old.id
    (report,) = verify.run(repository, verify.VerifyOptions("latest", source=first.url))
    assert report.snapshot == old.id
    found = diff.run(repository, diff.DiffOptions(old.id, "latest", source=first.url))
    assert {each.change for each in found.tables} == {"same"}
    plan = forget.prepare(repository, forget.ForgetOptions(names=("latest",), source=first.url, allow_last=True))
    assert plan.ids == (old.id,)
    options = mount.MountOptions(second.url, "latest", f"{first.db}_copy", source=first.url)
    with mount.Mount(repository, options) as mounted:
        assert mounted.snapshot.id == old.id
    second.drop()


def test_a_manager_restores_its_own_database(two: tuple[World, World, Snapshot, Snapshot], folder_url: str) -> None:
    first, second, _, _ = two
    first.run("TRUNCATE TABLE {db}.t")
    DatabaseManager(first.url, PASSPHRASE).restore(folder_url, existing="replace")
    assert first.ask("SELECT v FROM {db}.t") == "1"
    second.drop()


@pytest.mark.parametrize(
    ("changes", "sources"),
    [
        ({"identity": "made anew"}, 1),  # the address and host are the old ones
        ({"url": "http://renamed:8123", "host": "renamed"}, 1),  # the identity is
        (
            {"identity": "another", "host": "another"},
            2,
        ),  # two machines that are both http://localhost:8123 to themselves
        ({"identity": "another", "url": "http://another:8123"}, 2),
    ],
)
def test_what_counts_as_one_source(world: World, changes: dict[str, str], sources: int) -> None:
    world.run("CREATE TABLE {db}.t (v UInt8) ENGINE = MergeTree ORDER BY v")
    known = world.backup().snapshot
    before = replace(known, id=known.id[:-1] + "x", source=replace(known.source, **changes))
    found = choosing._sources((before, known))
    assert len(found) == sources


def test_a_damaged_snapshot_is_in_the_way_only_where_it_could_be_meant(world: World, folder_url: str) -> None:
    world.run("CREATE TABLE {db}.t (v UInt8) ENGINE = MergeTree ORDER BY v", "INSERT INTO {db}.t VALUES (1)")
    first = world.backup().snapshot
    moment = datetime.now(UTC)
    time.sleep(1.1)  # ids have the time to the second
    second = world.backup().snapshot
    (damaged,) = (Path(folder_url) / "snapshots").rglob(f"{second.id}*")
    damaged.write_bytes(spoiled(damaged.read_bytes()))
    assert restored(world, at=moment).snapshot.id == first.id
    with pytest.raises(Corruption):
        restored(world, snapshot="latest")
    with pytest.raises(Corruption):
        restored(world, at=datetime.now(UTC), source=world.url)
