"""Views, dictionaries, functions and empty things come back, in an order in which each can be made."""

from __future__ import annotations

import secrets

from coldhouse.operations import show
from tests.scenarios.test_round_trips import comes_back
from tests.scenarios.world import World

SALES = (
    "CREATE TABLE {db}.sales (id UInt64, shop UInt32, sum Float64) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.sales SELECT number, number % 5, number FROM numbers(1000)",
)


def test_views_on_views_come_back(world: World) -> None:
    """Named so that the order of the names is not the order in which they can be made."""
    world.run(
        *SALES,
        "CREATE VIEW {db}.c AS SELECT shop, sum(sum) AS s FROM {db}.sales GROUP BY shop",
        "CREATE VIEW {db}.b AS SELECT max(s) AS m FROM {db}.c",
        "CREATE VIEW {db}.a AS SELECT * FROM {db}.b WHERE m IN (SELECT s FROM {db}.c)",
    )
    comes_back(world)


def test_a_view_with_parameters_comes_back(world: World) -> None:
    world.run(*SALES, "CREATE VIEW {db}.given AS SELECT count() AS n FROM {db}.sales WHERE shop = {shop:UInt32}")
    world.backup()
    world.drop()
    world.restore()
    assert world.ask("SELECT n FROM {db}.given(shop = 3)") == "200"


def test_materialized_views_come_back_and_go_on(world: World) -> None:
    """With a table of their own inside (also populated) and with one that they write to."""
    world.run(
        *SALES,
        "CREATE MATERIALIZED VIEW {db}.a_inner (shop UInt32, s Float64) ENGINE = SummingMergeTree ORDER BY shop "
        "POPULATE AS SELECT shop, sum(sum) AS s FROM {db}.sales GROUP BY shop",
        "CREATE MATERIALIZED VIEW {db}.a_log (id UInt64) ENGINE = Log AS SELECT id FROM {db}.sales",
        "CREATE TABLE {db}.z_to (shop UInt32, n UInt64) ENGINE = SummingMergeTree ORDER BY shop",
        "CREATE MATERIALIZED VIEW {db}.a_to TO {db}.z_to AS SELECT shop, count() AS n FROM {db}.sales GROUP BY shop",
        "INSERT INTO {db}.sales SELECT number, 7, 1 FROM numbers(50)",
        "OPTIMIZE TABLE {db}.a_inner FINAL",
        "OPTIMIZE TABLE {db}.z_to FINAL",
    )
    comes_back(world)
    world.run("INSERT INTO {db}.sales SELECT number, 7, 1 FROM numbers(10)")
    assert world.ask("SELECT sum(s) FROM {db}.a_inner WHERE shop = 7") == "60"
    assert world.ask("SELECT sum(n) FROM {db}.z_to WHERE shop = 7") == "60"
    assert world.ask("SELECT count() FROM {db}.a_log") == "60"


def test_rows_are_not_fed_to_materialized_views_again_by_the_restore(world: World) -> None:
    world.run(
        "CREATE TABLE {db}.b (id UInt64) ENGINE = Log",
        "CREATE MATERIALIZED VIEW {db}.a (id UInt64) ENGINE = MergeTree ORDER BY id AS SELECT id FROM {db}.b",
        "INSERT INTO {db}.b SELECT number FROM numbers(100)",
    )
    comes_back(world)
    assert world.ask("SELECT count() FROM {db}.a") == "100"


def test_a_refreshable_view_comes_back_with_its_definition_and_refreshes(world: World) -> None:
    world.run(
        *SALES,
        "CREATE MATERIALIZED VIEW {db}.fresh REFRESH EVERY 1 YEAR (n UInt64) ENGINE = MergeTree ORDER BY n EMPTY "
        "AS SELECT count() AS n FROM {db}.sales",
        "SYSTEM REFRESH VIEW {db}.fresh",
        "SYSTEM WAIT VIEW {db}.fresh",
    )
    definition = world.ask("SHOW CREATE TABLE {db}.fresh")
    receipt = world.backup()
    assert any("refreshable" in warning for warning in receipt.warnings)
    world.drop()
    assert world.restore().complete
    assert world.ask("SHOW CREATE TABLE {db}.fresh") == definition
    world.run("SYSTEM REFRESH VIEW {db}.fresh", "SYSTEM WAIT VIEW {db}.fresh")
    assert world.ask("SELECT n FROM {db}.fresh") == "1000"


