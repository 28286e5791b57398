"""What the system tables say, compared with what BACKUP then stores."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from coldhouse.clickhouse import (
    BackupElement,
    BackupRequest,
    OperationState,
    Selection,
    Source,
    TableState,
    creation_order,
    document,
    inspect,
    layout,
    mutations,
    open_source,
    start_backup,
    wait,
)
from coldhouse.errors import StatementFailed
from coldhouse.model import TableKind, TableName
from tests.support.engine import EngineServer
from tests.support.s3_stub import S3Stub

EVERY_KIND = """
CREATE TABLE db.src (a UInt64, p UInt8) ENGINE = MergeTree ORDER BY a PARTITION BY p
CREATE TABLE db.empty (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a
CREATE TABLE db.target (a UInt64) ENGINE = MergeTree ORDER BY a
CREATE TABLE db.log (a UInt64) ENGINE = Log
CREATE TABLE db.tiny (a UInt64) ENGINE = TinyLog
CREATE TABLE db.stripe (a UInt64) ENGINE = StripeLog
CREATE TABLE db.memory (a UInt64) ENGINE = Memory
CREATE TABLE db.set (a UInt64) ENGINE = Set
CREATE TABLE db.null (a UInt64) ENGINE = Null
CREATE DICTIONARY db.dict (a UInt8, p UInt8) PRIMARY KEY a SOURCE(CLICKHOUSE(TABLE 'src' DB 'db')) LIFETIME(0) LAYOUT(FLAT())
CREATE TABLE db.asks (a UInt64, x UInt8 DEFAULT dictGet('db.dict', 'p', a)) ENGINE = MergeTree ORDER BY a
CREATE TABLE db.buffer AS db.src ENGINE = Buffer(db, src, 1, 10, 100, 10, 100, 100, 1000)
CREATE TABLE db.merge AS db.src ENGINE = Merge('db', '^src$')
CREATE MATERIALIZED VIEW db.kept ENGINE = SummingMergeTree ORDER BY a AS SELECT a, count() n FROM db.src GROUP BY a
CREATE VIEW db.view AS SELECT a FROM db.src WHERE a IN (SELECT a FROM db.kept)
CREATE MATERIALIZED VIEW db.logged ENGINE = Log AS SELECT a FROM db.src
CREATE MATERIALIZED VIEW db.`to'target` TO db.target AS SELECT a FROM db.src
CREATE MATERIALIZED VIEW db.hourly REFRESH EVERY 1 HOUR ENGINE = MergeTree ORDER BY a AS SELECT a FROM db.src
INSERT INTO db.src SELECT number, number % 3 FROM numbers(300)
INSERT INTO db.log VALUES (1)
INSERT INTO db.tiny VALUES (1)
INSERT INTO db.stripe VALUES (1)
INSERT INTO db.memory VALUES (1)
INSERT INTO db.set VALUES (1)
"""  # noqa: E501


def make(engine: EngineServer, db: str, statements: str) -> None:
    for statement in statements.strip().splitlines():
        engine.query(statement.replace("db.", f"{db}.").replace("'db'", f"'{db}'").replace("Buffer(db", f"Buffer({db}"))


def tables_of(source: Source, db: str) -> dict[str, TableState]:
    return {table.name.table: table for table in inspect.inventory(source, Selection((f"{db}.*",))).tables}


def table(source: Source, db: str, name: str) -> TableState:
    return tables_of(source, db)[name]


def backed_up(source: Source, s3: S3Stub, element: BackupElement) -> list[layout.Member]:
    id = f"inspect-{element.name.database}"
    start_backup(source, BackupRequest(id, (element,), s3.place("b")))
    ended = wait(source, id, lambda _: None)
    assert ended.state is OperationState.DONE, ended.error
    return [layout.member(file.name) for file in document.parse(s3.objects["b/.backup"])[1]]


def test_every_kind_of_table(source: Source, engine: EngineServer, db: str, s3: S3Stub) -> None:
    """What the inventory says of the contents of each table is what BACKUP stores of it."""
    make(engine, db, EVERY_KIND)
    tables = tables_of(source, db)
    parts, files, definitions = TableKind.PARTS, TableKind.FILES, TableKind.DEFINITION
    assert {name: table.kind for name, table in tables.items()} == {
        "src": parts, "empty": parts, "target": parts, "asks": parts, "kept": parts,
        "log": files, "tiny": files, "stripe": files, "memory": files, "logged": files,
        "set": definitions, "null": definitions, "dict": definitions, "buffer": definitions, "merge": definitions,
        "view": definitions, "to'target": definitions, "hourly": definitions,
    }  # fmt: skip
    assert {name for name, table in tables.items() if table.caution} == {"set", "buffer", "hourly"}
    members = backed_up(source, s3, BackupElement(TableName(db, "")))
    stored = {(each.table.table, each.part) for each in members if isinstance(each, layout.PartFile)}
    seen = {(name.table, part.name) for name, part in inspect.part_states(source, tables.values())}
    assert seen == stored
    assert {name for name, _ in stored} == {"src", "target", "kept"}
    assert {each.table.table for each in members if isinstance(each, layout.TableFile)} == {
        "log", "tiny", "stripe", "memory", "logged",
    }  # fmt: skip
    defined = {each.table.table for each in members if isinstance(each, layout.TableDefinition)}
    assert defined == set(tables)


def test_what_must_be_there_before_a_table(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    tables = tables_of(source, db)
    needs = {name: {need.table for need in table.depends_on} for name, table in tables.items() if table.depends_on}
    assert needs == {
        "dict": {"src"},
        "asks": {"dict"},
        "buffer": {"src"},
        "view": {"src", "kept"},
        "kept": {"src"},
        "logged": {"src"},
        "hourly": {"src"},
        "to'target": {"src", "target"},
    }
    order = [table.name.table for table in creation_order(tables.values())]
    for name, needed in needs.items():
        assert max(map(order.index, needed)) < order.index(name)


def test_the_order_is_one_that_the_engine_accepts(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    statements = [table.create_query for table in creation_order(tables_of(source, db).values())]
    engine.query(f"DROP DATABASE {db}")
    engine.query(f"CREATE DATABASE {db}")
    for statement in statements:
        source.command(statement)


def test_a_materialized_view_stands_for_its_inner_table(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    kept = table(source, db, "kept")
    assert kept.stored_as.startswith(".inner_id.")
    assert (kept.total_rows, kept.storage_policy) == (300, "default")
    assert inspect.part_rows(source, (kept,)) == {kept.name: (1, 300)}
    ((name, part),) = inspect.part_states(source, (kept,))
    assert (name, part.rows) == (kept.name, 300)
    assert not any(name.startswith(".inner") for name in tables_of(source, db))


def test_parts_come_in_order_with_their_hashes(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    engine.query(f"INSERT INTO {db}.src SELECT number, number % 3 FROM numbers(30)")
    states = list(inspect.part_states(source, tables_of(source, db).values()))
    keys = [(name, part.partition, part.name) for name, part in states]
    assert keys == sorted(keys)
    assert all(len(part.hash) == 16 and part.files > 4 and part.bytes > 0 for _, part in states)
    assert sum(part.rows for name, part in states if name.table == "src") == 330


def test_parts_that_were_merged_away_are_listed_on_request(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    src = table(source, db, "src")
    before = {part.name for _, part in inspect.part_states(source, (src,))}
    engine.query(f"INSERT INTO {db}.src SELECT number, 0 FROM numbers(30)")
    engine.query(f"OPTIMIZE TABLE {db}.src FINAL")
    assert not before & {part.name for _, part in inspect.part_states(source, (src,)) if part.partition == "0"}
    assert before <= {part.name for _, part in inspect.part_states(source, (src,), inactive=True)}


def test_parts_of_some_partitions_alone(
    source: Source, engine: EngineServer, db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.query(f"CREATE TABLE {db}.t (a UInt32) ENGINE = MergeTree PARTITION BY a % 4 ORDER BY a")
    engine.query(f"INSERT INTO {db}.t SELECT number FROM numbers(20)")
    state = table(source, db, "t")

    def partitions(wanted: tuple[str, ...]) -> list[str]:
        return [part.partition for _, part in inspect.part_states(source, (state,), partitions=wanted)]

    assert partitions(("1", "3")) == ["1", "3"]
    assert partitions(()) == ["0", "1", "2", "3"]
    monkeypatch.setattr(inspect, "_LISTED", 1)
    assert partitions(("1", "3")) == ["0", "1", "2", "3"], "too many to be named: then all come"


def test_the_digest_changes_with_the_definition_and_not_with_the_rows(
    source: Source, engine: EngineServer, db: str
) -> None:
    make(engine, db, EVERY_KIND)
    first = table(source, db, "src").inspected
    engine.query(f"INSERT INTO {db}.src VALUES (1, 1)")
    assert table(source, db, "src").inspected == first
    engine.query(f"ALTER TABLE {db}.src ADD COLUMN b UInt8")
    changed = table(source, db, "src").inspected
    assert changed != first
    engine.query(f"DROP TABLE {db}.empty")
    engine.query(f"CREATE TABLE {db}.empty (a UInt64) ENGINE = ReplacingMergeTree ORDER BY a")
    assert table(source, db, "src").inspected == changed


def test_a_table_made_anew_has_another_digest(source: Source, engine: EngineServer, db: str) -> None:
    digests = set()
    for _ in range(2):
        engine.query(f"CREATE TABLE {db}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
        digests.add(table(source, db, "t").inspected)
        engine.query(f"DROP TABLE {db}.t SYNC")
    assert len(digests) == 2


def test_databases_and_functions(source: Source, engine: EngineServer, db: str) -> None:
    engine.query("CREATE FUNCTION IF NOT EXISTS plus_one AS (x) -> x + 1")
    inventory = inspect.inventory(source, Selection((f"{db}.*",)))
    assert [(state.name, state.engine) for state in inventory.databases] == [(db, "Atomic")]
    assert inventory.databases[0].definition == f"CREATE DATABASE {db}\nENGINE = Atomic"
    assert [function.name for function in inventory.functions] == ["plus_one"]
    assert "plus_one" in inventory.functions[0].definition
    engine.query("DROP FUNCTION plus_one")


def test_a_part_of_a_database_still_names_the_database(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    inventory = inspect.inventory(source, Selection((f"{db}.log",)))
    assert [state.name for state in inventory.databases] == [db]
    assert [state.name for state in inventory.tables] == [TableName(db, "log")]


def test_existence_by_name(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    asked = {
        TableName(db, "src"),
        TableName(db, "gone"),
        TableName(db, ""),
        TableName("gone", ""),
        TableName("gone", "t"),
    }
    assert inspect.exists(source, asked) == {TableName(db, "src"), TableName(db, "")}
    many = [TableName(db, f"t{number}") for number in range(1500)] + [TableName(db, "src")]
    assert inspect.exists(source, many) == {TableName(db, "src")}
    assert set(inspect.table_states(source, asked)) == {TableName(db, "src")}


def test_unfinished_mutations(source: Source, engine: EngineServer, db: str) -> None:
    name = TableName(db, "t")
    engine.query(f"CREATE TABLE {db}.t (a UInt64, v UInt64) ENGINE = MergeTree ORDER BY a")
    engine.query(f"INSERT INTO {db}.t SELECT number, number FROM numbers(100)")
    assert mutations.pending_mutations(source, (name,)) == {}
    engine.query(f"SYSTEM STOP MERGES {db}.t")
    engine.query(f"ALTER TABLE {db}.t UPDATE v = v + 1000 WHERE 1 SETTINGS mutations_sync = 0")
    ((mutation,),) = mutations.pending_mutations(source, (name,)).values()
    assert "UPDATE v = v + 1000" in mutation.command
    assert mutations.pending_mutations(source, (TableName(db, "other"),)) == {}
    engine.query(f"SYSTEM START MERGES {db}.t")


WITH_BLOCKS = (
    "ENGINE = MergeTree ORDER BY a PARTITION BY a % 3 "
    "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1"
)


def test_lightweight_updates_are_found_and_applied(any_engine: EngineServer) -> None:
    """BACKUP would lose them, silently (ClickHouse issue 116677)."""
    name = TableName("db", "t")
    any_engine.query("CREATE DATABASE db")
    any_engine.query(f"CREATE TABLE db.t (a UInt64, v UInt64) {WITH_BLOCKS}")
    any_engine.query("INSERT INTO db.t SELECT number, number FROM numbers(1000)")
    with open_source(any_engine.url) as source:
        state = table(source, "db", "t")
        assert mutations.unapplied_patches(source, (name,)) == []
        any_engine.query("UPDATE db.t SET v = 0 WHERE a < 100", allow_experimental_lightweight_update="1")
        expected = any_engine.query("SELECT sum(v) FROM db.t")
        assert mutations.unapplied_patches(source, (name,)) == [name]
        assert mutations.unapplied_patches(source, (TableName("db", "other"),)) == []
        assert not any("patch" in part.name for _, part in inspect.part_states(source, (state,)))
        mutations.apply_patches(source, name)
        assert mutations.unapplied_patches(source, (name,)) == []
        any_engine.query("INSERT INTO db.t SELECT number, number FROM numbers(1000, 10)")
        assert mutations.unapplied_patches(source, (name,)) == []
        assert any_engine.query("SELECT sum(v) FROM db.t WHERE a < 1000") == expected


def test_lightweight_updates_that_cannot_be_applied(source: Source, engine: EngineServer, db: str) -> None:
    engine.query(f"CREATE TABLE {db}.t (a UInt64, v UInt64) {WITH_BLOCKS}")
    engine.query(f"INSERT INTO {db}.t SELECT number, number FROM numbers(1000)")
    engine.query(f"UPDATE {db}.t SET v = 0 WHERE a < 100", allow_experimental_lightweight_update="1")
    engine.query(f"SYSTEM STOP MERGES {db}.t")
    with pytest.raises(StatementFailed, match="takes too long") as failure:
        mutations.apply_patches(source, TableName(db, "t"), seconds=0.2)
    assert "APPLY PATCHES" in failure.value.hint
    engine.query(f"SYSTEM START MERGES {db}.t")


def test_disks(source: Source, engine: EngineServer) -> None:
    (disk,) = inspect.disks(source)
    assert (disk.name, disk.path.rstrip("/")) == ("default", str(engine.directory))
    assert 0 < disk.free <= disk.total


TWO_DISKS = """<clickhouse><storage_configuration>
<disks>
  <cold><path>{folder}/cold/</path></cold>
  <inside><type>local</type><path>{folder}/inside/</path></inside>
  <sealed><type>encrypted</type><disk>inside</disk><path>sealed/</path><key>sixteen-byte-key</key></sealed>
</disks>
<policies>
  <two><volumes><hot><disk>default</disk></hot><cold><disk>cold</disk></cold></volumes></two>
  <sealed><volumes><main><disk>sealed</disk></main></volumes></sealed>
</policies>
</storage_configuration></clickhouse>"""


def test_several_disks_and_an_encrypted_one(tmp_path: Path, s3: S3Stub) -> None:
    config = tmp_path / "config.xml"
    config.write_text(TWO_DISKS.format(folder=tmp_path))
    with EngineServer(tmp_path / "data", config=config) as engine, open_source(engine.url) as source:
        engine.query("CREATE DATABASE db")
        for name in ("two", "sealed"):
            engine.query(
                f"CREATE TABLE db.{name} (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS storage_policy = '{name}'"
            )
            engine.query(f"INSERT INTO db.{name} SELECT number FROM numbers(1000)")
        engine.query("ALTER TABLE db.two MOVE PARTITION tuple() TO DISK 'cold'")
        tables = tables_of(source, "db")
        assert {name: table.storage_policy for name, table in tables.items()} == {"two": "two", "sealed": "sealed"}
        assert {disk.name for disk in inspect.disks(source)} == {"default", "cold", "inside", "sealed"}
        assert any("/cold/" in path for path in tables["two"].data_paths)
        members = backed_up(source, s3, BackupElement(TableName("db", "")))
        assert not any(isinstance(each, layout.Other) for each in members)
        _, files = document.parse(s3.objects["b/.backup"])
        assert not any(file.encrypted_by_disk for file in files)


def test_many_threads_ask_at_once(source: Source, engine: EngineServer, db: str) -> None:
    make(engine, db, EVERY_KIND)
    counts: list[int] = []

    def ask() -> None:
        counts.append(len(tables_of(source, db)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [18] * 8
