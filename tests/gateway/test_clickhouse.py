"""The gateway as ClickHouse's own BACKUP and RESTORE meet it: a real engine, in a process of its own."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pytest

from coldhouse.clickhouse import document
from coldhouse.clickhouse.document import DocumentFile, RestoreFile
from coldhouse.errors import Corruption, StorageFull
from coldhouse.gateway import Address, Arrived, Gateway, IngestSession
from coldhouse.model import Buffer
from tests.gateway.memory import MemoryObject, MemorySink
from tests.support.engine import EngineServer

SETTINGS = (
    "data_file_name_generator='checksum', allow_checksums_from_remote_paths=0, decrypt_files_from_encrypted_disks=1, "
    "allow_s3_native_copy=0, backup_restore_s3_retry_attempts=2, backup_restore_s3_retry_max_backoff_ms=100"
)


def place(address: Address, below: str) -> str:
    return f"S3('{address.url}{below}', '{address.access_key}', '{address.secret_key}')"


@dataclass
class Backup:
    """One BACKUP into memory; ``earlier`` is its base."""

    gateway: Gateway
    earlier: Backup | None = None
    verdict: str | None = None
    sink: MemorySink = field(default_factory=MemorySink)
    on_document: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.session = IngestSession(
            self.sink,
            base=self.base if self.earlier else None,
            verify=self.verify,
            keep=lambda body: body.startswith(b"CREATE"),
        )
        self.address = self.gateway.open_ingest(self.session)

    def base(self) -> Buffer:
        assert self.earlier is not None
        return b"".join(document.write_base((file.size, file.checksum) for file in self.earlier.files))

    def verify(self, content: bytes, arrived: Mapping[str, Arrived]) -> str | None:
        self.on_document()
        for file in document.parse(content)[1]:
            if not file.use_base and file.size:
                there = arrived[file.data_file]
                assert (there.size, there.checksum) == (file.size, file.checksum), file.name
        return self.verdict

    @cached_property
    def files(self) -> list[DocumentFile]:
        """Every file of the backup."""
        return list(document.parse(self.session.document or b"")[1])

    @cached_property
    def by_content(self) -> dict[tuple[int, bytes], DocumentFile]:
        return {(file.size, file.checksum): file for file in self.files}

    def run(self, engine: EngineServer, what: str, settings: str = "") -> str:
        base = f", base_backup={place(self.address, 'base')}" if self.earlier else ""
        return engine.query(f"BACKUP {what} TO {place(self.address, 'data')} SETTINGS {SETTINGS}{base}{settings}")

    def content(self, file: DocumentFile) -> bytes:
        if file.size == 0:
            return b""
        if file.use_base:
            assert self.earlier is not None
            return self.earlier.content(self.earlier.by_content[file.size, file.checksum])
        return self.sink.read(self.session.arrived[file.data_file].extents)

    def objects(self) -> dict[str, MemoryObject]:
        """The backup as RESTORE reads it: complete, under names of ours."""
        files = self.files
        listed = [RestoreFile(f.name, f.size, f.checksum, f"f/{number}") for number, f in enumerate(files)]
        objects = {f"f/{number}": MemoryObject(self.content(f), f"tag{number}") for number, f in enumerate(files)}
        return {"r/.backup": MemoryObject(b"".join(document.write_restore(listed)), "document")} | {
            f"r/{key}": there for key, there in objects.items()
        }


@pytest.fixture
def database(module_engine: EngineServer) -> Iterator[str]:
    """A database with a large wide table, many small parts, and a Log table."""
    name = f"db{secrets.token_hex(4)}"
    for sql in (
        f"CREATE DATABASE {name}",
        f"CREATE TABLE {name}.wide (n UInt64, s String) ENGINE = MergeTree ORDER BY n "
        "SETTINGS min_bytes_for_wide_part = 0",
        f"INSERT INTO {name}.wide SELECT number, randomPrintableASCII(40) FROM numbers(300000)",
        f"CREATE TABLE {name}.small (n UInt64, p UInt8) ENGINE = MergeTree ORDER BY n PARTITION BY p",
        f"INSERT INTO {name}.small SELECT number, number % 40 FROM numbers(4000)",
        f"CREATE TABLE {name}.log (n UInt64) ENGINE = Log",
        f"INSERT INTO {name}.log SELECT number FROM numbers(1000)",
    ):
        module_engine.query(sql)
    yield name
    module_engine.query(f"DROP DATABASE IF EXISTS {name} SYNC")


def fingerprint(engine: EngineServer, database: str) -> list[str]:
    return [
        engine.query(f"SELECT count(), sum(cityHash64(*)) FROM {database}.{table}")
        for table in ("wide", "small", "log")
    ]


def restore(engine: EngineServer, gateway: Gateway, objects: Mapping[str, MemoryObject], database: str) -> None:
    session = gateway.open_serve(objects.get)
    try:
        engine.query(f"RESTORE DATABASE {database} FROM {place(session.address, 'r')}")
    finally:
        gateway.close(session.address)
    assert session.error is None


def test_a_full_backup_comes_back(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    before = fingerprint(module_engine, database)
    backup = Backup(gateway)
    assert "BACKUP_CREATED" in backup.run(module_engine, f"DATABASE {database}")
    assert backup.session.error is None
    assert not backup.session.cleanup_seen
    assert len(backup.session.kept) == 4
    assert backup.session.arrived_files == len({f.data_file for f in backup.files if f.size})
    gateway.close(backup.address)
    module_engine.query(f"DROP DATABASE {database} SYNC")
    restore(module_engine, gateway, backup.objects(), database)
    assert fingerprint(module_engine, database) == before


def test_an_incremental_backup_sends_what_is_new(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    full = Backup(gateway)
    full.run(module_engine, f"DATABASE {database}")
    unchanged = Backup(gateway, full)
    unchanged.run(module_engine, f"DATABASE {database}")
    assert unchanged.session.arrived_files == 0
    module_engine.query(f"INSERT INTO {database}.small SELECT number, 3 FROM numbers(4000, 10)")
    module_engine.query(f"INSERT INTO {database}.log SELECT number FROM numbers(1000, 10)")
    before = fingerprint(module_engine, database)
    changed = Backup(gateway, full)
    changed.run(module_engine, f"DATABASE {database}")
    assert 0 < changed.session.arrived_files < 30
    module_engine.query(f"DROP DATABASE {database} SYNC")
    restore(module_engine, gateway, changed.objects(), database)
    assert fingerprint(module_engine, database) == before


def test_a_backup_in_parts_comes_back(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    before = fingerprint(module_engine, database)
    backup = Backup(gateway)
    small = ", s3_max_single_part_upload_size=1000000, s3_min_upload_part_size=5242880"
    assert "BACKUP_CREATED" in backup.run(module_engine, f"DATABASE {database}", small)
    module_engine.query(f"DROP DATABASE {database} SYNC")
    restore(module_engine, gateway, backup.objects(), database)
    assert fingerprint(module_engine, database) == before


def test_a_refused_document_fails_the_backup(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    backup = Backup(gateway, verdict="a file is missing: x.bin")
    with pytest.raises(AssertionError, match=r"a file is missing: x\.bin"):
        backup.run(module_engine, f"DATABASE {database}")
    assert backup.session.document is None
    assert backup.session.cleanup_seen
    assert backup.session.arrived_files > 0, "its cleanup was not obeyed"


def test_a_full_store_fails_the_backup(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    backup = Backup(gateway, sink=MemorySink(StorageFull("no space left in /backups")))
    with pytest.raises(AssertionError, match="no space left in /backups"):
        backup.run(module_engine, f"DATABASE {database}")
    assert isinstance(backup.session.error, StorageFull)


def test_a_cancelled_backup_fails(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    sink = MemorySink()
    sink.gate.clear()
    backup = Backup(gateway, sink=sink)

    def cancel() -> None:
        backup.session.refuse("stopped by the user")
        sink.gate.set()

    timer = threading.Timer(0.5, cancel)
    timer.start()
    with pytest.raises(AssertionError, match="stopped by the user"):
        backup.run(module_engine, f"DATABASE {database}")
    timer.join()
    assert backup.session.document is None


def test_damage_fails_the_restore(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    backup = Backup(gateway)
    backup.run(module_engine, f"DATABASE {database}")
    module_engine.query(f"DROP DATABASE {database} SYNC")
    damage = Corruption("packs/ab/cd is damaged", object_name="packs/ab/cd")
    objects = backup.objects()
    largest = max((key for key in objects if "/f/" in key), key=lambda key: objects[key].size)
    for sound in (0, 1024 * 1024):
        broken = objects | {largest: MemoryObject(objects[largest].content, "tag", sound=sound, failure=damage)}
        session = gateway.open_serve(broken.get)
        with pytest.raises(AssertionError):
            module_engine.query(
                f"RESTORE TABLE {database}.wide AS default.r{sound}_{database} FROM {place(session.address, 'r')} "
                "SETTINGS backup_restore_s3_retry_attempts=2"
            )
        gateway.close(session.address)
        assert session.error is damage
        assert module_engine.query(f"SELECT count() FROM default.r{sound}_{database}") == "0"


def test_wrong_keys_fail_at_once(gateway: Gateway, module_engine: EngineServer, database: str) -> None:
    backup = Backup(gateway)
    right = backup.address
    backup.address = Address(right.url, right.access_key, "0" * 64)
    with pytest.raises(AssertionError, match="check your AWS credentials"):
        backup.run(module_engine, f"DATABASE {database}")
    assert backup.session.arrived_files == 0


def test_a_backup_that_does_not_exist_is_called_so(gateway: Gateway, module_engine: EngineServer) -> None:
    """How an operation finds out whether the server can reach the gateway: code 599, BACKUP_NOT_FOUND."""
    session = gateway.open_serve(lambda _: None)
    with pytest.raises(AssertionError, match="BACKUP_NOT_FOUND"):
        module_engine.query(f"RESTORE ALL FROM {place(session.address, 'nothing')}")
