"""What ``--json`` prints: one document per verb. Fields are only ever added; times are UTC, sizes bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from coldhouse.model import Snapshot, TableEntry

if TYPE_CHECKING:
    from coldhouse.operations.backup import BackupReceipt
    from coldhouse.operations.estimate import BackupPreview, Requests
    from coldhouse.operations.init import RepositoryInfo
    from coldhouse.operations.pin import Pin
    from coldhouse.operations.proof import ProofRecord
    from coldhouse.operations.restore import RestoreReport, TableOutcome
    from coldhouse.operations.show import SnapshotDetail


class ErrorText(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong: ``code`` is for programs, ``object`` the name of the damaged object, if one is."""

    code: str
    message: str
    hint: str
    object: str = ""


class ErrorDocument(msgspec.Struct, frozen=True):
    """The document of every verb that failed."""

    error: ErrorText


class RepositoryDocument(msgspec.Struct, frozen=True):
    """The document of ``init``."""

    repository: str
    location: str
    created: bool


class SnapshotDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``backup``, and an element of the one of ``snapshots``."""

    snapshot: str
    parent: str | None
    kind: str
    source: str
    started_at: str
    finished_at: str
    databases: int
    tables: int
    parts: int
    files: int
    rows: int
    bytes_total: int
    bytes_reused: int
    bytes_new: int
    bytes_sent: int
    bytes_stored: int
    objects_stored: int
    location: str
    server_version: str
    tags: dict[str, str]
    damaged_at_source: list[str]
    warnings: list[str]
    verified_at: str | None = None
    verified_level: str | None = None
    verified_in_part: bool = False
    damage_found_at: str | None = None
    pinned: bool = False
    pin_reason: str = ""


class RequestsText(msgspec.Struct, frozen=True):
    """Requests to the store by their kind, and the bytes that went up to it and came down from it."""

    put: int
    get: int
    list: int
    head: int
    delete: int
    bytes_up: int
    bytes_down: int


class BackupDocument(SnapshotDocument, frozen=True, kw_only=True):
    """The document of ``backup``: the snapshot, how long it took, and what it asked of the store."""

    seconds: float
    requests: RequestsText | None = None


class PreviewedTable(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup would do with a table; ``partitions`` null for all of it, ``bytes`` null where nobody knows."""

    database: str
    table: str
    action: str
    partitions: int | None
    bytes: int | None


class PreviewDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``backup --dry-run``."""

    dry_run: bool
    location: str
    compared_with: str | None
    tables: list[PreviewedTable]
    statements: int
    bytes_sent_at_most: int
    requests_at_least: RequestsText
    requests_at_most: RequestsText
    exact: bool
    not_estimated: list[str]
    warnings: list[str]


class MutationText(msgspec.Struct, frozen=True):
    """A mutation that was unfinished."""

    id: str
    command: str


class TableDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A table in a snapshot: ``bytes`` = ``bytes_reused`` + ``bytes_new``; ``rows`` null where nobody has counted."""

    database: str
    table: str
    engine: str
    parts: int
    rows: int | None
    bytes: int
    bytes_reused: int
    bytes_new: int
    unfinished_mutations: list[MutationText]
    damaged_at_source: list[str]


class DetailDocument(SnapshotDocument, frozen=True, kw_only=True):
    """The document of ``show``."""

    functions: list[str]
    empty_databases: list[str]
    contents: list[TableDocument]


class RestoredTable(msgspec.Struct, frozen=True, kw_only=True):
    """A restored table under the name that it has now; ``restored_from`` is its name in the snapshot.

    ``rows_restored`` were counted in the target; null where nobody could, as ``rows_expected`` where nobody has.
    """

    database: str
    table: str
    restored_from: str
    action: str
    status: str
    parts: int
    bytes: int
    rows_expected: int | None
    rows_restored: int | None
    note: str


class TableMutation(msgspec.Struct, frozen=True):
    """A mutation of a table that was unfinished when the snapshot was taken."""

    database: str
    table: str
    id: str
    command: str


class RestoreDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a restore that was done, and of one that would be."""

    snapshot: str
    source: str
    taken_at: str
    dry_run: bool
    tables: list[RestoredTable]
    rows: int
    bytes: int
    seconds: float
    unfinished_mutations: list[TableMutation]
    left_out: list[str]
    warnings: list[str]


class RestoreReceiptDocument(RestoreDocument, frozen=True, kw_only=True):
    """The document of ``restore``: what it did, what ClickHouse was sent, and what it asked of the store."""

    bytes_served: int
    requests: RequestsText | None


class RestorePreviewDocument(RestoreDocument, frozen=True, kw_only=True):
    """The document of ``restore --dry-run``: what it would do, and what that would cost within bounds."""

    bytes_served_at_least: int
    bytes_served_at_most: int
    requests_at_least: RequestsText
    requests_at_most: RequestsText


def repository(info: RepositoryInfo) -> RepositoryDocument:
    """The document of a repository that was made."""
    return RepositoryDocument(repository=info.id, location=info.url, created=info.created)


def backup(receipt: BackupReceipt) -> BackupDocument:
    """The document of a receipt."""
    base = snapshot(receipt.snapshot, receipt.location)
    warnings = list(dict.fromkeys([*receipt.snapshot.warnings, *receipt.warnings]))
    damaged = list(dict.fromkeys([*receipt.snapshot.damaged, *receipt.damaged]))
    fields = msgspec.structs.asdict(base) | {"warnings": warnings, "damaged_at_source": damaged}
    asked = None if receipt.requests is None else msgspec.structs.asdict(requests(receipt.requests))
    return msgspec.convert(fields | {"seconds": round(receipt.seconds, 3), "requests": asked}, BackupDocument)


def requests(asked: Requests) -> RequestsText:
    """Requests as documents write them."""
    return RequestsText(
        asked.put, asked.get, asked.list, asked.head, asked.delete, bytes_up=asked.uploaded, bytes_down=asked.downloaded
    )


def preview(found: BackupPreview) -> PreviewDocument:
    """The document of what a backup would do and cost."""
    tables = [
        PreviewedTable(
            database=each.name.database,
            table=each.name.table,
            action=each.action,
            partitions=each.partitions,
            bytes=each.bytes,
        )
        for each in found.tables
    ]
    return PreviewDocument(
        dry_run=True,
        location=found.location,
        compared_with=found.parent or None,
        tables=tables,
        statements=found.estimate.statements,
        bytes_sent_at_most=found.estimate.sent,
        requests_at_least=requests(found.requests.least),
        requests_at_most=requests(found.requests.most),
        exact=found.requests.exact,
        not_estimated=list(found.estimate.unsized),
        warnings=list(found.warnings),
    )


def snapshots(
    found: Iterable[Snapshot],
    location: str,
    proofs: Mapping[str, ProofRecord] | None = None,
    pins: Mapping[str, Pin] | None = None,
) -> list[SnapshotDocument]:
    """The document of a listing; ``proofs`` and ``pins`` are what is known of each by its id."""
    return [snapshot(one, location, (proofs or {}).get(one.id), (pins or {}).get(one.id)) for one in found]


def snapshot(
    found: Snapshot, location: str, record: ProofRecord | None = None, pin: Pin | None = None
) -> SnapshotDocument:
    """The document of one snapshot in the repository at ``location``; ``record`` tells of its verifications."""
    account = found.accounting
    proof = record.best if record else None
    damaged_at = record.damaged_at if record else None
    return SnapshotDocument(
        snapshot=found.id,
        parent=found.parent or None,
        kind="full" if found.full else "incremental",
        source=found.source.url,
        started_at=utc(found.started),
        finished_at=utc(found.finished),
        databases=account.databases,
        tables=account.tables,
        parts=account.parts,
        files=account.files,
        rows=account.rows,
        bytes_total=account.data,
        bytes_reused=account.reused,
        bytes_new=account.new,
        bytes_sent=account.sent,
        bytes_stored=account.stored,
        objects_stored=account.objects,
        location=location,
        server_version=found.source.version,
        tags=dict(sorted(found.tags.items())),
        damaged_at_source=list(found.damaged),
        warnings=list(found.warnings),
        verified_at=utc(proof.at) if proof else None,
        verified_level=proof.level if proof else None,
        verified_in_part=proof.partial if proof else False,
        damage_found_at=utc(damaged_at) if damaged_at else None,
        pinned=pin is not None,
        pin_reason=pin.reason if pin else "",
    )


def detail(found: SnapshotDetail, location: str) -> DetailDocument:
    """The document of a snapshot with its tables."""
    fields = msgspec.structs.asdict(snapshot(found.snapshot, location, found.record, found.pin))
    contents = [_table(entry, found.snapshot.id) for entry in found.tables if entry.name.table]
    functions = [function.name for function in found.snapshot.functions]
    more = {"functions": functions, "empty_databases": list(found.empty_databases), "contents": contents}
    return msgspec.convert(fields | more, DetailDocument)


def _table(entry: TableEntry, snapshot_id: str) -> TableDocument:
    new = entry.new_bytes if entry.written_by == snapshot_id else 0
    return TableDocument(
        database=entry.name.database,
        table=entry.name.table,
        engine=entry.engine,
        parts=entry.parts,
        rows=entry.rows if entry.rows_known else None,
        bytes=entry.bytes,
        bytes_reused=entry.bytes - new,
        bytes_new=new,
        unfinished_mutations=[MutationText(mutation.id, mutation.command) for mutation in entry.mutations],
        damaged_at_source=list(entry.damaged),
    )


def restore(report: RestoreReport) -> RestoreReceiptDocument | RestorePreviewDocument:
    """The document of a restore, or of what a dry run would do."""
    fields = msgspec.structs.asdict(_restored(report))
    if report.estimate is not None:
        bounds = report.estimate.bounds
        return RestorePreviewDocument(
            **fields,
            bytes_served_at_least=report.estimate.served_least,
            bytes_served_at_most=report.estimate.served_most,
            requests_at_least=requests(bounds.least),
            requests_at_most=requests(bounds.most),
        )
    asked = None if report.requests is None else requests(report.requests)
    return RestoreReceiptDocument(**fields, bytes_served=report.served, requests=asked)


def _restored(report: RestoreReport) -> RestoreDocument:
    tables = [
        RestoredTable(
            database=outcome.target.database,
            table=outcome.target.table,
            restored_from=str(outcome.name),
            action=outcome.action,
            status=outcome.status,
            parts=outcome.brought.parts,
            bytes=outcome.brought.bytes,
            rows_expected=outcome.rows if outcome.rows_known else None,
            rows_restored=_rows_restored(outcome),
            note=outcome.note,
        )
        for outcome in report.tables
    ]
    moved = [outcome for outcome in report.tables if outcome.status != "skipped"]
    return RestoreDocument(
        snapshot=report.snapshot.id,
        source=report.snapshot.source.url,
        taken_at=utc(report.snapshot.started),
        dry_run=report.dry_run,
        tables=tables,
        rows=sum(outcome.rows_moved for outcome in moved),
        bytes=sum(outcome.brought.bytes for outcome in moved),
        seconds=round(report.seconds, 3),
        unfinished_mutations=[
            TableMutation(name.database, name.table, mutation.id, mutation.command)
            for name, mutation in report.mutations
        ],
        left_out=list(report.left_out),
        warnings=list(report.warnings),
    )


def _rows_restored(outcome: TableOutcome) -> int | None:
    if outcome.status == "restored":
        return outcome.rows_restored
    return outcome.rows_moved if outcome.status == "in part" else 0


def utc(moment: datetime) -> str:
    """A time as the documents write it, to the second: 2026-11-23T08:30:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def encoded(document: msgspec.Struct | Sequence[msgspec.Struct]) -> str:
    """A document as text, indented for people who look at it all the same."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
