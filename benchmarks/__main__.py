"""``python -m benchmarks``: measure, print the table of ratios, keep the raw figures."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.bars import BARS
from benchmarks.contenders import has_restic
from benchmarks.report import Report, as_text, write_docs, write_json
from benchmarks.runner import Order, choose, run
from benchmarks.shapes import Shape, Sizes
from benchmarks.works import WORKS
from coldhouse.records import replace
from tests.support.engine import CHECKOUT


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; the exit status is 0 if all bars that were measured hold, else 1."""
    given = _parser().parse_args(arguments)
    if given.list:
        return _list()
    order = _order(given)
    folder = Path(given.work).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not has_restic():
        _say("restic is not here, so its rows are left out: apt-get install restic")
    before = machine.look()
    try:
        measured = run(order, folder, _say)
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    command = " ".join(["python -m benchmarks", *arguments])
    report = Report(before, command, order.sizes, order.repeat, tuple(measured))
    print(as_text(report))
    write_json(report, Path(given.json))
    if given.write_docs:
        write_docs(report, CHECKOUT / "docs" / "performance.md")
    return 0 if all(verdict.holds for verdict in report.verdicts) else 1


def _order(given: argparse.Namespace) -> Order:
    sizes = Sizes()
    for each in given.size:
        shape, _, share = each.partition("=")
        sizes = replace(sizes, **{Shape(shape).value: float(share)})
    wanted = frozenset(bar.work for bar in BARS if bar.key in given.rows) | frozenset(given.rows).intersection(
        work.name for work in WORKS
    )
    works = choose(WORKS, wanted, frozenset(given.shape))
    return Order(works, given.repeat or 5, sizes, frozenset(given.only))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Coldhouse beside its peers.")
    parser.add_argument("--rows", type=_words, default=[], help="only these rows or works, by key (see --list)")
    parser.add_argument("--shape", action="append", default=[], choices=[*Shape], help="only works of this shape")
    parser.add_argument("--only", type=_words, default=[], help="only these contenders: coldhouse,native,restic,...")
    parser.add_argument("--repeat", type=int, default=0, help="rounds of each work; default 5")
    parser.add_argument(
        "--size", action="append", default=[], metavar="SHAPE=SHARE", help="less data, e.g. wide=0.25 for 0.5 GB"
    )
    parser.add_argument("--work", default=str(CHECKOUT / ".bench"), help="folder for data and places")
    parser.add_argument("--keep", action="store_true", help="keep the data of the shapes for the next time")
    parser.add_argument("--json", default=str(CHECKOUT / "benchmarks/results/last.json"), help="where all figures go")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--list", action="store_true", help="list rows and works, and measure nothing")
    return parser


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _list() -> int:
    for bar in BARS:
        print(f"{bar.key:20} {bar.title}; {bar.against}; {bar.text} [{bar.work or 'all works'}]")
    print("\n".join(["", *(f"work: {work.name}" for work in WORKS)]))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
