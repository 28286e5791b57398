"""Reading CREATE statements as ClickHouse writes them: names, comparison, renaming. No full parser: a row of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from msgspec import Struct

from coldhouse.clickhouse import sql
from coldhouse.errors import UsageError
from coldhouse.model import TableName

# Comments, strings and quoted names with both ways of escaping, heredocs, words and numbers, anything else.
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
      |(?P<string>'(?:[^'\\]|\\.|'')*')
      |(?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
      |(?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      |(?P<word>[^\W\d]\w*)
      |(?P<number>\d[\w.]*)
      |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_SPELLING = frozenset({"string", "word", "quoted"})
_OBJECT = frozenset({"TABLE", "VIEW", "DICTIONARY", "DATABASE"})


class Token(Struct, frozen=True):
    """A piece of SQL: its kind (string, quoted, heredoc, word, number, sign), its text, where it starts and ends."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        """The identifier that it spells; empty if it is none."""
        if self.kind == "word":
            return self.text
        return unquoted(self.text) if self.kind == "quoted" else ""

    def is_word(self, word: str) -> bool:
        """Whether it is this keyword."""
        return self.kind == "word" and self.text.upper() == word


class Head(Struct, frozen=True):
    """The beginning of a CREATE statement: what it creates, its name, its UUID, and where the rest starts."""

    kind: str
    name: TableName
    uuid: str
    name_start: int
    name_end: int
    end: int


def tokens(query: str) -> Iterator[Token]:
    """The tokens of an SQL text, without spaces and comments."""
    for found in _TOKEN.finditer(query):
        kind = found.lastgroup or ""
        kind = "heredoc" if kind == "tag" else kind
        if kind != "space":
            yield Token(kind, found.group(), found.start(), found.end())


def head(query: str) -> Head:
    """Read the beginning of a CREATE or ATTACH statement.

    Raises UsageError if it is none.
    """
    row = list(_first(tokens(query), 40))
    at = next((index for index, token in enumerate(row) if token.text.upper() in _OBJECT), len(row))
    kind = row[at].text.upper() if at < len(row) else ""
    at += 1
    while at < len(row) and row[at].kind == "word" and row[at].text.upper() in ("IF", "NOT", "EXISTS"):
        at += 1
    if at >= len(row) or not row[at].name or not (row[0].is_word("CREATE") or row[0].is_word("ATTACH")):
        raise UsageError(f"This is not a CREATE statement: {query[:60]!r}")
    names, start = [row[at].name], row[at].start
    if at + 2 < len(row) and row[at + 1].text == ".":
        names.append(row[at + 2].name)
        at += 2
    end = after = row[at].end
    uuid = ""
    if at + 2 < len(row) and row[at + 1].is_word("UUID") and row[at + 2].kind == "string":
        uuid, after = row[at + 2].text.strip("'"), row[at + 2].end
    if kind == "DATABASE":
        name = TableName(names[0], "")
    else:
        name = TableName(*names) if len(names) == 2 else TableName("", names[0])
    return Head(kind, name, uuid, start, end, after)


def with_name(query: str, name: TableName) -> str:
    """The same CREATE statement for another name, without UUID: a copy needs its own."""
    first = head(query)
    return query[: first.name_start] + sql.quote_name(name) + query[first.end :]


def create_database(query: str, name: str, *, if_not_exists: bool = True) -> str:
    """The CREATE DATABASE statement under a (new) name; without UUID, so that it never collides."""
    first = head(query)
    clause = "IF NOT EXISTS " if if_not_exists else ""
    return f"CREATE DATABASE {clause}{sql.quote_identifier(name)}{query[first.end :]}"


def create_function(query: str) -> str:
    """The CREATE FUNCTION statement so that it does nothing where the function is there already."""
    row = list(_first(tokens(query), 8))
    at = next(index for index, token in enumerate(row) if token.is_word("FUNCTION"))
    if row[at + 1].is_word("IF"):
        return query
    return f"{query[: row[at].end]} IF NOT EXISTS{query[row[at].end :]}"


def normalized(query: str) -> tuple[str, ...]:
    """The statement as tokens without name, UUIDs, IF NOT EXISTS, storage policy, definer, quotes of plain names.

    Two tables are equal for ``--existing append`` when these are.
    """
    query = without_storage_policy(query)
    first = head(query)
    row = list(tokens(query[first.end :]))
    kept = _without_inner_uuids(row)
    return (first.kind, *(token.name or token.text for token in _without_security(kept)))


def difference(one: str, other: str) -> str:
    """Where two definitions differ, in a few words; empty if they say the same."""
    left, right = normalized(one), normalized(other)
    if left == right:
        return ""
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return f"{_around(left, at)!r} against {_around(right, at)!r}"


def mentioned(query: str) -> frozenset[TableName]:
    """Every ``a.b`` in the statement that could be a table, its own name left out; also ``DB 'a' TABLE 'b'``.

    More than the true references: columns of a table alias look the same. Whoever asks keeps those that are tables.
    """
    first = head(query)
    row = list(tokens(query[first.end :]))
    found = {
        TableName(left.name, right.name)
        for left, dot, right in zip(row, row[1:], row[2:], strict=False)
        if dot.text == "." and left.name and right.name
    }
    found |= _quoted_pairs(row)
    found |= _dictionary_source(row, first.name.database)
    return frozenset(found - {first.name})


def view_target(query: str) -> TableName | None:
    """The table that a materialized view writes ``TO``; None if it keeps its rows itself."""
    first = head(query)
    row = list(_first(tokens(query[first.end :]), 400))
    for index, token in enumerate(row):
        if token.is_word("AS") and index + 1 < len(row) and row[index + 1].is_word("SELECT"):
            return None
        if token.is_word("TO") and index + 3 < len(row) and row[index + 2].text == ".":
            return TableName(row[index + 1].name, row[index + 3].name)
    return None


def is_recomputed(query: str) -> bool:
    """Whether each refresh replaces all rows of a materialized view; BACKUP leaves such rows out."""
    words: list[str] = []
    for token in tokens(query[head(query).end :]):
        if token.text == "(" or token.is_word("TO") or token.is_word("ENGINE") or token.is_word("AS"):
            break
        words.append(token.text.upper())
    return "REFRESH" in words and "APPEND" not in words


def storage_policy(query: str) -> str:
    """The storage policy that a table (or the table in a materialized view) asks for; empty where it asks for none."""
    row = list(tokens(query))
    at = _policy_setting(row)
    return unquoted(row[at + 2].text) if at else ""


def without_storage_policy(query: str) -> str:
    """The same CREATE statement without the storage policy: the server chooses its default one."""
    row = list(tokens(query))
    at = _policy_setting(row)
    if not at:
        return query
    if at + 3 < len(row) and row[at + 3].text == ",":
        return query[: row[at].start] + query[row[at + 3].end :].lstrip()
    return query[: row[at - 1].start].rstrip() + query[row[at + 2].end :]


def _policy_setting(row: Sequence[Token]) -> int:
    """Where the table's own SETTINGS name a storage policy; 0 if they do not. The query of a view is not looked at."""
    depth, settings = 0, False
    for at in range(len(row) - 2):
        depth += {"(": 1, ")": -1}.get(row[at].text, 0)
        if depth:
            continue
        if row[at].is_word("AS") and (row[at + 1].text == "(" or row[at + 1].text.upper() in ("SELECT", "WITH")):
            return 0
        settings = settings or row[at].is_word("SETTINGS")
        if settings and row[at].is_word("STORAGE_POLICY") and row[at + 1].text == "=" and row[at + 2].kind == "string":
            return at
    return 0


