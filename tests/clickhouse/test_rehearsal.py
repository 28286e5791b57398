"""What a scratch engine can have of a table is taken over, and everything else is replaced and said."""

from __future__ import annotations

import pytest

from coldhouse.clickhouse.rehearsal import Adapted, adapt


def changed(definition: str, becomes: str, *changes: str, bare: bool = False) -> None:
    adapted = adapt(definition)
    assert " ".join(adapted.definition.split()) == becomes
    assert adapted.changes == changes
    assert adapted.bare is bare


@pytest.mark.parametrize(
    "definition",
    [
        "CREATE TABLE db.t (`a` UInt8, `b` String CODEC(ZSTD(1))) ENGINE = MergeTree PARTITION BY a ORDER BY tuple() "
        "SETTINGS index_granularity = 8192",
        "CREATE TABLE db.t (`TTL` UInt8) ENGINE = MergeTree ORDER BY TTL SETTINGS index_granularity = 8192",
        "CREATE VIEW db.v (`c` UInt64) AS SELECT count() AS c FROM db.t",
        "CREATE DICTIONARY db.d (`k` UInt64, `v` String) PRIMARY KEY k SOURCE(CLICKHOUSE(TABLE 't' DB 'db')) "
        "LIFETIME(MIN 0 MAX 0) LAYOUT(FLAT())",
        "CREATE DATABASE db ENGINE = Atomic",
        "CREATE TABLE db.t (`a` UInt8) ENGINE = Log",
        "this does not even look like SQL",
    ],
)
def test_what_a_scratch_engine_can_have_stays_as_it_is(definition: str) -> None:
    assert adapt(definition) == Adapted(definition)


def test_replicated_tables_become_plain() -> None:
    changed(
        "CREATE TABLE db.t (`a` UInt8, `v` UInt8) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/{uuid}', "
        "'{replica}', v) ORDER BY a SETTINGS index_granularity = 8192",
        "CREATE TABLE db.t (`a` UInt8, `v` UInt8) ENGINE = ReplacingMergeTree(v) ORDER BY a "
        "SETTINGS index_granularity = 8192",
        "engine ReplicatedReplacingMergeTree became ReplacingMergeTree",
    )
    changed(
        "CREATE TABLE db.t (`a` UInt8) ENGINE = SharedMergeTree('/p', '{replica}') ORDER BY a",
        "CREATE TABLE db.t (`a` UInt8) ENGINE = MergeTree ORDER BY a",
        "engine SharedMergeTree became MergeTree",
    )


def test_the_inner_table_of_a_view_is_plain_and_it_is_not_refreshed_by_anybody() -> None:
    changed(
        "CREATE MATERIALIZED VIEW db.v REFRESH EVERY 1 HOUR APPEND (`a` UInt8) "
        "ENGINE = ReplicatedMergeTree('/p', 'r') ORDER BY a DEFINER = bob SQL SECURITY DEFINER AS SELECT a FROM db.t",
        "CREATE MATERIALIZED VIEW db.v (`a` UInt8) ENGINE = MergeTree ORDER BY a AS SELECT a FROM db.t",
        "it is not refreshed",
        "engine ReplicatedMergeTree became MergeTree",
        "it has the rights of whoever asks",
    )


def test_ttls_go() -> None:
    changed(
        "CREATE TABLE db.t (`d` Date, `s` String DEFAULT 'x' CODEC(LZ4) TTL d + toIntervalDay(1), `e` UInt8 "
        "TTL d + toIntervalDay(2) SETTINGS (min_compress_block_size = 1), INDEX i d TYPE minmax) ENGINE = MergeTree "
        "ORDER BY d TTL d + toIntervalMonth(1) DELETE WHERE e = 1, d + toIntervalDay(3) TO VOLUME 'cold' "
        "SETTINGS index_granularity = 8192 COMMENT 'TTL is told in words'",
        "CREATE TABLE db.t (`d` Date, `s` String DEFAULT 'x' CODEC(LZ4), `e` UInt8 "
        "SETTINGS (min_compress_block_size = 1), INDEX i d TYPE minmax) ENGINE = MergeTree "
        "ORDER BY d SETTINGS index_granularity = 8192 COMMENT 'TTL is told in words'",
        "TTL removed",
    )


