"""What earlier runs left in a server is found, and nothing else is taken for it; rights are asked for without harm."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from coldhouse.clickhouse import (
    BackupElement,
    BackupRequest,
    Source,
    inspect,
    open_source,
    rights,
    start_backup,
    traces,
)
from coldhouse.clickhouse.rights import Lacking
from coldhouse.clickhouse.source import Row
from coldhouse.clickhouse.statements import cancel, wait
from coldhouse.clickhouse.traces import MountDatabase
from coldhouse.errors import MissingGrant
from coldhouse.model import TableName
from tests.support.engine import EngineServer
from tests.support.s3_stub import S3Stub

RESTORE = "0123456789abcdef"


def test_tables_that_an_unfinished_restore_left(source: Source, engine: EngineServer, db: str) -> None:
    beside, unfinished = f"coldhouse_{RESTORE}_orders", "orders__partial_0a1b2c3d"
    others = ("orders", "coldhouse_orders", "coldhouse_0123_orders", "orders__partial", "orders__partial_0a1b2c3d_old")
    for name in (beside, unfinished, *others):
        engine.query(f"CREATE TABLE {db}.{name} (a UInt8) ENGINE = MergeTree ORDER BY a")
    found = traces.set_aside(source)
    assert [name for name in found.beside if name.database == db] == [TableName(db, beside)]
    assert [name for name in found.unfinished if name.database == db] == [TableName(db, unfinished)]


def test_databases_of_mounts(source: Source, engine: EngineServer) -> None:
    name = f"past_{uuid4().hex[:8]}"
    engine.query(f"CREATE DATABASE {name} ENGINE = Memory COMMENT 'coldhouse mount 17'")
    try:
        assert traces.mount_databases(source, "coldhouse mount ") == (MountDatabase(name, "coldhouse mount 17"),)
    finally:
        engine.query(f"DROP DATABASE {name}")
    assert traces.mount_databases(source, "coldhouse mount ") == ()


def test_statements_that_run(source: Source, engine: EngineServer, s3: S3Stub, db: str) -> None:
    engine.query(f"CREATE TABLE {db}.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    s3.hold.clear()
    mine, foreign = f"coldhouse-{uuid4()}", f"nightly-{uuid4()}"
    for id in (mine, foreign):
        start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "t")),), s3.place(id)))
    (running,) = traces.running_operations(source)
    assert (running.id, running.statement) == (mine, "BACKUP")
    assert running.seconds >= 0
    s3.hold.set()
    for id in (mine, foreign):
        wait(source, id, lambda _: None)
        cancel(source, id)
    assert traces.running_operations(source) == ()


def test_the_clock_of_the_server(source: Source) -> None:
    before = datetime.now(UTC)
    seen = inspect.clock(source)
    assert before <= seen <= datetime.now(UTC)


class TestRights:
    def test_all_are_there(self, source: Source) -> None:
        assert rights.lacking_rights(source) == ()

    def test_those_on_s3_are_asked_for_since_they_exist(self, tmp_path: Path) -> None:
        with EngineServer(tmp_path / "data", denied=("WRITE", "READ")) as server, open_source(server.url) as source:
            assert [lacking.grant for lacking in rights.lacking_rights(source)] == ["READ ON S3", "WRITE ON S3"]
            source.version = (26, 7)
            assert rights.lacking_rights(source) == ()

    def test_a_system_table_that_is_closed(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        fetch = source.fetch

        def closed(query: str) -> list[Row]:
            if "system.mutations" in query:
                raise MissingGrant("no")
            return fetch(query)

        monkeypatch.setattr(source, "fetch", closed)
        assert rights.lacking_rights(source) == (Lacking("SELECT ON system.mutations", "to see what is there"),)

    def test_a_system_table_that_this_version_does_not_have_is_no_right(
        self, source: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rights, "_SYSTEM_TABLES", ("parts", "no_such_table"))
        assert rights.lacking_rights(source) == ()
