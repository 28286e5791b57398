"""A snapshot answers SQL as its source did, without being restored, and reads little for it."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.cli import shell
from coldhouse.cli.main import run
from coldhouse.errors import Corruption, StatementFailed, UsageError
from coldhouse.model import TableName
from coldhouse.operations.sql import SqlOptions, SqlSession
from tests.scenarios.asking import Asked, answers_as_the_source, asking
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.test_round_trips import FAMILY, NO_MERGES, TYPES
from tests.scenarios.world import PASSPHRASE, World

Capture = pytest.CaptureFixture[bytes]


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


#: A table of which a query needs but a little: a million rows of 10 columns, of which most cannot be compressed.
LARGE = (
    "CREATE TABLE {db}.large (id UInt64, small UInt8, text String, more String) ENGINE = MergeTree ORDER BY id "
    "SETTINGS min_bytes_for_wide_part = 0",
    "INSERT INTO {db}.large SELECT number, number % 100, randomPrintableASCII(60), randomPrintableASCII(40) "
    "FROM numbers({rows})",
    "OPTIMIZE TABLE {db}.large FINAL",
)
SALES = (
    "CREATE TABLE {db}.sales (id UInt64, shop UInt32, sum Float64) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.sales SELECT number, number % 5, number FROM numbers(1000)",
)


@pytest.fixture
def world(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    """What a snapshot answers does not depend on how ClickHouse was reached for the backup: one kind is enough."""
    yield from play(embedded, folder_url)


@pytest.fixture(params=["folder", "s3"])
def stored(request: pytest.FixtureRequest, embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    """The same with the repository in a folder, and in S3."""
    url = folder_url if request.param == "folder" else str(request.getfixturevalue("s3_url"))
    yield from play(embedded, url)


# ------------------------------------------------------------------------------------------------------- same answers


def test_every_engine_and_type_answers_as_its_source(stored: World) -> None:
    world = stored
    for layout, limit in (("compact", 10_000_000), ("wide", 0)):
        settings = f"min_bytes_for_wide_part = {limit}, {NO_MERGES}"
        for name, (engine, columns, rows) in FAMILY.items():
            group = " GROUP BY id" if "State" in rows else ""
            table = f"{name}_{layout}"
            world.run(
                f"CREATE TABLE {{db}}.{table} ({columns}) ENGINE = {engine} ORDER BY id SETTINGS {settings}",
                *(f"INSERT INTO {{db}}.{table} SELECT {rows} FROM numbers({at}, 40){group}" for at in (0, 40, 80)),
            )
        columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
        names = ", ".join("nested.k, nested.v" if name == "nested" else f"`{name}`" for name in TYPES)
        values = ", ".join(value for _, value in TYPES.values())
        world.run(
            f"CREATE TABLE {{db}}.types_{layout} (id UInt64, {columns}) ENGINE = MergeTree ORDER BY id "
            f"SETTINGS min_bytes_for_wide_part = {limit}",
            f"INSERT INTO {{db}}.types_{layout} (id, {names}) SELECT number, {values} FROM numbers(200)",
        )
    for engine in ("Log", "TinyLog", "StripeLog", "Memory"):
        world.run(
            f"CREATE TABLE {{db}}.{engine} (id UInt64, s Array(String), n Nullable(Int8)) ENGINE = {engine}",
            f"INSERT INTO {{db}}.{engine} SELECT number, [toString(number)], number % 3 FROM numbers(1000)",
        )
    answers_as_the_source(world, "SELECT json.c, dynamic, variant, low FROM {db}.types_wide WHERE id = 77", final=True)


def test_parts_of_every_kind_answer_as_their_source(world: World) -> None:
    world.run(
        # all of a part in one file (ClickHouse 26.9), with a projection and a skip index
        "CREATE TABLE {db}.packed (id UInt32, s String, INDEX i s TYPE bloom_filter, "
        "PROJECTION p (SELECT s, count() GROUP BY s)) ENGINE = MergeTree ORDER BY id "
        "SETTINGS min_bytes_for_full_part_storage = 100000000",
        "INSERT INTO {db}.packed SELECT number, toString(number % 7) FROM numbers(1000)",
        """CREATE TABLE {db}.indexed (id UInt64, s String, v Float64, e Array(Float32),
        INDEX mm v TYPE minmax GRANULARITY 2, INDEX bf s TYPE bloom_filter(0.01), INDEX st s TYPE set(100),
        INDEX ng s TYPE ngrambf_v1(3, 256, 2, 0), INDEX vec e TYPE vector_similarity('hnsw', 'L2Distance', 2),
        PROJECTION by_s (SELECT * ORDER BY s), PROJECTION sums (SELECT s, sum(v) GROUP BY s))
        ENGINE = MergeTree ORDER BY id SETTINGS min_bytes_for_wide_part = 0, index_granularity = 100""",
        "INSERT INTO {db}.indexed SELECT number, toString(number % 10), number, [number, 1] FROM numbers(3000)",
        "CREATE TABLE {db}.replaced (id UInt32, v UInt32, PROJECTION p (SELECT v ORDER BY v)) "
        "ENGINE = ReplacingMergeTree ORDER BY id SETTINGS deduplicate_merge_projection_mode = 'rebuild'",
        "INSERT INTO {db}.replaced SELECT number % 10, number FROM numbers(100)",
        "CREATE TABLE {db}.pair (a Int64, b String) ENGINE = MergeTree PARTITION BY (a, b) ORDER BY tuple()",
        "INSERT INTO {db}.pair SELECT number % 3 - 1, ['', 'ü_1', 'a-b'][1 + number % 3] FROM numbers(9)",
        "CREATE TABLE {db}.text (s String) ENGINE = MergeTree PARTITION BY s ORDER BY tuple()",
        "INSERT INTO {db}.text SELECT ['', 'x', '202401', '日本'][1 + number % 4] FROM numbers(8)",
        # lightweight delete, mutation, changed columns
        "CREATE TABLE {db}.deleted (id UInt32, v UInt32) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.deleted SELECT number, number FROM numbers(1000)",
        "DELETE FROM {db}.deleted WHERE id % 10 = 0",
        "ALTER TABLE {db}.deleted UPDATE v = v + 1 WHERE id % 2 = 1 SETTINGS mutations_sync = 2",
        "CREATE TABLE {db}.altered (id UInt32, v UInt32, old String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.altered SELECT number, number, 'o' FROM numbers(100)",
        "ALTER TABLE {db}.altered ADD COLUMN added String DEFAULT concat('from ', toString(id)), DROP COLUMN old",
        "ALTER TABLE {db}.altered MODIFY COLUMN v String SETTINGS mutations_sync = 2",
        "ALTER TABLE {db}.altered RENAME COLUMN v TO w SETTINGS mutations_sync = 2",
        "INSERT INTO {db}.altered SELECT number, 'w', 'late' FROM numbers(200, 100)",
        """CREATE TABLE {db}.special (id UInt64, a UInt32, m UInt64 MATERIALIZED a * 2, l String ALIAS toString(a),
        CONSTRAINT small CHECK a < 1000000) ENGINE = MergeTree ORDER BY id SAMPLE BY id COMMENT 'it''s ''quoted''' """,
        "INSERT INTO {db}.special (id, a) SELECT number, number FROM numbers(500)",
        # it is past its time to live: a query must see it all the same
        "CREATE TABLE {db}.old (d DateTime, ttl DateTime) ENGINE = MergeTree ORDER BY ttl "
        "TTL d + INTERVAL 1 DAY SETTINGS merge_with_ttl_timeout = 1000000",
        "SYSTEM STOP MERGES {db}.old",
        "INSERT INTO {db}.old SELECT now() - 30 * number, now() FROM numbers(100)",
        "CREATE TABLE {db}.emptied (id UInt64) ENGINE = MergeTree PARTITION BY id ORDER BY id",
        "INSERT INTO {db}.emptied SELECT number FROM numbers(3)",
        "TRUNCATE TABLE {db}.emptied",
        "CREATE TABLE {db}.empty_log (id UInt64) ENGINE = Log",
    )
    answers_as_the_source(
        world,
        "SELECT s, sum(v) FROM {db}.indexed WHERE s = '3' GROUP BY s",
        "SELECT id FROM {db}.indexed PREWHERE v > 2990 WHERE s = '5' ORDER BY id",
        "SELECT id FROM {db}.indexed ORDER BY L2Distance(e, [1000.2, 1.]) LIMIT 1",
        "SELECT s, count() FROM {db}.packed GROUP BY s ORDER BY s",
        "SELECT sum(m), groupBitXor(cityHash64(l)) FROM {db}.special",
        "SELECT count() FROM {db}.special SAMPLE 0.5",
        final=True,
    )


def test_views_dictionaries_and_functions_answer_as_at_the_source(world: World) -> None:
    function = f"twice_{secrets.token_hex(4)}"
    world.run(
        *SALES,
        f"CREATE FUNCTION {function} AS (x) -> x * 2",
        "CREATE VIEW {db}.c AS SELECT shop, sum(sum) AS s FROM {db}.sales GROUP BY shop",
        "CREATE VIEW {db}.b AS SELECT max(s) AS m FROM {db}.c",
        "CREATE VIEW {db}.a AS SELECT * FROM {db}.b WHERE m IN (SELECT s FROM {db}.c)",
        f"CREATE VIEW {{db}}.f AS SELECT {function}(shop) AS t FROM {{db}}.sales",
        "CREATE MATERIALIZED VIEW {db}.mv_inner (shop UInt32, s Float64) ENGINE = SummingMergeTree ORDER BY shop "
        "POPULATE AS SELECT shop, sum(sum) AS s FROM {db}.sales GROUP BY shop",
        "CREATE MATERIALIZED VIEW {db}.mv_log (id UInt64) ENGINE = Log AS SELECT id FROM {db}.sales",
        "CREATE TABLE {db}.z_to (shop UInt32, n UInt64) ENGINE = SummingMergeTree ORDER BY shop",
        "CREATE MATERIALIZED VIEW {db}.mv_to TO {db}.z_to AS SELECT shop, count() AS n FROM {db}.sales GROUP BY shop",
        "CREATE MATERIALIZED VIEW {db}.fresh REFRESH EVERY 1 YEAR (n UInt64) ENGINE = MergeTree ORDER BY n EMPTY "
        "AS SELECT count() AS n FROM {db}.sales",
        "INSERT INTO {db}.sales SELECT number, 7, 1 FROM numbers(50)",
        "SYSTEM REFRESH VIEW {db}.fresh",
        "SYSTEM WAIT VIEW {db}.fresh",
        "CREATE TABLE {db}.z_names (id UInt64, name String) ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.z_names SELECT number, concat('n', toString(number)) FROM numbers(100)",
        "CREATE DICTIONARY {db}.y_names (id UInt64, name String) PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(TABLE 'z_names' DB '{db}')) LAYOUT(HASHED()) LIFETIME(0)",
        "CREATE TABLE {db}.a_uses (id UInt64, name String ALIAS dictGet('{db}.y_names', 'name', id)) "
        "ENGINE = MergeTree ORDER BY id",
        "INSERT INTO {db}.a_uses (id) SELECT number FROM numbers(50)",
        "CREATE VIEW {db}.a_view AS SELECT dictGet('{db}.y_names', 'name', toUInt64(7)) AS n",
        "CREATE TABLE {db}.a_face (id UInt64, name String) ENGINE = Dictionary('{db}.y_names')",
        "CREATE TABLE {db}.a_merge AS {db}.sales ENGINE = Merge('{db}', '^sales$')",
        "CREATE TABLE {db}.a_null (id UInt64) ENGINE = Null",
        "CREATE TABLE {db}.a_buffer AS {db}.sales ENGINE = Buffer('{db}', 'sales', 1, 10, 100, 10, 100, 1000, 10000)",
        "CREATE VIEW {db}.given AS SELECT count() AS n FROM {db}.sales WHERE shop = {shop:UInt32}",
    )
    before = world.ask("SELECT n FROM {db}.given(shop = 3)")
    queries = (
        "SELECT groupArray(name) FROM {db}.a_uses WHERE id < 5",
        "SELECT s.shop, count(), any(n.name) FROM {db}.sales s JOIN {db}.z_names n USING id GROUP BY s.shop ORDER BY 1",
        "SELECT dictGetOrDefault('{db}.y_names', 'name', toUInt64(1000), 'none')",
        "SELECT count() FROM merge('{db}', '^sal')",
        "SELECT table, sum(total_rows) FROM system.tables WHERE database = '{db}' AND name LIKE 'z_%' GROUP BY ALL "
        "ORDER BY ALL",
    )
    world.run("DROP VIEW {db}.given")
    try:
        answers_as_the_source(world, *queries)
    finally:
        world.run(f"DROP FUNCTION IF EXISTS {function}")
    assert before == "200"


def test_a_view_with_parameters_can_be_asked(world: World) -> None:
    world.run(*SALES, "CREATE VIEW {db}.given AS SELECT count() AS n FROM {db}.sales WHERE shop = {shop:UInt32}")
    world.backup()
    with asking(world) as snapshot:
        assert snapshot.ask("SELECT n FROM {db}.given(shop = 3)") == "200"


def test_the_default_database_can_be_asked(world: World) -> None:
    name = f"t_{secrets.token_hex(4)}"
    world.run(
        f"CREATE TABLE default.{name} (a UInt8) ENGINE = MergeTree ORDER BY a", f"INSERT INTO default.{name} VALUES (7)"
    )
    try:
        world.backup(include=(f"default.{name}",))
    finally:
        world.run(f"DROP TABLE default.{name} SYNC")
    with SqlSession(world.repository, SqlOptions("latest", attach=(("monday", "latest"),))) as session:
        for table in (name, f"default.{name}", f"monday.default.{name}"):
            assert b"".join(session.stream(f"SELECT a FROM {table}")) == b"7\n"


def test_the_only_database_that_holds_tables_need_not_be_named(world: World) -> None:
    world.run(*SALES, "CREATE DATABASE {db}_copy")
    world.backup(include=(f"{world.db}.*", f"{world.db}_copy.*"))
    with SqlSession(world.repository, SqlOptions("latest")) as session:
        assert b"".join(session.stream("SELECT count() FROM sales")) == b"1000\n"


def test_strange_names_can_be_asked(world: World) -> None:
    for name in ("with.dot", "with space", "quo'te", "back\\`tick", "per%cent", "日本", "-- comment", "a/b", "SELECT"):
        quoted = "`" + name + "`"
        world.run(
            f"CREATE TABLE {{db}}.{quoted} (`i.{name[:1]}` UInt64, `v.{{x}}` String) "
            "ENGINE = MergeTree ORDER BY tuple()",
            f"INSERT INTO {{db}}.{quoted} SELECT number, 'x' FROM numbers(10)",
        )
    answers_as_the_source(world)


# ------------------------------------------------------------------------------------------------- several snapshots


def test_two_snapshots_are_compared_in_one_query(world: World) -> None:
    world.run(
        *SALES,
        "CREATE VIEW {db}.total AS SELECT sum(sum) AS s FROM {db}.sales",
        "CREATE DICTIONARY {db}.shops (id UInt64, sum Float64) PRIMARY KEY id "
        "SOURCE(CLICKHOUSE(TABLE 'sales' DB '{db}')) LAYOUT(HASHED()) LIFETIME(0)",
        "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
        "INSERT INTO {db}.log VALUES (1)",
    )
    monday = world.backup().snapshot
    world.run(
        "ALTER TABLE {db}.sales DELETE WHERE id IN (5, 7) SETTINGS mutations_sync = 2",
        "INSERT INTO {db}.sales VALUES (5000, 1, 1)",
        "INSERT INTO {db}.log VALUES (2)",
    )
    tuesday = world.backup().snapshot
    with asking(world, tuesday.id, monday=monday.id) as both:
        lost = "SELECT id FROM monday.{db}.sales WHERE id NOT IN (SELECT id FROM {db}.sales) ORDER BY id"
        assert both.ask(lost) == "5\n7"
        assert both.ask(lost.replace("monday.{db}", "monday__{db}")) == "5\n7"
        new = "SELECT id FROM sales EXCEPT SELECT id FROM monday.{db}.sales"
        assert both.ask(new) == "5000"
        assert both.ask("SELECT (SELECT s FROM monday.{db}.total) - (SELECT s FROM {db}.total)") == "11"
        assert both.ask("SELECT dictHas('monday__{db}.shops', 5::UInt64), dictHas('{db}.shops', 5::UInt64)") == "1\t0"
        assert both.ask("SELECT count() FROM monday.{db}.log") == "1"
        assert both.ask("SELECT count() FROM log") == "2"
        assert both.ask("SELECT monday.id FROM {db}.log AS monday ORDER BY monday.id") == "1\n2", (
            "an alias is no snapshot"
        )


def test_a_further_snapshot_is_not_confused_with_a_database(world: World) -> None:
    world.run(*SALES)
    world.backup()
    with asking(world, monday="latest", tuesday="latest") as three:
        assert three.ask("SELECT count() FROM monday.{db}.sales a, tuesday.{db}.sales b WHERE a.id = b.id") == "1000"
        with pytest.raises(StatementFailed):
            three.ask("SELECT count() FROM wednesday.{db}.sales")


# ----------------------------------------------------------------------------------------------------- what it reads


def about(counted: int, rows: int) -> bool:
    """Whether so many rows were read: the counter is the engine's, and its own upkeep may read a few meanwhile."""
    return rows <= counted < rows + 100


