"""What the doctor says: one finding for each thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from msgspec import Struct

from coldhouse.errors import ColdhouseError, OldKey

#: Signatures of S3 requests are worth nothing beyond a difference of 15 minutes; from here on it is getting close.
SKEW_WARNING = timedelta(minutes=1)
SKEW_CRITICAL = timedelta(minutes=15)

#: What time it is, in UTC.
Clock = Callable[[], datetime]


class Status(StrEnum):
    """How a thing is; ``skipped`` could not, or need not, be looked at."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    SKIPPED = "skipped"


class Measure(Struct, frozen=True):
    """A number for those who draw curves, in seconds or bytes, and where it begins to be wrong.

    It is wrong above ``warning`` and ``critical``, or, where ``least``, below them.
    """

    name: str
    value: float
    unit: Literal["s", "B"]
    warning: float | None = None
    critical: float | None = None
    least: bool = False


class Finding(Struct, frozen=True):
    """What was found about one thing: ``check`` is its name for programs, ``hint`` what to do about it."""

    check: str
    status: Status
    message: str
    hint: str = ""
    measure: Measure | None = None


def failed(check: str, error: ColdhouseError, status: Status = Status.CRITICAL) -> Finding:
    """The finding that an error makes."""
    return Finding(check, status, error.message.rstrip("."), error.hint)


def skipped(checks: Iterable[str], reason: str) -> list[Finding]:
    """The findings of checks that make no sense now."""
    return [Finding(check, Status.SKIPPED, reason) for check in checks]


def tried(check: str, act: Callable[[], Finding]) -> Finding:
    """The finding of a check; an error that it does not expect is one, too."""
    try:
        return act()
    except OldKey as error:  # the check of the keys says what is wrong
        return Finding(check, Status.SKIPPED, error.message.rstrip("."))
    except ColdhouseError as error:
        return failed(check, error)


def worst(findings: Iterable[Finding]) -> Status:
    """The worst of all; what was skipped does not count."""
    seen = {finding.status for finding in findings}
    return next((status for status in (Status.CRITICAL, Status.WARNING) if status in seen), Status.OK)


def above(value: float, warning: float, critical: float) -> Status:
    """How bad a number is that should be small."""
    return Status.CRITICAL if value > critical else Status.WARNING if value > warning else Status.OK


def below(value: float, warning: float, critical: float) -> Status:
    """How bad a number is that should be large."""
    return Status.CRITICAL if value < critical else Status.WARNING if value < warning else Status.OK


def clock_finding(check: str, whose: str, seen: datetime, between: tuple[datetime, datetime]) -> Finding:
    """How far another clock is from ours: what it showed at some moment ``between`` two of ours."""
    ahead, behind = seen - between[1], between[0] - seen
    skew = max(ahead, behind, timedelta())
    warning, critical = SKEW_WARNING.total_seconds(), SKEW_CRITICAL.total_seconds()
    status = above(skew.total_seconds(), warning, critical)
    measure = Measure(check.replace("-", "_"), skew.total_seconds(), "s", warning, critical)
    if status is Status.OK:
        return Finding(check, status, f"{whose} clock and this machine's agree", measure=measure)
    return Finding(
        check,
        status,
        f"{whose} clock is {span(skew)} {'ahead of' if ahead > behind else 'behind'} this machine's",
        "set both by NTP; from 15 minutes on signed requests are refused, and times of snapshots mislead",
        measure,
    )


def span(length: timedelta) -> str:
    """A length of time as people say it, in its largest unit: 3 days, 26 hours, 5 minutes, 12 seconds."""
    seconds = max(0, round(length.total_seconds()))
    for size, name, from_ in ((86400, "day", 3), (3600, "hour", 2), (60, "minute", 2)):
        if seconds >= size * from_:
            return f"{seconds // size} {name}s"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def utc_now() -> datetime:
    """This machine's clock."""
    return datetime.now(UTC)
