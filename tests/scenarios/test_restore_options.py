"""Which tables come back, where to, and what happens to those that are there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from coldhouse.errors import NoSuchSnapshot, RestoreFailed, TargetExists, UsageError
from coldhouse.operations import restore, verify
from tests.scenarios.conftest import Clickhouse
from tests.scenarios.world import World

SHOP = (
    "CREATE TABLE {db}.sales (id UInt64, day Date, shop UInt32) ENGINE = MergeTree PARTITION BY toYYYYMM(day) "
    "ORDER BY id",
    "INSERT INTO {db}.sales SELECT number, toDate('2026-01-01') + number % 90, number % 5 FROM numbers(900)",
    "CREATE TABLE {db}.names (id UInt64, name String) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.names SELECT number, concat('n', toString(number)) FROM numbers(5)",
    "CREATE TABLE {db}.notes (text String) ENGINE = Log",
    "INSERT INTO {db}.notes SELECT toString(number) FROM numbers(50)",
    "CREATE DICTIONARY {db}.dict (id UInt64, name String) PRIMARY KEY id "
    "SOURCE(CLICKHOUSE(TABLE 'names' DB '{db}')) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE VIEW {db}.view AS SELECT dictGet('{db}.dict', 'name', toUInt64(shop)) AS name, count() AS n "
    "FROM {db}.sales GROUP BY name",
    "CREATE MATERIALIZED VIEW {db}.mv (shop UInt32) ENGINE = MergeTree ORDER BY shop POPULATE "
    "AS SELECT shop FROM {db}.sales",
    "CREATE TABLE {db}.sums (shop UInt32, n UInt64) ENGINE = SummingMergeTree ORDER BY shop",
    "CREATE MATERIALIZED VIEW {db}.mv_to TO {db}.sums AS SELECT shop, count() AS n FROM {db}.sales GROUP BY shop",
)
ALL = ["dict", "mv", "mv_to", "names", "notes", "sales", "sums", "view"]


@pytest.fixture
def shop(world: World) -> World:
    """A database of tables that refer to each other, and a snapshot of it."""
    world.run(*SHOP)
    world.backup()
    return world


def test_one_table_comes_back(shop: World) -> None:
    before = shop.content_of("sales")
    shop.drop()
    report = shop.restore(include=(f"{shop.db}.sales",))
    assert shop.tables() == ["sales"]
    assert shop.content_of("sales") == before
    assert [(str(each.name), each.rows, each.status) for each in report.tables] == [
        (f"{shop.db}.sales", 900, "restored")
    ]


def test_tables_come_back_by_patterns(shop: World) -> None:
    shop.drop()
    shop.restore(include=(f"{shop.db}.n*", f"{shop.db}.s?les"))
    assert shop.tables() == ["names", "notes", "sales"]


def test_a_partition_comes_back(shop: World) -> None:
    shop.drop()
    report = shop.restore(partitions=(("sales", "202602"),))
    assert shop.tables() == ["sales"]
    assert shop.ask("SELECT count(), min(day), max(day) FROM {db}.sales") == "280\t2026-02-01\t2026-02-28"
    assert report.tables[0].rows == 280


def test_a_database_comes_back_under_another_name_and_its_references_follow(shop: World) -> None:
    copy = f"{shop.db}_copy"
    shop.restore(renames=((shop.db, copy),))
    before, after = shop.content(), shop.content(db=copy)
    assert sorted(after) == ALL
    shop.drop()  # nothing of the copy needs the first one
    assert shop.content(db=copy) == after
    assert after == {table: text.replace(shop.db, "db") for table, text in before.items()}
    shop.run("INSERT INTO {db}_copy.sales VALUES (1, '2026-01-01', 3)")
    assert shop.ask("SELECT n FROM {db}_copy.view WHERE name = 'n3'") == "181"
    assert shop.ask("SELECT count() FROM {db}_copy.mv WHERE shop = 3") == "181"
    assert shop.ask("SELECT sum(n) FROM {db}_copy.sums") == "1"


def test_a_table_comes_back_under_another_name_beside_itself(shop: World) -> None:
    shop.run("TRUNCATE TABLE {db}.sales")
    shop.restore(include=(f"{shop.db}.sales",), renames=((f"{shop.db}.sales", f"{shop.db}.sales_then"),))
    assert shop.ask("SELECT count() FROM {db}.sales") == "0"
    assert shop.ask("SELECT count() FROM {db}.sales_then") == "900"


def test_references_to_a_renamed_table_follow_in_what_is_restored_with_it(shop: World) -> None:
    shop.drop()
    shop.restore(renames=((f"{shop.db}.sales", f"{shop.db}.turnover"), (f"{shop.db}.names", f"{shop.db}.labels")))
    assert shop.tables() == sorted({*ALL, "turnover", "labels"} - {"sales", "names"})
    shop.run("INSERT INTO {db}.turnover VALUES (1, '2026-01-01', 3)")
    assert shop.ask("SELECT n FROM {db}.view WHERE name = 'n3'") == "181"
    assert shop.ask("SELECT count() FROM {db}.mv WHERE shop = 3") == "181"
    assert shop.ask("SELECT sum(n) FROM {db}.sums") == "1"


def test_engines_that_forward_follow_a_renamed_database(world: World) -> None:
    world.run(
        "CREATE TABLE {db}.base (id UInt64, name String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.base SELECT number, toString(number) FROM numbers(10)",
        "CREATE TABLE {db}.merge AS {db}.base ENGINE = Merge('{db}', '^base$')",
        "CREATE TABLE {db}.buffer AS {db}.base ENGINE = Buffer('{db}', 'base', 1, 10, 100, 10, 100, 1000, 10000)",
        "CREATE DICTIONARY {db}.dict (id UInt64, name String) PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(TABLE 'base' DB '{db}')) LAYOUT(HASHED()) LIFETIME(0)",
        "CREATE TABLE {db}.face (id UInt64, name String) ENGINE = Dictionary('{db}.dict')",
        "CREATE TABLE {db}.user (id UInt64, name String DEFAULT dictGet('{db}.dict', 'name', id)) "
        "ENGINE = MergeTree ORDER BY id",
        "CREATE VIEW {db}.columns AS SELECT {db}.base.id AS x FROM {db}.base",
        "CREATE VIEW {db}.join AS SELECT a.id AS id FROM {db}.base AS a INNER JOIN {db}.merge AS b ON a.id = b.id "
        "WHERE a.id IN (SELECT id FROM {db}.face)",
    )
    world.backup()
    world.restore(renames=((world.db, f"{world.db}_copy"),))
    world.drop()
    world.run("INSERT INTO {db}_copy.user (id) VALUES (7)")
    for table, rows in (("merge", 10), ("buffer", 10), ("face", 10), ("columns", 10), ("join", 10), ("user", 1)):
        assert world.ask(f"SELECT count() FROM {{db}}_copy.{table}") == str(rows), table
        assert f"{world.db}." not in world.ask(f"SHOW CREATE TABLE {{db}}_copy.{table}"), table
    assert world.ask("SELECT name FROM {db}_copy.user") == "7"


def test_a_dictionary_comes_back_under_another_name_and_its_users_follow(shop: World) -> None:
    shop.drop()
    shop.restore(renames=((f"{shop.db}.dict", f"{shop.db}.lexicon"),))
    assert shop.ask("SELECT n FROM {db}.view WHERE name = 'n3'") == "180"


def test_a_view_that_goes_to_another_database_alone_still_reads_where_it_read(shop: World) -> None:
    shop.restore(include=(f"{shop.db}.view",), renames=((f"{shop.db}.view", f"{shop.db}_copy.view"),))
    assert shop.tables(f"{shop.db}_copy") == ["view"]
    assert shop.ask("SELECT n FROM {db}_copy.view WHERE name = 'n3'") == "180"


def test_two_databases_that_refer_to_each_other_are_renamed_together(shop: World) -> None:
    shop.run("CREATE DATABASE {db}_copy", "CREATE VIEW {db}_copy.v AS SELECT count() AS n FROM {db}.sales")
    shop.backup(include=(f"{shop.db}.sales", f"{shop.db}_copy.v"))
    shop.drop()
    shop.run("DROP DATABASE {db}_copy SYNC")
    there, back = f"{shop.db}_copy", shop.db
    shop.restore(renames=((shop.db, there), (f"{shop.db}_copy", back)))
    assert shop.ask("SELECT n FROM {db}.v") == "900"
    assert shop.ask("SELECT count() FROM {db}_copy.sales") == "900"


def test_the_schema_alone(shop: World) -> None:
    before = {table: text.split("\n", 1)[1] for table, text in shop.content().items()}
    shop.drop()
    report = shop.restore(schema_only=True)
    assert {table: text.split("\n", 1)[1] for table, text in shop.content().items()} == before
    assert shop.ask("SELECT count() FROM {db}.sales") == "0"
    assert all(each.rows == 0 for each in report.tables)


def test_nothing_is_touched_where_anything_is_in_the_way(shop: World) -> None:
    shop.run("DROP TABLE {db}.view", "TRUNCATE TABLE {db}.notes", "INSERT INTO {db}.sales VALUES (1, '2026-01-01', 1)")
    before = shop.content()
    with pytest.raises(TargetExists) as caught:
        shop.restore()
    assert all(f"{shop.db}.{table}" in str(caught.value) for table in ALL if table != "view")
    assert shop.content() == before


def test_what_is_there_is_skipped_on_request(shop: World) -> None:
    shop.run("DROP TABLE {db}.view", "DROP TABLE {db}.notes SYNC", "TRUNCATE TABLE {db}.sales")
    report = shop.restore(existing="skip")
    assert {each.name.table: each.status for each in report.tables} == dict.fromkeys(ALL, "skipped") | {
        "view": "restored",
        "notes": "restored",
    }
    assert shop.ask("SELECT count() FROM {db}.sales") == "0"
    assert shop.ask("SELECT count() FROM {db}.notes") == "50"


def test_what_is_there_is_replaced_on_request(shop: World) -> None:
    """Tables, views, dictionaries and materialized views, changed in rows and in definition."""
    before = shop.content()
    shop.run(
        "INSERT INTO {db}.sales VALUES (1, '2026-09-09', 1)",
        "ALTER TABLE {db}.names ADD COLUMN more String",
        "TRUNCATE TABLE {db}.notes",
        "DROP VIEW {db}.view",
        "CREATE TABLE {db}.view (was UInt8) ENGINE = Memory",
        "DROP DICTIONARY {db}.dict SETTINGS check_table_dependencies = 0",
        "CREATE DICTIONARY {db}.dict (id UInt64, name String DEFAULT 'x') PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(TABLE 'names' DB '{db}')) LAYOUT(HASHED()) LIFETIME(0)",
    )
    shop.restore(existing="replace")
    assert shop.content() == before
    assert shop.tables() == ALL
    shop.run("INSERT INTO {db}.sales VALUES (1, '2026-01-01', 3)")
    assert shop.ask("SELECT count() FROM {db}.mv WHERE shop = 3") == "181"


def test_a_replaced_table_still_feeds_the_materialized_views_on_it(shop: World) -> None:
    shop.restore(include=(f"{shop.db}.sales", f"{shop.db}.sums"), existing="replace")
    shop.run("INSERT INTO {db}.sales VALUES (1, '2026-01-01', 3)")
    assert shop.ask("SELECT count() FROM {db}.mv WHERE shop = 3") == "181"
    assert shop.ask("SELECT sum(n) FROM {db}.sums") == "1"


def test_a_partition_is_replaced_and_the_others_stay(shop: World) -> None:
    shop.run(
        "ALTER TABLE {db}.sales DROP PARTITION ID '202602'",
        "INSERT INTO {db}.sales VALUES (1, '2026-02-02', 77), (2, '2026-03-03', 78)",
    )
    shop.restore(existing="replace", partitions=(("sales", "202602"),))
    assert shop.ask("SELECT count() FROM {db}.sales WHERE toYYYYMM(day) = 202602") == "280"
    assert shop.ask("SELECT count() FROM {db}.sales WHERE shop = 78") == "1"
    assert shop.ask("SELECT count() FROM {db}.sales WHERE shop = 77") == "0"
    assert shop.tables() == ALL


def test_rows_are_appended_on_request(shop: World) -> None:
    shop.run("TRUNCATE TABLE {db}.sales", "INSERT INTO {db}.sales VALUES (5000, '2026-01-01', 1)")
    report = shop.restore(include=(f"{shop.db}.sales", f"{shop.db}.notes"), existing="append")
    assert shop.ask("SELECT count(), max(id) FROM {db}.sales") == "901\t5000"
    assert shop.ask("SELECT count(), uniqExact(text) FROM {db}.notes") == "100\t50"
    assert [each.action for each in report.tables] == ["append", "append"]
    assert shop.tables() == ALL


def test_rows_of_a_materialized_view_are_appended_and_definitions_stay(shop: World) -> None:
    shop.run("DROP VIEW {db}.view", "CREATE VIEW {db}.view AS SELECT 1 AS mine")
    report = shop.restore(include=(f"{shop.db}.mv", f"{shop.db}.view", f"{shop.db}.dict"), existing="append")
    assert shop.ask("SELECT count() FROM {db}.mv") == "1800"
    assert shop.ask("SELECT * FROM {db}.view") == "1"
    assert {each.name.table: each.rows for each in report.tables} == {"mv": 900, "view": 0, "dict": 0}


def test_a_partition_is_appended(shop: World) -> None:
    shop.restore(partitions=(("sales", "202601"),), existing="append")
    assert shop.ask("SELECT count() FROM {db}.sales") == str(900 + 310)


def test_appending_to_a_table_of_another_structure_is_refused(shop: World) -> None:
    shop.run("ALTER TABLE {db}.sales ADD COLUMN more UInt8")
    before = shop.content()
    with pytest.raises(RestoreFailed, match="defined differently"):
        shop.restore(include=(f"{shop.db}.sales",), existing="append")
    assert shop.content() == before


def test_a_dry_run_says_what_would_happen_and_changes_nothing(shop: World) -> None:
    shop.run("DROP TABLE {db}.view", "TRUNCATE TABLE {db}.sales")
    before = shop.content()
    report = shop.restore(existing="replace", dry_run=True)
    assert report.dry_run
    assert {each.name.table: (each.action, each.status) for each in report.tables} == dict.fromkeys(
        ALL, ("replace", "planned")
    ) | {"view": ("create", "planned")}
    assert sum(each.rows for each in report.tables) == 900 + 5 + 50 + 900
    assert shop.content() == before
    shop.drop()
    shop.restore(dry_run=True)
    assert shop.ask("SELECT count() FROM system.databases WHERE name = '{db}'") == "0"


def test_the_newest_snapshot_not_later_than_a_time(world: World) -> None:
    world.run("CREATE TABLE {db}.t (v UInt8) ENGINE = MergeTree ORDER BY v", "INSERT INTO {db}.t VALUES (1)")
    first = world.backup().snapshot
    world.run("INSERT INTO {db}.t VALUES (2)")
    second = world.backup().snapshot
    moments = ((first.finished, "1"), (second.finished - timedelta(microseconds=1), "1"), (second.finished, "2"))
    for at, rows in moments:
        world.drop()
        restore.run(world.repository, restore.RestoreOptions(target=world.url, at=at))
        assert world.ask("SELECT count() FROM {db}.t") == rows
    with pytest.raises(NoSuchSnapshot, match="no snapshot was complete"):
        restore.run(
            world.repository,
            restore.RestoreOptions(target=world.url, at=first.finished - timedelta(microseconds=1)),
        )


def test_another_clickhouse_gets_everything(shop: World, embedded: Clickhouse, server: Clickhouse) -> None:
    """From the embedded engine to a server, and from a server to the embedded engine."""
    url, query = server if shop.url == embedded[0] else embedded
    before = shop.content()
    other = World(url, query, shop.repository, shop.db)
    other.restore()
    assert other.content() == before
    other.drop()
    assert shop.content() == before


@pytest.mark.parametrize("pattern", ["{db}.absent", "{db}x.*", "nothing"])
def test_a_pattern_that_matches_nothing_is_an_error(shop: World, pattern: str) -> None:
    with pytest.raises(UsageError, match="matches"):
        shop.restore(include=(f"{shop.db}.sales", pattern.replace("{db}", shop.db)), existing="replace")
    with pytest.raises(UsageError, match="matches"):
        shop.backup(include=(f"{shop.db}.sales", pattern.replace("{db}", shop.db)))


def test_what_the_snapshot_does_not_have_is_an_error(shop: World) -> None:
    before = shop.content()
    with pytest.raises(UsageError, match="no partition with the id 209901"):
        shop.restore(partitions=(("sales", "209901"),), existing="replace")
    with pytest.raises(UsageError, match="no table"):
        shop.restore(partitions=(("absent", "202601"),), existing="replace")
    with pytest.raises(NoSuchSnapshot):
        shop.restore("20200101T000000Z-0000000000000000")
    with pytest.raises(UsageError, match="both become"):
        shop.restore(renames=((f"{shop.db}.sales", f"{shop.db}.names"),))
    assert shop.content() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{db}x", "{db}_copy"),
        ("{db}.slaes", "{db}.sales_then"),
        ("{db}.names", "{db}.names_then"),  # it is there, and is not restored
    ],
)
def test_a_new_name_for_nothing_that_is_restored_is_an_error(shop: World, old: str, new: str) -> None:
    shop.run("INSERT INTO {db}.sales VALUES (1, '2026-01-01', 1)")
    before = shop.content()
    mistaken = (old.replace("{db}", shop.db), new.replace("{db}", shop.db))
    with pytest.raises(UsageError, match=f"--rename.*{mistaken[0]}"):
        shop.restore(include=(f"{shop.db}.sales",), renames=(mistaken,), existing="replace")
    assert shop.content() == before


def test_leaving_out_what_the_snapshot_does_not_have_is_an_error(shop: World) -> None:
    shop.run("INSERT INTO {db}.sales VALUES (1, '2026-01-01', 1)")
    before = shop.content()
    for mistaken in (f"{shop.db}.slaes", f"{shop.db}x.*"):
        with pytest.raises(UsageError, match=f"--exclude.*{mistaken[:-1]}"):
            shop.restore(exclude=(f"{shop.db}.names", mistaken), existing="replace")
    assert shop.content() == before
    shop.restore(exclude=(f"{shop.db}.sales", f"{shop.db}.m?", f"{shop.db}.mv*"), existing="replace")
    assert shop.ask("SELECT count() FROM {db}.sales") == "901"


def test_leaving_out_what_the_source_does_not_have_is_told(shop: World) -> None:
    receipt = shop.backup(exclude=(f"{shop.db}.names", f"{shop.db}.slaes", "absent_database"))
    assert [text for text in receipt.warnings if "slaes" in text or "absent_database" in text or ".names" in text] == [
        f"nothing at the source matches --exclude {shop.db}.slaes, absent_database"
    ]


def test_a_drill_leaves_out_what_a_snapshot_does_not_have(shop: World) -> None:
    options = verify.VerifyOptions("latest", level="drill", exclude=("absent.*",))
    (report,) = verify.run(shop.repository, options)
    assert report.ok, report.problems