def fetched_by_a_point_query(world: World, rows: int) -> tuple[Asked, float]:
    """Ask for one row; the bytes fetched as a share of the snapshot."""
    world.run(*(statement.replace("{rows}", str(rows)) for statement in LARGE))
    expected = world.ask(f"SELECT * FROM {{db}}.large WHERE id = {rows * 3 // 4}")
    world.backup()
    with asking(world) as snapshot:
        assert snapshot.ask(f"SELECT * FROM large WHERE id = {rows * 3 // 4}") == expected
        spent = snapshot.session.spent()
        assert about(spent.rows, 8192), "one granule"
        return snapshot, spent.bytes / spent.size


def test_a_point_query_reads_a_few_frames(stored: World) -> None:
    """Of a small table it is more, for the frames that hold the index and the beginning of the parts."""
    _, share = fetched_by_a_point_query(stored, 1_000_000)
    assert share < 0.02


@pytest.mark.long
def test_a_point_query_on_500_mb_reads_less_than_two_percent(world: World) -> None:
    _, share = fetched_by_a_point_query(world, 5_000_000)
    assert share < 0.005


def test_what_was_read_is_not_fetched_again(world: World) -> None:
    world.run(*(statement.replace("{rows}", "300000") for statement in LARGE))
    expected = world.ask("SELECT sum(cityHash64(small)), count() FROM {db}.large")
    world.backup()
    with asking(world) as snapshot:
        assert snapshot.ask("SELECT sum(cityHash64(small)), count() FROM large") == expected
        first = snapshot.session.spent()
        assert 0 < first.bytes < first.size / 10
        assert about(first.rows, 300_000)
        assert snapshot.ask("SELECT sum(cityHash64(small)), count() FROM large") == expected
        assert snapshot.session.spent().bytes == 0


