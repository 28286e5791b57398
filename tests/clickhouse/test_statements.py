"""BACKUP and RESTORE started, watched, cancelled; the real engine against a bucket in memory."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

from coldhouse.cityhash import file_hash
from coldhouse.clickhouse import (
    BackupElement,
    BackupRequest,
    OperationState,
    RestoreElement,
    RestoreRequest,
    S3Place,
    Source,
    cancel,
    count_rows,
    document,
    open_source,
    probe_gateway,
    start_backup,
    start_restore,
    status,
    wait,
)
from coldhouse.errors import GatewayUnreachable, SourceError, StatementFailed
from coldhouse.model import TableName
from tests.support.engine import EngineServer
from tests.support.s3_stub import S3Stub


def new_id() -> str:
    return f"test-{uuid4().hex}"


def wait_for_data(s3: S3Stub) -> None:
    while not any(method == "PUT" and not key.endswith(".lock") for method, key, _ in s3.requests):
        time.sleep(0.02)


def backed_up(source: Source, s3: S3Stub, prefix: str, *elements: BackupElement, base: S3Place | None = None) -> None:
    id = new_id()
    start_backup(source, BackupRequest(id, elements, s3.place(prefix), base))
    ended = wait(source, id, lambda _: None)
    assert ended.state is OperationState.DONE, ended.error


def restored(source: Source, place: S3Place, table: TableName, into: TableName) -> None:
    id = new_id()
    start_restore(source, RestoreRequest(id, (RestoreElement(table, into),), place))
    ended = wait(source, id, lambda _: None)
    assert ended.state is OperationState.DONE, ended.error


def test_every_byte_that_comes_has_the_checksum_that_is_listed(any_engine: EngineServer, s3: S3Stub) -> None:
    """On both engines: settings that the older one does not know are left out."""
    any_engine.query("CREATE DATABASE db")
    any_engine.query("CREATE TABLE db.t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    any_engine.query("INSERT INTO db.t SELECT number, toString(number) FROM numbers(100000)")
    with open_source(any_engine.url) as source:
        backed_up(source, s3, "b", BackupElement(TableName("db", "t")))
        header, files = document.parse(s3.objects["b/.backup"])
        assert header.data_file_names == "checksum"
        listed = [file for file in files if file.size]
        assert len(listed) > 8
        for file in listed:
            body = s3.objects[f"b/{file.data_file}"]
            assert (len(body), file_hash(body)) == (file.size, file.checksum)
            assert file.data_file.replace("/", "") == file.checksum.hex()
        restored(source, s3.place("b"), TableName("db", "t"), TableName("db", "t2"))
        assert count_rows(source, TableName("db", "t2")) == 100_000


def test_only_what_a_synthetic_base_does_not_hold_is_sent(any_engine: EngineServer, s3: S3Stub) -> None:
    any_engine.query("CREATE DATABASE db")
    for table in ("t", "u"):
        any_engine.query(f"CREATE TABLE db.{table} (a UInt64) ENGINE = MergeTree ORDER BY a")
        any_engine.query(f"INSERT INTO db.{table} SELECT number + {len(table)} FROM numbers(1000)")
    any_engine.query("INSERT INTO db.u VALUES (5)")
    with open_source(any_engine.url) as source:
        backed_up(source, s3, "first", BackupElement(TableName("db", "t")))
        known = [(file.size, file.checksum) for file in document.parse(s3.objects["first/.backup"])[1]]
        s3.objects["base/.backup"] = b"".join(document.write_base(known))
        backed_up(source, s3, "again", BackupElement(TableName("db", "t")), base=s3.place("base"))
        assert set(s3.under("again")) == {".backup"}
        backed_up(source, s3, "more", BackupElement(TableName("db", "u")), base=s3.place("base"))
        sent = [file for file in document.parse(s3.objects["more/.backup"])[1] if not file.use_base]
        assert any("all_2_2_0" in file.name for file in sent)
        assert not any("all_1_1_0" in file.name for file in sent)


def test_restore_from_a_written_document(source: Source, engine: EngineServer, s3: S3Stub, db: str) -> None:
    engine.query(f"CREATE TABLE {db}.t (a UInt64, p UInt8) ENGINE = MergeTree ORDER BY a PARTITION BY p")
    engine.query(f"INSERT INTO {db}.t SELECT number, number % 3 FROM numbers(300)")
    backed_up(source, s3, "b", BackupElement(TableName(db, "t")))
    files = [file for file in document.parse(s3.objects["b/.backup"])[1] if "/1_" not in file.name]
    s3.objects["b/.backup"] = b"".join(document.write_restore(files))
    restored(source, s3.place("b"), TableName(db, "t"), TableName(db, "copy"))
    assert engine.query(f"SELECT p, count() FROM {db}.copy GROUP BY p ORDER BY p") == "0\t100\n2\t100"


def test_large_files_come_in_parts_and_small_ones_whole(
    source: Source, engine: EngineServer, s3: S3Stub, db: str
) -> None:
    """The stub knows no multipart upload: the request for one is all that is looked at."""
    engine.query(f"CREATE TABLE {db}.t (s String CODEC(NONE)) ENGINE = MergeTree ORDER BY ()")
    engine.query(f"INSERT INTO {db}.t SELECT randomPrintableASCII(1000) FROM numbers(40000)")
    id = new_id()
    start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "t")),), s3.place("b")))
    assert wait(source, id, lambda _: None).state is OperationState.FAILED
    assert any(method == "POST" for method, _, _ in s3.requests)
    assert max(size for method, _, size in s3.requests if method == "PUT") <= 32 << 20


def test_a_small_backup_is_not_waited_for_long(source: Source, engine: EngineServer, s3: S3Stub, db: str) -> None:
    engine.query(f"CREATE TABLE {db}.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        time.sleep(seconds)

    id = new_id()
    start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "t")),), s3.place("b")))
    wait(source, id, lambda _: None, pause=pause)
    assert pauses[:3] == pytest.approx([0.02, 0.022, 0.0242][: len(pauses)])
    assert max(pauses, default=0) <= 1.0  # it may be done at the first look


def test_an_end_that_is_near_is_looked_for_more_often(
    source: Source, engine: EngineServer, s3: S3Stub, db: str
) -> None:
    engine.query(f"CREATE TABLE {db}.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    s3.hold.clear()
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        if len(pauses) == 5:
            s3.hold.set()
        time.sleep(0.01)
        return len(pauses) == 3

    id = new_id()
    start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "t")),), s3.place("b")))
    assert wait(source, id, lambda _: None, pause=pause).state is OperationState.DONE
    assert pauses[:5] == pytest.approx([0.02, 0.04, 0.08, 0.02, 0.022]), "seldom before, and often from then on"


def test_a_table_that_is_gone(source: Source, s3: S3Stub, db: str) -> None:
    """BACKUP starts and fails in the background: only the status tells, with ClickHouse's code."""
    id = new_id()
    start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "gone")),), s3.place("b")))
    ended = wait(source, id, lambda _: None)
    assert (ended.state, ended.error_code) == (OperationState.FAILED, 60)
    assert "gone" in ended.error
    assert "DB::Exception" not in ended.error


