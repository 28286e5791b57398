"""References that RESTORE ... AS leaves as they are when it renames a table or a database (seen with 26.9).

It follows names in FROM, in dictGet and in the sources of dictionaries. It does not follow the arguments of Buffer and
Distributed, so that rows for the copy would go to the original, nor ``database.table.column`` in a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from coldhouse.clickhouse import sql
from coldhouse.clickhouse.definition import Token, head, tokens, unquoted
from coldhouse.model import TableName

#: Which arguments of an engine name a database and a table.
_FORWARDING = {"Buffer": (0, 1), "Distributed": (1, 2)}


def with_renamed(query: str, renames: Mapping[TableName, TableName]) -> str:
    """The CREATE statement with those references following ``renames`` that RESTORE would leave."""
    start = head(query).end
    rest = query[start:]
    row = list(tokens(rest))
    pieces: list[str] = []
    done = 0
    for begin, end, text in (*_forwarded(row, renames), *_qualified(row, renames)):
        pieces += [rest[done:begin], text]
        done = end
    return "".join((query[:start], *pieces, rest[done:]))


def _forwarded(row: Sequence[Token], renames: Mapping[TableName, TableName]) -> Iterator[tuple[int, int, str]]:
    """Where an engine's arguments name a table that is renamed, and what stands there instead."""
    for at, token in enumerate(row[:-3]):
        if not (token.is_word("ENGINE") and row[at + 1].text == "=" and row[at + 3].text == "("):
            continue
        places = _FORWARDING.get(row[at + 2].text)
        if places is None:
            return
        arguments = [each for each in islice(row, at + 4, at + 10) if each.text != ","]
        if len(arguments) <= places[1]:
            return
        database, table = (arguments[place] for place in places)
        new = renames.get(TableName(_spelled(database), _spelled(table)))
        if new is not None:
            yield database.start, database.end, sql.quote_string(new.database)
            yield table.start, table.end, sql.quote_string(new.table)
        return


def _qualified(row: Sequence[Token], renames: Mapping[TableName, TableName]) -> Iterator[tuple[int, int, str]]:
    """Where a query says ``database.table.column`` of a table that is renamed."""
    for at in range(len(row) - 4):
        database, first, table, second, column = row[at : at + 5]
        if first.text != "." or second.text != "." or not column.name or (at and row[at - 1].text == "."):
            continue
        new = renames.get(TableName(database.name, table.name))
        if new is not None:
            yield database.start, table.end, sql.quote_name(new)


def _spelled(token: Token) -> str:
    return unquoted(token.text) if token.kind == "string" else token.name