def test_only_tables_that_a_query_mentions_are_touched(world: World) -> None:
    world.run(*SALES, *(f"CREATE TABLE {{db}}.t{at} (a UInt8) ENGINE = MergeTree ORDER BY a" for at in range(20)))
    world.backup()
    with asking(world) as snapshot:
        assert snapshot.ask("SELECT count() FROM sales") == "1000"
        requests = snapshot.session._web.requests
        assert requests < 20
        assert snapshot.ask("SELECT count() FROM system.tables WHERE database = '{db}'") == "21"
        assert snapshot.session._web.requests > requests


# --------------------------------------------------------------------------------------------------------- formats


def test_answers_come_in_clickhouse_formats(world: World) -> None:
    world.run(*SALES)
    world.backup()
    with asking(world) as snapshot:
        query = "SELECT id, shop FROM sales ORDER BY id LIMIT 2"
        assert snapshot.ask(query, "CSV") == "0,0\n1,1"
        assert snapshot.ask(query, "JSONEachRow") == '{"id":0,"shop":0}\n{"id":1,"shop":1}'
        assert snapshot.ask(f"{query} FORMAT JSONCompactEachRow", "CSV") == "[0, 0]\n[1, 1]"
        assert json.loads(snapshot.ask(query, "JSON"))["data"] == [{"id": 0, "shop": 0}, {"id": 1, "shop": 1}]
        assert snapshot.raw("SELECT * FROM sales", "Parquet")[:4] == b"PAR1"
        assert "┌─id─┬─shop─┐" in snapshot.ask(query, "PrettyCompact")
        assert snapshot.ask("DESCRIBE sales").splitlines()[0].split("\t")[:2] == ["id", "UInt64"]
        with pytest.raises(StatementFailed, match="Nonsense"):
            snapshot.ask(query, "Nonsense")


