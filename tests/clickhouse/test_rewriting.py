"""Definitions rewritten so that they can be read where nothing is restored."""

from __future__ import annotations

import pytest

from coldhouse.clickhouse import clauses, rewriting, sql
from coldhouse.clickhouse.clauses import Engine
from coldhouse.clickhouse.rewriting import Place
from coldhouse.model import TableName

HERE = TableName("here", "t")
REPLICATED = (
    "CREATE TABLE db.t UUID '11111111-2222-3333-4444-555555555555' (`id` UInt64, `ttl` DateTime TTL ttl + "
    "toIntervalDay(1), `n` String DEFAULT dictGet('db.names', 'name', id), INDEX i id TYPE minmax GRANULARITY 1, "
    "PROJECTION p (SELECT id ORDER BY id)) ENGINE = ReplicatedReplacingMergeTree('/ch/{uuid}/{shard}', '{replica}', "
    "ttl) PARTITION BY toYYYYMM(ttl) PRIMARY KEY id ORDER BY (id, ttl) SAMPLE BY id TTL ttl + toIntervalDay(1) TO "
    "DISK 'x', "
    "ttl + toIntervalDay(3) DELETE WHERE id = 3 SETTINGS storage_policy = 'cold', index_granularity = 100, "
    "deduplicate_merge_projection_mode = 'rebuild' COMMENT 'a, (b) SETTINGS c = 1'"
)
RENAMES = {
    TableName("db", name): TableName("monday__db", name) for name in ("t", "names", "sales", "target", "with.dot")
}


def test_a_replicated_table_becomes_a_plain_one_on_a_web_disk() -> None:
    place = Place(sql.web_disk("http://h:1/web/token/"), projections=True)
    assert rewriting.on_web_disk(REPLICATED, HERE, RENAMES, place) == (
        "CREATE TABLE `here`.`t` (`id` UInt64, `ttl` DateTime TTL ttl + toIntervalDay(1), "
        "`n` String DEFAULT dictGet('monday__db.names', 'name', id), INDEX i id TYPE minmax GRANULARITY 1, "
        "PROJECTION p (SELECT id ORDER BY id)) ENGINE = ReplacingMergeTree(ttl) PARTITION BY toYYYYMM(ttl) PRIMARY "
        "KEY id ORDER BY (id, ttl) SAMPLE BY id SETTINGS index_granularity = 100, deduplicate_merge_projection_mode = "
        "'rebuild', disk = disk(type = 'web', endpoint = 'http://h:1/web/token/'), table_disk = 1"
    )


def test_a_table_of_a_shared_disk_is_attached_by_its_uuid() -> None:
    text = rewriting.on_web_disk(REPLICATED, HERE, {}, Place("D", uuid="abc", without=frozenset({"index_granularity"})))
    assert text.startswith("ATTACH TABLE `here`.`t` UUID 'abc' (`id` UInt64, ")
    assert text.endswith("SETTINGS deduplicate_merge_projection_mode = 'rebuild', disk = D")
    assert "PROJECTION" not in text


@pytest.mark.parametrize(
    ("engine", "plain"),
    [
        ("ReplicatedMergeTree('/a', 'b')", "MergeTree"),
        ("ReplicatedMergeTree", "MergeTree"),
        ("ReplicatedVersionedCollapsingMergeTree('/a', 'b', sign, ver)", "VersionedCollapsingMergeTree(sign, ver)"),
        ("SharedSummingMergeTree('/a', 'b', (x, y))", "SummingMergeTree((x, y))"),
        ("ReplacingMergeTree(v)", "ReplacingMergeTree(v)"),
        ("Log", "Log"),
    ],
)
def test_engines_without_keeper(engine: str, plain: str) -> None:
    taken = clauses.take_apart(f"CREATE TABLE a.b (`x` UInt8) ENGINE = {engine} ORDER BY x")
    assert str(rewriting.plain_engine(clauses.engine(taken))) == plain


def test_columns_named_like_clauses_are_no_clauses() -> None:
    query = (
        "CREATE TABLE a.b (`ttl` UInt8, `settings` UInt8, `engine` UInt8) ENGINE = MergeTree PARTITION BY settings "
        "PRIMARY KEY ttl ORDER BY ttl TTL ttl + 1 SETTINGS index_granularity = 8192"
    )
    taken = clauses.take_apart(query)
    assert [clause.text for clause in taken.clauses] == [
        "ENGINE = MergeTree",
        "PARTITION BY settings",
        "PRIMARY KEY ttl",
        "ORDER BY ttl",
        "TTL ttl + 1",
        "SETTINGS index_granularity = 8192",
    ]
    assert clauses.column_names(taken) == ["ttl", "settings", "engine"]


def test_columns_that_are_not_stored() -> None:
    query = (
        "CREATE TABLE a.b (`id` UInt64, `l` String ALIAS toString(id), `e` UInt8 EPHEMERAL 1, "
        "`m` UInt8 MATERIALIZED 2, "
        "`alias` UInt8 DEFAULT 3, `d` UInt8 DEFAULT alias, INDEX `i` id TYPE set(1)) ENGINE = Log"
    )
    assert rewriting.column_names(query) == ["id", "l", "e", "m", "alias", "d"]
    assert rewriting.stored_column_names(query) == ["id", "m", "alias", "d"]


