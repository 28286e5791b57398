"""Names that need quoting, in databases, tables and columns."""

from __future__ import annotations

from coldhouse.clickhouse.sql import quote_identifier
from tests.scenarios.world import World

#: Each is a table, a column and, as the end of its name, a database.
NAMES = (
    "a.b.c",
    "a/b/../c",
    " a  b ",
    """it's "so" """,
    "a`b``c",
    "100%25 %2E",
    "a\\b\\n\\",
    "a\nb\tc",
    "Таблица_日本_é",
    "2026_01",
    "-a;b--c/*d*/,(e)",
    "SELECT",
    "{x:String}",
    "<file>&amp;</file>",
    "*?[a]",
)


def test_tables_and_columns_of_any_name_come_back(world: World) -> None:
    columns = ", ".join(f"{quote_identifier(name)} UInt32" for name in NAMES)
    world.run(
        f"CREATE TABLE {{db}}.wide ({columns}) ENGINE = MergeTree ORDER BY tuple() "
        "SETTINGS min_bytes_for_wide_part = 0",
        f"CREATE TABLE {{db}}.log ({columns}) ENGINE = Log",
        f"INSERT INTO {{db}}.wide SELECT * FROM (SELECT {_numbers()} FROM numbers(50))",
        f"INSERT INTO {{db}}.log SELECT * FROM (SELECT {_numbers()} FROM numbers(50))",
    )
    for name in NAMES:
        table = quote_identifier(name)
        world.run(
            f"CREATE TABLE {{db}}.{table} ({table} UInt32) ENGINE = MergeTree ORDER BY {table}",
            f"INSERT INTO {{db}}.{table} SELECT number FROM numbers({len(name)})",
        )
    first = quote_identifier(NAMES[0])
    world.run(f"CREATE VIEW {{db}}.view AS SELECT max({first}) AS m FROM {{db}}.{first}")
    world.backup()
    for name in NAMES:
        world.run(f"INSERT INTO {{db}}.{quote_identifier(name)} VALUES (100)")
    before = world.content()
    assert set(NAMES) < set(before)
    assert world.backup().snapshot.accounting.reused > 0
    world.drop()
    world.restore()
    assert world.content() == before


def test_databases_of_any_name_come_back(world: World) -> None:
    databases = {f"{world.db}_{name}": quote_identifier(f"{world.db}_{name}") for name in NAMES}
    for database in databases.values():
        world.run(
            f"CREATE DATABASE {database}",
            f"CREATE TABLE {database}.t (id UInt32) ENGINE = MergeTree ORDER BY id",
            f"INSERT INTO {database}.t SELECT number FROM numbers(10)",
            f"CREATE VIEW {database}.v AS SELECT sum(id) AS s FROM {database}.t",
        )
    definitions = {name: _definitions(world, quoted) for name, quoted in databases.items()}
    world.backup(include=(f"{world.db}_*",))
    for database in databases.values():
        world.run(f"DROP DATABASE {database} SYNC")
    world.restore(include=(f"{world.db}_*",))
    assert {name: _definitions(world, quoted) for name, quoted in databases.items()} == definitions
    for database in databases.values():
        assert world.ask(f"SELECT s FROM {database}.v") == "45"
        world.run(f"DROP DATABASE {database} SYNC")


def test_a_database_of_any_name_gets_another(world: World) -> None:
    old, new = f"{world.db}.a `b`", f"{world.db} /c.d"
    world.run(
        f"CREATE DATABASE {quote_identifier(old)}",
        f"CREATE TABLE {quote_identifier(old)}.`t.1` (id UInt32) ENGINE = MergeTree ORDER BY id",
        f"INSERT INTO {quote_identifier(old)}.`t.1` SELECT number FROM numbers(10)",
        f"CREATE VIEW {quote_identifier(old)}.v AS SELECT sum(id) AS s FROM {quote_identifier(old)}.`t.1`",
    )
    world.backup(include=(f"{old}.*",))
    world.run(f"DROP DATABASE {quote_identifier(old)} SYNC")
    world.restore(renames=((_named(old), _named(new)),))
    assert world.ask(f"SELECT s FROM {quote_identifier(new)}.v") == "45"
    world.run(f"DROP DATABASE {quote_identifier(new)} SYNC")


def _numbers() -> str:
    return ", ".join(f"number + {at}" for at in range(len(NAMES)))


def _definitions(world: World, database: str) -> list[str]:
    return [world.ask(f"SHOW CREATE {what}") for what in (f"DATABASE {database}", f"{database}.t", f"{database}.v")]


def _named(name: str) -> str:
    """As --rename takes it: in backticks, a backtick doubled."""
    return "`" + name.replace("`", "``") + "`"


def test_a_table_named_like_a_views_inner_table_does_not_stop_the_backup(world: World) -> None:
    """A view that is gone can leave one behind; BACKUP looks at the name alone and says that there is no such table."""
    world.run(
        "CREATE TABLE {db}.`.inner_id.0b7f4f3c-1111-4222-8333-123456789abc` (id UInt8) ENGINE = Log",
        "CREATE TABLE {db}.t (id UInt8) ENGINE = Log",
    )
    receipt = world.backup()
    assert any(".inner_id.0b7f4f3c" in warning for warning in receipt.warnings)
    assert receipt.snapshot.accounting.tables == 1