def test_a_large_answer_is_streamed(world: World) -> None:
    world.backup(include=())
    with asking(world) as snapshot:
        pieces = snapshot.session.stream("SELECT number, repeat('x', 100) FROM numbers(100000000)", "TSV")
        first = next(pieces)
        assert first.startswith(b"0\txxx")
        pieces.close()
        snapshot.session.cancel()
        assert snapshot.ask("SELECT 1") == "1"


# --------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sales VALUES (1, 1, 1)",
        "WITH 1 AS x INSERT INTO sales SELECT 1, 1, 1",
        "DROP TABLE sales",
        "ALTER TABLE sales DELETE WHERE 1",
        "CREATE TABLE {db}.x (a UInt8) ENGINE = Memory",
        "SET readonly = 0",
        "SYSTEM SHUTDOWN",
        "SELECT 1; DROP TABLE sales",
        "SELECT * FROM sales INTO OUTFILE '/tmp/stolen'",
        ";",
    ],
)
def test_a_query_that_writes_is_refused(refusing: Asked, statement: str) -> None:
    with pytest.raises(UsageError):
        refusing.ask(statement)
    assert refusing.ask("SELECT count() FROM sales") == "1000"


@pytest.fixture(scope="module")
def refusing(embedded: Clickhouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    for world in play(embedded, str(tmp_path_factory.mktemp("refusing") / "repository")):
        world.run(*SALES)
        world.backup()
        with asking(world) as snapshot:
            yield snapshot


def test_the_engine_itself_refuses_to_write(refusing: Asked) -> None:
    """What the look at the words would let through."""
    for statement in ("SELECT 1 SETTINGS readonly = 0", "SELECT 1 SETTINGS allow_ddl = 1, readonly = 1"):
        with pytest.raises(StatementFailed, match=r"READONLY|readonly"):
            refusing.ask(statement)
    with pytest.raises(StatementFailed):
        b"".join(refusing.session._reading.stream("INSERT INTO sales VALUES (1, 1, 1)", "TSV"))
    with pytest.raises(StatementFailed):
        b"".join(refusing.session._reading.stream("DROP TABLE sales", "TSV"))
    assert refusing.ask("SELECT count() FROM sales SETTINGS max_threads = 1") == "1000"


def test_what_cannot_be_read_here_is_said(world: World) -> None:
    world.run(
        *SALES,
        "CREATE TABLE {db}.members (id UInt64) ENGINE = Set",
        "INSERT INTO {db}.members SELECT 1",
        "CREATE DICTIONARY {db}.far (id UInt64, n String) PRIMARY KEY id "
        "SOURCE(HTTP(URL 'http://localhost:1/x' FORMAT 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
    )
    world.backup()
    with asking(world) as snapshot:
        with pytest.raises(StatementFailed, match="does not keep the rows of engine Set"):
            snapshot.ask("SELECT count() FROM sales WHERE id IN members")
        with pytest.raises(StatementFailed, match="not in the snapshot"):
            snapshot.ask("SELECT dictGet('{db}.far', 'n', 1::UInt64)")
        with pytest.raises(StatementFailed) as unknown:
            snapshot.ask("SELECT * FROM nowhere")
        assert unknown.value.clickhouse_code == 60
        with pytest.raises(UsageError, match="no database"), asking(World("", world.query, world.repository, "nope")):
            pass


# --------------------------------------------------------------------------------------------------------- damage


def damage(repository: str, share: float) -> None:
    """Flip a byte in the largest pack."""
    largest = max(Path(repository, "packs").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(largest.read_bytes())
    content[int(len(content) * share)] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(content)


def test_a_damaged_byte_is_an_error_and_never_a_wrong_answer(world: World, folder_url: str) -> None:
    world.run(*(statement.replace("{rows}", "200000") for statement in LARGE))
    expected = world.ask("SELECT sum(cityHash64(*)) FROM {db}.large")
    world.backup()
    with asking(world) as sound:
        assert sound.ask("SELECT sum(cityHash64(*)) FROM large") == expected
    damage(folder_url, 0.5)
    with asking(world) as damaged, pytest.raises(Corruption) as found:
        damaged.ask("SELECT sum(cityHash64(*)) FROM large")
    assert found.value.object_name.startswith("packs/")
    assert found.value.exit_status == 20


def test_wherever_the_damage_is_the_answer_is_right_or_none(world: World, folder_url: str) -> None:
    """Every file of a part in one frame: what ClickHouse cannot load it would leave out without a word."""
    world.run("CREATE TABLE {db}.t (id UInt64, s String) ENGINE = MergeTree PARTITION BY id % 3 ORDER BY id")
    world.run("INSERT INTO {db}.t SELECT number, randomPrintableASCII(20) FROM numbers(3000)")
    world.backup()
    damage(folder_url, 0.3)
    with asking(world) as damaged, pytest.raises(Corruption) as found:
        damaged.ask("SELECT count() FROM t")
    assert found.value.object_name.startswith("packs/")


def test_a_part_that_clickhouse_leaves_out_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sound bytes that this engine cannot load, as of a part from a newer ClickHouse."""
    from coldhouse.operations import web_tables

    world.run("CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree PARTITION BY id % 2 ORDER BY id")
    world.run("INSERT INTO {db}.t SELECT number FROM numbers(10)")
    world.backup()
    lookup = web_tables.WebTable.lookup

    def without_columns(table: web_tables.WebTable, path: str) -> object:
        return None if path == "1_2_2_0/columns.txt" else lookup(table, path)

    monkeypatch.setattr(web_tables.WebTable, "lookup", without_columns)
    with asking(world) as snapshot, pytest.raises(Corruption, match=r"could not load 1 parts of .*1_2_2_0"):
        snapshot.ask("SELECT count() FROM t")


# --------------------------------------------------------------------------------------------------------- at once


def test_two_sessions_on_one_snapshot_at_once(world: World, folder_url: str) -> None:
    world.run(*(statement.replace("{rows}", "100000") for statement in LARGE))
    expected = world.ask("SELECT sum(cityHash64(*)) FROM {db}.large")
    world.backup()
    answers: list[str] = []

    def ask(snapshot: Asked) -> None:
        answers.append(snapshot.ask("SELECT sum(cityHash64(*)) FROM large"))

    with asking(world) as one, asking(world) as other:
        threads = [threading.Thread(target=ask, args=(each,)) for each in (one, other, one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert answers == [expected] * 4


# --------------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def command_line(world: World, folder_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A snapshot of SALES, and the environment in which the commands find it."""
    monkeypatch.setenv("COLDHOUSE_REPO", folder_url)
    monkeypatch.setenv("COLDHOUSE_PASSWORD", PASSPHRASE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    world.run(*SALES)
    world.backup()
    return world


def test_the_command_prints_the_answer_and_what_it_cost(command_line: World, capfdbinary: Capture) -> None:
    assert run(["sql", "latest", "SELECT count() FROM sales WHERE id < 10"]) == 0
    printed = capfdbinary.readouterr()
    assert printed.out == b"10\n"
    assert b"1,000 rows read, " in printed.err
    assert b"fetched from the repository in " in printed.err
    assert run(["sql", "latest", "SELECT 1 AS one", "--json", "--quiet"]) == 0
    printed = capfdbinary.readouterr()
    assert json.loads(printed.out)["data"] == [{"one": 1}]
    assert printed.err == b""
    assert run(["sql", "latest", "DROP TABLE sales"]) == 2
    assert run(["sql", "latest", "SELECT * FROM nowhere"]) == 1
    assert run(["sql", "nothing", "SELECT 1"]) == 13
    assert run(["sql", "latest", "SELECT 1", "--attach", "monday"]) == 2
    db = command_line.db
    capfdbinary.readouterr()
    assert run(["sql", "latest", f"SELECT count() FROM m.{db}.sales", "--attach", "m=latest", "--format", "CSV"]) == 0
    assert capfdbinary.readouterr().out == b"1000\n"


def test_the_shell_answers_until_the_end(
    command_line: World, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "typed").write_text(
        "SELECT count()\nFROM sales;\n\\d\n\\d sales\nSELECT 2; SELECT ';';\n\\q\nSELECT 9;\n"
    )
    with open(tmp_path / "typed") as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        assert run(["shell", "latest"]) == 0
    db = command_line.db
    assert capfdbinary.readouterr().out.decode() == f"1000\n{db}.sales\nid\nshop\nsum\n2\n;\n"


def test_a_query_of_the_shell_pays_for_itself_alone_and_errors_have_their_hint(
    command_line: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    typed = ["SELECT throwIf(id = 999) FROM sales;", "SELECT 1;", "DROP TABLE sales;", r"\q"]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda _: typed.pop(0))
    assert run(["shell", "latest"]) == 0
    lines = capfd.readouterr().err.splitlines()
    (cost,) = [line for line in lines if "fetched" in line]
    assert "0 B fetched from the repository in 0 requests" in cost
    assert "error: a snapshot can only be read, and this is DROP" in lines
    assert any(line.startswith("hint: ask with SELECT") for line in lines)


def test_the_shell_completes_tables_columns_and_words(command_line: World) -> None:
    db = command_line.db
    with asking(command_line) as snapshot:
        assert shell.completions(snapshot.session, "SELECT count() FROM sa", "sa") == ["sales"]
        assert shell.completions(snapshot.session, f"SELECT count() FROM {db[:7]}", db[:7]) == [f"{db}.", f"{db}.sales"]
        assert shell.completions(snapshot.session, "SELECT sh FROM sales", "sh") == ["shop", "show tables"]
        assert shell.completions(snapshot.session, "SEL", "SEL") == ["SELECT"]
        assert snapshot.session.columns(TableName(db, "sales")) == ["id", "shop", "sum"]


def test_ctrl_c_cancels_a_query(command_line: World, tmp_path: Path) -> None:
    """In the middle of an answer from the snapshot: status 130, no process and no file stay behind."""
    query = "SELECT 0, s.id, t.id, u.id, v.id, w.id FROM sales s, sales t, sales u, sales v, sales w"  # 10^15 rows
    process = subprocess.Popen(
        [sys.executable, "-m", "coldhouse", "sql", "latest", query],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(10).startswith(b"0\t")
    assert list(tmp_path.glob("coldhouse-scratch-*"))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"interrupted" in errors
    assert not list(tmp_path.glob("coldhouse-scratch-*"))
