"""The source of a backup and what is in it, found out while something else is made ready."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from coldhouse.beside import Beside
from coldhouse.clickhouse import Inventory, Selection, Source, inspect
from coldhouse.operations.connecting import Connecting


class Look(Struct, frozen=True):
    """What is at a source, and when it was begun to look: what was made before that is there, and what after may be."""

    at: datetime
    inventory: Inventory


class FirstLook(Connecting):
    """A ClickHouse that is connected to, and then looked at, by threads; a context manager as Connecting is.

    Both is time of the server's, more of it the more tables it has. Of a table that is dropped afterwards ClickHouse
    will say so, and then a new look is taken.
    """

    def __init__(self, url: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> None:
        """The patterns are those of Selection. Raises UsageError (URL)."""
        super().__init__(url, create=False)
        self._patterns = (include, exclude)
        begun = self.begun
        self._looking = None if begun is None else Beside(lambda: self._look(begun.result()), "coldhouse-looking")

    def look(self, source: Source) -> Look:
        """Look at the source that entering gave: first comes what the thread has found, then a new look each time.

        Raises SourceError and its kinds, also where ClickHouse is too old or a right is lacking.
        """
        looking, self._looking = self._looking, None
        return self._look(source) if looking is None else looking.result()

    def _look(self, source: Source) -> Look:
        inspect.check_source(source)
        at = datetime.now(UTC)
        return Look(at, inspect.inventory(source, Selection(*self._patterns)))
