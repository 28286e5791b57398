"""The harness itself, on tiny data: every contender runs, is counted, and what it stored is seen."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.processes import CommandFailed, Server, measured, run_command
from benchmarks.runner import Order, choose, run
from benchmarks.shapes import Sizes
from benchmarks.works import WORKS

TINY = Sizes(wide=0.0001, small=0.001, tables=0.001)


def test_a_command_is_measured_by_what_the_kernel_counts(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "x = bytearray(50_000_000); sum(range(1_000_000))"]
    made = measured(lambda: run_command("python", command, {}, tmp_path), ())
    assert made.cpu_of("python") > 0
    assert 50_000_000 < made.peak_of("python") < 500_000_000


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
    [ours, native] = run(Order(works, 1, TINY), tmp_path, told.append)
    assert (ours.contender, native.contender) == ("coldhouse", "native")
    assert [len(ours.runs), len(native.runs)] == [1, 1]
    assert {use.name for use in ours.runs[0].processes} == {"coldhouse", "clickhouse", "seaweedfs"}
    assert 0 < ours.runs[0].objects < native.runs[0].objects
    assert not list(tmp_path.glob("data-*")), "data that was changed must not be measured again"
    assert not (tmp_path / "places").exists()
