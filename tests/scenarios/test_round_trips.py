"""Everything that a table can be comes back with the content and the definition that it had."""

from __future__ import annotations

import pytest

from tests.scenarios.world import World

#: Engines of the MergeTree family: what stands behind ENGINE =, its columns, and rows of which merges would drop some.
FAMILY = {
    "MergeTree": ("MergeTree", "id UInt32, v Int64", "number % 50, number"),
    "Replacing": ("ReplacingMergeTree", "id UInt32, v Int64", "number % 50, number"),
    "ReplacingByVersion": ("ReplacingMergeTree(v)", "id UInt32, v UInt64", "number % 50, 100 - number"),
    "ReplacingDeleted": ("ReplacingMergeTree(v, gone)", "id UInt32, v UInt64, gone UInt8", "number % 50, number, 0"),
    "Summing": ("SummingMergeTree", "id UInt32, v Int64", "number % 50, number"),
    "Aggregating": (
        "AggregatingMergeTree",
        "id UInt32, u AggregateFunction(uniq, UInt64), m SimpleAggregateFunction(max, UInt64)",
        "number % 50 AS id, uniqState(number), max(number)",
    ),
    "Collapsing": ("CollapsingMergeTree(sign)", "id UInt32, v Int64, sign Int8", "number, number, 1"),
    "VersionedCollapsing": (
        "VersionedCollapsingMergeTree(sign, version)",
        "id UInt32, v Int64, sign Int8, version UInt8",
        "number % 50, number, if(number < 90, 1, -1), number % 3",
    ),
    "Coalescing": (
        "CoalescingMergeTree",
        "id UInt32, a Nullable(Int64), b Nullable(String)",
        "number % 50, number, NULL",
    ),
}

#: Types and an expression of `number` that fills them; each becomes a column of one table.
TYPES = {
    "array": ("Array(Array(String))", "[[toString(number)], [], ['x', 'y']]"),
    "map": ("Map(String, UInt64)", "map('a', number, toString(number % 3), 1)"),
    "low": ("LowCardinality(Nullable(String))", "if(number % 4 = 0, NULL, toString(number % 5))"),
    "nullable": ("Nullable(Float64)", "if(number % 2 = 0, NULL, number / 3)"),
    "json": (
        "JSON(a.b UInt32)",
        """concat('{"a": {"b": ', toString(number), '}, "c": ["x", ', toString(number), ']}')""",
    ),
    "variant": (
        "Variant(UInt64, String, Array(UInt64))",
        "if(number % 2 = 0, number::Variant(UInt64, String), 'text')",
    ),
    "dynamic": ("Dynamic", "if(number % 2 = 0, number::Dynamic, toDate(number)::Dynamic)"),
    "decimal": ("Decimal(38, 10)", "toDecimal128(number, 10) / 7"),
    "time": ("DateTime64(9, 'Europe/Berlin')", "toDateTime64(number * 1.5, 9, 'Europe/Berlin')"),
    "tuple": ("Tuple(a UInt8, b Tuple(c String, d Array(Int8)))", "(number, (toString(number), [1, -1]))"),
    "enum": ("Enum8('off' = 0, 'on' = 1)", "number % 2"),
    "uuid": ("UUID", "reinterpret(toUInt128(number), 'UUID')"),
    "ip4": ("IPv4", "toIPv4(number)"),
    "ip6": ("IPv6", "toIPv6(concat('::', toString(number)))"),
    "fixed": ("FixedString(5)", "toFixedString(toString(number), 5)"),
    "wide_int": ("UInt256", "toUInt256(number) * 1000000007"),
    "flag": ("Bool", "number % 2 = 0"),
    "point": ("Point", "(number, -number)"),
    "day": ("Date32", "toDate32(number)"),
    "nested": ("Nested(k String, v UInt8)", "['a', 'b'], [1, 2]"),
    "codec": ("Float64 CODEC(Gorilla, ZSTD(3))", "sin(number)"),
    "delta": ("DateTime CODEC(DoubleDelta, LZ4HC)", "toDateTime(number)"),
    "def": ("String DEFAULT 'd' COMMENT 'it''s a \\\\ comment'", "'x'"),
}

#: A table setting: parts stay as they were inserted, before the backup and after the restore.
NO_MERGES = "max_bytes_to_merge_at_max_space_in_pool = 1"


def comes_back(world: World, *, final: bool = False) -> None:
    """Back up, lose, restore, compare the rows and the definitions of all tables."""
    before = world.content(final=final)
    assert before
    assert world.backup().complete
    world.drop()
    assert world.restore().complete
    assert world.content(final=final) == before