def test_materialized_views_show_what_they_wrote() -> None:
    to = (
        "CREATE MATERIALIZED VIEW db.mv UUID 'x' TO db.target (`shop` UInt32, `n` UInt64) DEFINER = joe SQL SECURITY "
        "DEFINER AS SELECT shop, count() AS n FROM db.sales GROUP BY shop"
    )
    assert (
        rewriting.as_view(to, HERE, RENAMES)
        == "CREATE VIEW `here`.`t` AS SELECT `shop`, `n` FROM `monday__db`.`target`"
    )
    inner = (
        "CREATE MATERIALIZED VIEW db.mv UUID 'x' TO INNER UUID 'y' (`id` UInt64) ENGINE = Log DEFINER = joe SQL "
        "SECURITY DEFINER AS SELECT id FROM db.sales"
    )
    assert rewriting.as_table(inner, HERE, RENAMES) == "CREATE TABLE `here`.`t` (`id` UInt64) ENGINE = Log"
    fresh = (
        "CREATE MATERIALIZED VIEW db.f UUID 'x' REFRESH EVERY 1 YEAR TO INNER UUID 'z' (`n` UInt64) ENGINE = MergeTree "
        "ORDER BY n DEFINER = joe SQL SECURITY DEFINER AS SELECT count() AS n FROM db.sales"
    )
    assert rewriting.as_view(fresh, HERE, RENAMES) == (
        "CREATE VIEW `here`.`t` (`n` UInt64) AS SELECT count() AS n FROM `monday__db`.`sales`"
    )


def test_a_dictionary_reads_the_table_of_here() -> None:
    query = (
        "CREATE DICTIONARY db.names UUID 'a' (`id` UInt64, `name` String) PRIMARY KEY id SOURCE(CLICKHOUSE(HOST "
        "'localhost' PORT 9000 USER 'u' PASSWORD 'secret' TABLE 'sales')) LIFETIME(MIN 0 MAX 0) LAYOUT(HASHED())"
    )
    assert not rewriting.reads_elsewhere(query)
    text = rewriting.as_dictionary(query, HERE, RENAMES)
    assert text == (
        "CREATE DICTIONARY `here`.`t` (`id` UInt64, `name` String) PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(TABLE 'sales' DB 'monday__db')) LIFETIME(MIN 0 MAX 0) LAYOUT(HASHED())"
    )
    assert rewriting.reads_elsewhere(query.replace("localhost", "elsewhere"))
    assert rewriting.reads_elsewhere(query.replace("CLICKHOUSE", "MYSQL"))


def test_references_are_renamed_and_what_looks_like_one_is_not() -> None:
    text = (
        "SELECT t.id, 'db.sales', x.db.sales FROM db.sales AS s JOIN `db`.`with.dot` w WHERE dictHas('db.names', s.id)"
    )
    assert rewriting.with_references(text, RENAMES) == (
        "SELECT t.id, 'db.sales', x.db.sales FROM `monday__db`.`sales` AS s JOIN `monday__db`.`with.dot` w "
        "WHERE dictHas('monday__db.names', s.id)"
    )


def test_names_of_three_steps() -> None:
    def lookup(prefix: str, database: str, table: str) -> TableName | None:
        return TableName(f"{prefix}__{database}", table) if prefix == "monday" and table == "t" else None

    text = "SELECT monday.db.t.id, tuesday.db.t, 'monday.db.t' FROM monday.`db`.t, monday.db.other"
    assert rewriting.with_names(text, lookup) == (
        "SELECT `monday__db`.`t`.id, tuesday.db.t, 'monday.db.t' FROM `monday__db`.`t`, monday.db.other"
    )


def test_an_engine_is_read_with_its_arguments() -> None:
    taken = clauses.take_apart("CREATE TABLE a.b (`x` UInt8) ENGINE = Merge('db', '^a, (b)$')")
    assert clauses.engine(taken) == Engine("Merge", ("'db'", "'^a, (b)$'"))
    assert rewriting.as_it_is("CREATE TABLE a.b (`x` UInt8) ENGINE = Merge('db', '^a')", HERE, RENAMES) == (
        "CREATE TABLE `here`.`t` (`x` UInt8) ENGINE = Merge('monday__db', '^a')"
    )
    assert rewriting.has_old_syntax("CREATE TABLE a.b (`d` Date, `x` UInt8) ENGINE = MergeTree(d, x, 8192)")
    assert not rewriting.has_old_syntax(REPLICATED)


@pytest.mark.parametrize(
    ("columns", "rest", "expected"),
    [
        ("`a` UInt8, `t` DateTime", "ORDER BY a TTL t + toIntervalDay(1) SETTINGS index_granularity = 8192", True),
        ("`a` UInt8 TTL t + toIntervalDay(1), `t` DateTime", "ORDER BY a", True),
        ("`a` UInt8 COMMENT 'x TTL y', `t` DateTime", "ORDER BY a COMMENT 'a TTL was here'", False),
        ("`TTL` UInt8, `t` DateTime DEFAULT now()", "ORDER BY `TTL`", False),
        ("`a` UInt8, PROJECTION p (SELECT a ORDER BY a)", "ORDER BY a", False),
    ],
)
def test_whether_there_is_a_ttl(columns: str, rest: str, expected: bool) -> None:
    taken = clauses.take_apart(f"CREATE TABLE a.b ({columns}) ENGINE = MergeTree {rest}")
    assert clauses.has_ttl(taken) is expected
