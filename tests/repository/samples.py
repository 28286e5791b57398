"""Repositories, tables and parts to test with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b

from coldhouse.model import (
    Accounting,
    Extent,
    FileEntry,
    PackRef,
    Part,
    PartState,
    Snapshot,
    SourceInfo,
    TableEntry,
    TableKind,
    TableName,
)
from coldhouse.records import replace
from coldhouse.repository import KdfCost, PackSettings, Repository, init, new_snapshot_id
from coldhouse.storage.base import Storage

CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)
PASSPHRASE = "correct horse battery staple"
MOMENT = datetime(2026, 5, 17, 12, 0, 0, tzinfo=UTC)
PACK = PackRef(b"p" * 16, 32 << 20, 1708)


def new_repository(storage: Storage) -> Repository:
    return init(storage, PASSPHRASE, kdf=CHEAP)


def checksum(data: bytes) -> bytes:
    """Stands for ClickHouse's checksum: any 16 bytes that depend on the content."""
    return blake2b(data, digest_size=16).digest()


def store(repository: Repository, contents: Sequence[bytes], settings: PackSettings | None = None) -> list[FileEntry]:
    """Store files and return their entries; the packs that they are in are complete."""
    entries = []
    with repository.pack_writer(settings) as writer:
        for number, content in enumerate(contents):
            stream = writer.open_file(len(content), None)
            stream.write(content)
            extents = stream.finish(checksum(content), verified=True)
            entries.append(FileEntry(f"file{number}.bin", len(content), checksum(content), extents))
        writer.flush()
    return entries


def packs_of(repository: Repository, files: Iterable[FileEntry]) -> dict[bytes, PackRef]:
    """The packs of files, found by what the packs say of themselves."""
    ids = {extent.pack for file in files for extent in file.extents}
    return {id: repository.directory(id)[0] for id in ids}


def read(repository: Repository, file: FileEntry, packs: dict[bytes, PackRef] | None = None) -> bytes:
    """The whole content of a file."""
    found = packs if packs is not None else packs_of(repository, [file])
    return b"".join(repository.pack_reader().read(found, file.extents, 0, file.size))


def part(partition: str, name: str, *, files: int = 2, salt: str = "") -> Part:
    """A part whose files lie in the pack PACK, though nothing is stored there."""
    hash = checksum(f"{name}{salt}".encode())
    entries = tuple(
        FileEntry(f"column{at}.bin", 100 + at, checksum(hash + b"%d" % at), (Extent(PACK.id, 1000 * at, 100 + at),))
        for at in range(files)
    )
    return Part(PartState(partition, name, hash, 10, 1000), entries)


def parts(partitions: int, each: int, *, files: int = 2, first: int = 0) -> list[Part]:
    """Parts of several partitions, in their order."""
    return [
        part(f"{partition:05}", f"{partition:05}_{at:06}_{at:06}_0", files=files)
        for partition in range(first, first + partitions)
        for at in range(each)
    ]


def pack_of(id: bytes) -> PackRef:
    """Finds the pack of the parts that are made here."""
    return replace(PACK, id=id)


def entry(table: str, *, database: str = "shop", uuid: str = "", definition: str = "CREATE TABLE ...") -> TableEntry:
    return TableEntry(
        name=TableName(database, table),
        uuid=uuid,
        engine="MergeTree",
        kind=TableKind.PARTS,
        definition=definition,
        inspected=b"i" * 16,
        rows=0,
        bytes=0,
        parts=0,
        files=0,
        new_bytes=0,
        written_by="",
    )


def root(parent: Snapshot | None = None, *, moment: datetime = MOMENT) -> Snapshot:
    return Snapshot(
        id=new_snapshot_id(moment),
        started=moment,
        finished=moment,
        source=SourceInfo("http://localhost:8123", "an identity", "localhost", "26.9.1.1", "UTC"),
        parent=parent.id if parent else "",
        tags={"why": "test"},
        accounting=Accounting(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        catalog=(),
    )