def test_what_the_store_says_is_in_the_error(source: Source, engine: EngineServer, s3: S3Stub, db: str) -> None:
    engine.query(f"CREATE TABLE {db}.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    s3.hold.clear()
    id = new_id()
    start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "t")),), s3.place("b")))
    wait_for_data(s3)
    s3.refused = frozenset({"PUT"})  # what answers a HEAD, as for the lock, has no body that could say anything
    s3.hold.set()
    ended = wait(source, id, lambda _: None)
    assert ended.state is OperationState.FAILED
    assert "refused by the test" in ended.error
    assert "secret-of-the-stub" not in ended.error


def test_an_id_is_used_once(source: Source, engine: EngineServer, s3: S3Stub, db: str) -> None:
    engine.query(f"CREATE TABLE {db}.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    request = BackupRequest(new_id(), (BackupElement(TableName(db, "t")),), s3.place("b"))
    start_backup(source, request)
    wait(source, request.id, lambda _: None)
    with pytest.raises(StatementFailed):
        start_backup(source, request)


def test_cancel(source: Source, engine: EngineServer, s3: S3Stub, db: str) -> None:
    """It ends when the requests under way end; nothing is acknowledged."""
    engine.query(f"CREATE TABLE {db}.t (a UInt64, p UInt64) ENGINE = MergeTree ORDER BY a PARTITION BY p")
    engine.query(f"INSERT INTO {db}.t SELECT number, number % 50 FROM numbers(1000)")
    s3.hold.clear()
    id = new_id()
    start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "t")),), s3.place("b")))
    wait_for_data(s3)
    threading.Timer(0.3, s3.hold.set).start()
    ended = cancel(source, id)
    assert ended is not None
    assert ended.state is OperationState.CANCELLED
    assert "b/.backup" not in s3.objects
    assert cancel(source, id) == ended


