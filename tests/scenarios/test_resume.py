"""A backup that was killed is not lost work: the next one sends only the rest."""

from __future__ import annotations

import pytest

from coldhouse.events import Event, Phase
from coldhouse.operations import backup
from coldhouse.operations.checkpoint import KIND
from tests.scenarios.world import World

KIB = 1024
MIB = 1024 * KIB


class Killed(BaseException):
    """Stands for the end of the process: nothing in Coldhouse may catch it."""


def fill(world: World) -> None:
    """Three tables of some 6 MB that no compression makes smaller."""
    for number in range(3):
        world.run(
            f"CREATE TABLE {{db}}.t{number} (a UInt64, b FixedString(64)) ENGINE = MergeTree ORDER BY a",
            f"INSERT INTO {{db}}.t{number} SELECT number + {number}, randomFixedString(64) FROM numbers(80000)",
        )


def options(world: World, *, full: bool = False) -> backup.BackupOptions:
    return backup.BackupOptions(
        source=world.url, include=(f"{world.db}.*",), compression="none", full=full, checkpoint_bytes=MIB
    )


def die_before_the_commit(world: World) -> None:
    """Run a backup up to the moment at which all is stored and no snapshot is there."""

    def listener(event: Event) -> None:
        if isinstance(event, Phase) and event.text.startswith("proving"):
            raise Killed

    with pytest.raises(Killed):
        backup.run(world.repository, options(world), listener)
    assert any(world.repository.notes(KIND))
    assert world.snapshots() == []


def test_the_next_backup_sends_only_what_the_killed_one_had_not_stored(world: World) -> None:
    fill(world)
    die_before_the_commit(world)
    world.run(
        "CREATE TABLE {db}.late (a UInt64) ENGINE = MergeTree ORDER BY a",
        "INSERT INTO {db}.late SELECT rand64() FROM numbers(10000)",
    )
    before = world.content()

    resumed = backup.run(world.repository, options(world)).snapshot

    late = world.entry("late")
    assert resumed.accounting.sent < late.bytes + 10 * KIB, "what was stored was sent again"
    assert resumed.accounting.new == resumed.accounting.data, "it was in no snapshot, so it is new"
    assert not any(world.repository.notes(KIND))
    world.drop()
    world.restore(resumed)
    assert world.content() == before


def test_a_full_backup_trusts_nothing_that_was_left(world: World) -> None:
    fill(world)
    die_before_the_commit(world)
    full = backup.run(world.repository, options(world, full=True)).snapshot.accounting
    assert full.sent > full.data - 10 * KIB  # equal small files are sent once


def test_packs_that_are_gone_are_sent_again(world: World) -> None:
    fill(world)
    die_before_the_commit(world)
    storage = world.repository.storage
    storage.delete([stored.name for stored in storage.list("packs/")])
    before = world.content()

    resumed = backup.run(world.repository, options(world)).snapshot

    world.drop()
    world.restore(resumed)
    assert world.content() == before
