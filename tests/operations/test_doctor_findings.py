from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from coldhouse.errors import StorageError, UsageError
from coldhouse.operations import doctor
from coldhouse.operations.doctor import DoctorOptions
from coldhouse.operations.doctor_findings import Finding, Status, above, below, clock_finding, span, tried, worst

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_worst_counts_and_what_was_skipped_does_not() -> None:
    findings = [Finding("a", Status.OK, ""), Finding("b", Status.SKIPPED, "")]
    assert worst([]) is Status.OK
    assert worst(findings) is Status.OK
    findings.append(Finding("c", Status.WARNING, ""))
    assert worst(findings) is Status.WARNING
    assert worst([Finding("d", Status.CRITICAL, ""), *findings]) is Status.CRITICAL


def test_a_bound_itself_is_still_fine() -> None:
    assert [above(value, 10, 20) for value in (10, 11, 20, 21)] == ["ok", "warning", "warning", "critical"]
    assert [below(value, 20, 10) for value in (20, 19, 10, 9)] == ["ok", "warning", "warning", "critical"]


def test_an_error_becomes_a_finding_with_its_hint() -> None:
    def fail() -> Finding:
        raise StorageError("It broke.", hint="mend it")

    assert tried("place", fail) == Finding("place", Status.CRITICAL, "It broke", "mend it")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (119, "119 seconds"),
        (120, "2 minutes"),
        (7199, "119 minutes"),
        (7200, "2 hours"),
        (26 * 3600, "26 hours"),
        (3 * 86400 - 1, "71 hours"),
        (40 * 86400, "40 days"),
    ],
)
def test_lengths_of_time(seconds: int, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words


def test_a_clock_agrees_if_it_was_right_at_some_moment_between() -> None:
    between = (NOON, NOON + timedelta(hours=1))  # a slow answer is no wrong clock
    for minute in (0, 30, 60):
        assert clock_finding("clock", "its", NOON + timedelta(minutes=minute), between).status is Status.OK
    found = clock_finding("clock", "its", NOON + timedelta(minutes=77), between)
    assert (found.status, found.message) == (Status.CRITICAL, "its clock is 17 minutes ahead of this machine's")
    assert clock_finding("clock", "its", NOON - timedelta(minutes=2), between).status is Status.WARNING


def test_nothing_to_look_at_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="Neither"):
        doctor.run(DoctorOptions(), None)
