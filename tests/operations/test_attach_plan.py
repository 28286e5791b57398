"""Which tables of a snapshot a query can mean, and how each is read."""

from __future__ import annotations

import pytest

from coldhouse.errors import UsageError
from coldhouse.model import TableEntry, TableKind, TableName
from coldhouse.operations.attach_plan import AttachPlan, Way, single_statement, split_format, split_statements


def entry(name: str, engine: str, definition: str, kind: TableKind = TableKind.DEFINITION) -> TableEntry:
    database, _, table = name.partition(".")
    return TableEntry(TableName(database, table), "", engine, kind, definition, b"", 0, 0, 0, 0, 0, "")


def parts(name: str) -> TableEntry:
    return entry(name, "MergeTree", f"CREATE TABLE {name} (`a` UInt8) ENGINE = MergeTree ORDER BY a", TableKind.PARTS)


ENTRIES = [
    entry("shop", "Atomic", "CREATE DATABASE shop ENGINE = Atomic"),
    parts("shop.orders"),
    parts("shop.customers"),
    parts("log.events"),
    entry("shop.totals", "View", "CREATE VIEW shop.totals (`n` UInt64) AS SELECT count() AS n FROM shop.orders"),
    entry("shop.top", "View", "CREATE VIEW shop.top (`n` UInt64) AS SELECT n FROM shop.totals"),
    entry(
        "shop.names",
        "Dictionary",
        "CREATE DICTIONARY shop.names (`id` UInt64, `n` String) PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(TABLE 'customers' DB 'shop')) LAYOUT(FLAT())",
    ),
    entry("shop.all", "Merge", "CREATE TABLE shop.all (`a` UInt8) ENGINE = Merge('log', '^ev')"),
    entry("shop.members", "Set", "CREATE TABLE shop.members (`a` UInt8) ENGINE = Set"),
    entry("shop.far", "Distributed", "CREATE TABLE shop.far (`a` UInt8) ENGINE = Distributed('c', 'shop', 'orders')"),
]


@pytest.fixture
def plan() -> AttachPlan:
    plan = AttachPlan()
    plan.add(ENTRIES, lambda name: name)
    return plan


@pytest.mark.parametrize(
    ("query", "tables"),
    [
        ("SELECT 1", []),
        ("SELECT count() FROM shop.orders", ["orders"]),
        ("SELECT count() FROM `shop`.`orders`", ["orders"]),
        ("SELECT count() FROM orders", ["orders"]),
        ("SELECT count() FROM events", []),
        ("SELECT count() FROM log.events", ["events"]),
        ("SELECT * FROM shop.top", ["orders", "totals", "top"]),
        ("SELECT dictGet('shop.names', 'n', 1)", ["customers", "names"]),
        ("SELECT dictGet(concat('shop', '.names'), 'n', 1)", ["customers", "names"]),
        ("SELECT * FROM `all`", ["all", "events"]),
        ("SELECT 'orders'", ["orders"]),
        ("SELECT joinGet('shop.members', 'a', 1)", ["members"]),
    ],
)
def test_a_query_means_what_it_names_and_what_that_needs(plan: AttachPlan, query: str, tables: list[str]) -> None:
    found = [each.name.table for each in plan.wanted(query, "shop")]
    assert sorted(found) == sorted(tables)
    for each in plan.wanted(query, "shop"):
        for needed in each.needs:
            assert found.index(needed.table) < found.index(each.name.table)


@pytest.mark.parametrize(
    "query",
    ["SHOW TABLES", "SELECT * FROM system.tables", "SELECT * FROM merge('shop', 'o')", "DESCRIBE {t:Identifier}"],
)
def test_what_looks_around_sees_everything(plan: AttachPlan, query: str) -> None:
    assert len(plan.wanted(query, "shop")) == len(ENTRIES) - 1


def test_what_cannot_be_read_says_why(plan: AttachPlan) -> None:
    ways = {name.table: plan.attachment(name).way for name in plan.names()}
    assert ways.pop("members") is ways.pop("far") is Way.ABSENT
    assert {ways.pop(name) for name in ("orders", "customers", "events")} == {Way.WEB}
    assert set(ways.values()) == {Way.DEFINE}
    assert "Set" in plan.attachment(TableName("shop", "members")).reason
    assert "Distributed" in plan.attachment(TableName("shop", "far")).reason


def test_further_snapshots_have_names_of_their_own(plan: AttachPlan) -> None:
    plan.add(ENTRIES, lambda name: TableName(f"monday__{name.database}", name.table))
    found = plan.wanted("SELECT * FROM monday__shop.totals", "shop")
    # more than is meant, never less: the database of the query is always looked at, too
    assert TableName("monday__shop", "orders") in [each.name for each in found]
    totals = next(each for each in found if each.name == TableName("monday__shop", "totals"))
    assert totals.statement() == (
        "CREATE VIEW `monday__shop`.`totals` (`n` UInt64) AS SELECT count() AS n FROM `monday__shop`.`orders`"
    )
    with pytest.raises(UsageError, match="two tables"):
        plan.add(ENTRIES, lambda name: name)


def test_one_statement_and_its_format() -> None:
    assert single_statement("  SELECT ';' ; ; -- end") == "  SELECT ';'"
    for wrong in ("", " -- nothing", ";", "SELECT 1; SELECT 2"):
        with pytest.raises(UsageError):
            single_statement(wrong)
    assert split_format("SELECT 1 FORMAT CSV") == ("SELECT 1", "CSV")
    assert split_format("SELECT a format") == ("SELECT a format", "")
    assert split_format("SELECT a.format, b") == ("SELECT a.format, b", "")
    with pytest.raises(UsageError, match="OUTFILE"):
        split_format("SELECT 1 INTO OUTFILE 'x'")
    assert split_statements("SELECT ';'; SELECT 2;\nSELECT") == (["SELECT ';';", "SELECT 2;"], "SELECT")
