"""``python -m benchmarks.scale``: every work at every size, each in a process of its own; then growth and bars."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.scale.invented import Shape
from benchmarks.scale.report import Figure, lines
from benchmarks.scale.works import WORKS, Place

SIZES = (10_000, 100_000, 1_000_000)


def main() -> int:
    """Measure, print the table, and return 0 if all bars hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of parts")
    parser.add_argument("--json", type=Path, help="a file for the raw figures")
    parser.add_argument("--child", nargs=2, metavar=("WORK", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(msgspec.json.encode(_measure(chosen.child[0], chosen.child[1], chosen.sizes[0])).decode())
        return 0
    figures = [figure for size in chosen.sizes for figure in _all_works(size)]
    if chosen.json:
        chosen.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    text, good = lines(figures)
    print("\n".join(text))
    return 0 if good else 1


def _all_works(size: int) -> list[Figure]:
    figures = []
    with TemporaryDirectory(prefix="coldhouse-scale-") as folder:
        for work in WORKS:
            print(f"{size:,} parts: {work}", file=sys.stderr, flush=True)
            command = [sys.executable, "-m", "benchmarks.scale", "--sizes", str(size), "--child", work, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            figures.append(msgspec.convert(json.loads(done.stdout), Figure))
    return figures


def _measure(work: str, folder: str, size: int) -> Figure:
    measured = WORKS[work](Place(Path(folder) / "repository", Shape(size)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Figure(work, size, round(measured.seconds, 3), peak, measured.requests)


if __name__ == "__main__":
    sys.exit(main())
