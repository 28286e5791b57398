"""What is damaged and lies somewhere else as well is given back without a copy, by what other snapshots say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldhouse.operations import repair, verify
from coldhouse.operations.verify import VerifyOptions
from coldhouse.repository import manifest_name
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.damage import flip, flip_data_of
from tests.scenarios.world import World

MAKE = (
    "CREATE TABLE {db}.t (id UInt64, p UInt8, text String CODEC(NONE)) ENGINE = MergeTree PARTITION BY p ORDER BY id",
    "CREATE TABLE {db}.log (a String) ENGINE = Log",
    "INSERT INTO {db}.log SELECT randomString(300) FROM numbers(1000)",
)
FILL = "INSERT INTO {db}.t SELECT number, %s, randomString(400) FROM numbers(3000)"


@dataclass(frozen=True)
class Past:
    """A world with one snapshot, and what it holds."""

    world: World
    snapshot: str
    content: dict[str, str]

    def comes_back(self) -> bool:
        """Whether the first snapshot restores to what it was, and every byte of every snapshot is sound."""
        reports = verify.run(self.world.repository, VerifyOptions(level="data"))
        self.world.drop()
        self.world.restore(self.snapshot)
        return self.world.content() == self.content and all(report.ok for report in reports)


@pytest.fixture
def past(embedded: Clickhouse, folder_url: str) -> Iterator[Past]:
    for world in play(embedded, folder_url):
        world.run(*MAKE, FILL % "if(number < 2500, 0, number % 40)")
        yield Past(world, world.backup().snapshot.id, world.content())


def test_after_a_healing_backup_older_snapshots_take_its_files(past: Past) -> None:
    """The damage that its own verification found is sent again by the next backup, and then mends the past."""
    world = past.world
    flip_data_of(world, "t")
    assert not verify.run(world.repository, VerifyOptions(level="data"))[0].ok
    world.backup()
    planned = repair.run(world.repository, data=True)
    assert (planned.rebuilt, planned.dry_run) == ((past.snapshot,), True)
    report = repair.run(world.repository, data=True, dry_run=False)
    assert report.rebuilt == (past.snapshot,)
    assert report.healed
    assert not report.hurt
    assert past.comes_back()


def test_files_are_found_in_packs_that_no_snapshot_needs(past: Past) -> None:
    """By the packs' own directories: here those of a snapshot that was forgotten and not yet collected."""
    world = past.world
    world.repository.forget([world.backup(full=True).snapshot.id])
    flip_data_of(world, "t")
    report = repair.run(world.repository, data=True, dry_run=False)
    assert report.rebuilt == (past.snapshot,)
    assert report.healed
    assert past.comes_back()


@pytest.mark.parametrize("how", ["lost", "flipped"])
def test_a_lost_page_is_put_together_from_the_pages_of_another_snapshot(past: Past, how: str) -> None:
    world = past.world
    (page,) = world.entry("t").pages
    world.run(FILL % "50")
    world.backup()
    assert page.content not in {each.content for each in world.entry("t").pages}  # they lie in a larger page now
    path = Path(world.repository.url, manifest_name(page.ref.id))
    if how == "lost":
        path.unlink()
    else:
        flip(path)
    report = repair.run(world.repository, dry_run=False)
    assert report.rebuilt == (past.snapshot,)
    assert report.healed
    assert past.comes_back()


def test_what_lies_nowhere_else_stays_lost_and_is_told(past: Past) -> None:
    world = past.world
    world.run(FILL % "50")
    latest = world.backup().snapshot.id
    (page,) = world.entry("t").pages
    Path(world.repository.url, manifest_name(page.ref.id)).unlink()  # only this one knows of partition 50
    report = repair.run(world.repository, dry_run=False)
    assert (report.rebuilt, report.healed) == ((), False)
    assert {hurt.snapshot for hurt in report.hurt} == {latest}
    assert world.repository.snapshot_ids() == [past.snapshot, latest]


def test_a_dry_run_changes_nothing_and_a_repeat_neither(past: Past) -> None:
    world = past.world
    world.repository.forget([world.backup(full=True).snapshot.id])
    flip_data_of(world, "t")
    before = [(one.name, one.size) for one in world.repository.storage.list("") if not one.name.startswith("notes/")]
    assert repair.run(world.repository, data=True).rebuilt == (past.snapshot,)
    after = [(one.name, one.size) for one in world.repository.storage.list("") if not one.name.startswith("notes/")]
    assert after == before
    assert repair.run(world.repository, data=True, dry_run=False).healed
    assert repair.run(world.repository, data=True, dry_run=False).sound
