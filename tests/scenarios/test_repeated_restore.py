"""A restore that failed is repeated by the same command, and brings back what was missing, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldhouse.errors import Corruption, RestoreFailed
from coldhouse.operations.delivery import Delivery
from coldhouse.operations.restore_note import RestoreNote
from tests.scenarios import damage
from tests.scenarios.world import World


def filled(world: World, engine: str) -> None:
    world.run(
        f"CREATE TABLE {{db}}.t (a UInt64, b String) ENGINE = {engine}",
        "INSERT INTO {db}.t SELECT number, hex(rand64()) FROM numbers(20000)",
    )


@pytest.mark.parametrize("engine", ["TinyLog", "Log", "StripeLog", "Memory", "MergeTree ORDER BY a"])
def test_a_table_that_was_created_and_not_filled_is_filled_by_the_repeat(
    world: World, folder_url: str, engine: str
) -> None:
    filled(world, engine)
    before = world.content()
    snapshot = world.backup().snapshot
    world.drop()
    (pack,) = damage.packs(Path(folder_url))
    damage.flip(pack)
    with pytest.raises(Corruption):
        world.restore(snapshot)

    damage.flip(pack)  # the same bit once more: the object is sound again
    world.restore(snapshot)

    assert world.content() == before


@pytest.mark.parametrize("engine", ["TinyLog", "Log", "StripeLog", "Memory", "MergeTree ORDER BY a"])
def test_rows_that_a_failed_append_did_not_bring_are_appended_by_the_repeat(
    world: World, folder_url: str, engine: str
) -> None:
    filled(world, engine)
    snapshot = world.backup().snapshot
    world.run("TRUNCATE TABLE {db}.t", "INSERT INTO {db}.t SELECT 100000 + number, '' FROM numbers(7)")
    (pack,) = damage.packs(Path(folder_url))
    damage.flip(pack)
    with pytest.raises(Corruption):
        world.restore(snapshot, existing="append")

    damage.flip(pack)
    report = world.restore(snapshot, existing="append")

    assert world.ask("SELECT count(), uniqExact(a) FROM {db}.t") == "20007\t20007"
    assert [each.rows_restored for each in report.tables] == [20000]


@pytest.mark.parametrize("engine", ["TinyLog", "Log", "StripeLog", "Memory"])
def test_rows_that_a_killed_append_has_brought_are_not_appended_again(
    world: World, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    world.run(f"CREATE TABLE {{db}}.t (a UInt64) ENGINE = {engine}", "INSERT INTO {db}.t SELECT number FROM numbers(9)")
    world.backup()
    world.run("TRUNCATE TABLE {db}.t", "INSERT INTO {db}.t VALUES (100)")
    with monkeypatch.context() as patch:
        patch.setattr(RestoreNote, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            world.restore(existing="append")

    report = world.restore(existing="append")

    assert world.ask("SELECT count(), uniqExact(a) FROM {db}.t") == "10\t10"
    assert [(each.rows_restored, each.note) for each in report.tables] == [
        (9, "appended by an earlier run of this restore")
    ]


def test_where_nobody_knows_how_many_rows_were_to_come_a_repeated_append_does_not_guess(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run("CREATE TABLE {db}.t (a UInt64) ENGINE = TinyLog", "INSERT INTO {db}.t SELECT number FROM numbers(9)")
    with monkeypatch.context() as patch:
        patch.setattr(Delivery, "_counted", lambda *_: {})
        world.backup()
    assert not world.entry("t").rows_known
    with monkeypatch.context() as patch:
        patch.setattr(RestoreNote, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            world.restore(existing="append")

    with pytest.raises(RestoreFailed, match="18 rows; it had 9"):
        world.restore(existing="append")
    assert world.ask("SELECT count() FROM {db}.t") == "18"


def killed(_: RestoreNote) -> None:
    """As SIGKILL would do it, just before the end."""
    raise KeyboardInterrupt
