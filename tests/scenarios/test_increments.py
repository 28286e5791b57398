"""A series of snapshots: each is whole, each costs only what changed, none needs another."""

from __future__ import annotations

import pytest

from coldhouse.clickhouse import BackupRequest, Source, statements
from coldhouse.storage import StoredObject
from tests.scenarios.conftest import ALSO_OLD_LONG
from tests.scenarios.world import World

pytestmark = ALSO_OLD_LONG

Asked = list[BackupRequest]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Every BACKUP statement that is started, as it is started."""
    started: Asked = []
    start = statements.start_backup

    def noting(source: Source, request: BackupRequest) -> None:
        started.append(request)
        start(source, request)

    monkeypatch.setattr(statements, "start_backup", noting)
    return started


def elements(request: BackupRequest) -> dict[str, tuple[str, ...]]:
    """The tables that a BACKUP names, and the partitions of each; none: all of it."""
    return {element.name.table: element.partitions for element in request.elements}


EVENTS = (
    "CREATE TABLE {db}.events (id UInt64, day Date, v UInt32, s String) ENGINE = MergeTree PARTITION BY toYYYYMM(day) "
    "ORDER BY id",
    "INSERT INTO {db}.events SELECT number, toDate('2026-01-01') + number % 120, number, toString(number) "
    "FROM numbers(6000)",
)


def test_nothing_changed_asks_for_nothing(world: World) -> None:
    """Tables with parts and definitions are carried over: not one statement, and only the root is written."""
    world.run(*EVENTS, "CREATE VIEW {db}.v AS SELECT count() AS n FROM {db}.events")
    first = world.backup().snapshot
    objects = sorted(each.name for each in world.repository.storage.list(""))
    again = world.backup().snapshot
    new = sorted(each.name for each in world.repository.storage.list("") if each.name not in objects)
    assert new == [f"snapshots/{again.id}"]
    assert again.catalog == first.catalog
    assert (again.accounting.sent, again.accounting.new, again.accounting.objects) == (0, 0, 1)
    assert again.accounting.data == again.accounting.reused == first.accounting.data
    assert again.parent == first.id


@pytest.mark.parametrize("engine", ["Log", "TinyLog", "StripeLog"])
def test_an_unchanged_table_without_parts_sends_nothing(world: World, engine: str) -> None:
    """Its parts cannot be compared, so ClickHouse is asked; it finds everything in the base, the definition too."""
    world.run(
        f"CREATE TABLE {{db}}.l (id UInt64) ENGINE = {engine}", "INSERT INTO {db}.l SELECT number FROM numbers(9999)"
    )
    first = world.backup().snapshot.accounting
    again = world.backup().snapshot.accounting
    assert first.sent > first.new > 0
    assert (again.sent, again.new, again.objects) == (0, 0, 1)
    assert again.data == again.reused == first.data


#: What can happen to a database between two snapshots, in an order in which each can happen.
CHANGES = {
    "insert": ("INSERT INTO {db}.events SELECT number, '2026-02-03', 1, 'more' FROM numbers(500)",),
    "merge": ("OPTIMIZE TABLE {db}.events FINAL",),
    "mutation": (
        "ALTER TABLE {db}.events UPDATE v = v + 1000 WHERE id % 7 = 0 SETTINGS mutations_sync = 2",
        "ALTER TABLE {db}.events DELETE WHERE id % 11 = 0 SETTINGS mutations_sync = 2",
    ),
    "lightweight delete": ("DELETE FROM {db}.events WHERE id % 13 = 0",),
    "drop and detach partition": (
        "ALTER TABLE {db}.events DROP PARTITION ID '202603'",
        "ALTER TABLE {db}.events DETACH PARTITION ID '202604'",
    ),
    "attach partition": ("ALTER TABLE {db}.events ATTACH PARTITION ID '202604'",),
    "add column": (
        "ALTER TABLE {db}.events ADD COLUMN extra String DEFAULT 'none'",
        "INSERT INTO {db}.events SELECT 1, '2026-05-05', 2, 's', 'given'",
    ),
    "modify column": ("ALTER TABLE {db}.events MODIFY COLUMN v Int64 SETTINGS mutations_sync = 2",),
    "rename column": ("ALTER TABLE {db}.events RENAME COLUMN s TO text SETTINGS mutations_sync = 2",),
    "drop column": ("ALTER TABLE {db}.events DROP COLUMN extra SETTINGS mutations_sync = 2",),
    "index and projection": (
        "ALTER TABLE {db}.events ADD INDEX i v TYPE minmax",
        "ALTER TABLE {db}.events ADD PROJECTION p (SELECT day, sum(v) GROUP BY day)",
        "ALTER TABLE {db}.events MATERIALIZE PROJECTION p SETTINGS mutations_sync = 2",
    ),
    "change settings and comments": (
        "ALTER TABLE {db}.events MODIFY SETTING merge_with_ttl_timeout = 1000",
        "ALTER TABLE {db}.events MODIFY COMMENT 'new'",
    ),
    "log grows": ("INSERT INTO {db}.log SELECT number FROM numbers(100000, 7)",),
    "log rewritten": ("TRUNCATE TABLE {db}.log", "INSERT INTO {db}.log SELECT number FROM numbers(5)"),
    "memory changes": ("INSERT INTO {db}.memory VALUES (2)",),
    "new table": (
        "CREATE TABLE {db}.young (id UInt32) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.young SELECT number FROM numbers(10)",
    ),
    "rename table": ("RENAME TABLE {db}.young TO {db}.older",),
    "exchange tables": ("CREATE TABLE {db}.other AS {db}.older", "EXCHANGE TABLES {db}.older AND {db}.other"),
    "same name, another table": (
        "DROP TABLE {db}.older SYNC",
        "CREATE TABLE {db}.older (id UInt32, x UInt8 DEFAULT 3) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.older (id) SELECT number FROM numbers(20)",
    ),
    "truncate": ("TRUNCATE TABLE {db}.events",),
    "drop table": ("DROP TABLE {db}.events SYNC",),
}


def test_each_snapshot_of_a_series_is_what_was_there_at_its_time(world: World) -> None:
    """Every one alone: the objects of all other snapshots are taken out of the listing while it is restored."""
    world.run(
        *EVENTS,
        "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
        "INSERT INTO {db}.log SELECT number FROM numbers(100000)",
        "CREATE TABLE {db}.memory (id UInt64) ENGINE = Memory",
        "INSERT INTO {db}.memory VALUES (1)",
    )
    series = [("at first", world.backup().snapshot, world.content())]
    for change, sentences in CHANGES.items():
        world.run(*sentences)
        series.append((change, world.backup().snapshot, world.content()))
        accounting = series[-1][1].accounting
        assert accounting.data == accounting.reused + accounting.new, change
    roots = {each.name: bytes(world.repository.storage.get(each.name)) for each in _roots(world)}
    world.repository.storage.delete(list(roots))
    for change, snapshot, content in series:
        name = f"snapshots/{snapshot.id}"
        world.repository.storage.create(name, roots[name])
        world.drop()
        world.restore("latest")
        assert world.content() == content, change
        world.repository.storage.delete([name])


def _roots(world: World) -> list[StoredObject]:
    return list(world.repository.storage.list("snapshots/"))


def test_a_change_in_one_of_many_partitions_asks_for_it_alone(world: World, asked: Asked) -> None:
    world.run(*EVENTS)
    world.backup()
    world.run("INSERT INTO {db}.events SELECT number, '2026-04-04', 1, 'x' FROM numbers(10)")
    before = world.content()
    accounting = world.backup().snapshot.accounting
    assert elements(asked[-1]) == {"events": ("202604",)}
    assert 0 < accounting.new < 3000 < accounting.data / 10
    world.drop()
    world.restore()
    assert world.content() == before


def test_a_dropped_partition_asks_for_nothing(world: World, asked: Asked) -> None:
    world.run(*EVENTS)
    first = world.backup().snapshot.accounting
    world.run("ALTER TABLE {db}.events DROP PARTITION ID '202601'")
    before = world.content()
    accounting = world.backup().snapshot.accounting
    assert len(asked) == 1
    assert (accounting.sent, accounting.new) == (0, 0)
    assert accounting.parts == first.parts - 1
    world.drop()
    world.restore()
    assert world.content() == before


def test_only_the_tables_that_changed_are_asked_for(world: World, asked: Asked) -> None:
    world.run(
        *EVENTS,
        "CREATE VIEW {db}.v AS SELECT count() AS n FROM {db}.events",
        "CREATE TABLE {db}.small (id UInt8) ENGINE = MergeTree ORDER BY id",
        "CREATE TABLE {db}.idle (id UInt8) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.idle VALUES (1)",
    )
    world.backup()
    world.run(
        "INSERT INTO {db}.small VALUES (1)", "CREATE OR REPLACE VIEW {db}.v AS SELECT max(id) AS n FROM {db}.events"
    )
    world.backup()
    assert elements(asked[-1]) == {"small": (), "v": ()}


def test_a_full_backup_asks_for_everything_again(world: World, asked: Asked) -> None:
    world.run(*EVENTS)
    first = world.backup().snapshot
    second = world.backup(full=True).snapshot
    assert [elements(each) for each in asked] == [{"events": ()}] * 2
    assert second.full
    assert second.parent == ""
    assert second.accounting.new == first.accounting.new


def test_a_backup_of_one_table_does_not_become_the_parent_of_everything(world: World) -> None:
    """A backup of one table between two of all: the third is compared with the first."""
    world.run(*EVENTS, "CREATE TABLE {db}.t (id UInt8) ENGINE = MergeTree ORDER BY id", "INSERT INTO {db}.t VALUES (1)")
    first = world.backup().snapshot
    between = world.backup(include=(f"{world.db}.t",)).snapshot
    third = world.backup().snapshot
    assert between.parent == first.id
    assert between.accounting.new == 0
    assert third.parent == first.id
    assert third.accounting.new == 0


def test_a_renamed_table_sends_its_new_definition_only(world: World) -> None:
    world.run(*EVENTS)
    first = world.backup().snapshot.accounting
    world.run("RENAME TABLE {db}.events TO {db}.happenings")
    before = world.content()
    renamed = world.backup().snapshot.accounting
    assert renamed.new == 0
    assert renamed.data == first.data
    assert 0 < renamed.sent < 1000
    world.drop()
    world.restore()
    assert world.content() == before
