"""Definitions of a snapshot's tables, rewritten so that they can be read where the snapshot is not restored. Pure.

A table with parts becomes its plain engine on a ``web`` disk: no replication, no TTL, no storage policy, the parts as
they are. What has no parts of its own (a view, a dictionary) keeps its definition, with other names in it where the
tables it reads have other names here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from coldhouse.clickhouse import clauses, definition, sql
from coldhouse.clickhouse.clauses import Creation, Engine
from coldhouse.clickhouse.definition import Token, tokens
from coldhouse.model import TableName

References = Mapping[TableName, TableName]

#: Clauses that a table keeps; what a definition says of replication, storage, time to live and users is left out.
_KEPT = ("PARTITION BY", "PRIMARY KEY", "ORDER BY", "SAMPLE BY")
#: Table settings that name what exists only where the table was, or that write.
_DROPPED_SETTINGS = frozenset(
    {
        "storage_policy",
        "disk",
        "table_disk",
        "non_replicated_deduplication_window",
        "replicated_deduplication_window",
        "refresh_parts_interval",
        "refresh_statistics_interval",
        "merge_with_ttl_timeout",
    }
)
_ELSEWHERE = frozenset({"HOST", "PORT", "USER", "PASSWORD", "SECURE", "NAME"})
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def plain_engine(engine: Engine) -> Engine:
    """The engine without replication: what Keeper would have to know is left out."""
    for prefix in ("Replicated", "Shared"):
        if engine.name.startswith(prefix) and engine.name.endswith("MergeTree"):
            own = engine.arguments
            if len(own) >= 2 and all(argument.startswith("'") for argument in own[:2]):
                own = own[2:]
            return Engine(engine.name.removeprefix(prefix), own)
    return engine


def inner_engine(query: str) -> str:
    """The name of the engine that the definition names; empty if it names none."""
    return clauses.engine(clauses.take_apart(query)).name


def has_old_syntax(query: str) -> bool:
    """Whether it is a table of the syntax before 2017, which has neither ORDER BY nor settings."""
    creation = clauses.take_apart(query)
    return "MergeTree" in clauses.engine(creation).name and not creation.clause("ORDER BY")


class Place(Struct, frozen=True):
    """Where a table with parts lies: ``disk`` is an expression of ``sql.web_disk``. Settings ``without`` are left out.

    With ``uuid`` the table is in ``store/<3 letters>/<uuid>`` of that disk and is attached; without it has the disk for
    itself and is created. Projections are of use only to whoever copies whole parts.
    """

    disk: str
    uuid: str = ""
    projections: bool = False
    without: frozenset[str] = frozenset()


def on_web_disk(query: str, name: TableName, references: References, place: Place) -> str:
    """The statement that makes a table with parts readable."""
    creation = clauses.take_apart(query)
    own = plain_engine(clauses.engine(creation))
    left_out = _DROPPED_SETTINGS | place.without
    kept = {key: value for key, value in clauses.settings(creation).items() if key not in left_out}
    columns = creation.columns if place.projections else _without_projections(creation.columns)
    columns = with_references(columns, references)
    if "PROJECTION" in columns and own.name != "MergeTree":
        kept.setdefault("deduplicate_merge_projection_mode", "'drop'")
    kept["disk"] = place.disk
    if place.uuid:
        begin = f"ATTACH TABLE {sql.quote_name(name)} UUID {sql.quote_string(place.uuid)}"
    else:
        begin = _create("TABLE", name)
        kept["table_disk"] = "1"
    return " ".join([begin, *_body(creation, columns, own, kept)])


def as_table(query: str, name: TableName, references: References) -> str:
    """The statement that creates a table without parts, or the inner one of a materialized view, as a plain table."""
    creation = clauses.take_apart(query)
    kept = {key: value for key, value in clauses.settings(creation).items() if key not in _DROPPED_SETTINGS}
    columns = with_references(creation.columns, references)
    body = _body(creation, columns, plain_engine(clauses.engine(creation)), kept)
    return " ".join([_create("TABLE", name), *body])


def as_view(query: str, name: TableName, references: References) -> str:
    """The statement that creates a view, of the definition of a view, a materialized view, or a Buffer.

    A materialized view shows the table that it writes to, or what its query gives if it kept no rows in the snapshot.
    """
    creation = clauses.take_apart(query)
    names = ", ".join(map(sql.quote_identifier, clauses.column_names(creation)))
    target = definition.view_target(query) or _buffered(creation)
    if target is not None:
        of = sql.quote_name(references.get(target, target))
        return f"{_create('VIEW', name)} AS {sql.select((names or '*',), of)}"
    columns = f" {creation.columns}" if creation.columns else ""
    return f"{_create('VIEW', name)}{columns} AS {with_references(creation.query, references)}"


def as_it_is(query: str, name: TableName, references: References) -> str:
    """The statement that creates what holds nothing itself (Merge, Null, Alias, a table of engine Dictionary)."""
    creation = clauses.take_apart(query)
    own = clauses.engine(creation)
    databases = {old.database: new.database for old, new in references.items()}
    if own.name == "Merge" and own.arguments and (database := _literal(own.arguments[0])) in databases:
        own = Engine(own.name, (sql.quote_string(databases[database]), *own.arguments[1:]))
    columns = with_references(creation.columns, references)
    engine = with_references(f"ENGINE = {own}", references)
    return " ".join(filter(None, (_create("TABLE", name), columns, engine)))


def as_dictionary(query: str, name: TableName, references: References) -> str:
    """The statement that creates a dictionary that reads a table of this ClickHouse."""
    creation = clauses.take_apart(query)
    home = creation.head.name.database
    kept = [
        f"SOURCE(CLICKHOUSE({_source_here(clause.text, home, references)}))"
        if clause.keyword == "SOURCE"
        else clause.text
        for clause in creation.clauses
        if clause.keyword not in ("COMMENT", "SETTINGS")
    ]
    return " ".join([_create("DICTIONARY", name), creation.columns, *kept])


def reads_elsewhere(query: str) -> bool:
    """Whether a dictionary's source is another server, or something else than ClickHouse."""
    source = list(tokens(clauses.take_apart(query).clause("SOURCE")))
    if len(source) < 3 or not source[2].is_word("CLICKHOUSE"):
        return True
    pairs = dict(_pairs(source[4:]))
    host = _literal(pairs.get("HOST", "'localhost'"))
    return "NAME" in pairs or host not in _HERE


