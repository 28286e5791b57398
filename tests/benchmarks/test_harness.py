"""The harness itself, on tiny data: every contender runs, is counted, and what it stored is seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import CommandFailed, Server, measured, run_command
from benchmarks.runner import Order, choose, run
from benchmarks.shapes import Sizes
from benchmarks.works import WORKS
from tests.support.engine import CHECKOUT

TINY = Sizes(wide=0.0001, small=0.001, tables=0.001)


MEASURE = """
from pathlib import Path
from benchmarks.processes import measured, run_command
made = measured(lambda: run_command("python", [{python!r}, "-c", "x = bytearray(50_000_000)"], {{}}, Path("/")), ())
print(made.cpu_of("python"), made.peak_of("python"))
"""


def test_a_command_is_measured_by_what_the_kernel_counts() -> None:
    """From a process as small as that of the benchmarks: the kernel counts the peak of who starts a command as well."""
    code = MEASURE.format(python=sys.executable)
    told = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE).stdout
    cpu, peak = map(float, told.split())
    assert cpu > 0
    assert 50_000_000 < peak < 150_000_000


def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="out of order"):
        run_command("python", [sys.executable, "-c", "raise SystemExit('out of order')"], {}, tmp_path)


def test_a_server_is_counted_while_others_are_measured() -> None:
    import os

    made = measured(lambda: None, (Server("me", os.getpid()),))
    assert [use.name for use in made.processes] == ["me"]
    assert made.peak_of("me") > 1_000_000


def test_increments_and_fulls_are_run_in_turns_and_counted(tmp_path: Path) -> None:
    works = choose(WORKS, frozenset({"increment partition s3"}), frozenset())
    told: list[str] = []
    [library, ours, native, start] = run(Order(works, 1, TINY), tmp_path, told.append)
    assert (library.contender, ours.contender, native.contender) == ("coldhouse library", "coldhouse", "native")
    assert [len(series.runs) for series in (library, ours, native, start)] == [1, 1, 1, 1]
    assert {use.name for use in ours.runs[0].processes} == {"coldhouse", "clickhouse", "seaweedfs"}
    assert 0 < ours.runs[0].objects < native.runs[0].objects
    assert not list(tmp_path.glob("data-*")), "data that was changed must not be measured again"
    assert not (tmp_path / "places").exists()