def test_dictionaries_come_back_and_answer(world: World) -> None:
    """Also where a table's default needs one, which must then be there first."""
    world.run(
        "CREATE TABLE {db}.z_names (id UInt64, name String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.z_names SELECT number, concat('n', toString(number)) FROM numbers(100)",
        "CREATE DICTIONARY {db}.y_names (id UInt64, name String) PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(TABLE 'z_names' DB '{db}')) LAYOUT(HASHED()) LIFETIME(0)",
        "CREATE TABLE {db}.a_uses (id UInt64, name String DEFAULT dictGet('{db}.y_names', 'name', id)) "
        "ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.a_uses (id) SELECT number FROM numbers(50)",
        "CREATE VIEW {db}.a_view AS SELECT dictGet('{db}.y_names', 'name', toUInt64(7)) AS n",
        "CREATE TABLE {db}.a_face (id UInt64, name String) ENGINE = Dictionary('{db}.y_names')",
    )
    comes_back(world)
    assert world.ask("SELECT n FROM {db}.a_view") == "n7"
    world.run("INSERT INTO {db}.a_uses (id) VALUES (99)")
    assert world.ask("SELECT name FROM {db}.a_uses WHERE id = 99") == "n99"


def test_a_function_that_tables_call_comes_back_before_them(world: World) -> None:
    """BACKUP of the embedded engine has no functions: Coldhouse records them itself."""
    name = f"twice_{secrets.token_hex(4)}"
    world.run(
        f"CREATE FUNCTION {name} AS (x) -> x * 2",
        f"CREATE TABLE {{db}}.t (a UInt32, b UInt64 DEFAULT {name}(a)) ENGINE = MergeTree ORDER BY a",
        f"CREATE VIEW {{db}}.v AS SELECT {name}(a) AS c FROM {{db}}.t",
        "INSERT INTO {db}.t (a) SELECT number FROM numbers(10)",
    )
    before = world.content()
    world.backup()
    world.drop()
    world.run(f"DROP FUNCTION {name}")
    world.restore()
    assert world.content() == before
    assert world.ask(f"SELECT {name}(21)") == "42"
    world.run(f"DROP FUNCTION {name}")


def test_engines_that_forward_come_back(world: World) -> None:
    """They hold no rows of their own; what they refer to is there before them."""
    world.run(
        *SALES,
        "CREATE TABLE {db}.a_merge AS {db}.sales ENGINE = Merge('{db}', '^sales$')",
        "CREATE TABLE {db}.a_null (id UInt64) ENGINE = Null",
        "CREATE TABLE {db}.a_buffer AS {db}.sales ENGINE = Buffer('{db}', 'sales', 1, 10, 100, 10, 100, 1000, 10000)",
    )
    comes_back(world)


def test_what_backup_leaves_out_is_said(world: World) -> None:
    world.run("CREATE TABLE {db}.s (id UInt64) ENGINE = Set", "INSERT INTO {db}.s SELECT number FROM numbers(5)")
    receipt = world.backup()
    assert any("Set" in warning and "contents" in warning for warning in receipt.warnings)
    world.drop()
    assert world.restore().complete
    assert "ENGINE = Set" in world.ask("SHOW CREATE TABLE {db}.s")


def test_empty_tables_come_back(world: World) -> None:
    for engine in ("MergeTree ORDER BY id", "Log", "TinyLog", "StripeLog", "Memory", "ReplacingMergeTree ORDER BY id"):
        world.run(f"CREATE TABLE {{db}}.`{engine}` (id UInt64, s String) ENGINE = {engine}")
    world.run(
        "CREATE TABLE {db}.emptied (id UInt64) ENGINE = MergeTree PARTITION BY id ORDER BY id",
        "INSERT INTO {db}.emptied SELECT number FROM numbers(3)",
        "TRUNCATE TABLE {db}.emptied",
    )
    comes_back(world)


def test_an_empty_database_comes_back(world: World) -> None:
    """Its engine and comment too; nothing of a table is needed."""
    world.run("DROP DATABASE {db}", "CREATE DATABASE {db} ENGINE = Atomic COMMENT 'nothing in it yet'")
    before = world.ask("SHOW CREATE DATABASE {db}")
    assert world.backup(include=(world.db,)).complete
    world.drop()
    world.restore()
    assert world.ask("SHOW CREATE DATABASE {db}") == before


def test_a_backup_of_everything_holds_all_databases_and_none_of_the_system(world: World) -> None:
    world.run(*SALES, "CREATE DATABASE {db}_copy")
    snapshot = world.backup(include=()).snapshot
    names = {str(entry.name) for entry in show.run(world.repository, snapshot.id).tables}
    assert {world.db, f"{world.db}_copy", f"{world.db}.sales"} <= names
    assert not any(name.split(".")[0].lower() in ("system", "information_schema") for name in names)
