"""What the golden repository holds, and how it was made: ``python -m tests.repository.golden_content FOLDER``.

The repository in tests/repository/golden was made once and is read by every later version. It is never made again: a
new format gets a golden repository of its own beside it.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta

from coldhouse.model import (
    Accounting,
    Extent,
    FileEntry,
    Mutation,
    Part,
    PartState,
    Snapshot,
    SourceInfo,
    SqlFunction,
    TableEntry,
    TableKind,
    TableName,
)
from coldhouse.records import replace
from coldhouse.repository import KdfCost, PackSettings, Repository, init
from coldhouse.storage.local import LocalStorage
from tests.repository.samples import checksum

PASSPHRASE = "a golden passphrase, caf\u00e9"
FIRST_ID = "20260102T030405Z-0123456789abcdef"
SECOND_ID = "20260103T030405Z-fedcba9876543210"
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

#: Compressible and not, smaller and larger than a frame of 256 KiB, and nothing at all.
SMALL = b"row,value\n" * 100
LARGE = bytes((at * at >> 3) & 0xFF for at in range(600_000))
NOISE = b"".join(checksum(b"%d" % at) for at in range(20_000))
LATER = b"later\n" * 5_000


def part(partition: str, name: str, rows: int, files: tuple[FileEntry, ...]) -> Part:
    return Part(PartState(partition, name, checksum(name.encode()), rows, sum(file.size for file in files)), files)


def table(name: str, kind: TableKind, engine: str, definition: str, snapshot: str) -> TableEntry:
    return TableEntry(
        name=TableName("shop", name),
        uuid="6b6ee9b1-8e36-4f43-93d2-3fa1f6d8a3a2" if name == "orders" else "",
        engine=engine,
        kind=kind,
        definition=definition,
        inspected=checksum(definition.encode()),
        rows=0,
        bytes=0,
        parts=0,
        files=0,
        new_bytes=0,
        written_by=snapshot,
    )


ORDERS = table("orders", TableKind.PARTS, "MergeTree", "CREATE TABLE shop.orders (n Int64)", FIRST_ID)
MANY = table("many", TableKind.PARTS, "MergeTree", "CREATE TABLE shop.many (n Int64)", FIRST_ID)
LOG = replace(table("log", TableKind.FILES, "Log", "CREATE TABLE shop.log (n Int64) ENGINE = Log", FIRST_ID), rows=7)
VIEW = replace(
    table("größe", TableKind.DEFINITION, "View", "CREATE VIEW shop.`größe` AS SELECT 1", FIRST_ID),
    depends_on=(TableName("shop", "orders"),),
)
DATABASE = replace(table("", TableKind.DEFINITION, "Atomic", "CREATE DATABASE shop", FIRST_ID))
MUTATION = Mutation("mutation_12.txt", "UPDATE n = 1 WHERE n = 2")


def first_parts(small: tuple[Extent, ...], large: tuple[Extent, ...]) -> list[Part]:
    """The parts of shop.orders in the first snapshot; one of them was damaged at its source, one has no files."""
    return [
        part("202601", "202601_1_1_0", 100, (FileEntry("count.txt", 0, b"", ()), entry_of("n.bin", SMALL, small))),
        part("202601", "202601_2_2_0", 0, ()),
        part("202601", "202601_3_3_0", 50, (replace(entry_of("p.proj/n.bin", LARGE, large), damaged=True),)),
        Part(PartState("202601", "202601_4_4_0", b"", 1, 5), (entry_of("n.bin", SMALL, small),)),
    ]


def many_parts() -> list[Part]:
    """The parts of shop.many, which fill pages of their own; all empty."""
    return [part(f"2026{at:04}", f"2026{at:04}_1_1_0", at, ()) for at in range(1100)]


def entry_of(name: str, content: bytes, extents: tuple[Extent, ...]) -> FileEntry:
    return FileEntry(name, len(content), checksum(content), extents)


def root(id: str, parent: str, accounting: Accounting) -> Snapshot:
    started = STARTED + timedelta(days=0 if parent == "" else 1)
    return Snapshot(
        id=id,
        started=started,
        finished=started + timedelta(seconds=90, microseconds=5),
        source=SourceInfo("http://db:8123", "b5f3a1de-0000-4000-8000-000000000000", "db", "26.9.1.1", "Europe/Berlin"),
        parent=parent,
        tags={"plan": "daily"},
        accounting=accounting,
        catalog=(),
        functions=(SqlFunction("twice", "CREATE FUNCTION twice AS x -> x * 2"),),
        damaged=("shop.orders 202601_3_3_0",),
        warnings=("a warning",),
        software="coldhouse 1",
    )


def make(repository: Repository) -> None:
    """Write both snapshots."""
    with repository.pack_writer(PackSettings("auto", frames=2)) as writer:
        files = []
        for content in (SMALL, LARGE, NOISE, LATER):
            stream = writer.open_file(len(content), checksum(content))
            stream.write(content)
            files.append(stream.finish(checksum(content), verified=True))
        writer.flush()
        small, large, noise, later = files
        with repository.draft(None) as draft:
            draft.carry(DATABASE)
            draft.carry(VIEW)
            draft.add(MANY, many_parts(), writer.pack)
            draft.add(ORDERS, first_parts(small, large), writer.pack)
            draft.add(LOG, [part("", "", 7, (entry_of("n.bin", NOISE, noise),))], writer.pack)
            first = draft.commit(root(FIRST_ID, "", Accounting(3, 0, 3, 3, 4, 5, 6, 7, 8, 9, 1)))
        with repository.draft(first) as draft:
            entries = {entry.name.table: entry for entry in repository.entries(first)}
            for name in ("", "größe", "log", "many"):
                draft.carry(entries[name])
            more = part("202602", "202602_1_1_0", 5, (entry_of("n.bin", LATER, later),))
            changed = replace(ORDERS, mutations=(MUTATION,), written_by=SECOND_ID)
            draft.add(changed, [*first_parts(small, large), more], writer.pack)
            draft.commit(root(SECOND_ID, FIRST_ID, Accounting(4, 3, 1, 1, 4, 5, 6, 7, 8, 9, 1)))
    repository.put_note("journal", "a key", b"a note")


if __name__ == "__main__":
    make(init(LocalStorage(sys.argv[1]), PASSPHRASE, kdf=KdfCost(memory_kib=1024, passes=2, lanes=2)))
