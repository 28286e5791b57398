"""Somebody else works on the same repository, or on the same source, while a backup runs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import RestoreFailed
from coldhouse.events import Event, Phase
from coldhouse.operations import forget, restore
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.world import PASSPHRASE, World

PATIENCE = 60


def test_two_sources_are_backed_up_into_one_repository_at_once(
    embedded: Clickhouse, server: Clickhouse, folder_url: str
) -> None:
    repositories.init(open_storage(folder_url), PASSPHRASE, kdf=CHEAP).close()
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def listen(event: Event) -> None:
        if isinstance(event, Phase) and ("ClickHouse sends" in event.text or "proving" in event.text):
            meeting.wait()  # neither goes on before the other is as far

    with (
        repositories.open_repository(open_storage(folder_url), PASSPHRASE) as one,
        repositories.open_repository(open_storage(folder_url), PASSPHRASE) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        worlds = [World(*embedded, one, "play_one"), World(*server, other, "play_other")]
        for world in worlds:
            world.run(
                "DROP DATABASE IF EXISTS {db} SYNC",
                "CREATE DATABASE {db}",
                "CREATE TABLE {db}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id",
            )
        contents = []
        for round_ in range(2):
            for number, world in enumerate(worlds):
                world.run(f"INSERT INTO {{db}}.t SELECT number, 'w{number}' FROM numbers({1000 * (round_ + 1)})")
            contents.append([world.content() for world in worlds])
            backups = [pool.submit(world.backup, listener=listen) for world in worlds]
            assert all(each.result(PATIENCE).complete for each in backups)
        for number, world in enumerate(worlds):
            mine = [each for each in world.snapshots() if each.include == (f"{world.db}.*",)]
            assert [each.parent for each in mine] == ["", mine[0].id]
            for round_, snapshot in enumerate(mine):
                world.drop()
                world.restore(snapshot)
                assert world.content() == contents[round_][number]
            world.drop()


def test_one_source_is_backed_up_twice_at_once(embedded: Clickhouse, folder_url: str) -> None:
    """As when cron starts one while the last still runs: both are whole, and share what was there before."""
    repositories.init(open_storage(folder_url), PASSPHRASE, kdf=CHEAP).close()
    meeting = threading.Barrier(2, timeout=PATIENCE)

    def listen(event: Event) -> None:
        if isinstance(event, Phase) and ("ClickHouse sends" in event.text or "proving" in event.text):
            meeting.wait()  # neither goes on before the other is as far

    with (
        repositories.open_repository(open_storage(folder_url), PASSPHRASE) as one,
        repositories.open_repository(open_storage(folder_url), PASSPHRASE) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        worlds = [World(*embedded, repository, "play_twice") for repository in (one, other)]
        world = worlds[0]
        world.drop()
        world.run(
            "CREATE DATABASE {db}",
            "CREATE TABLE {db}.t (id UInt64, v String) ENGINE = MergeTree ORDER BY id",
            "SYSTEM STOP MERGES {db}.t",
            "INSERT INTO {db}.t SELECT number, 'first' FROM numbers(1000)",
        )
        parent = world.backup().snapshot
        world.run("INSERT INTO {db}.t SELECT number, 'second' FROM numbers(1000)")
        content = world.content()
        made = [
            each.result(PATIENCE).snapshot for each in [pool.submit(each.backup, listener=listen) for each in worlds]
        ]
        assert [each.parent for each in made] == [parent.id, parent.id]
        assert all(each.accounting.reused for each in made)
        assert [each.id for each in world.snapshots()] == sorted([parent.id, *(each.id for each in made)])
        for snapshot in made:
            world.drop()
            world.restore(snapshot)
            assert world.content() == content
        world.run("INSERT INTO {db}.t SELECT number, 'third' FROM numbers(1000)")
        content = world.content()
        third = world.backup().snapshot
        world.drop()
        world.restore(third)
        assert world.content() == content
        world.drop()


def test_snapshots_are_forgotten_while_one_of_them_is_restored(world: World) -> None:
    """A restore ends as it began, whatever is forgotten meanwhile, were it the snapshot itself."""
    world.run("CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree ORDER BY id")
    world.run("CREATE TABLE {db}.u (id UInt64) ENGINE = MergeTree ORDER BY id")
    for number in range(3):
        world.run(*(f"INSERT INTO {{db}}.{table} SELECT {number}000 + number FROM numbers(1000)" for table in "tu"))
        world.backup()
    ids = [snapshot.id for snapshot in world.snapshots()]
    before = world.content()
    forgotten: list[str] = []

    def forget_others(event: Event) -> None:
        if isinstance(event, Phase) and "restor" in event.text and not forgotten:
            options = forget.ForgetOptions(names=(ids[0], ids[2]))
            forgotten.extend(forget.execute(world.repository, forget.prepare(world.repository, options)).forgotten)

    world.drop()
    options = restore.RestoreOptions(target=world.url, snapshot=ids[2])
    assert restore.run(world.repository, options, forget_others).complete
    assert sorted(forgotten) == [ids[0], ids[2]]
    assert world.content() == before
    assert [snapshot.id for snapshot in world.snapshots()] == [ids[1]]
    world.drop()
    world.restore()
    assert world.ask("SELECT count() FROM {db}.t") == "2000"


def test_a_table_is_dropped_just_before_clickhouse_is_asked(world: World) -> None:
    world.run(
        "CREATE TABLE {db}.stays (id UInt64) ENGINE = MergeTree ORDER BY id",
        "CREATE TABLE {db}.goes (id UInt64) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.stays SELECT number FROM numbers(10)",
        "INSERT INTO {db}.goes SELECT number FROM numbers(10)",
    )

    def drop(event: Event) -> None:
        if isinstance(event, Phase) and "ClickHouse sends" in event.text:
            world.run("DROP TABLE IF EXISTS {db}.goes SYNC")

    receipt = world.backup(listener=drop)
    assert receipt.snapshot.accounting.tables == 1
    before = world.content()
    world.drop()
    world.restore()
    assert world.content() == before


def test_rows_that_come_during_the_backup_are_whole_or_not_there(world: World) -> None:
    world.run("CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree ORDER BY id")
    world.run("INSERT INTO {db}.t SELECT number FROM numbers(1000)")

    def insert(event: Event) -> None:
        if isinstance(event, Phase):
            world.run("INSERT INTO {db}.t SELECT number FROM numbers(1000)", "OPTIMIZE TABLE {db}.t FINAL")

    world.backup(listener=insert)
    world.drop()
    world.restore()
    rows, sum_ = map(int, world.ask("SELECT count(), sum(id) FROM {db}.t").split("\t"))
    assert rows >= 1000
    assert rows % 1000 == 0
    assert sum_ == rows // 1000 * sum(range(1000))


def test_a_table_that_somebody_makes_while_a_restore_runs_is_not_taken_for_its_own(world: World) -> None:
    for name in ("a", "b"):
        world.run(f"CREATE TABLE {{db}}.{name} (id UInt64) ENGINE = MergeTree ORDER BY id")
        world.run(f"INSERT INTO {{db}}.{name} SELECT number FROM numbers(10)")
    world.backup()
    world.drop()

    def listen(event: Event) -> None:
        if isinstance(event, Phase) and event.text.endswith(f"{world.db}.a"):
            world.run("CREATE TABLE {db}.b (id UInt64) ENGINE = MergeTree ORDER BY id", "INSERT INTO {db}.b VALUES (7)")

    with pytest.raises(RestoreFailed, match="ClickHouse could not restore"):
        world.restore(listener=listen)
    assert world.tables() == ["a", "b"], "nothing was moved aside"
    assert world.ask("SELECT groupArray(id) FROM {db}.b") == "[7]"
