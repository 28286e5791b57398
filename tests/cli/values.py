"""Fixed results of operations, to see how they are printed."""

from __future__ import annotations

from datetime import UTC, datetime

from coldhouse.model import (
    Accounting,
    Mutation,
    Snapshot,
    SourceInfo,
    SqlFunction,
    TableEntry,
    TableKind,
    TableName,
)
from coldhouse.operations.estimate import BackupEstimate, BackupPreview, Bounds, Requests, TablePreview
from coldhouse.operations.restore_estimate import RestoreEstimate

FIRST = "20261122T170000Z-00112233445566aa"
SECOND = "20261123T073000Z-8899aabbccddeeff"

SOURCE = SourceInfo(
    url="http://db:8123", identity="0a1b", host="db.example.org", version="26.9.1.1", timezone="Europe/Berlin"
)


def snapshot(*, damaged: tuple[str, ...] = (), warnings: tuple[str, ...] = ()) -> Snapshot:
    """An incremental snapshot of two tables."""
    return Snapshot(
        id=SECOND,
        started=datetime(2026, 11, 23, 7, 30, 0, 123456, tzinfo=UTC),
        finished=datetime(2026, 11, 23, 7, 31, 5, tzinfo=UTC),
        source=SOURCE,
        parent=FIRST,
        tags={"reason": "before upgrade", "host": "db1"},
        accounting=Accounting(
            data=1_234_567_890,
            reused=1_200_000_000,
            new=34_567_890,
            sent=34_600_000,
            stored=20_123_456,
            objects=4,
            tables=2,
            parts=340,
            files=5120,
            rows=12_345_678,
            databases=1,
        ),
        catalog=(),
        functions=(SqlFunction("twice", "CREATE FUNCTION twice AS x -> 2 * x"),),
        damaged=damaged,
        warnings=warnings,
        software="coldhouse 0.1.0",
    )


def full_snapshot() -> Snapshot:
    """The first snapshot, which reused nothing."""
    return Snapshot(
        id=FIRST,
        started=datetime(2026, 11, 22, 17, 0, tzinfo=UTC),
        finished=datetime(2026, 11, 22, 17, 1, tzinfo=UTC),
        source=SOURCE,
        parent="",
        tags={},
        accounting=Accounting(1000, 0, 1000, 1000, 900, 3, tables=1, parts=1, files=8, rows=10, databases=1),
        catalog=(),
    )


def preview() -> BackupPreview:
    """A backup that would ask for two of three tables."""
    least = Requests(put=1, get=3, list=2, head=1, uploaded=500, downloaded=2048)
    most = Requests(put=5, get=3, list=2, head=9, delete=1, uploaded=1 << 20, downloaded=4096)
    return BackupPreview(
        "/backups",
        FIRST,
        (
            TablePreview(TableName("shop", "idle"), "carry", None, 0),
            TablePreview(TableName("shop", "kv"), "ask", None, None),
            TablePreview(TableName("shop", "orders"), "ask", 2, 1 << 20),
        ),
        BackupEstimate(1, 2 << 20, Bounds(least, most), ("shop.kv",), lists=False),
        Bounds(least, most),
        ("one disk",),
    )


def restore_estimate() -> RestoreEstimate:
    """A restore whose small files may come by more or fewer requests."""
    least = Requests(put=2, get=30, list=1, head=3, delete=2, uploaded=500, downloaded=1 << 20)
    most = Requests(put=2, get=45, list=1, head=3, delete=2, uploaded=9000, downloaded=2 << 20)
    return RestoreEstimate(3 << 20, 3 << 20, Bounds(least, most))


def database(name: str = "shop") -> TableEntry:
    """A database as a catalog holds it."""
    return _entry(TableName(name, ""), "Atomic", TableKind.DEFINITION, SECOND)


def orders() -> TableEntry:
    """A table of which some parts are new, with an unfinished mutation."""
    return _entry(
        TableName("shop", "orders"),
        "MergeTree",
        TableKind.PARTS,
        SECOND,
        rows=12_000_000,
        size=1_234_000_000,
        parts=339,
        new=34_000_000,
        mutations=(Mutation("mutation_7.txt", "UPDATE price = 0 WHERE id = 1"),),
    )


def customers() -> TableEntry:
    """A table that was carried over as it was."""
    return _entry(
        TableName("shop", "customers"),
        "ReplacingMergeTree",
        TableKind.PARTS,
        FIRST,
        rows=345_678,
        size=567_890,
        parts=1,
        new=567_890,
    )


def _entry(
    name: TableName,
    engine: str,
    kind: TableKind,
    written_by: str,
    *,
    rows: int = 0,
    size: int = 0,
    parts: int = 0,
    new: int = 0,
    mutations: tuple[Mutation, ...] = (),
) -> TableEntry:
    return TableEntry(
        name=name,
        uuid="",
        engine=engine,
        kind=kind,
        definition="",
        inspected=b"",
        rows=rows,
        bytes=size,
        parts=parts,
        files=parts * 15,
        new_bytes=new,
        written_by=written_by,
        mutations=mutations,
    )
