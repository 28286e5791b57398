"""The texts of receipts, listings and reports, for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from coldhouse.cli import cost_output
from coldhouse.cli.output import count, duration, facts, listed, local, printable, size, table
from coldhouse.model import Accounting, Snapshot, TableEntry

if TYPE_CHECKING:
    from coldhouse.operations.backup import BackupReceipt
    from coldhouse.operations.pin import Pin
    from coldhouse.operations.proof import ProofRecord
    from coldhouse.operations.restore import RestoreReport
    from coldhouse.operations.restore_plan import TableOutcome
    from coldhouse.operations.show import SnapshotDetail


def backup_receipt(receipt: BackupReceipt, told: Collection[str] = ()) -> list[str]:
    """What a backup did: D = B + I first of all; ``told`` are warnings that need not be repeated."""
    snapshot = receipt.snapshot
    damaged = list(dict.fromkeys([*snapshot.damaged, *receipt.damaged]))
    warnings = dict.fromkeys([*snapshot.warnings, *receipt.warnings])
    heading = f"Backup complete: snapshot {snapshot.id}"
    if not receipt.complete:
        heading = f"Backup done IN PART: snapshot {snapshot.id}"
    return [
        heading,
        "",
        *facts(
            [
                ("kind", _kind(snapshot)),
                ("source", f"{snapshot.source.url} (ClickHouse {snapshot.source.version})"),
                ("location", receipt.location),
                ("started", f"{local(snapshot.started)}, took {duration(receipt.seconds)}"),
                ("tags", _tags(snapshot)),
                ("holds", _holds(snapshot.accounting)),
                ("sent", f"{size(snapshot.accounting.sent)} by ClickHouse"),
                ("stored", _stored(snapshot.accounting)),
                ("requests", cost_output.requests(receipt.requests)),
            ]
        ),
        "",
        *_equation(snapshot.accounting),
        *_damaged(damaged),
        *listed("Warnings:", [text for text in warnings if text not in told]),
    ]


class Which(Struct, frozen=True):
    """Which snapshots a list is of: those of a ``source`` with some ``tags``; by default all."""

    source: str = ""
    tags: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        of = f" of {self.source}" if self.source else ""
        tagged = f" tagged {' '.join(f'{key}={value}' for key, value in self.tags)}" if self.tags else ""
        return of + tagged


#: The source is often set for good in the environment, where one forgets it.
_ALL_SOURCES = "--source '' lists those of all sources."


def snapshot_list(
    snapshots: Sequence[Snapshot],
    proofs: Mapping[str, ProofRecord] | None = None,
    pins: Mapping[str, Pin] | None = None,
    *,
    which: Which | None = None,
    others: Sequence[Snapshot] = (),
) -> list[str]:
    """A line for each snapshot, newest last; ``proofs`` and ``pins`` are what is known of each by its id.

    ``which`` says of what the list is, ``others`` are what the repository holds besides.
    """
    asked = str(which or "")
    if not snapshots:
        return _no_snapshots(which or Which(), others)
    rows = [
        (
            snapshot.id,
            local(snapshot.started),
            "full" if snapshot.full else "incremental",
            f"{snapshot.accounting.tables:,}",
            f"{snapshot.accounting.rows:,}",
            size(snapshot.accounting.data),
            size(snapshot.accounting.new),
            snapshot.source.url,
            _verified((proofs or {}).get(snapshot.id)),
            "  ".join(filter(None, [_pinned((pins or {}).get(snapshot.id)), _tags(snapshot)]))
            + ("  DAMAGED AT SOURCE" if snapshot.damaged else ""),
        )
        for snapshot in snapshots
    ]
    headings = ("SNAPSHOT", "TIME", "KIND", "TABLES", "ROWS", "DATA", "NEW", "SOURCE", "VERIFIED", "TAGS")
    lines = [*table(headings, rows, right=(3, 4, 5, 6)), "", f"{count(len(snapshots), 'snapshot')}, newest last"]
    if not asked:
        return lines
    end = f" only; {_ALL_SOURCES}" if which and which.source else " only."
    return [printable(f"Snapshots{asked}{end}"), "", *lines]


def _no_snapshots(which: Which, others: Sequence[Snapshot]) -> list[str]:
    """That none was found, and what there is instead: who reads this may just have lost everything else."""
    if not str(which):
        return ["No snapshots."]
    if not others:
        return [printable(f"No snapshots{which}; the repository is empty.")]
    sources = ", ".join(dict.fromkeys(snapshot.source.url for snapshot in others))
    left = f"{len(others):,} of other sources:" if not which.tags else f"{count(len(others), 'other')}, of"
    lines = [printable(f"No snapshots{which}; {left} {sources}.")]
    return [*lines, _ALL_SOURCES] if which.source else lines


def snapshot_detail(detail: SnapshotDetail, location: str) -> list[str]:
    """A snapshot and its tables, each with its data D, what was reused B and what was new I."""
    snapshot = detail.snapshot
    tables = [entry for entry in detail.tables if entry.name.table]
    rows = [_table_row(entry, snapshot.id) for entry in tables]
    headings = ("TABLE", "ENGINE", "PARTS", "ROWS", "D (DATA)", "B (REUSED)", "I (NEW)")
    functions = [function.name for function in snapshot.functions]
    empty = ", ".join(detail.empty_databases)
    return [
        f"Snapshot {snapshot.id}",
        "",
        *facts(
            [
                ("kind", _kind(snapshot)),
                ("source", snapshot.source.url),
                ("host", f"{snapshot.source.host}, time zone {snapshot.source.timezone}"),
                ("ClickHouse", snapshot.source.version),
                ("location", location),
                ("started", local(snapshot.started)),
                ("finished", local(snapshot.finished)),
                ("made by", snapshot.software),
                ("verified", _verified(detail.record)),
                ("pinned", _pinned(detail.pin).removeprefix("pinned: ")),
                ("tags", _tags(snapshot)),
                ("holds", _holds(snapshot.accounting)),
                ("empty", f"databases {empty}" if empty else ""),
                ("functions", ", ".join(functions)),
                ("stored", _stored(snapshot.accounting)),
            ]
        ),
        "",
        *_equation(snapshot.accounting),
        "",
        *(table(headings, rows, right=range(2, 7)) if rows else ["It holds no tables."]),
        *listed(
            "Mutations that were unfinished when it was taken (restore --resubmit-mutations submits them again):",
            [f"{entry.name}: {mutation.command}" for entry in tables for mutation in entry.mutations],
        ),
        *_damaged(list(snapshot.damaged)),
        *listed("Warnings:", list(snapshot.warnings)),
    ]


def restore_report(report: RestoreReport, target: str, told: Collection[str] = ()) -> list[str]:
    """What a restore did, or would do; ``told`` are warnings that need not be repeated."""
    moved = [outcome for outcome in report.tables if outcome.status != "skipped"]
    rows, brought = sum(each.rows_moved for each in moved), sum(each.brought.bytes for each in moved)
    amount = f"{count(len(moved), 'table')}, {count(rows, 'row')}, {size(brought)}"
    snapshot = f"{report.snapshot.id} of {report.snapshot.source.url}, taken {local(report.snapshot.started)},"
    if report.dry_run:
        heading = f"Dry run, nothing was changed. Snapshot {snapshot} would go to {target}: {amount}"
    else:
        state = "complete" if report.complete else "done IN PART"
        heading = f"Restore {state}: snapshot {snapshot} to {target}: {amount} in {duration(report.seconds)}"
    headings = ("TABLE", "FROM", "ACTION", "PARTS", "ROWS", "DATA", "STATUS", "NOTE")
    lines = [_outcome_row(outcome) for outcome in report.tables]
    again = "" if report.dry_run else " (--resubmit-mutations submits them again)"
    return [
        heading,
        "",
        *(table(headings, lines, right=(3, 4, 5)) if lines else ["No tables."]),
        *cost_output.restore_cost(report),
        *listed("NOT restored:", list(report.left_out)),
        *listed(
            f"Mutations that were unfinished when the snapshot was taken{again}:",
            [f"{name}: {mutation.command}" for name, mutation in report.mutations],
        ),
        *listed("Warnings:", [text for text in report.warnings if text not in told]),
    ]


def _equation(account: Accounting) -> list[str]:
    """D = B + I, in bytes and in units."""
    lines = table(
        ("", "", "BYTES", "", ""),
        [
            ("  D", "data", f"{account.data:,}", size(account.data), "everything that the snapshot holds"),
            ("  B", "reused", f"{account.reused:,}", size(account.reused), "already in the repository"),
            ("  I", "new", f"{account.new:,}", size(account.new), "stored by this snapshot"),
        ],
        right=(2, 3),
    )
    return [f"  D = B + I: {account.data:,} = {account.reused:,} + {account.new:,} bytes", *lines[1:]]


def _verified(record: ProofRecord | None) -> str:
    if record is not None and record.damaged_at is not None:
        return f"DAMAGE FOUND {local(record.damaged_at)}"
    proof = record.best if record else None
    if proof is None:
        return "never"
    return f"{proof.level}{' (in part)' if proof.partial else ''} {local(proof.at)}"


def _pinned(pin: Pin | None) -> str:
    if pin is None:
        return ""
    return f"pinned: {pin.reason}" if pin.reason else "pinned"


def _kind(snapshot: Snapshot) -> str:
    if snapshot.full:
        return "full"
    return f"incremental (reuses data of {snapshot.parent})" if snapshot.parent else "incremental"


def _tags(snapshot: Snapshot) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(snapshot.tags.items()))


def _holds(account: Accounting) -> str:
    nouns = (
        (account.databases, "database"),
        (account.tables, "table"),
        (account.parts, "part"),
        (account.files, "file"),
        (account.rows, "row"),
    )
    return ", ".join(count(number, noun) for number, noun in nouns)


def _stored(account: Accounting) -> str:
    return f"{size(account.stored)} in {count(account.objects, 'object')}, compressed and encrypted"


def _damaged(damaged: Sequence[str]) -> list[str]:
    return listed(
        "DAMAGED AT THE SOURCE: these parts were stored as ClickHouse sent them, which is not as it once wrote them. "
        "Check its disks; an older snapshot may hold them sound:",
        damaged,
    )


def _table_row(entry: TableEntry, snapshot_id: str) -> tuple[str, ...]:
    new = entry.new_bytes if entry.written_by == snapshot_id else 0
    sizes = (size(entry.bytes), size(entry.bytes - new), size(new))
    return (str(entry.name), entry.engine, f"{entry.parts:,}", _rows(entry), *sizes)


def _rows(of: TableEntry | TableOutcome) -> str:
    """How many rows the snapshot holds of a table; of some engines nobody may know."""
    return f"{of.rows:,}" if of.rows_known else "?"


def _outcome_row(outcome: TableOutcome) -> tuple[str, ...]:
    origin = str(outcome.name) if outcome.name != outcome.target else ""
    rows, brought = _rows(outcome), outcome.brought
    restored = outcome.rows_moved if outcome.status == "in part" else outcome.rows_restored
    if restored is not None and not (outcome.rows_known and restored == outcome.rows):
        rows = f"{restored:,}/{rows}"
    numbers = (f"{brought.parts:,}", rows, size(brought.bytes))
    return (str(outcome.target), origin, outcome.action, *numbers, outcome.status, outcome.note)