@pytest.mark.parametrize("layout", ["compact", "wide"])
def test_every_engine_of_the_family_comes_back(world: World, layout: str) -> None:
    settings = f"min_bytes_for_wide_part = {0 if layout == 'wide' else 10_000_000}, {NO_MERGES}"
    for name, (engine, columns, rows) in FAMILY.items():
        group = " GROUP BY id" if "State" in rows else ""
        world.run(
            f"CREATE TABLE {{db}}.{name} ({columns}) ENGINE = {engine} ORDER BY id SETTINGS {settings}",
            *(f"INSERT INTO {{db}}.{name} SELECT {rows} FROM numbers({at}, 40){group}" for at in (0, 40, 80)),
        )
    kinds = world.ask("SELECT DISTINCT part_type FROM system.parts WHERE database = '{db}' AND active")
    assert kinds == layout.capitalize()
    comes_back(world)


def test_final_answers_as_before_without_a_version_column(world: World) -> None:
    """Replacing keeps the row inserted last, Collapsing pairs by order: both by the order of the parts."""
    world.run(
        f"CREATE TABLE {{db}}.r (id UInt32, v UInt32) ENGINE = ReplacingMergeTree ORDER BY id SETTINGS {NO_MERGES}",
        "CREATE TABLE {db}.c (id UInt32, v UInt32, sign Int8) ENGINE = CollapsingMergeTree(sign) ORDER BY id "
        f"SETTINGS {NO_MERGES}",
    )
    for turn in range(12):  # two digits: the order of the names is not the order of the parts
        world.run(
            f"INSERT INTO {{db}}.r SELECT number, {turn} FROM numbers(20)",
            f"INSERT INTO {{db}}.c SELECT number, {turn}, {1 if turn % 2 == 0 else -1} FROM numbers({20 - turn})",
        )
    assert world.ask("SELECT DISTINCT v FROM {db}.r FINAL") == "11"
    comes_back(world, final=True)
    assert world.ask("SELECT count() FROM {db}.r") == "240"


@pytest.mark.parametrize("layout", ["compact", "wide"])
def test_every_type_comes_back(world: World, layout: str) -> None:
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    names = ", ".join("nested.k, nested.v" if name == "nested" else f"`{name}`" for name in TYPES)
    values = ", ".join(value for _, value in TYPES.values())
    world.run(
        f"CREATE TABLE {{db}}.t (id UInt64, {columns}) ENGINE = MergeTree ORDER BY id "
        f"SETTINGS min_bytes_for_wide_part = {0 if layout == 'wide' else 10_000_000}",
        f"INSERT INTO {{db}}.t (id, {names}) SELECT number, {values} FROM numbers(200)",
    )
    comes_back(world)


def test_parts_in_one_file_come_back(world: World) -> None:
    """Packed parts, of ClickHouse 26.9 and later: all files of a part, projections too, in one."""
    world.run(
        "CREATE TABLE {db}.t (id UInt32, s String, INDEX i s TYPE bloom_filter, "
        "PROJECTION p (SELECT s, count() GROUP BY s)) ENGINE = MergeTree ORDER BY id "
        "SETTINGS min_bytes_for_full_part_storage = 100000000",
        "INSERT INTO {db}.t SELECT number, toString(number % 7) FROM numbers(1000)",
    )
    storage = world.ask("SELECT DISTINCT part_storage_type FROM system.parts WHERE database = '{db}' AND active")
    if storage != "Packed":
        pytest.skip(f"this ClickHouse writes {storage} parts only")
    comes_back(world)


def test_projections_and_indices_come_back_and_are_used(world: World) -> None:
    world.run(
        """CREATE TABLE {db}.t (id UInt64, s String, v Float64, e Array(Float32),
        INDEX mm v TYPE minmax GRANULARITY 2, INDEX bf s TYPE bloom_filter(0.01), INDEX st s TYPE set(100),
        INDEX ng s TYPE ngrambf_v1(3, 256, 2, 0), INDEX vec e TYPE vector_similarity('hnsw', 'L2Distance', 2),
        PROJECTION by_s (SELECT * ORDER BY s), PROJECTION sums (SELECT s, sum(v) GROUP BY s))
        ENGINE = MergeTree ORDER BY id SETTINGS min_bytes_for_wide_part = 0""",
        "INSERT INTO {db}.t SELECT number, toString(number % 10), number, [number, 1] FROM numbers(3000)",
    )
    comes_back(world)
    projections = "SELECT groupUniqArray(name) FROM system.projection_parts WHERE database = '{db}' AND active"
    assert sorted(world.ask(projections)) == sorted("['by_s','sums']")
    assert "sums" in world.ask("EXPLAIN SELECT s, sum(v) FROM {db}.t GROUP BY s")
    assert world.ask("CHECK TABLE {db}.t SETTINGS check_query_single_value_result = 1") == "1"