def with_references(text: str, references: References) -> str:
    """The text with every mention of a table replaced by its new name, also in dictGet('db.dictionary', ...)."""
    if not references or all(old == new for old, new in references.items()):
        return text
    return _replaced(text, references.get)


def with_names(text: str, lookup: Callable[[str, str, str], TableName | None]) -> str:
    """The text with every ``a.b.c`` for which ``lookup`` knows a table replaced by that table's name."""
    row = list(tokens(text))
    pieces: list[str] = []
    done = 0
    at = 0
    while at + 4 < len(row):
        names = [row[at + step].name for step in (0, 2, 4)]
        dotted = row[at + 1].text == row[at + 3].text == "." and not (at and row[at - 1].text == ".")
        new = lookup(names[0], names[1], names[2]) if dotted and all(names) else None
        if new is not None:
            pieces += [text[done : row[at].start], sql.quote_name(new)]
            done = row[at + 4].end
            at += 4
        at += 1
    return "".join([*pieces, text[done:]])


def _replaced(text: str, lookup: Callable[[TableName], TableName | None]) -> str:
    row = list(tokens(text))
    pieces: list[str] = []
    done = 0
    for at, token in enumerate(row):
        if token.start < done:
            continue
        found, end = _mention(row, at)
        new = lookup(found) if found is not None else None
        if new is not None and new != found:
            quoted = sql.quote_string(f"{new.database}.{new.table}") if token.kind == "string" else sql.quote_name(new)
            pieces += [text[done : token.start], quoted]
            done = end
    return "".join([*pieces, text[done:]])


def _mention(row: Sequence[Token], at: int) -> tuple[TableName | None, int]:
    """The table that is named at a token, and where its name ends."""
    token = row[at]
    if token.kind == "string":
        database, dot, table = _literal(token.text).partition(".")
        named = dot and at > 1 and row[at - 1].text == "(" and _takes_a_name(row[at - 2])
        return (TableName(database, table), token.end) if named else (None, token.end)
    follows = at > 0 and row[at - 1].text == "."
    if follows or not token.name or at + 2 >= len(row) or row[at + 1].text != "." or not row[at + 2].name:
        return None, token.end
    return TableName(token.name, row[at + 2].name), row[at + 2].end


def _takes_a_name(function: Token) -> bool:
    return function.text.startswith(("dict", "Dictionary", "dictionary", "joinGet"))


def _literal(text: str) -> str:
    token = next(tokens(text), None)
    return definition.unquoted(token.text) if token is not None and token.kind == "string" else text


def _create(kind: str, name: TableName) -> str:
    return f"CREATE {kind} {sql.quote_name(name)}"


def _body(creation: Creation, columns: str, engine: Engine, settings: Mapping[str, str]) -> Iterator[str]:
    yield columns
    yield f"ENGINE = {engine}"
    yield from filter(None, map(creation.clause, _KEPT))
    if settings:
        yield "SETTINGS " + ", ".join(f"{name} = {value}" for name, value in settings.items())


def _without_projections(columns: str) -> str:
    items = clauses.split_list(columns[1:-1])
    kept = [item for item in items if not next(tokens(item)).is_word("PROJECTION")]
    return f"({', '.join(kept)})" if kept else ""


def _buffered(creation: Creation) -> TableName | None:
    """The table behind a Buffer."""
    own = clauses.engine(creation)
    if own.name != "Buffer" or len(own.arguments) < 2:
        return None
    return TableName(*(_literal(argument).strip("`") for argument in own.arguments[:2]))


def _pairs(row: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """The KEY value pairs inside of CLICKHOUSE(...); a bracketed value is passed by."""
    at = 0
    while at + 1 < len(row) and row[at].kind == "word":
        yield row[at].text.upper(), row[at + 1].text
        at += 2


def _source_here(text: str, home: str, references: References) -> str:
    """The source with the table's name of here, and without address and user."""
    pairs = dict(_pairs(list(tokens(text))[4:]))
    if "QUERY" in pairs:
        query = with_references(_literal(pairs["QUERY"]), references)
        pairs["QUERY"] = sql.quote_string(query)
    if "TABLE" in pairs:
        old = TableName(_literal(pairs.get("DB", "")) or home, _literal(pairs["TABLE"]).strip("`"))
        new = references.get(old, old)
        pairs |= {"DB": sql.quote_string(new.database), "TABLE": sql.quote_string(new.table)}
    return " ".join(f"{key} {value}" for key, value in pairs.items() if key not in _ELSEWHERE)


def column_names(query: str) -> list[str]:
    """The names of a table's columns, in their order."""
    return clauses.column_names(clauses.take_apart(query))


def stored_column_names(query: str) -> list[str]:
    """The names of a table's columns without ALIAS and EPHEMERAL ones."""
    return clauses.stored_column_names(clauses.take_apart(query))
