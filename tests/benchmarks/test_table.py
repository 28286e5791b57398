"""The table of ratios: medians, and when a bar holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bars import BARS, LOOK, NOWHERE, SEALED, START, Bar, Floor, Kind, judge
from benchmarks.figures import ProcessUse, Run, Series
from benchmarks.machine import Machine
from benchmarks.report import BEGIN, END, Report, write_docs
from benchmarks.shapes import Shape, Sizes, statements
from benchmarks.tables import HEADINGS, RUN_HEADINGS, markdown_table, run_rows, text_table, verdict_rows
from benchmarks.works import WORKS

FASTER = Bar("fast", "a backup", "a peer", "work", "ours", "peer", Kind.FASTER, 2.0)


def series(contender: str, *seconds: float, stored: int = 0, objects: int = 0, peak: int = 0) -> Series:
    uses = (ProcessUse("coldhouse", 0.5, peak),) if peak else ()
    return Series("work", contender, [Run(each, uses, stored, objects) for each in seconds])


def test_the_median_decides_and_not_the_worst_or_best_run() -> None:
    [verdict] = judge([FASTER], [series("ours", 1.0, 9.0, 1.1), series("peer", 2.4, 0.1, 2.2)])
    assert (verdict.ours, verdict.peer) == (1.1, 2.2)
    assert verdict.value == 2.0
    assert verdict.holds


def test_a_bar_that_is_missed_by_little_does_not_hold() -> None:
    [verdict] = judge([FASTER], [series("ours", 1.0), series("peer", 1.99)])
    assert not verdict.holds


@pytest.mark.parametrize(
    ("kind", "limit", "stored", "objects", "holds"),
    [
        (Kind.BYTES, 0.80, 80, 0, True),
        (Kind.BYTES, 0.80, 81, 0, False),
        (Kind.OBJECTS, 1 / 50, 0, 2, True),
        (Kind.OBJECTS, 1 / 50, 0, 3, False),
    ],
)
def test_bytes_and_objects_are_shares_of_the_peer_s(
    kind: Kind, limit: float, stored: int, objects: int, holds: bool
) -> None:
    bar = Bar("share", "a backup", "a peer", "work", "ours", "peer", kind, limit)
    measured = [series("ours", 1, stored=stored, objects=objects), series("peer", 1, stored=100, objects=100)]
    [verdict] = judge([bar], measured)
    assert verdict.holds is holds


def test_extra_seconds_are_those_above_the_bare_interpreter() -> None:
    bar = Bar("help", "help", "pass", "work", "help", "pass", Kind.EXTRA, 0.15)
    [verdict] = judge([bar], [series("help", 0.16), series("pass", 0.02)])
    assert verdict.holds
    [verdict] = judge([bar], [series("help", 0.18), series("pass", 0.02)])
    assert not verdict.holds


def test_memory_is_the_worst_of_all_runs_of_all_works() -> None:
    [bar] = [bar for bar in BARS if bar.kind is Kind.MEMORY]
    [verdict] = judge([bar], [series("coldhouse", 1, peak=100_000_000), series("coldhouse auto", 1, peak=301_000_000)])
    assert verdict.ours == 301
    assert not verdict.holds


def test_what_was_not_measured_is_not_judged() -> None:
    assert judge(BARS, [series("ours", 1.0)]) == []


def test_every_bar_has_a_work_that_measures_it() -> None:
    assert {bar.work for bar in BARS if bar.work} <= {work.name for work in WORKS}
    assert len({bar.key for bar in BARS}) == len(BARS)


def test_the_table_says_figures_ratio_bar_and_verdict() -> None:
    [row] = verdict_rows(judge([FASTER], [series("ours", 0.5), series("peer", 1.25)]))
    assert row == ("a backup", "a peer", "0.500 s", "1.25 s", "2.50", "at least 2 times as fast", "yes")
    assert text_table(("a", "b"), [("1", "22")]) == "a  b\n1  22"
    assert markdown_table(("a", "b"), [("1", "22")]) == "| a | b |\n| --- | --- |\n| 1 | 22 |"
    assert len(HEADINGS) == len(row)


def test_a_bar_that_does_not_hold_says_how_far_it_could_go() -> None:
    busy = (ProcessUse("coldhouse", 5.0), ProcessUse("clickhouse", 1.5), ProcessUse("seaweedfs", 0.1))
    measured = [Series("work", "ours", [Run(3.0, busy)]), series("peer", 2.0)]
    [row] = verdict_rows(judge([FASTER], measured, cores=2))
    assert row[-1] == "NO; 2.50 at most, as what is not Coldhouse's own takes 0.80 s"
    measured.append(series(START, 0.2))
    [row] = verdict_rows(judge([FASTER], measured, cores=2))
    assert row[-1] == (
        "NO; 2.00 at most, as starting and opening the repository takes 0.20 s and what is not Coldhouse's own 0.80 s"
    )
    measured.append(series(NOWHERE, 1.05))
    [verdict] = judge([FASTER], measured, cores=2)
    assert verdict.floor == Floor(0.2, 1.05, "ClickHouse with a store that does nothing")
    measured.append(Series("work", SEALED, [Run(9.0, (ProcessUse(SEALED, 0.9), ProcessUse("clickhouse", 7.0)))]))
    [row] = verdict_rows(judge([FASTER], measured, cores=2))
    assert row[-1].endswith(
        "and what is not Coldhouse's own, with a gateway that only encrypts and stores, 1.25 s; "
        "0.22 was reached by a gateway that only encrypts and stores"
    ), "2.0 s of the peer, 9.2 of the start and the gateway"
    measured[-1] = Series("work", SEALED, [Run(2.5, (ProcessUse(SEALED, 6.0), ProcessUse("clickhouse", 7.0)))])
    [row] = verdict_rows(judge([FASTER], measured, cores=2))
    assert "with a gateway that only encrypts and stores, 3.30 s;" in row[-1], "Coldhouse needed 5.0 of both cores"
    assert verdict_rows(judge([FASTER], measured))[0][-1] == "NO"


def test_the_start_and_what_clickhouse_takes_with_a_store_that_does_nothing_are_a_limit() -> None:
    measured = [series("ours", 3.0), series("peer", 2.0), series(START, 0.2), series(NOWHERE, 1.1)]
    [verdict] = judge([FASTER], measured, cores=2)
    assert verdict.floor is not None
    assert verdict.floor.seconds == pytest.approx(0.2 + 1.1)
    assert "a store that does nothing" in verdict.floor.kind
    [verdict] = judge([FASTER], [*measured, series(LOOK, 0.5)], cores=2)
    assert verdict.floor is not None
    assert verdict.floor.seconds == pytest.approx(0.5 + 1.1), "what there is comes before what is sent"
    [row] = verdict_rows([verdict])
    assert row[-1] == (
        "NO; 1.25 at most, as starting and finding out what there is to back up takes 0.50 s "
        "and ClickHouse with a store that does nothing 1.10 s"
    )


def test_the_runs_show_every_process_and_the_spread() -> None:
    [row] = run_rows([series("ours", 2.0, 1.0, 4.0, stored=1234, objects=5, peak=7_000_000)])
    assert row == (
        "work", "ours", "2.000 (1.000 - 4.000)", "coldhouse 0.50", "coldhouse 7", "1,234", "5",
    )  # fmt: skip
    assert len(RUN_HEADINGS) == len(row)


def test_the_tables_replace_those_in_a_document_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(f"before\n{BEGIN}\nstale tables\n{END}\nafter\n")
    machine = Machine("a processor", 2, 1 << 30, "Linux", 0.0, (("Python", "3.11"),))
    report = Report(machine, "python -m benchmarks", Sizes(), 5, (series("ours", 1.0),))
    write_docs(report, path)
    first = path.read_text()
    write_docs(report, path)
    assert path.read_text() == first
    assert first.startswith("before\n") and first.endswith("after\n") and "stale" not in first
    path.write_text("no place")
    with pytest.raises(ValueError, match="no place for tables"):
        write_docs(report, path)


@pytest.mark.parametrize("shape", Shape)
def test_the_data_is_made_by_the_same_statements_every_time(shape: Shape) -> None:
    assert list(statements(shape, 0.01)) == list(statements(shape, 0.01))