def test_partitions_of_every_shape_come_back(world: World) -> None:
    world.run(
        "CREATE TABLE {db}.month (d Date, v UInt8) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY v",
        "CREATE TABLE {db}.pair (a Int64, b String) ENGINE = MergeTree PARTITION BY (a, b) ORDER BY tuple()",
        "CREATE TABLE {db}.text (s String) ENGINE = MergeTree PARTITION BY s ORDER BY tuple()",
        "CREATE TABLE {db}.negative (v Int32) ENGINE = MergeTree PARTITION BY v ORDER BY tuple()",
        "INSERT INTO {db}.month SELECT toDate('2026-01-15') + number * 20, number FROM numbers(10)",
        "INSERT INTO {db}.pair SELECT number % 3 - 1, ['', 'ü_1', 'a-b'][1 + number % 3] FROM numbers(9)",
        "INSERT INTO {db}.text SELECT ['', 'x', '202401', '日本'][1 + number % 4] FROM numbers(8)",
        "INSERT INTO {db}.negative SELECT number - 3 FROM numbers(6)",
    )
    partitions = (
        "SELECT table, partition_id, sum(rows) FROM system.parts WHERE database = '{db}' AND active "
        "GROUP BY ALL ORDER BY ALL"
    )
    before = world.ask(partitions)
    comes_back(world)
    assert world.ask(partitions) == before


def test_a_ttl_comes_back_and_goes_on(world: World) -> None:
    # Nothing has expired yet: the restored table merges as it likes.
    world.run(
        """CREATE TABLE {db}.t (d DateTime, v UInt32, s String TTL d + INTERVAL 100 YEAR) ENGINE = MergeTree ORDER BY v
        TTL d + INTERVAL 50 YEAR DELETE, d + INTERVAL 40 YEAR RECOMPRESS CODEC(ZSTD(9)),
        d + INTERVAL 1 DAY DELETE WHERE v = 7""",
        "SYSTEM STOP TTL MERGES {db}.t",
        "INSERT INTO {db}.t SELECT now() - 1000 * (number % 2), number, toString(number) FROM numbers(100)",
    )
    comes_back(world)


def test_engines_without_parts_come_back(world: World) -> None:
    for engine in ("Log", "TinyLog", "StripeLog", "Memory"):
        world.run(
            f"CREATE TABLE {{db}}.{engine} (id UInt64, s Array(String), n Nullable(Int8)) ENGINE = {engine}",
            f"INSERT INTO {{db}}.{engine} SELECT number, [toString(number)], number % 3 FROM numbers(1000)",
            f"INSERT INTO {{db}}.{engine} VALUES (1, ['last'], NULL)",
        )
    comes_back(world)
    assert world.ask("SELECT count() FROM {db}.TinyLog") == "1001"


def test_rows_hidden_by_a_delete_stay_hidden(world: World) -> None:
    world.run(
        "CREATE TABLE {db}.t (id UInt32, v UInt32) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.t SELECT number, number FROM numbers(1000)",
        "DELETE FROM {db}.t WHERE id % 10 = 0",
    )
    assert world.ask("SELECT count() FROM {db}.t") == "900"
    comes_back(world)


def test_what_changed_its_columns_comes_back(world: World) -> None:
    """Parts from before and after an ALTER side by side: old parts lack the new column until they are merged."""
    world.run(
        "CREATE TABLE {db}.t (id UInt32, v UInt32, old String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.t SELECT number, number, 'o' FROM numbers(100)",
        "ALTER TABLE {db}.t ADD COLUMN added String DEFAULT concat('from ', toString(id)), DROP COLUMN old",
        "INSERT INTO {db}.t SELECT number, number, 'given' FROM numbers(100, 100)",
        "ALTER TABLE {db}.t MODIFY COLUMN v String SETTINGS mutations_sync = 2",
        "ALTER TABLE {db}.t RENAME COLUMN v TO w SETTINGS mutations_sync = 2",
        "INSERT INTO {db}.t SELECT number, 'w', 'late' FROM numbers(200, 100)",
    )
    comes_back(world)


def test_special_columns_and_constraints_come_back(world: World) -> None:
    world.run(
        """CREATE TABLE {db}.t (id UInt64, a UInt32, m UInt64 MATERIALIZED a * 2,
        l String ALIAS concat('a', toString(a)),
        e UInt8 EPHEMERAL 1, CONSTRAINT small CHECK a < 1000000) ENGINE = MergeTree ORDER BY id
        PRIMARY KEY id SAMPLE BY id COMMENT 'with ''quotes'' and \\\\ backslash' """,
        "INSERT INTO {db}.t (id, a) SELECT number, number FROM numbers(500)",
    )
    before = world.ask("SELECT sum(m), groupBitXor(cityHash64(l)) FROM {db}.t")
    comes_back(world)
    assert world.ask("SELECT sum(m), groupBitXor(cityHash64(l)) FROM {db}.t") == before
