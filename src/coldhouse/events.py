"""What an operation tells while it works. Whoever shows it (terminal, log, web page) passes a listener."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A new step began; ``text`` is one short line in the present tense."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the present step is, in bytes of ClickHouse data; ``total`` is 0 while unknown."""

    done: int
    total: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user must know but that does not stop the work."""

    text: str


Event = Phase | Progress | Warned
Listener = Callable[[Event], None]


def silent(_: Event) -> None:
    """A listener for those who do not listen."""
