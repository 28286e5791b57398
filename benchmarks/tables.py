"""The tables that are printed and written to docs/performance.md. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.bars import Kind, Verdict
from benchmarks.figures import Series, Spread

HEADINGS = ("work", "against", "Coldhouse", "peer", "ratio", "bar", "holds")
RUN_HEADINGS = ("work", "who", "seconds (least - most)", "CPU seconds of each process", "peak MB", "stored", "objects")


def verdict_rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """One row for each bar."""
    return [
        (
            verdict.bar.title,
            verdict.bar.against,
            _figure(verdict.bar.kind, verdict.ours),
            _figure(verdict.bar.kind, verdict.peer) if verdict.bar.peer else "-",
            _value(verdict),
            verdict.bar.text,
            "yes" if verdict.holds else f"NO{_why(verdict)}",
        )
        for verdict in verdicts
    ]


def run_rows(measured: Iterable[Series]) -> list[tuple[str, ...]]:
    """One row for each contender at each piece of work."""
    return [_run_row(series) for series in measured if series.runs]


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _run_row(series: Series) -> tuple[str, ...]:
    processes = series.processes()
    stored, objects = series.spread("stored").middle, series.spread("objects").middle
    return (
        series.work,
        series.contender,
        _spread(series.spread("seconds")),
        ", ".join(f"{process.name} {process.cpu:.2f}" for process in processes),
        ", ".join(f"{process.name} {process.peak / 1e6:.0f}" for process in processes if process.peak),
        f"{stored:,.0f}" if stored else "-",
        f"{objects:,.0f}" if objects else "-",
    )


def _why(verdict: Verdict) -> str:
    """How far it could go at the best, by what was measured in the same run."""
    floor = verdict.floor
    if floor is None or not floor.seconds:
        return ""
    best = f"; {verdict.peer / floor.seconds:.2f} at most, as "
    if not floor.start:
        return f"{best}{floor.kind} takes {floor.least:.2f} s"
    start = f"{floor.begin} takes {floor.start:.2f} s"
    reached = ""
    if verdict.reached is not None:
        reached = f"; {verdict.peer / verdict.reached:.2f} was reached by a gateway that only encrypts and stores"
    return f"{best}{start} and {floor.kind} {floor.least:.2f} s{reached}"


def _spread(spread: Spread) -> str:
    return f"{spread.middle:.3f} ({spread.least:.3f} - {spread.greatest:.3f})"


def _figure(kind: Kind, value: float) -> str:
    match kind:
        case Kind.FASTER | Kind.EXTRA:
            return f"{value:.2f} s" if value >= 1 else f"{value:.3f} s"
        case Kind.MEMORY:
            return f"{value:.0f} MB"
    return f"{value:,.0f}"


def _value(verdict: Verdict) -> str:
    match verdict.bar.kind:
        case Kind.FASTER:
            return f"{verdict.value:.2f}"
        case Kind.EXTRA:
            return f"+{verdict.value:.3f} s"
        case Kind.OBJECTS:
            return f"1/{1 / verdict.value:.0f}"
        case Kind.MEMORY:
            return "-"
    return f"{verdict.value:.3f}"
