"""Where a restored table goes: the pairs of --rename, read and applied."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from msgspec import Struct

from coldhouse.errors import UsageError
from coldhouse.model import TableName

#: A database or table: anything in backticks (a backtick doubled), or a run without dots; a plain table may have dots.
_NAME = re.compile(r"(?P<database>`(?:[^`]|``)+`|[^.`]+)(?:\.(?P<table>`(?:[^`]|``)+`|[^`]+))?")


def parse_name(text: str) -> TableName:
    """Read ``db`` or ``db.table``; names with dots or backticks are written in backticks, as in SQL.

    Raises UsageError when it is neither.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} names no table", hint="write database.table, names with dots in `backticks`")
    return TableName(_unquoted(match["database"]), _unquoted(match["table"] or ""))


def _unquoted(text: str) -> str:
    return text[1:-1].replace("``", "`") if text.startswith("`") else text


class Renaming(Struct, frozen=True):
    """Which name each restored table and database gets; a table's own pair wins over its database's."""

    pairs: tuple[tuple[TableName, TableName], ...] = ()

    @classmethod
    def parse(cls, pairs: Iterable[tuple[str, str]]) -> Renaming:
        """Read pairs of ``db`` to ``db2`` or ``db.t`` to ``db2.t2``. Raises UsageError for a table to a database."""
        parsed = tuple((parse_name(old), parse_name(new)) for old, new in pairs)
        for old, new in parsed:
            if bool(old.table) != bool(new.table):
                raise UsageError(
                    f"--rename {old}={new} turns a table into a database or the reverse",
                    hint="write db=db2 or db.table=db2.table2",
                )
        return cls(parsed)

    def of(self, name: TableName) -> TableName:
        """The name that a table (or a database: empty table) gets."""
        database = name.database
        for old, new in self.pairs:
            if old == name:
                return new
            if not old.table and old.database == name.database:
                database = new.database
        return TableName(database, name.table)

    def idle(self, names: Collection[TableName]) -> tuple[TableName, ...]:
        """What is to get another name and is, as a table or as its database, among none of the ``names``."""
        databases = {name.database for name in names}
        return tuple(old for old, _ in self.pairs if (old not in names if old.table else old.database not in databases))

    def database_moved(self, name: TableName) -> bool:
        """Whether a table moves with its whole database and is not renamed itself."""
        moved = self.of(TableName(name.database, ""))
        return moved.database != name.database and self.of(name) == TableName(moved.database, name.table)
