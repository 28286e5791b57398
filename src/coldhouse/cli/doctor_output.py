"""What ``doctor`` prints: text, a document, or the one line that monitoring systems read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.output import count, printable

if TYPE_CHECKING:
    from coldhouse.operations.doctor import Diagnosis
    from coldhouse.operations.doctor_findings import Measure

_SHOWN = {"ok": "ok", "warning": "WARNING", "critical": "CRITICAL"}
_ORDER = ("critical", "warning")


class FindingDocument(msgspec.Struct, frozen=True):
    """What was found about one thing; ``value`` in seconds or bytes where there is a number to it."""

    check: str
    status: str
    message: str
    hint: str
    value: float | None


class DoctorDocument(msgspec.Struct, frozen=True):
    """The document of ``doctor``; ``status`` is the worst of all checks."""

    status: str
    checks: list[FindingDocument]
    seconds: float


def document(diagnosis: Diagnosis) -> DoctorDocument:
    """The document of a diagnosis."""
    return DoctorDocument(
        status=diagnosis.status,
        checks=[
            FindingDocument(one.check, one.status, one.message, one.hint, one.measure.value if one.measure else None)
            for one in diagnosis.findings
        ],
        seconds=round(diagnosis.seconds, 3),
    )


def text(diagnosis: Diagnosis) -> list[str]:
    """A line for each check, its hint below it, what was skipped and why, and a sum."""
    looked_at = [finding for finding in diagnosis.findings if finding.status != "skipped"]
    width = max((len(finding.check) for finding in looked_at), default=0)
    lines: list[str] = []
    for finding in looked_at:
        lines.append(f"{_SHOWN[finding.status]:<8}  {finding.check:<{width}}  {printable(finding.message)}")
        if finding.hint:
            lines.append(f"{'':<8}  {'':<{width}}  hint: {printable(finding.hint)}")
    left_out: dict[str, list[str]] = {}
    for finding in diagnosis.findings:
        if finding.status == "skipped":
            left_out.setdefault(finding.message, []).append(finding.check)
    lines += [f"skipped   {', '.join(checks)}: {printable(reason)}" for reason, checks in left_out.items()]
    return [*lines, "", _sum(diagnosis)]


def line(diagnosis: Diagnosis) -> str:
    """``COLDHOUSE STATUS - what is wrong | perfdata``."""
    bad = [finding for status in _ORDER for finding in diagnosis.findings if finding.status == status]
    said = "; ".join(f"{finding.check}: {finding.message}" for finding in bad) or _sum(diagnosis)
    numbers = " ".join(_perfdata(finding.measure) for finding in diagnosis.findings if finding.measure)
    return f"COLDHOUSE {diagnosis.status.upper()} - {_plain(said)}" + (f" | {numbers}" if numbers else "")


def unknown(message: str) -> str:
    """The line of a doctor that could not look."""
    return f"COLDHOUSE UNKNOWN - {_plain(message)}"


def _plain(words: str) -> str:
    """One line without the character that begins the numbers."""
    return printable(" ".join(words.split())).replace("|", "/")


def _perfdata(measure: Measure) -> str:
    """``name=valueUNIT;warning;critical`` as the Nagios plugin guidelines have it: ``5:`` warns below 5."""
    beyond = ":" if measure.least else ""
    bounds = (f"{bound:.12g}{beyond}" if bound is not None else "" for bound in (measure.warning, measure.critical))
    return f"{measure.name}={measure.value:.12g}{measure.unit};{';'.join(bounds)}"


def _sum(diagnosis: Diagnosis) -> str:
    numbers: Counter[str] = Counter(finding.status for finding in diagnosis.findings)
    told = [f"{numbers['ok']} fine"]
    told += [count(numbers["warning"], "warning")] if numbers["warning"] else []
    told += [f"{numbers['critical']} critical"] if numbers["critical"] else []
    told += [f"{numbers['skipped']} skipped"] if numbers["skipped"] else []
    return f"{count(len(diagnosis.findings), 'check')}: {', '.join(told)}"
