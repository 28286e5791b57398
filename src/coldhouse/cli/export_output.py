"""What ``export`` prints, as text and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.output import count, duration, facts, size

if TYPE_CHECKING:
    from coldhouse.operations.export import ExportReport


class ExportDocument(msgspec.Struct, frozen=True):
    """The document of ``export``."""

    snapshot: str
    database: str
    table: str
    file: str
    format: str
    rows: int
    bytes: int
    seconds: float
    left_out: list[str]


def document(report: ExportReport) -> ExportDocument:
    """The report as JSON."""
    return ExportDocument(
        snapshot=report.snapshot,
        database=report.table.database,
        table=report.table.table,
        file=str(report.file),
        format=report.format,
        rows=report.rows,
        bytes=report.bytes,
        seconds=round(report.seconds, 3),
        left_out=list(report.left_out),
    )


def lines(report: ExportReport) -> list[str]:
    """The report as text."""
    pairs = (
        ("table", str(report.table)),
        ("snapshot", report.snapshot),
        ("file", f"{report.file} ({report.format}, {size(report.bytes)})"),
        ("holds", f"{count(report.rows, 'row')}, written in {duration(report.seconds)}"),
    )
    return ["Exported", "", *facts(pairs)]
