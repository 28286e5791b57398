"""What a work asks of the store, before it happens and after, for people."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from coldhouse.cli.output import count, facts, listed, size, table

if TYPE_CHECKING:
    from coldhouse.operations.estimate import BackupPreview, Bounds, Requests, TablePreview
    from coldhouse.operations.restore import RestoreReport

_KINDS = ("put", "get", "list", "head", "delete")
_ESTIMATE = "Estimate, at least to at most; a single number is exact except for sizes of sealed objects:"


def requests(asked: Requests | None) -> str:
    """Requests by their kind, and the bytes that were read; nothing where the store does not count."""
    if asked is None:
        return ""
    numbers = ", ".join(f"{getattr(asked, kind):,} {kind.upper()}" for kind in _KINDS)
    return f"{numbers}; {size(asked.downloaded)} read"


def cost_facts(bounds: Bounds) -> list[tuple[str, str]]:
    """What will be stored, read and asked for, within bounds."""
    least, most = bounds.least, bounds.most
    numbers = (f"{_between(getattr(least, kind), getattr(most, kind))} {kind.upper()}" for kind in _KINDS)
    return [
        ("stored", _sizes(least.uploaded, most.uploaded)),
        ("read", _sizes(least.downloaded, most.downloaded)),
        ("requests", ", ".join(numbers)),
    ]


def restore_cost(report: RestoreReport) -> list[str]:
    """What a restore was served and asked of the store, or what a dry run of it expects; nothing if nobody counted."""
    if report.estimate is not None:
        served = f"{_sizes(report.estimate.served_least, report.estimate.served_most)} of files to ClickHouse"
        return ["", _ESTIMATE, *facts([("served", served), *cost_facts(report.estimate.bounds)])]
    if report.requests is None:
        return []
    served = f"{size(report.served)} to ClickHouse"
    return ["", *facts([("served", served), ("requests", requests(report.requests))])]


def backup_preview(preview: BackupPreview, told: Collection[str] = ()) -> list[str]:
    """What a backup would do and cost; ``told`` are warnings that need not be repeated."""
    asked = [each for each in preview.tables if each.action == "ask"]
    compared = f"compared with {preview.parent}" if preview.parent else "there is nothing to compare with"
    would = f"{len(asked):,} of {count(len(preview.tables), 'table')}"
    statements = count(preview.estimate.statements, "statement")
    headings = ("TABLE", "WOULD BE", "PARTITIONS", "AT THE SOURCE")
    return [
        f"Dry run, nothing was sent or stored; {compared}.",
        f"ClickHouse would be asked for {would}, in {statements}.",
        "",
        *(table(headings, map(_row, preview.tables), right=(2, 3)) if preview.tables else ["No tables."]),
        "",
        _ESTIMATE,
        *facts([("sent", f"{_sizes(0, preview.estimate.sent)} by ClickHouse"), *cost_facts(preview.requests)]),
        *listed("Not in the estimate, because their engines do not tell their size:", list(preview.estimate.unsized)),
        *listed("Warnings:", [text for text in preview.warnings if text not in told]),
    ]


def _row(each: TablePreview) -> tuple[str, str, str, str]:
    if each.action == "carry":
        return str(each.name), "carried over", "", ""
    partitions = "all" if each.partitions is None else f"{each.partitions:,}"
    return str(each.name), "asked for", partitions, "unknown" if each.bytes is None else size(each.bytes)


def _between(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _sizes(least: int, most: int) -> str:
    return size(most) if size(least) == size(most) else f"{size(least)} to {size(most)}"
