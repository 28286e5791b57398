from __future__ import annotations

from datetime import UTC, datetime

import pytest

from coldhouse.cli import output


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10_239, "10.0 KiB"),
        (102_400, "100 KiB"),
        (1_048_575, "1.00 MiB"),
        (1_234_567_890, "1.15 GiB"),
        (2**70, "1024 EiB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (12.3, "12 s"), (59.7, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_numbers_agree_with_their_nouns() -> None:
    assert output.count(1, "table") == "1 table"
    assert output.count(1234, "row") == "1,234 rows"
    assert output.count(0, "entry", "entries") == "0 entries"


def test_times_are_local_and_name_their_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    try:
        assert output.local(datetime(2026, 11, 23, 7, 30, tzinfo=UTC)) == "2026-11-23 08:30:00 CET"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_columns_line_up_also_with_wide_characters() -> None:
    rows = [("表", "1"), ("plain", "1,000")]
    assert output.table(("NAME", "ROWS"), rows, right=[1]) == ["NAME    ROWS", "表         1", "plain  1,000"]


def test_names_from_outside_cannot_command_the_terminal() -> None:
    assert output.printable("a\x1b[31mb\nc\u202ed") == "a\\x1b[31mb\\nc\\u202ed"
    assert output.printable("a\nb", lines=True) == "a\nb"
    assert output.table(("T",), [("x\ty",)]) == ["T", "x\\ty"]


def test_a_long_list_says_how_much_it_leaves_out() -> None:
    assert output.listed("Parts:", []) == []
    assert output.listed("Parts:", ["a", "b", "c"], most=2) == [
        "",
        "Parts:",
        "  a",
        "  b",
        "  and 1 more; --json lists all of them",
    ]
