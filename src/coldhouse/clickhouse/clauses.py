"""A CREATE statement taken apart into its clauses, so that some can be left out or replaced. Pure, like ``definition``.

It reads what ClickHouse itself writes into system tables and backups (its own canonical form), not what people write.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from coldhouse.clickhouse.definition import Head, Token, head, tokens

#: Clauses that begin with one word, and what must follow so that it is no identifier.
_SINGLE = {"ENGINE": "=", "DEFINER": "="} | dict.fromkeys(("TO", "SETTINGS", "TTL", "COMMENT", "REFRESH", "EMPTY"), "")
_DOUBLE = {("PARTITION", "BY"), ("PRIMARY", "KEY"), ("ORDER", "BY"), ("SAMPLE", "BY"), ("SQL", "SECURITY")}
_OF_DICTIONARIES = frozenset({"SOURCE", "LAYOUT", "LIFETIME", "RANGE"})
_BEFORE_ENGINE = frozenset({"TO", "REFRESH", "EMPTY"})
_OPENING = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_DEFAULTS = frozenset({"DEFAULT", "MATERIALIZED", "ALIAS", "EPHEMERAL"})
_NO_COLUMN = frozenset({"INDEX", "PROJECTION", "CONSTRAINT", "PRIMARY", "FOREIGN"})


class Clause(Struct, frozen=True):
    """A clause: its keyword (``ORDER BY``) and its text, keyword included."""

    keyword: str
    text: str


class Creation(Struct, frozen=True):
    """A CREATE statement: what it creates, its column list with parentheses, its clauses, and the query after AS."""

    head: Head
    columns: str
    clauses: tuple[Clause, ...]
    query: str

    def clause(self, keyword: str) -> str:
        """The text of a clause, keyword included; empty if it is not there."""
        return next((clause.text for clause in self.clauses if clause.keyword == keyword), "")


class Engine(Struct, frozen=True):
    """What stands after ENGINE =: a name, and its arguments as they are written."""

    name: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.arguments)})" if self.arguments else self.name


def take_apart(query: str) -> Creation:
    """Read a CREATE statement. Raises UsageError if it is none."""
    first = head(query)
    rest = query[first.end :]
    starts: list[tuple[str, int]] = []
    columns = ""
    body = ""
    row = list(tokens(rest))
    depth = 0
    opened = -1
    expression = 0  # what follows a keyword is never one
    for at, token in enumerate(row):
        if depth == 0 and at >= expression and (keyword := _keyword(row, at)):
            if keyword == "AS":
                body = rest[token.end :].strip()
                break
            if keyword not in _BEFORE_ENGINE or {known for known, _ in starts} <= _BEFORE_ENGINE:
                starts.append((keyword, token.start))
                expression = at + 1 + len(keyword.split())
        step = _OPENING.get(token.text, 0) if token.kind == "sign" else 0
        if step > 0 and depth == 0 and not columns and opened < 0 and _may_open_columns(starts, row, at):
            opened = token.start
        depth += step
        if step < 0 and depth == 0 and opened >= 0 and not columns:
            columns = rest[opened : token.end]
    end = len(rest) if not body else rest.rindex(body)
    return Creation(first, columns, tuple(_clauses(rest, starts, columns, end)), body)


def engine(creation: Creation) -> Engine:
    """The engine; an empty name if there is none."""
    row = list(tokens(creation.clause("ENGINE")))
    if len(row) < 3:
        return Engine("", ())
    text = creation.clause("ENGINE")
    inside = text[row[4].start : row[-1].start] if len(row) > 4 and row[3].text == "(" else ""
    return Engine(row[2].name, tuple(split_list(inside)))


def settings(creation: Creation) -> dict[str, str]:
    """The table's settings as they are written."""
    text = creation.clause("SETTINGS")
    pairs = (item.partition("=") for item in split_list(text[len("SETTINGS") :]))
    return {name.strip(): value.strip() for name, _, value in pairs}


