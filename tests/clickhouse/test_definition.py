"""Reading and rewriting CREATE statements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldhouse.clickhouse import definition
from coldhouse.errors import UsageError
from coldhouse.model import TableName

T = TableName("db", "t")
PLAIN = "CREATE TABLE db.t (`a` UInt64) ENGINE = MergeTree ORDER BY a SETTINGS index_granularity = 8192"


@pytest.mark.parametrize(
    ("query", "kind", "name", "uuid"),
    [
        (PLAIN, "TABLE", T, ""),
        ("CREATE TABLE db.t UUID '1-2' (`a` UInt64) ENGINE = Log", "TABLE", T, "1-2"),
        ("CREATE TABLE IF NOT EXISTS `d.b`.`a\\`b` (`a` UInt64)", "TABLE", TableName("d.b", "a`b"), ""),
        ('CREATE OR REPLACE TABLE "d"."x""y" (a UInt64)', "TABLE", TableName("d", 'x"y'), ""),
        ("CREATE MATERIALIZED VIEW db.t UUID '1' TO INNER UUID '2' (`a` UInt64) AS SELECT 1", "VIEW", T, "1"),
        ("CREATE DICTIONARY db.t (`a` UInt64) PRIMARY KEY a", "DICTIONARY", T, ""),
        ("CREATE TEMPORARY TABLE t (a UInt8)", "TABLE", TableName("", "t"), ""),
        ("-- a comment\nCREATE /* TABLE x */ TABLE db.t (a UInt8)", "TABLE", T, ""),
        ("CREATE DATABASE db\nENGINE = Atomic", "DATABASE", TableName("db", ""), ""),
        ("CREATE DATABASE `new\\nline` UUID '9' ENGINE = Atomic", "DATABASE", TableName("new\nline", ""), "9"),
    ],
)
def test_the_head(query: str, kind: str, name: TableName, uuid: str) -> None:
    head = definition.head(query)
    assert (head.kind, head.name, head.uuid) == (kind, name, uuid)


@pytest.mark.parametrize("query", ["", "SELECT 1", "CREATE", "CREATE TABLE", "DROP TABLE db.t", "CREATE USER u"])
def test_what_is_no_create_statement(query: str) -> None:
    with pytest.raises(UsageError):
        definition.head(query)


@given(st.text(max_size=200))
def test_any_text_is_read_to_its_end(text: str) -> None:
    pieces = list(definition.tokens(text))
    assert all(text[piece.start : piece.end] == piece.text for piece in pieces)


def test_another_name_without_uuid() -> None:
    query = "CREATE TABLE db.t UUID '1-2' (`a` UInt64) COMMENT 'db.t'"
    assert definition.with_name(query, TableName("d", "x`y")) == "CREATE TABLE `d`.`x\\`y` (`a` UInt64) COMMENT 'db.t'"


def test_a_database_under_another_name() -> None:
    query = "CREATE DATABASE db UUID '1' ENGINE = Atomic COMMENT 'about db'"
    expected = "CREATE DATABASE IF NOT EXISTS `copy` ENGINE = Atomic COMMENT 'about db'"
    assert definition.create_database(query, "copy") == expected


def test_a_function_only_where_there_is_none() -> None:
    once = definition.create_function("CREATE FUNCTION f AS (x) -> x + 1")
    assert once == "CREATE FUNCTION IF NOT EXISTS f AS (x) -> x + 1"
    assert definition.create_function(once) == once


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PLAIN, PLAIN.replace("db.t", "`x`.`y z`")),
        (PLAIN, PLAIN.replace("`a` UInt64", "a  UInt64").replace(" ENGINE", "\nENGINE")),
        (PLAIN.replace("db.t", "db.t UUID '1'"), PLAIN.replace("db.t", "db.t UUID '2'")),
        (
            "CREATE MATERIALIZED VIEW d.v UUID '1' TO INNER UUID '2' (`a` UInt8) ENGINE = Log AS SELECT 1",
            "CREATE MATERIALIZED VIEW d.v (`a` UInt8) ENGINE = Log DEFINER = default SQL SECURITY DEFINER AS SELECT 1",
        ),
    ],
)
def test_definitions_that_say_the_same(one: str, other: str) -> None:
    assert definition.difference(one, other) == ""


@pytest.mark.parametrize(
    "other",
    [
        PLAIN.replace("UInt64", "UInt32"),
        PLAIN.replace("MergeTree", "ReplacingMergeTree"),
        PLAIN.replace("ORDER BY a", "ORDER BY tuple()"),
        PLAIN.replace(" SETTINGS", " TTL a SETTINGS"),
        PLAIN.replace("`a` UInt64", "`a` UInt64, `b` UInt8"),
        PLAIN.replace("8192", "4096"),
        PLAIN.replace("`a` UInt64", "`a` UInt64 DEFAULT 'a'"),
        PLAIN.replace("TABLE", "VIEW"),
    ],
)
def test_definitions_that_differ_are_told_apart(other: str) -> None:
    assert definition.difference(PLAIN, other)


def test_a_string_is_not_a_name() -> None:
    assert definition.difference(PLAIN + " COMMENT 'a'", PLAIN + " COMMENT a")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("CREATE VIEW db.v AS SELECT * FROM db.t JOIN `o'x`.`y.z` USING a", {("db", "t"), ("o'x", "y.z")}),
        ("CREATE TABLE db.t (a UInt8 DEFAULT dictGet('db.d', 'x', 1)) ENGINE = Log", {("db", "d")}),
        ("CREATE DICTIONARY db.d (a UInt8) SOURCE(CLICKHOUSE(TABLE 'src' DB 'other'))", {("other", "src")}),
        ("CREATE DICTIONARY db.d (a UInt8) SOURCE(CLICKHOUSE(TABLE 'src'))", {("db", "src")}),
        ("CREATE TABLE db.b (a UInt8) ENGINE = Buffer('db', 't', 1, 2)", {("db", "t")}),
        ("CREATE TABLE db.b (a UInt8) ENGINE = Buffer(db, t, 1, 2)", {("db", "t")}),
    ],
)
def test_tables_that_a_definition_mentions(query: str, found: set[tuple[str, str]]) -> None:
    assert {TableName(*pair) for pair in found} <= definition.mentioned(query)


def test_a_view_does_not_mention_itself() -> None:
    assert TableName("db", "v") not in definition.mentioned("CREATE VIEW db.v AS SELECT db.v.a FROM db.v")


@pytest.mark.parametrize(
    ("clause", "recomputed"),
    [("", False), ("REFRESH EVERY 1 HOUR ", True), ("REFRESH EVERY 1 HOUR APPEND ", False)],
)
def test_views_whose_rows_each_refresh_replaces(clause: str, *, recomputed: bool) -> None:
    query = f"CREATE MATERIALIZED VIEW db.v {clause}(`refresh` UInt8) ENGINE = MergeTree ORDER BY a AS SELECT 1"
    assert definition.is_recomputed(query) is recomputed


def test_renames_of_databases_and_of_tables() -> None:
    renames = {TableName("a", ""): TableName("b", ""), TableName("a", "t"): TableName("c", "u")}
    assert definition.renamed_name(TableName("a", "t"), renames) == TableName("c", "u")
    assert definition.renamed_name(TableName("a", "x"), renames) == TableName("b", "x")
    assert definition.renamed_name(TableName("z", "x"), renames) == TableName("z", "x")


@pytest.mark.parametrize(
    ("query", "policy", "without"),
    [
        ("CREATE TABLE a.b (`c` Int8) ENGINE = Log", "", None),
        (
            "CREATE TABLE a.b (`c` Int8) ENGINE = MergeTree ORDER BY c "
            "SETTINGS storage_policy = 'x', index_granularity = 8192",
            "x",
            "CREATE TABLE a.b (`c` Int8) ENGINE = MergeTree ORDER BY c SETTINGS index_granularity = 8192",
        ),
        (
            "CREATE TABLE a.b (`c` Int8) ENGINE = MergeTree ORDER BY c "
            "SETTINGS ttl_only_drop_parts = 1, storage_policy = 'x'",
            "x",
            "CREATE TABLE a.b (`c` Int8) ENGINE = MergeTree ORDER BY c SETTINGS ttl_only_drop_parts = 1",
        ),
        (
            "CREATE TABLE a.b (`c` Int8) ENGINE = Log SETTINGS storage_policy = 'it\\'s'",
            "it's",
            "CREATE TABLE a.b (`c` Int8) ENGINE = Log",
        ),
        (
            "CREATE MATERIALIZED VIEW a.b (`c` Int8) ENGINE = Log SETTINGS storage_policy = 'x' AS SELECT c FROM d "
            "WHERE storage_policy = 'y'",
            "x",
            "CREATE MATERIALIZED VIEW a.b (`c` Int8) ENGINE = Log AS SELECT c FROM d WHERE storage_policy = 'y'",
        ),
        ("CREATE VIEW a.b AS SELECT 1 FROM d WHERE storage_policy = 'y' SETTINGS storage_policy = 'z'", "", None),
    ],
)
def test_a_storage_policy_is_read_and_left_out(query: str, policy: str, without: str | None) -> None:
    assert definition.storage_policy(query) == policy
    assert definition.without_storage_policy(query) == (query if without is None else without)
