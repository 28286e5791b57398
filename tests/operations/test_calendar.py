from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldhouse.errors import UsageError
from coldhouse.operations.calendar import PERIODS, Calendar, Duration, Period

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia"]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
zones = st.sampled_from([ZoneInfo(name) for name in ZONES])
durations = st.builds(Duration, st.integers(0, 30), st.integers(0, 30), st.integers(0, 400), st.integers(0, 100))


def in_berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("7d", Duration(days=7)),
        ("2w", Duration(days=14)),
        ("1y5m7d2h", Duration(1, 5, 7, 2)),
        ("1y2m3w4d5h", Duration(1, 2, 25, 5)),
        (" 36h ", Duration(hours=36)),
    ],
)
def test_durations(text: str, duration: Duration) -> None:
    assert Duration.parse(text) == duration


@pytest.mark.parametrize("text", ["", "7", "d", "0d", "0y0h", "-7d", "7 d", "7s", "2h7d", "1.5d", "7d7d", "9999999d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        Duration.parse(text)


@given(durations.filter(lambda duration: str(duration) != ""))
def test_a_duration_reads_what_it_writes(duration: Duration) -> None:
    assert Duration.parse(str(duration)) == duration


@pytest.mark.parametrize(
    ("moment", "by", "earlier"),
    [
        ("2026-03-31T12:00", "1m", "2026-02-28T12:00+01:00"),  # February has no 31st
        ("2024-02-29T12:00", "1y", "2023-02-28T12:00+01:00"),
        ("2026-01-15T12:00", "1m", "2025-12-15T12:00+01:00"),
        ("2026-12-15T12:00", "12m", "2025-12-15T12:00+01:00"),
        ("2026-10-26T12:00", "1d", "2026-10-25T12:00+01:00"),  # a day of 25 hours in between
        ("2026-10-25T12:00", "1d", "2026-10-24T12:00+02:00"),
        ("2026-10-25T12:00", "24h", "2026-10-24T13:00+02:00"),  # hours are elapsed time
        ("2026-03-29T12:00", "1d", "2026-03-28T12:00+01:00"),  # a day of 23 hours
        ("2026-03-30T02:30", "1d", "2026-03-29T01:30+01:00"),  # there is no 02:30
        ("2026-10-26T02:30", "1d", "2026-10-25T02:30+02:00"),  # there are two: the first
        ("2026-10-26T02:30", "1w", "2026-10-19T02:30+02:00"),
    ],
)
def test_earlier_in_berlin(moment: str, by: str, earlier: str) -> None:
    found = Calendar(NOW, BERLIN).earlier(in_berlin(moment), Duration.parse(by))
    assert found == datetime.fromisoformat(earlier)


def test_before_the_beginning_of_time_is_the_beginning() -> None:
    for text in ("5000y", "999999m", "999999d"):
        assert Calendar(NOW, BERLIN).earlier(NOW, Duration.parse(text)).year == 1


@pytest.mark.parametrize(
    ("moment", "names"),
    [
        ("2026-11-23T00:30+01:00", ("2026-11-23 00:00 +0100", "2026-11-23", "2026-W48", "2026-11", "2026")),
        ("2027-01-01T12:00+01:00", ("2027-01-01 12:00 +0100", "2027-01-01", "2026-W53", "2027-01", "2027")),
        ("2024-12-30T12:00+01:00", ("2024-12-30 12:00 +0100", "2024-12-30", "2025-W01", "2024-12", "2024")),
        ("2026-12-31T23:30+00:00", ("2027-01-01 00:00 +0100", "2027-01-01", "2026-W53", "2027-01", "2027")),
    ],
)
def test_periods_in_berlin(moment: str, names: tuple[str, ...]) -> None:
    calendar = Calendar(NOW, BERLIN)
    assert tuple(calendar.period_of(period, datetime.fromisoformat(moment)) for period in PERIODS) == names


def test_the_hour_that_comes_twice_is_two_hours_of_one_day() -> None:
    calendar = Calendar(NOW, BERLIN)
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert [calendar.period_of("hourly", moment) for moment in (first, second)] == [
        "2026-10-25 02:00 +0200",
        "2026-10-25 02:00 +0100",
    ]
    assert calendar.period_of("daily", first) == calendar.period_of("daily", second)


def test_this_machines_zone_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        local, named = Calendar(NOW), Calendar(NOW, BERLIN)
        for day in range(0, 800, 3):
            moment = datetime(2026, 1, 1, 0, 30, tzinfo=UTC) + timedelta(hours=7 * day)
            assert [local.period_of(each, moment) for each in PERIODS] == [
                named.period_of(each, moment) for each in PERIODS
            ]
            assert local.earlier(moment, Duration(0, 1, 1, 1)) == named.earlier(moment, Duration(0, 1, 1, 1))
    finally:
        monkeypatch.undo()
        time.tzset()


@given(moments, zones, st.sampled_from(PERIODS), st.integers(-14 * 60, 14 * 60))
def test_the_zone_in_which_a_moment_is_written_does_not_matter(
    moment: datetime, zone: ZoneInfo, period: Period, offset: int
) -> None:
    calendar = Calendar(NOW, zone)
    elsewhere = moment.astimezone(timezone(timedelta(minutes=offset)))
    assert calendar.period_of(period, elsewhere) == calendar.period_of(period, moment)
    assert calendar.earlier(elsewhere, Duration(0, 1, 2, 3)) == calendar.earlier(moment, Duration(0, 1, 2, 3))


@given(moments, zones, durations)
def test_earlier_is_never_later_and_about_as_much_earlier(moment: datetime, zone: ZoneInfo, by: Duration) -> None:
    found = Calendar(NOW, zone).earlier(moment, by)
    days = by.years * 365.2425 + by.months * 30.44 + by.days + by.hours / 24
    assert abs((moment - found).total_seconds() / 86400 - days) < 5
    assert found <= moment + timedelta(hours=2)  # the second of two equal hours counts as the first


def test_a_clock_a_little_ahead_is_no_future() -> None:
    calendar = Calendar(NOW)
    assert not calendar.is_future(NOW + timedelta(minutes=59))
    assert calendar.is_future(NOW + timedelta(minutes=61))
