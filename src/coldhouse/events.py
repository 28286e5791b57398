"""What an operation tells while it works. Whoever shows it (terminal, log, web page) passes a listener."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class Phase(Struct, frozen=True):
    """A new step began; ``text`` is one short line in the present tense."""

    text: str


class Progress(Struct, frozen=True):
    """How far the present step is, in bytes of ClickHouse data; ``total`` is 0 while unknown."""

    done: int
    total: int
    detail: str = ""


class Warned(Struct, frozen=True):
    """Something that the user must know but that does not stop the work."""

    text: str


Event = Phase | Progress | Warned
Listener = Callable[[Event], None]


def silent(_: Event) -> None:
    """A listener for those who do not listen."""
