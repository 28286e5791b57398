"""How each table of a snapshot can be read without being restored, and which ones a query can mean. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from coldhouse.clickhouse import creation_order, rewriting
from coldhouse.clickhouse.definition import Token, head, is_recomputed, mentioned, tokens, unquoted, view_target
from coldhouse.errors import UsageError
from coldhouse.model import TableEntry, TableKind, TableName
from coldhouse.records import replace

#: What a database of a further snapshot is called: ``monday__db``.
JOINT = "__"
_FORWARDING = frozenset({"Merge", "Null", "Alias", "Dictionary"})
_LOADED = frozenset({"Log", "TinyLog", "StripeLog", "Memory", "EmbeddedRocksDB"})
_CONTENTS_LOST = frozenset({"Set", "Join", "File"})
_CATALOGS = frozenset({"system", "information_schema"})
_ABOUT_TABLES = frozenset({"SHOW", "DESCRIBE", "DESC", "EXISTS", "CHECK"})


class Way(StrEnum):
    """How a table is made readable."""

    WEB = "web"  # its parts are read where they are
    LOAD = "load"  # its files are restored: its engine cannot read them from afar
    DEFINE = "define"  # it has no rows of its own
    ABSENT = "absent"  # it cannot be read; the reason says why


class Attachment(Struct, frozen=True):
    """A table of a snapshot and how it becomes readable, under which name.

    ``snapshot`` is the place of its snapshot among those that are attached. ``needs`` are tables, by their names of
    here, that must be there before it.
    """

    snapshot: int
    entry: TableEntry
    name: TableName
    way: Way
    references: Mapping[TableName, TableName]
    needs: tuple[TableName, ...] = ()
    reason: str = ""

    @property
    def engine(self) -> str:
        """Its engine, for the order of creation."""
        return self.entry.engine

    @property
    def depends_on(self) -> tuple[TableName, ...]:
        """What must be there before it, for the order of creation."""
        return self.needs

    def statement(self, place: rewriting.Place | None = None) -> str:
        """The statement that creates it; ``place`` is where its parts lie."""
        query = self.entry.definition
        if self.way is Way.WEB and place is not None:
            return rewriting.on_web_disk(query, self.name, self.references, place)
        if self.way is Way.LOAD:
            return rewriting.as_table(query, self.name, self.references)
        if head(query).kind == "DICTIONARY":
            return rewriting.as_dictionary(query, self.name, self.references)
        if self.entry.engine in _FORWARDING:
            return rewriting.as_it_is(query, self.name, self.references)
        return rewriting.as_view(query, self.name, self.references)


def database_of(prefix: str, database: str) -> str:
    """What a database is called here; ``prefix`` is empty for the snapshot that needs none."""
    return f"{prefix}{JOINT}{database}" if prefix else database


class AttachPlan:
    """The tables of one or more snapshots by their names of here; definitions are read when they are needed."""

    def __init__(self) -> None:
        self._entries: dict[TableName, tuple[int, TableEntry]] = {}
        self._references: list[Mapping[TableName, TableName]] = []
        self._made: dict[TableName, Attachment] = {}
        self._databases: set[str] = set()

    def add(self, entries: Iterable[TableEntry], rename: Callable[[TableName], TableName]) -> None:
        """Add a snapshot. Raises UsageError if two tables would have one name."""
        tables: list[TableEntry] = []
        for entry in entries:
            self._databases.add(rename(entry.name).database)
            if entry.name.table:
                tables.append(entry)
        references = {entry.name: rename(entry.name) for entry in tables}
        for entry in tables:
            name = references[entry.name]
            if name in self._entries:
                raise UsageError(f"two tables would be called {name}", hint="attach the snapshot under another name")
            self._entries[name] = (len(self._references), entry)
        self._references.append(references)

    def __contains__(self, name: TableName) -> bool:
        return name in self._entries

    def names(self) -> Iterable[TableName]:
        """The names of all tables."""
        return self._entries.keys()

    def databases(self) -> list[str]:
        """The names of all databases."""
        return sorted(self._databases)

    def attachment(self, name: TableName) -> Attachment:
        """How a table is read."""
        if name not in self._made:
            snapshot, entry = self._entries[name]
            references = self._references[snapshot]
            way, reason = way_of(entry)
            made = Attachment(snapshot, entry, name, way, references, reason=reason)
            if way is not Way.ABSENT:
                made = replace(made, needs=tuple(sorted(_needs(made, references) - {name})))
            self._made[name] = made
        return self._made[name]

    def wanted(self, query: str, database: str) -> list[Attachment]:
        """The tables that a query can mean, and what they need, in an order in which they can be made.

        More than it reads, never less: a table counts whose name and whose database (unless it is ``database``) stand
        anywhere in the query; every table counts where the query looks around (system tables, merge(), SHOW).
        """
        row = list(tokens(query))
        if _looks_around(row):
            return self.with_needs(self._entries)
        spelled = set(_spelled(row))
        asks_dictionaries = any(token.text.startswith("dict") for token in row if token.kind == "word")
        return self.with_needs(
            name
            for name, (_, entry) in self._entries.items()
            if (name.table in spelled and (name.database == database or name.database in spelled))
            or (asks_dictionaries and entry.engine == "Dictionary")
        )

    def with_needs(self, names: Iterable[TableName]) -> list[Attachment]:
        """These tables and what they need, in an order in which they can be made."""
        reached: dict[TableName, Attachment] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in self._entries and name not in reached:
                reached[name] = self.attachment(name)
                waiting += reached[name].needs
        return creation_order(sorted(reached.values(), key=lambda each: each.name))


def way_of(entry: TableEntry) -> tuple[Way, str]:
    """How a table can be read, or why it cannot."""
    if entry.kind is TableKind.PARTS:
        if rewriting.has_old_syntax(entry.definition):
            return Way.ABSENT, "its definition is of the syntax before 2017; restore it to read it"
        return Way.WEB, ""
    if entry.kind is TableKind.FILES:
        if rewriting.inner_engine(entry.definition) in _LOADED:
            return Way.LOAD, ""
        return Way.ABSENT, f"engine {entry.engine} needs the server that it was on"
    reason = _why_without_rows(entry)
    return (Way.ABSENT, reason) if reason else (Way.DEFINE, "")


def _why_without_rows(entry: TableEntry) -> str:
    """Why what has nothing but a definition cannot be read; empty if it can."""
    if head(entry.definition).kind == "DICTIONARY":
        outside = rewriting.reads_elsewhere(entry.definition)
        return "the source of this dictionary is not in the snapshot" if outside else ""
    if entry.engine == "MaterializedView":
        known = view_target(entry.definition) is not None or is_recomputed(entry.definition)
        return "" if known else "the snapshot does not hold its rows"
    if entry.engine in _FORWARDING or entry.engine in ("View", "Buffer"):
        return ""
    if entry.engine in _CONTENTS_LOST:
        return f"ClickHouse's BACKUP does not keep the rows of engine {entry.engine}"
    return f"engine {entry.engine} reads what is not in the snapshot"


def single_statement(query: str) -> str:
    """The query without the semicolons at its end. Raises UsageError if there is none, or more than one."""
    row = list(tokens(query))
    while row and row[-1].text == ";":
        row.pop()
    if not row:
        raise UsageError("the query is empty", hint="for example: SELECT count() FROM db.table")
    if any(token.text == ";" for token in row):
        raise UsageError("this is more than one statement", hint="ask one query at a time")
    return query[: row[-1].end]


def split_statements(text: str) -> tuple[list[str], str]:
    """The statements that end with a semicolon, and what comes after the last one."""
    statements = []
    start = 0
    for token in tokens(text):
        if token.text == ";":
            statements.append(text[start : token.end].strip())
            start = token.end
    return statements, text[start:].strip()


def split_format(query: str) -> tuple[str, str]:
    """The query without a FORMAT clause at its end, and the format; empty if it names none.

    Raises UsageError for INTO OUTFILE: the answer goes to standard output.
    """
    row = list(tokens(query))
    for one, other in pairwise(row):
        if one.is_word("INTO") and other.is_word("OUTFILE"):
            raise UsageError("INTO OUTFILE is not possible here", hint="redirect the output, or use coldhouse export")
    if len(row) > 2 and row[-2].is_word("FORMAT") and row[-1].kind == "word" and row[-3].text not in (",", "."):
        return query[: row[-2].start].rstrip(), row[-1].text
    return query, ""


def _needs(attachment: Attachment, references: Mapping[TableName, TableName]) -> frozenset[TableName]:
    """What the statement of a table mentions, where that is a table of the snapshot."""
    found = mentioned(attachment.statement(rewriting.Place("")))
    here = frozenset(references.values())
    if attachment.engine == "Merge":
        named = {name.database for name in found} & {name.database for name in here}
        return frozenset(name for name in here if name.database in named) if named else here
    return found & here


def _looks_around(row: Sequence[Token]) -> bool:
    """Whether a query can see tables that it does not name."""
    if row and row[0].text.upper() in _ABOUT_TABLES:
        return True
    for one, other in pairwise(row):
        word = one.name.lower()
        if (word in _CATALOGS and other.text == ".") or (word == "merge" and other.text == "("):
            return True
    return any(token.is_word("IDENTIFIER") for token in row)


def _spelled(row: Iterable[Token]) -> Iterator[str]:
    """Every name in the query, and what stands in strings, whole and between dots."""
    for token in row:
        if token.name:
            yield token.name
        elif token.kind == "string":
            text = unquoted(token.text)
            yield text
            yield from text.split(".")