def renamed_name(name: TableName, renames: Mapping[TableName, TableName]) -> TableName:
    """The new name of a table: by its own entry, else by that of its database (empty tables), else unchanged."""
    if name in renames:
        return renames[name]
    whole = renames.get(TableName(name.database, ""))
    return TableName(whole.database, name.table) if whole else name


def _first(row: Iterator[Token], count: int) -> Iterator[Token]:
    for _, token in zip(range(count), row, strict=False):
        yield token


def unquoted(text: str) -> str:
    """What a string literal or a quoted name spells."""
    mark = text[0]
    inner = text[1:-1].replace(mark * 2, mark)
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), inner, flags=re.DOTALL)


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}


def _without_inner_uuids(row: Sequence[Token]) -> list[Token]:
    """Without ``TO INNER UUID '...'``."""
    kept: list[Token] = []
    at = 0
    while at < len(row):
        if row[at].is_word("TO") and at + 3 < len(row) and row[at + 1].is_word("INNER") and row[at + 2].is_word("UUID"):
            at += 4
            continue
        kept.append(row[at])
        at += 1
    return kept


def _without_security(row: Sequence[Token]) -> list[Token]:
    """Without ``DEFINER = user`` and ``SQL SECURITY kind``, which the server adds for whoever creates a view."""
    kept: list[Token] = []
    at = 0
    while at < len(row):
        follower = row[at + 1].text.upper() if at + 1 < len(row) else ""
        if (row[at].text.upper(), follower) in (("DEFINER", "="), ("SQL", "SECURITY")):
            at += 3
            continue
        kept.append(row[at])
        at += 1
    return kept


def _around(row: Sequence[str], at: int) -> str:
    return " ".join(row[max(0, at - 2) : at + 4]) or "nothing"


def _quoted_pairs(row: Sequence[Token]) -> set[TableName]:
    """Strings like 'db.dictionary' (dictGet) and neighbours like ('db', 'table') (Distributed, Buffer, remote)."""
    found: set[TableName] = set()
    for token in row:
        if token.kind == "string" and "." in token.text:
            database, _, table = unquoted(token.text).partition(".")
            found.add(TableName(database, table))
    for one, comma, other in zip(row, row[1:], row[2:], strict=False):
        if comma.text == "," and one.kind in _SPELLING and other.kind in _SPELLING:
            found.add(TableName(_spelled(one), _spelled(other)))
    return found


def _dictionary_source(row: Sequence[Token], database: str) -> set[TableName]:
    """SOURCE(CLICKHOUSE(TABLE 't' DB 'd')); without DB it is the dictionary's own database."""
    table = ""
    for one, other in pairwise(row):
        if one.is_word("TABLE") and other.kind in _SPELLING:
            table = _spelled(other)
        if one.is_word("DB") and other.kind in _SPELLING:
            database = _spelled(other)
    return {TableName(database, table)} if table else set()


def _spelled(token: Token) -> str:
    return unquoted(token.text) if token.kind == "string" else token.name
