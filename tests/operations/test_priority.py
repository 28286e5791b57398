"""Coldhouse steps back on the machine whose ClickHouse it backs up, and nowhere else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from coldhouse.errors import UsageError
from coldhouse.operations import priority
from coldhouse.operations.backup import pack_settings
from coldhouse.repository import PackSettings

#: In a process of its own, because no process may take back what it gave away.
PROGRAM = """
import os, sys, threading
from coldhouse.operations import priority
priority.step_back(sys.argv[1], int(sys.argv[2]))
seen = [os.getpriority(os.PRIO_PROCESS, 0)]
later = threading.Thread(target=lambda: seen.append(os.getpriority(os.PRIO_PROCESS, 0)))
later.start()
later.join()
print(*seen)
"""


@pytest.mark.parametrize(
    "url",
    [
        "chdb:///data",
        "http://localhost:8123",
        "http://user:secret@127.0.0.1:8123",
        "https://127.1.2.3",
        "http://[::1]:8123",
        f"http://{socket.gethostname()}:8123",
    ],
)
def test_this_machine(url: str) -> None:
    assert priority.is_here(url)


@pytest.mark.parametrize(
    "url", ["http://db.example:8123", "http://192.0.2.7:8123", "https://[2001:db8::1]", "http://localhost.example"]
)
def test_another_machine(url: str) -> None:
    assert not priority.is_here(url)


def test_a_url_that_is_none() -> None:
    with pytest.raises(UsageError):
        priority.step_back("somewhere", 10)


@pytest.mark.parametrize(
    ("now", "wanted", "expected"),
    [(0, 10, 10), (0, 0, 0), (5, 10, 5), (10, 10, 0), (19, 10, 0), (-5, 10, 15), (7, 0, 0)],
)
def test_it_is_lowered_and_never_raised(now: int, wanted: int, expected: int) -> None:
    assert priority.steps(now, wanted) == expected


@pytest.mark.parametrize(("url", "nice", "lower"), [("chdb:///data", 10, True), ("chdb:///data", 0, False)])
def test_threads_that_are_started_later_step_back_too(url: str, nice: int, lower: bool) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, url, str(nice)], capture_output=True, text=True, check=True)
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    expected = max(mine, nice) if lower else mine
    assert done.stdout.split() == [str(expected)] * 2


def test_more_uploads_take_more_buffers() -> None:
    assert pack_settings("auto", 0) == PackSettings("auto")
    assert pack_settings("none", 1) == PackSettings("none", uploads=1)
    assert pack_settings("auto", 8) == PackSettings("auto", uploads=8, buffers=9)
