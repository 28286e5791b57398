"""Calendar periods and durations in a time zone, correct over daylight saving.

Everything is decided on instants; the time zone only says which hour, day, week, month or year an instant belongs to.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from msgspec import Struct

from coldhouse.errors import UsageError

Period = Literal["hourly", "daily", "weekly", "monthly", "yearly"]
PERIODS: tuple[Period, ...] = ("hourly", "daily", "weekly", "monthly", "yearly")

#: A clock that is ahead by no more than this is an ordinary one.
TOLERANCE = timedelta(hours=1)

_DURATION = re.compile(
    r"(?:(?P<years>\d{1,6})y)?(?:(?P<months>\d{1,6})m)?(?:(?P<weeks>\d{1,6})w)?(?:(?P<days>\d{1,6})d)?(?:(?P<hours>\d{1,6})h)?"
)
_BEGINNING = datetime.min.replace(tzinfo=UTC)


class Duration(Struct, frozen=True):
    """A length of time by the calendar: a month is a month, whatever its days."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read ``2y5m1w7d3h``: years, months, weeks, days, hours, each optional. Raises UsageError."""
        match = _DURATION.fullmatch(text.strip())
        numbers = {name: int(value) for name, value in match.groupdict().items() if value} if match else {}
        if not any(numbers.values()):
            raise UsageError(
                f"{text!r} is not a duration",
                hint="years, months, weeks, days and hours in this order: 7d, 2w, 6m, 1y6m, 36h",
            )
        days = numbers.get("days", 0) + 7 * numbers.get("weeks", 0)
        return cls(numbers.get("years", 0), numbers.get("months", 0), days, numbers.get("hours", 0))

    def __str__(self) -> str:
        units = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{number}{unit}" for number, unit in units if number)


class Calendar(Struct, frozen=True):
    """The present moment (with a time zone), and the zone whose days and hours count; None is this machine's own."""

    now: datetime
    zone: tzinfo | None = None

    def is_future(self, moment: datetime) -> bool:
        """Whether a moment cannot have been yet, so that a clock was, or this one is, wrong."""
        return moment > self.now + TOLERANCE

    def period_of(self, period: Period, moment: datetime) -> str:
        """The hour, day, ISO week, month or year that a moment belongs to.

        An hour is named with its offset from UTC: when clocks are set back, the same hour comes twice.
        """
        local = moment.astimezone(self.zone)
        if period == "hourly":
            return f"{local:%Y-%m-%d %H}:00 {local:%z}"
        if period == "weekly":
            year, week, _ = local.isocalendar()
            return f"{year}-W{week:02}"
        return f"{local:{'%Y-%m-%d' if period == 'daily' else '%Y-%m' if period == 'monthly' else '%Y'}}"

    def earlier(self, moment: datetime, by: Duration) -> datetime:
        """The moment that lies a duration earlier, in UTC.

        Years, months and days are taken off the date and leave the wall clock as it is; a day that the month does not
        have becomes its last one. Of a time that comes twice, or not at all, because clocks were changed, the earlier
        reading counts. Hours are elapsed time.
        """
        wall = moment.astimezone(self.zone).replace(tzinfo=None, fold=0)
        months = wall.year * 12 + wall.month - 1 - by.years * 12 - by.months
        year, month = divmod(months, 12)
        try:
            wall = wall.replace(year=year, month=month + 1, day=min(wall.day, _length(year, month + 1)))
            wall -= timedelta(days=by.days)
            # A time without a zone is taken for one of this machine's.
            readings = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            return min(readings) - timedelta(hours=by.hours)
        except (ValueError, OverflowError, OSError):  # before the year 1
            return _BEGINNING


def _length(year: int, month: int) -> int:
    """The days of a month."""
    following = datetime(year + month // 12, month % 12 + 1, 1)  # a date
    return (following - timedelta(days=1)).day
