"""What ``verify`` prints, as text and as documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.output import count, duration, listed, size

if TYPE_CHECKING:
    from coldhouse.operations.verify import VerifyReport


class CheckedDocument(msgspec.Struct, frozen=True):
    """How much was looked at."""

    objects: int
    bytes: int
    files: int
    parts: int
    rows: int


class ProblemDocument(msgspec.Struct, frozen=True):
    """Something wrong; ``object`` is its name in the repository, empty where none is concerned."""

    kind: str
    object: str
    table: str
    part: str
    message: str


class VerifyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``verify`` for one snapshot."""

    snapshot: str
    level: str
    ok: bool
    partial: bool
    checked: CheckedDocument
    problems: list[ProblemDocument]
    problems_beyond: int
    remarks: list[str]
    seconds: float
    damage_beside: bool


_BESIDE = "; but there is damage where none of them needs anything (see the remarks)"


def document(report: VerifyReport) -> VerifyDocument:
    """The document of a report."""
    checked = report.checked
    return VerifyDocument(
        snapshot=report.snapshot,
        level=report.level,
        ok=report.ok,
        partial=report.partial,
        checked=CheckedDocument(checked.objects, checked.bytes, checked.files, checked.parts, checked.rows),
        problems=[
            ProblemDocument(problem.kind, problem.object, problem.table, problem.part, problem.message)
            for problem in report.problems
        ],
        problems_beyond=report.more,
        remarks=list(report.remarks),
        seconds=round(report.seconds, 3),
        damage_beside=report.damage_beside,
    )


def documents(reports: Sequence[VerifyReport]) -> list[VerifyDocument]:
    """The document of all snapshots' reports, oldest first."""
    return [document(report) for report in reports]


def text(reports: Sequence[VerifyReport]) -> list[str]:
    """A line for each snapshot, and below it what is wrong or should be known."""
    if not reports:
        return ["No snapshots."]
    lines: list[str] = []
    for report in reports:
        lines += _report(report)
    beside = any(report.damage_beside for report in reports)
    if len(reports) > 1 or beside:
        bad = sum(not report.ok for report in reports)
        verdict = f"{bad:,} FAILED" if bad else "all sound"
        lines += ["", f"{count(len(reports), 'snapshot')} verified, {verdict}{_BESIDE if beside and not bad else ''}"]
    if beside or any(problem.object for report in reports for problem in report.problems):
        lines += ["", "coldhouse repair --data puts back what lies elsewhere too; with --from URL, also from a copy."]
    return lines


def _report(report: VerifyReport) -> list[str]:
    problems = count(len(report.problems) + report.more, "problem")
    state = "ok" if report.ok else f"FAILED, {problems}"
    level = f"{report.level} (in part)" if report.partial else report.level
    more = [f"{report.more:,} more problems"] if report.more else []
    return [
        f"{report.snapshot}  {level}: {state}: {_amount(report)} in {duration(report.seconds)}",
        *listed("Problems:", [*(_problem(report, at) for at in range(len(report.problems))), *more]),
        *listed("Remarks:", list(report.remarks)),
    ]


def _amount(report: VerifyReport) -> str:
    checked = report.checked
    counted = [
        (checked.objects, "object"),
        (checked.files, "file"),
        (checked.parts, "part"),
        (checked.rows, "row"),
    ]
    said = [count(number, noun) for number, noun in counted if number]
    what = {"structure": "of stored objects", "data": "of files read", "drill": "of files restored"}[report.level]
    return ", ".join([*said, f"{size(checked.bytes)} {what}"])


def _problem(report: VerifyReport, at: int) -> str:
    problem = report.problems[at]
    where = " ".join(word for word in (problem.table, problem.part) if word)
    return f"{problem.kind}: {where}: {problem.message}" if where else f"{problem.kind}: {problem.message}"
