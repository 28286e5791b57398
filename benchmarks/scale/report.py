"""The table of all works and sizes, how each grows, and which bars hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log

from benchmarks.scale.works import FIRST, ONE_PARTITION, RECENT, UNCHANGED
from coldhouse.storage.counted import Requests

MIB = 1 << 20
#: A slope above it is more than linear; measured times are never exactly on a line.
LINEAR = 1.15
#: What one partition needs may grow with the list of its table's pages alone.
FLAT = 0.15


@dataclass(frozen=True, slots=True)
class Figure:
    """What a work cost at a size: seconds, peak bytes of memory of its process, requests."""

    work: str
    parts: int
    seconds: float
    peak: int
    requests: Requests


@dataclass(frozen=True, slots=True)
class Bar:
    """A promise, what was measured, and whether it holds."""

    promise: str
    measured: str
    holds: bool


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent b of values = a * sizes^b, by least squares over logarithms; 0 for fewer than two sizes."""
    points = [(log(size), log(max(value, 1e-9))) for size, value in zip(sizes, values, strict=True)]
    x, y = (sum(each) / len(points) for each in zip(*points, strict=True))
    spread = sum((at - x) ** 2 for at, _ in points)
    return sum((at - x) * (value - y) for at, value in points) / spread if spread else 0.0


def bars(figures: Sequence[Figure]) -> list[Bar]:
    """Every promise at the largest size, and those about growth over all."""
    largest = max(figure.parts for figure in figures)
    at = {figure.work: figure for figure in figures if figure.parts == largest}
    unchanged, recent, plan, first = (at[name] for name in (UNCHANGED, RECENT, ONE_PARTITION, FIRST))
    everything = first.requests.uploaded
    metadata, read = recent.requests.uploaded / everything, plan.requests.downloaded / everything
    growth = {
        work: slope([each.parts for each in of], [each.seconds for each in of])
        for work, of in _by_work(figures).items()
    }
    fastest = max(growth, key=lambda work: growth[work])
    part = _by_work(figures)[ONE_PARTITION]
    flat = slope([each.parts for each in part], [each.requests.downloaded for each in part])
    return [
        Bar("unchanged: at most 10 objects", f"{unchanged.requests.put} PUT", unchanged.requests.put <= 10),
        Bar("unchanged: at most 60 s", f"{unchanged.seconds:.1f} s", unchanged.seconds <= 60),
        Bar("unchanged: at most 1.5 GiB", f"{unchanged.peak / MIB:.0f} MiB", unchanged.peak <= 1536 * MIB),
        Bar("2 % changed, recent: at most 5 % of the metadata", f"{metadata:.1%}", metadata <= 0.05),
        Bar("one partition: reads at most 1 % of the metadata", f"{read:.2%}", read <= 0.01),
        Bar("one partition: does not grow with the rest", f"bytes grow by n^{flat:.2f}", flat <= FLAT),
        Bar("nothing grows faster than linearly", f"{fastest}: n^{growth[fastest]:.2f}", growth[fastest] <= LINEAR),
    ]


def lines(figures: Sequence[Figure]) -> tuple[list[str], bool]:
    """The report as text, and whether all bars hold."""
    heading = "| work | parts | s | MiB | PUT | GET | LIST | HEAD | DELETE | stored | read |"
    text = [heading, "|" + "---|" * 11]
    for work, of in _by_work(figures).items():
        text += [_row(each) for each in of]
        sizes = [each.parts for each in of]
        numbers = (
            [each.seconds for each in of],
            [float(each.peak) for each in of],
            [float(each.requests.total) for each in of],
            [float(each.requests.uploaded) for each in of],
            [float(each.requests.downloaded) for each in of],
        )
        time, peak, total, up, down = (f"n^{slope(sizes, each):.2f}" for each in numbers)
        text.append(f"| {work} | growth | {time} | {peak} | {total} | | | | | {up} | {down} |")
    found = bars(figures)
    text += ["", "| bar | measured | holds |", "|---|---|---|"]
    text += [f"| {bar.promise} | {bar.measured} | {'yes' if bar.holds else 'NO'} |" for bar in found]
    return text, all(bar.holds for bar in found)


def _row(figure: Figure) -> str:
    asked = figure.requests
    counts = " | ".join(f"{each:,}" for each in (asked.put, asked.get, asked.list, asked.head, asked.delete))
    sizes = " | ".join(f"{each / MIB:,.2f} MiB" for each in (asked.uploaded, asked.downloaded))
    return (
        f"| {figure.work} | {figure.parts:,} | {figure.seconds:,.2f} | {figure.peak / MIB:,.0f} | {counts} | {sizes} |"
    )


def _by_work(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    names = list(dict.fromkeys(figure.work for figure in figures))
    ordered = sorted(figures, key=lambda each: (names.index(each.work), each.parts))
    return {work: list(of) for work, of in groupby(ordered, key=lambda each: each.work)}
