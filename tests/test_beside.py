"""What is done beside something else: its answer, its error, and nobody who waits for it in vain."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from coldhouse.beside import Beside


def test_the_answer_is_there_when_it_is_asked_for() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go_on.wait(20)
        return 42

    coming = Beside(work, "work")
    assert begun.wait(20), "it is under way before anyone waits for it"
    go_on.set()
    assert coming.result() == coming.result() == 42


def test_an_error_is_raised_where_the_answer_is_asked_for() -> None:
    coming = Beside(lambda: 1 // 0, "work")
    with pytest.raises(ZeroDivisionError):
        coming.result()


def test_the_process_ends_without_it() -> None:
    script = (
        "import threading; from coldhouse.beside import Beside; "
        "Beside(threading.Event().wait, 'work'); raise KeyboardInterrupt"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert b"KeyboardInterrupt" in done.stderr