def test_disks_and_policies_become_the_default() -> None:
    changed(
        "CREATE TABLE db.t (`a` UInt8) ENGINE = MergeTree ORDER BY a "
        "SETTINGS storage_policy = 'tiered', index_granularity = 8192",
        "CREATE TABLE db.t (`a` UInt8) ENGINE = MergeTree ORDER BY a SETTINGS index_granularity = 8192",
        "storage policy became the default",
    )
    changed(
        "CREATE TABLE db.t (`a` UInt8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 's3', "
        "endpoint = 'https://bucket')",
        "CREATE TABLE db.t (`a` UInt8) ENGINE = MergeTree ORDER BY a",
        "storage policy became the default",
    )


@pytest.mark.parametrize(
    "engine",
    [
        "Distributed('cluster', 'db', 't', rand())",
        "MySQL('host:3306', 'db', 't', 'user', 'password')",
        "S3Queue('https://bucket/*', 'CSV') SETTINGS mode = 'unordered'",
        "Kafka SETTINGS kafka_broker_list = 'broker:9092', kafka_topic_list = 'orders'",
    ],
)
def test_what_reads_from_elsewhere_keeps_its_columns_and_reads_nothing(engine: str) -> None:
    adapted = adapt(f"CREATE TABLE db.t (`a` UInt8, `b` String) ENGINE = {engine} COMMENT 'outside'")
    assert adapted.bare
    assert adapted.definition.startswith("CREATE TABLE db.t (`a` UInt8, `b` String, ")
    assert adapted.definition.endswith(") ENGINE = Null COMMENT 'outside'")
    assert "password" not in adapted.definition
    assert adapted.changes == (
        f"engine {engine.split('(', maxsplit=1)[0].split(maxsplit=1)[0]} reads from elsewhere: schema only",
    )


def test_views_on_a_queue_still_find_its_virtual_columns() -> None:
    definition = adapt("CREATE TABLE db.q (`a` UInt8, `_key` String) ENGINE = Kafka('b', 't', 'g', 'CSV')").definition
    assert "`_topic` LowCardinality(String) ALIAS" in definition
    assert definition.count("`_key`") == 1


def test_dictionaries_that_read_from_elsewhere_are_empty() -> None:
    changed(
        "CREATE DICTIONARY db.d (`k` UInt64) PRIMARY KEY k SOURCE(HTTP(URL 'https://host/file' FORMAT 'CSV')) "
        "LAYOUT(FLAT()) LIFETIME(0)",
        "CREATE DICTIONARY db.d (`k` UInt64) PRIMARY KEY k SOURCE(NULL()) LAYOUT(FLAT()) LIFETIME(0)",
        "the source of the dictionary (HTTP) is elsewhere: schema only",
        bare=True,
    )
    changed(
        "CREATE DICTIONARY db.d (`k` UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(HOST 'other' TABLE 't')) LAYOUT(FLAT()) "
        "LIFETIME(0)",
        "CREATE DICTIONARY db.d (`k` UInt64) PRIMARY KEY k SOURCE(NULL()) LAYOUT(FLAT()) LIFETIME(0)",
        "the source of the dictionary is on other: schema only",
        bare=True,
    )


def test_a_dictionary_of_this_server_reads_from_the_scratch_engine() -> None:
    changed(
        "CREATE DICTIONARY db.d (`k` UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(HOST 'localhost' PORT 9000 USER 'me' "
        "PASSWORD 'secret' TABLE 't' DB 'db')) LAYOUT(FLAT()) LIFETIME(0)",
        "CREATE DICTIONARY db.d (`k` UInt64) PRIMARY KEY k SOURCE(CLICKHOUSE(TABLE 't' DB 'db')) LAYOUT(FLAT()) "
        "LIFETIME(0)",
        "the dictionary reads as the scratch engine's own user",
    )


def test_databases_of_other_engines_become_atomic() -> None:
    changed(
        "CREATE DATABASE `my db` ENGINE = Replicated('/clickhouse/db', '{shard}', '{replica}')",
        "CREATE DATABASE `my db` ENGINE = Atomic",
        "database engine Replicated became Atomic",
    )
