"""What is said before and after the work: the list of snapshots, and warnings."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from coldhouse.operations import snapshots
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.world import World


@pytest.fixture
def far_world(clickhouse: Clickhouse) -> Iterator[World]:
    """A repository on another file system than the data: in memory."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == Path("/tmp").stat().st_dev:
        pytest.skip("there is only one file system here")
    folder = mkdtemp(dir=shm)
    yield from play(clickhouse, f"{folder}/repository")
    shutil.rmtree(folder)


def test_snapshots_of_a_source_are_found_by_its_url_with_or_without_a_password(world: World) -> None:
    world.run("CREATE TABLE {db}.t (id UInt8) ENGINE = MergeTree ORDER BY id")
    made = world.backup().snapshot
    for source in (world.url, made.source.url, made.source.identity):
        assert [each.id for each in snapshots.run(world.repository, source=source)] == [made.id]
    assert snapshots.run(world.repository, source="http://somewhere.else:8123") == []


def test_a_repository_on_the_disk_of_the_data_is_warned_of(world: World) -> None:
    """One broken disk would take both; also told of a server, where it runs on this machine."""
    world.run("CREATE TABLE {db}.t (id UInt8) ENGINE = MergeTree ORDER BY id")
    receipt = world.backup()
    assert any("same disk" in warning for warning in receipt.warnings)
    assert receipt.complete


def test_a_repository_on_another_disk_is_not(far_world: World) -> None:
    far_world.run("CREATE TABLE {db}.t (id UInt8) ENGINE = MergeTree ORDER BY id")
    assert not any("same disk" in warning for warning in far_world.backup().warnings)
