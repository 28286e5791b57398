"""What remains of a benchmark: the printed tables, the JSON file with every run, the tables in docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bars import BARS, Verdict, judge
from benchmarks.figures import Series
from benchmarks.machine import Machine
from benchmarks.shapes import Sizes
from benchmarks.tables import HEADINGS, RUN_HEADINGS, markdown_table, run_rows, text_table, verdict_rows

BEGIN, END = "<!-- tables: written by python -m benchmarks --write-docs -->", "<!-- end of tables -->"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was measured, where and how."""

    machine: Machine
    command: str
    sizes: Sizes
    repeat: int
    measured: tuple[Series, ...]

    @property
    def verdicts(self) -> list[Verdict]:
        """The bars that could be judged."""
        return judge(BARS, self.measured, self.machine.cores)


def as_text(report: Report) -> str:
    """The tables for a terminal."""
    runs = text_table(RUN_HEADINGS, run_rows(report.measured))
    bars = text_table(HEADINGS, verdict_rows(report.verdicts))
    return f"{runs}\n\n{bars}\n\n{summary(report.verdicts)}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many bars hold."""
    holding = sum(verdict.holds for verdict in verdicts)
    return f"{holding} of {len(verdicts)} bars hold"


def write_json(report: Report, path: Path) -> None:
    """Keep every run and every verdict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    verdicts = [
        {
            "key": each.bar.key,
            "ours": each.ours,
            "peer": each.peer,
            "value": each.value,
            "floor": each.floor.seconds if each.floor else 0.0,
            "reached": each.reached or 0.0,
        }
        | {"holds": each.holds}
        for each in report.verdicts
    ]
    path.write_text(json.dumps(asdict(report) | {"verdicts": verdicts}, indent=1) + "\n")


def write_docs(report: Report, path: Path) -> None:
    """Replace the tables in a document, between its two marks. Raises ValueError where it has none."""
    head, begin, rest = path.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no place for tables: {BEGIN} ... {END}")
    path.write_text(f"{head}{BEGIN}\n\n{as_markdown(report)}\n\n{END}{tail}")


def as_markdown(report: Report) -> str:
    """The same tables, with the machine, the versions and the command."""
    machine = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions)
    return "\n".join(
        [
            f"`{report.command}`, {datetime.now(UTC):%Y-%m-%d}, medians of {report.repeat} runs. {machine.processor}, "
            f"{machine.cores} cores, {machine.memory / 2**30:.0f} GiB, {machine.system}; load {machine.load:.1f} at "
            f"the beginning. {versions}.",
            "",
            markdown_table(HEADINGS, verdict_rows(report.verdicts)),
            "",
            f"{summary(report.verdicts)}.",
            "",
            markdown_table(RUN_HEADINGS, run_rows(report.measured)),
        ]
    )