def test_cancel_of_what_is_unknown(source: Source) -> None:
    assert cancel(source, "never-started") is None
    assert status(source, "never-started") is None


def test_whoever_watches_can_stop_the_waiting(source: Source, engine: EngineServer, s3: S3Stub, db: str) -> None:
    engine.query(f"CREATE TABLE {db}.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    s3.hold.clear()
    id = new_id()
    start_backup(source, BackupRequest(id, (BackupElement(TableName(db, "t")),), s3.place("b")))

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait(source, id, interrupt)
    s3.hold.set()
    assert wait(source, id, lambda _: None).state is OperationState.DONE


def test_a_server_that_restarts_forgets(engine_server: EngineServer, s3: S3Stub) -> None:
    engine_server.query("CREATE DATABASE db")
    engine_server.query("CREATE TABLE db.t ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a")
    s3.hold.clear()
    with open_source(engine_server.url) as source:
        id = new_id()
        start_backup(source, BackupRequest(id, (BackupElement(TableName("db", "t")),), s3.place("b")))
        threading.Timer(0.1, engine_server.restart).start()
        with pytest.raises(SourceError, match="restarted"):
            wait(source, id, lambda _: None)


def test_a_gateway_that_can_be_reached(any_engine: EngineServer, s3: S3Stub) -> None:
    with open_source(any_engine.url) as source:
        probe_gateway(source, s3.place("probe"))
    assert ("GET", "probe/.backup", 0) in s3.requests or ("HEAD", "probe/.backup", 0) in s3.requests


def test_a_gateway_that_cannot_be_reached(source: Source) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = S3Place(f"http://127.0.0.1:{unused.getsockname()[1]}/bucket/x/", "key", "geheim")
        began = time.monotonic()
        with pytest.raises(GatewayUnreachable, match="Connection refused") as failure:
            probe_gateway(source, place)
    assert time.monotonic() - began < 5
    assert "--gateway-listen" in failure.value.hint
    assert "geheim" not in str(failure.value)


def test_a_gateway_that_is_silent(source: Source) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = S3Place(f"http://127.0.0.1:{silent.getsockname()[1]}/bucket/x/", "key", "geheim")
        began = time.monotonic()
        with pytest.raises(GatewayUnreachable, match="Timeout"):
            probe_gateway(source, place)
    assert time.monotonic() - began < 20


def test_something_else_at_the_gateways_address(source: Source, s3: S3Stub) -> None:
    s3.refused = frozenset({"GET", "HEAD"})
    with pytest.raises(GatewayUnreachable, match="not the gateway"):
        probe_gateway(source, s3.place("probe"))


def test_the_embedded_engine_backs_up_too(tmp_path: Path, s3: S3Stub) -> None:
    with open_source(f"chdb://{tmp_path}/data") as source:
        source.command("CREATE DATABASE db")
        source.command("CREATE TABLE db.t ENGINE = MergeTree ORDER BY a AS SELECT number AS a FROM numbers(10)")
        backed_up(source, s3, "b", BackupElement(TableName("db", "t")))
        restored(source, s3.place("b"), TableName("db", "t"), TableName("db", "t2"))
        assert count_rows(source, TableName("db", "t2")) == 10
        probe_gateway(source, s3.place("probe"))
