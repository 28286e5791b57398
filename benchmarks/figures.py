"""What one run costs, and what several runs say together. Pure: values in, values out."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Literal

Figure = Literal["seconds", "cpu", "stored", "objects"]


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process used during a run: CPU seconds, and its peak of memory in bytes (0 where it is not known)."""

    name: str
    cpu: float
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: wall seconds, every process that took part, and what was written (bytes, objects)."""

    seconds: float
    processes: tuple[ProcessUse, ...] = ()
    stored: int = 0
    objects: int = 0

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes together."""
        return sum(process.cpu for process in self.processes)

    def peak_of(self, name: str) -> int:
        """The peak memory of a process by its name; 0 if it took no part."""
        return max((process.peak for process in self.processes if process.name == name), default=0)

    def cpu_of(self, name: str) -> float:
        """The CPU seconds of a process by its name."""
        return sum(process.cpu for process in self.processes if process.name == name)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several values, the least and the greatest of them."""

    middle: float
    least: float
    greatest: float


@dataclass(slots=True)
class Series:
    """The runs of one contender at one piece of work, in the order in which they were made."""

    work: str
    contender: str
    runs: list[Run] = field(default_factory=list)

    def spread(self, figure: Figure) -> Spread:
        """Median and extremes of one figure. Raises ValueError if there are no runs."""
        values = [float(getattr(run, figure)) for run in self.runs]
        return Spread(median(values), min(values), max(values))

    def peak_of(self, process: str) -> int:
        """The greatest peak of a process in any run."""
        return max((run.peak_of(process) for run in self.runs), default=0)

    def cpu_of(self, name: str) -> float:
        """The median of a process's CPU seconds."""
        return median(run.cpu_of(name) for run in self.runs)

    def processes(self) -> tuple[ProcessUse, ...]:
        """Each process with its median CPU seconds and its greatest peak."""
        names = list(dict.fromkeys(process.name for run in self.runs for process in run.processes))
        return tuple(ProcessUse(name, self.cpu_of(name), self.peak_of(name)) for name in names)
