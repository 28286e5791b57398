from __future__ import annotations

import io
import re
import time

from coldhouse.cli.progress import LineListener, progress_text, showing
from coldhouse.events import Phase, Progress, Warned

MIB = 1 << 20


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def as_it_is(text: str) -> str:
    return text


def without_secret(text: str) -> str:
    return text.replace("hunter2", "***")


def test_lines_come_at_once_for_phases_and_now_and_then_for_progress() -> None:
    now = 0.0
    stream = io.StringIO()
    listener = LineListener(stream, as_it_is, lambda: now)
    listener(Phase("ClickHouse is sending"))
    now = 4.0
    listener(Progress(40 * MIB, 100 * MIB))
    now = 10.0
    listener(Progress(50 * MIB, 100 * MIB, "orders"))
    listener(Warned("one disk"))
    assert stream.getvalue().splitlines() == [
        "ClickHouse is sending",
        "  50 %: 50.0 MiB of 100 MiB, 5.00 MiB/s, 10 s left; orders",
        "warning: one disk",
    ]


def test_an_unknown_total_is_not_guessed() -> None:
    assert progress_text(Progress(10 * MIB, 0), 2.0) == "10.0 MiB, 5.00 MiB/s"


def test_more_than_expected_is_no_more_than_all() -> None:
    assert progress_text(Progress(12 * MIB, 10 * MIB), 2.0) == "100 %: 12.0 MiB of 10.0 MiB, 6.00 MiB/s"


def test_quiet_shows_nothing() -> None:
    stream = io.StringIO()
    with showing(stream, as_it_is, quiet=True) as listener:
        listener(Phase("working"))
        listener(Warned("careful"))
    assert stream.getvalue() == ""


def test_secrets_and_control_characters_never_arrive() -> None:
    for stream in (io.StringIO(), Terminal()):
        with showing(stream, without_secret, quiet=False) as listener:
            listener(Phase("asking http://me:hunter2@db"))
            listener(Warned("table [red]\x07bell[/red] hunter2"))
        assert "hunter2" not in stream.getvalue()
        assert "\x07" not in stream.getvalue()
        assert "table [red]\\x07bell[/red] ***" in stream.getvalue()


def test_a_terminal_gets_a_bar_with_bytes_rate_and_time_left() -> None:
    stream = Terminal()
    with showing(stream, as_it_is, quiet=False) as listener:
        listener(Progress(1 * MIB, 4 * MIB))
        listener(Phase("sending [shop.orders]"))
        for done in range(3):  # a rate needs two points in time
            listener(Progress(done * MIB, 4 * MIB, "[shop.orders]"))
            time.sleep(0.05)
    shown = stream.getvalue()
    assert "2.0/4.0 MiB" in shown
    assert "sending [shop.orders]" in shown
    assert re.search(r"\d+\.\d [KM]i?B/s", shown), "the rate"
    assert re.search(r"\d:\d\d:\d\d", shown), "the time left"
