"""What people see while an operation works: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, TextIO

from coldhouse.cli.output import duration, printable, size
from coldhouse.events import Event, Listener, Phase, Progress, Warned, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

#: Seconds between two lines of progress where there is no terminal.
INTERVAL = 10.0


@contextmanager
def showing(stream: TextIO, clean: Callable[[str], str], *, quiet: bool) -> Iterator[Listener]:
    """A listener that writes to ``stream`` as its kind allows; ``clean`` takes secrets out of texts."""
    if quiet:
        yield silent
    elif stream.isatty():
        with _bars(stream) as (bars, console):
            yield BarListener(bars, console, clean)
    else:
        yield LineListener(stream, clean)


class LineListener:
    """Writes phases and warnings as lines, and progress at most every ``INTERVAL`` seconds. Threads may share it."""

    def __init__(
        self, stream: TextIO, clean: Callable[[str], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._clean = clean
        self._clock = clock
        self._lock = Lock()
        self._begun = self._last = clock()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            if isinstance(event, Phase):
                self._begun = self._last = self._clock()
                self._line(event.text)
            elif isinstance(event, Warned):
                self._line(f"warning: {event.text}")
            elif self._clock() - self._last >= INTERVAL:
                self._last = self._clock()
                self._line("  " + progress_text(event, self._last - self._begun))

    def _line(self, text: str) -> None:
        self._stream.write(printable(self._clean(text)) + "\n")
        self._stream.flush()


def progress_text(progress: Progress, seconds: float) -> str:
    """One line: how much of how much, how fast, how long it will still take."""
    rate = progress.done / seconds if seconds > 0 else 0.0
    pace = f", {size(round(rate))}/s"
    if not progress.total:
        text = f"{size(progress.done)}{pace}"
    else:
        share = min(100, 100 * progress.done // progress.total)
        text = f"{share} %: {size(progress.done)} of {size(progress.total)}{pace}"
        if rate and progress.done < progress.total:
            text += f", {duration((progress.total - progress.done) / rate)} left"
    return f"{text}; {progress.detail}" if progress.detail else text


class BarListener:
    """Moves a bar with bytes, rate and time left; phases are its name, warnings are printed above it."""

    def __init__(self, bars: Bars, console: Console, clean: Callable[[str], str]) -> None:
        self._bars = bars
        self._console = console
        self._clean = clean
        self._task: TaskID | None = None
        self._lock = Lock()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            if isinstance(event, Phase):
                self._begin(self._text(event.text))
            elif isinstance(event, Warned):
                self._console.print(f"warning: {self._text(event.text)}", markup=False, highlight=False)
            else:
                self._move(event)

    def _begin(self, text: str) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(text, total=None, detail="")

    def _move(self, event: Progress) -> None:
        if self._task is None:
            self._begin("")
        if self._task is not None:
            detail = self._text(event.detail)
            self._bars.update(self._task, completed=event.done, total=event.total or None, detail=detail)

    def _text(self, text: str) -> str:
        return printable(self._clean(text))


@contextmanager
def _bars(stream: TextIO) -> Iterator[tuple[Bars, Console]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.progress import TransferSpeedColumn as Speed

    console = Console(file=stream)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(binary_units=True),
        Speed(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield bars, console
