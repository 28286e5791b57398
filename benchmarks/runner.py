"""Runs the pieces of work, contenders taking turns, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.figures import Run, Series
from benchmarks.shapes import Sizes
from benchmarks.stage import data_folder, staged
from benchmarks.works import Work

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run: works, how often each (``repeat``), at which sizes, only these contenders (none: all)."""

    works: tuple[Work, ...]
    repeat: int
    sizes: Sizes = field(default_factory=Sizes)
    contenders: frozenset[str] = frozenset()


def run(order: Order, folder: Path, say: Say) -> list[Series]:
    """Run everything in order; ``folder`` takes data and places, ``say`` hears how it goes."""
    measured: list[Series] = []
    for work in order.works:
        say(f"{work.name}: preparing")
        measured += _run_work(work, order, folder, say)
        if work.spoils:
            shutil.rmtree(data_folder(folder, work.shape, order.sizes.of(work.shape)))
    return measured


def _run_work(work: Work, order: Order, folder: Path, say: Say) -> list[Series]:
    with staged(folder, work.shape, order.sizes.of(work.shape), store=work.store) as stage:
        turns = {
            name: turn for name, turn in work.set_up(stage).items() if not order.contenders or name in order.contenders
        }
        series = {name: Series(work.name, name) for name in turns}
        for number in range(1 if work.once else order.repeat):
            for name, turn in turns.items():
                made = turn(number)
                series[name].runs.append(made)
                say(f"{work.name}: {name} {_told(made)}")
        return list(series.values())


def _told(run: Run) -> str:
    uses = ", ".join(f"{use.name} {use.cpu:.2f} s CPU {use.peak / 1e6:.0f} MB" for use in run.processes)
    return f"{run.seconds:.3f} s ({uses})"


def choose(works: Sequence[Work], wanted: frozenset[str], shapes: frozenset[str]) -> tuple[Work, ...]:
    """The works of these names and shapes; an empty set is all of them."""
    return tuple(work for work in works if (not wanted or work.name in wanted) and (not shapes or work.shape in shapes))
