"""What people read: sizes, times, tables, and the lines that every verb's text is made of."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import msgspec


_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


class StdoutClosed(Exception):
    """Nobody reads our output any more."""


def print_text(lines: Iterable[str]) -> None:
    """Print lines to standard output. Raises StdoutClosed."""
    _write("".join(f"{line}\n" for line in lines))


def print_json(document: msgspec.Struct | Sequence[msgspec.Struct]) -> None:
    """Print a document to standard output. Raises StdoutClosed."""
    from coldhouse.cli.documents import encoded

    _write(encoded(document) + "\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise StdoutClosed from None
    except UnicodeEncodeError:  # a terminal that is not UTF-8
        sys.stdout.write(text.encode("ascii", "backslashreplace").decode("ascii"))
        sys.stdout.flush()


def size(count: int) -> str:
    """Bytes in binary units, three digits: 1.15 GiB."""
    if abs(count) < 1024:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1024
        if abs(value) < 999.5 or unit == _UNITS[-1]:
            break
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(number: int, singular: str, plural: str = "") -> str:
    """A number and its noun: 1 table, 1,234 tables."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def local(moment: datetime) -> str:
    """A time in the local time zone, which is named."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def printable(text: str, *, lines: bool = False) -> str:
    """The text without anything that a terminal would obey; ``lines`` keeps line breaks. Names come from outside."""
    if text.isascii() and text.isprintable():  # nearly always, and a listing has thousands of cells
        return text
    return "".join(
        character
        if character == " " or (lines and character == "\n") or unicodedata.category(character)[0] not in "CZ"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Lines of columns two spaces apart; the columns whose positions are in ``right`` are aligned to the right."""
    cells = [[printable(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(width(row[column]) for row in cells) for column in range(len(headings))]
    aligned_right = frozenset(right)
    return [
        "  ".join(
            _padded(cell, widths[column], right=column in aligned_right) for column, cell in enumerate(row)
        ).rstrip()
        for row in cells
    ]


def _padded(cell: str, columns: int, *, right: bool) -> str:
    space = " " * (columns - width(cell))
    return space + cell if right else cell + space


def facts(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of a name and what is to be said of it, one below the other; pairs that say nothing are left out."""
    said = [(name, text) for name, text in pairs if text]
    columns = max((width(name) for name, _ in said), default=0)
    return [f"  {_padded(name, columns, right=False)}  {printable(text)}" for name, text in said]


def listed(heading: str, texts: Sequence[str], *, most: int = 20) -> list[str]:
    """An empty line, a heading and the texts below it, or no lines when there are none."""
    if not texts:
        return []
    lines = ["", heading, *(f"  {printable(text)}" for text in texts[:most])]
    return [*lines, f"  and {len(texts) - most:,} more; --json lists all of them"] if len(texts) > most else lines
