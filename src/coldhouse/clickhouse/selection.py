"""Which tables an operation is about: patterns of ``database.table`` with ``*`` and ``?``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from coldhouse.clickhouse.sql import SYSTEM_DATABASES
from coldhouse.model import TableName


@dataclass(frozen=True)
class Selection:
    """Patterns to take and to leave out; no ``include`` takes everything but the system databases.

    A pattern without dot is that of a database with all its tables. A name may itself hold dots, so that a pattern
    is matched against the whole ``database.table``, once with each of its dots as the one in the middle.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def takes(self, name: TableName) -> bool:
        """Whether the table is selected; for a database (empty table), whether it is as a whole."""
        if name.database in SYSTEM_DATABASES:
            return False
        if any(pattern.fits(name) for pattern in self._excluded):
            return False
        return not self.include or any(pattern.fits(name) for pattern in self._included)

    def idle(self, names: frozenset[TableName]) -> tuple[str, ...]:
        """The ``include`` patterns that fit none of the names: most often a mistake of writing."""
        return tuple(pattern.text for pattern in self._included if not any(pattern.fits(name) for name in names))

    def idle_exclusions(self, names: frozenset[TableName]) -> tuple[str, ...]:
        """The ``exclude`` patterns that fit none of the names."""
        return tuple(pattern.text for pattern in self._excluded if not any(pattern.fits(name) for name in names))

    @cached_property
    def _included(self) -> tuple[_Pattern, ...]:
        return tuple(_Pattern(text) for text in self.include)

    @cached_property
    def _excluded(self) -> tuple[_Pattern, ...]:
        return tuple(_Pattern(text) for text in self.exclude)


class _Pattern:
    def __init__(self, text: str) -> None:
        self.text = text
        dots = [index for index, letter in enumerate(text) if letter == "."]
        pairs = [(text[:dot], text[dot + 1 :]) for dot in dots] or [(text, "*")]
        self._pairs = [(_glob(database), _glob(table)) for database, table in pairs]
        # A database is taken as a whole where all its tables are; one with a dot in its name is written `a.b.*`.
        self._whole = [_glob(database) for database, table in pairs if table == "*"]

    def fits(self, name: TableName) -> bool:
        if not name.table:
            return any(glob.fullmatch(name.database) for glob in self._whole)
        return any(database.fullmatch(name.database) and table.fullmatch(name.table) for database, table in self._pairs)


def _glob(text: str) -> re.Pattern[str]:
    meaning = {"*": ".*", "?": "."}
    return re.compile("".join(meaning.get(letter) or re.escape(letter) for letter in text), re.DOTALL)