def column_names(creation: Creation) -> list[str]:
    """The names of the columns, in their order."""
    names: list[str] = []
    for item in split_list(creation.columns[1:-1]):
        first = next(tokens(item), None)
        if first is not None and not (first.kind == "word" and first.text.upper() in _NO_COLUMN):
            names.append(first.name)
    return names


def stored_column_names(creation: Creation) -> list[str]:
    """The names of the columns without those that are computed (ALIAS) or only inserted (EPHEMERAL)."""
    names = set(column_names(creation))
    for item in split_list(creation.columns[1:-1]):
        row = list(tokens(item))
        kind = next((token.text.upper() for token in _outermost(row[1:]) if token.text.upper() in _DEFAULTS), "")
        if kind in ("ALIAS", "EPHEMERAL"):
            names.discard(row[0].name)
    return [name for name in column_names(creation) if name in names]


def has_ttl(creation: Creation) -> bool:
    """Whether the table, or a column of it, has a TTL."""
    items = (list(tokens(item)) for item in split_list(creation.columns[1:-1]))
    of_columns = any(token.text.upper() == "TTL" for row in items for token in _outermost(row[1:]))
    return bool(creation.clause("TTL")) or of_columns


def split_list(text: str) -> list[str]:
    """The items of a list that commas separate, those inside of brackets left alone."""
    items: list[str] = []
    depth = start = 0
    for token in tokens(text):
        if token.kind != "sign":
            continue
        depth += _OPENING.get(token.text, 0)
        if token.text == "," and depth == 0:
            items.append(text[start : token.start].strip())
            start = token.end
    last = text[start:].strip()
    return [*items, last] if last or items else []


def _outermost(row: Sequence[Token]) -> Iterator[Token]:
    """The words outside of all brackets."""
    depth = 0
    for token in row:
        depth += _OPENING.get(token.text, 0) if token.kind == "sign" else 0
        if depth == 0 and token.kind == "word":
            yield token


def _keyword(row: Sequence[Token], at: int) -> str:
    """The clause that begins at a token outside of all brackets; empty if none does.

    A column may be called like a clause: after BY, after a comma or an operator there is an expression.
    """
    token = row[at]
    if token.kind != "word" or (at and not _ends_expression(row[at - 1])):
        return ""
    word = token.text.upper()
    following = row[at + 1].text.upper() if at + 1 < len(row) else ""
    if (word, following) in _DOUBLE:
        return f"{word} {following}"
    if word == "AS" and following in ("SELECT", "WITH", "(", "VALUES"):
        return word
    if word in _OF_DICTIONARIES and following == "(":
        return word
    if word not in _SINGLE or (_SINGLE[word] and following != _SINGLE[word]):
        return ""
    if word == "SETTINGS" and not (at + 2 < len(row) and row[at + 2].text == "="):
        return ""
    return word


def _ends_expression(token: Token) -> bool:
    if token.kind == "sign":
        return token.text in (")", "]", "}")
    return not (token.kind == "word" and token.text.upper() in ("BY", "KEY", "AND", "OR", "NOT", "IN", "DELETE"))


def _may_open_columns(starts: Sequence[tuple[str, int]], row: Sequence[Token], at: int) -> bool:
    """The column list comes before ENGINE, after the name or the target of a materialized view."""
    keywords = {keyword for keyword, _ in starts}
    follows_type = at > 0 and row[at - 1].kind == "word" and row[at - 1].text.upper() in _OF_DICTIONARIES
    return keywords <= _BEFORE_ENGINE and not follows_type


def _clauses(rest: str, starts: Sequence[tuple[str, int]], columns: str, end: int) -> Iterator[Clause]:
    for number, (keyword, start) in enumerate(starts):
        text = rest[start : starts[number + 1][1] if number + 1 < len(starts) else end]
        if keyword in ("TO", "REFRESH") and columns:
            text = text.partition(columns)[0]
        yield Clause(keyword, _without_as(text.strip()))


def _without_as(text: str) -> str:
    return text[:-2].rstrip() if text[-3:].upper() in (" AS", "\nAS") else text
