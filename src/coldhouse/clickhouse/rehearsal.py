"""What a scratch engine can have of a table: its definition without what only the source has. Pure.

Replicated engines become plain ones, storage policies the default; TTLs go, so that nothing expires while it is tested;
what reads from elsewhere keeps its columns and reads nothing. Whatever is changed is said.
"""

from __future__ import annotations

import re
from itertools import pairwise

from msgspec import Struct

from coldhouse.clickhouse import sql
from coldhouse.clickhouse.clauses import Clause, Creation, engine, settings, split_list, take_apart
from coldhouse.clickhouse.definition import tokens
from coldhouse.clickhouse.rewriting import plain_engine
from coldhouse.errors import UsageError

#: Engines whose rows, or whose reader, are outside of the database. ClickHouse's names.
ELSEWHERE = frozenset(
    {
        "ArrowFlight",
        "AzureBlobStorage",
        "AzureQueue",
        "COSN",
        "DeltaLake",
        "DeltaLakeAzure",
        "DeltaLakeLocal",
        "DeltaLakeS3",
        "Distributed",
        "Executable",
        "ExecutablePool",
        "ExternalDistributed",
        "File",
        "FileLog",
        "GCS",
        "HDFS",
        "Hive",
        "Hudi",
        "Iceberg",
        "IcebergAzure",
        "IcebergHDFS",
        "IcebergLocal",
        "IcebergS3",
        "JDBC",
        "Kafka",
        "KeeperMap",
        "MaterializedPostgreSQL",
        "MongoDB",
        "MySQL",
        "NATS",
        "ODBC",
        "OSS",
        "Paimon",
        "PostgreSQL",
        "RabbitMQ",
        "Redis",
        "S3",
        "S3Queue",
        "SQLite",
        "URL",
        "YTsaurus",
    }
)
#: Virtual columns that views on such a table may name.
_QUEUE = {
    "_error": "Nullable(String)",
    "_headers.name": "Array(String)",
    "_headers.value": "Array(String)",
    "_key": "String",
    "_offset": "UInt64",
    "_partition": "UInt64",
    "_raw_message": "Nullable(String)",
    "_subject": "String",
    "_timestamp": "Nullable(DateTime)",
    "_timestamp_ms": "Nullable(DateTime64(3))",
    "_topic": "LowCardinality(String)",
}
_FILE = {
    "_etag": "LowCardinality(String)",
    "_file": "LowCardinality(String)",
    "_path": "LowCardinality(String)",
    "_size": "Nullable(UInt64)",
    "_time": "Nullable(DateTime)",
}
_VIRTUAL = {
    "Distributed": {"_shard_num": "UInt32"},
    "Kafka": _QUEUE,
    "NATS": _QUEUE,
    "RabbitMQ": _QUEUE,
    "FileLog": {"_filename": "LowCardinality(String)", "_offset": "UInt64"},
}
_LOCAL_DATABASES = frozenset({"", "Atomic", "Lazy", "Memory", "Ordinary"})
_HERE = frozenset({"localhost", "127.0.0.1", "::1", ""})
#: What says where a dictionary's source is, and who asks it.
_CONNECTION = frozenset({"HOST", "PORT", "USER", "PASSWORD", "SECURE"})


class Adapted(Struct, frozen=True):
    """A definition as a scratch engine takes it; ``changes`` says what is different, ``bare``: it holds no rows."""

    definition: str
    changes: tuple[str, ...] = ()
    bare: bool = False


def adapt(definition: str) -> Adapted:
    """Adapt the definition of a table, view, dictionary or database; one that cannot be read stays as it is."""
    try:
        creation = take_apart(definition)
    except UsageError:
        return Adapted(definition)
    if creation.head.kind == "DATABASE":
        return _database(definition, creation)
    if creation.head.kind == "DICTIONARY":
        return _dictionary(definition, creation)
    name = engine(creation).name
    if name in ELSEWHERE:
        return _emptied(definition, creation, name)
    return _table(definition, creation)


def _database(definition: str, creation: Creation) -> Adapted:
    name = engine(creation).name
    if name in _LOCAL_DATABASES:
        return Adapted(definition)
    text = f"CREATE DATABASE {sql.quote_identifier(creation.head.name.database)} ENGINE = Atomic"
    return Adapted(text, (f"database engine {name} became Atomic",))


def _emptied(definition: str, creation: Creation, name: str) -> Adapted:
    if not creation.columns:
        return Adapted(definition, (f"engine {name}: schema only",), bare=True)
    columns = [_without_ttl(item) for item in split_list(creation.columns[1:-1])]
    known = {next(tokens(item)).name for item in columns}
    virtual = _VIRTUAL.get(name, _FILE)
    # An alias is none of the columns that * stands for.
    columns += [
        f"{sql.quote_identifier(column)} {type} ALIAS defaultValueOfTypeName({sql.quote_string(type)})"
        for column, type in virtual.items()
        if column not in known
    ]
    comment = creation.clause("COMMENT")
    text = f"{definition[: creation.head.end]} ({', '.join(columns)}) ENGINE = Null {comment}".rstrip()
    return Adapted(text, (f"engine {name} reads from elsewhere: schema only",), bare=True)


def _dictionary(definition: str, creation: Creation) -> Adapted:
    source = creation.clause("SOURCE")
    found = re.match(r"SOURCE\s*\(\s*(\w+)", source)
    kind = found[1].upper() if found else ""
    if kind in ("", "NULL"):
        return Adapted(definition)
    if kind != "CLICKHOUSE":
        replaced = "SOURCE(NULL())"
        change = f"the source of the dictionary ({kind}) is elsewhere: schema only"
        return Adapted(definition.replace(source, replaced, 1), (change,), bare=True)
    host = _parameter(source, "HOST")
    if host.lower() not in _HERE:
        change = f"the source of the dictionary is on {host}: schema only"
        return Adapted(definition.replace(source, "SOURCE(NULL())", 1), (change,), bare=True)
    here = _without_connection(source)
    if here == source:
        return Adapted(definition)
    return Adapted(definition.replace(source, here, 1), ("the dictionary reads as the scratch engine's own user",))


def _parameter(source: str, name: str) -> str:
    row = list(tokens(source))
    for one, other in pairwise(row):
        if one.is_word(name):
            return other.text.strip("'")
    return ""


def _without_connection(source: str) -> str:
    """A CLICKHOUSE source without host, port, user and password: then it is the engine itself."""
    row = list(tokens(source))
    gone = [
        (one.start, other.end)
        for one, other in pairwise(row)
        if one.kind == "word" and one.text.upper() in _CONNECTION and other.kind in ("string", "number")
    ]
    for start, end in reversed(gone):
        source = source[:start] + source[end:].lstrip(" ")
    return source


def _table(definition: str, creation: Creation) -> Adapted:
    """A table with rows, or a view: the same but for replication, disks, TTLs, refreshes and whose right it uses."""
    changes: list[str] = []
    columns = _columns(creation, changes)
    clauses: list[Clause] = []
    for clause in creation.clauses:
        kept = _clause(clause, creation, changes)
        if kept:
            clauses.append(Clause(clause.keyword, kept))
    if not changes:
        return Adapted(definition)
    before = [clause.text for clause in clauses if clause.keyword in ("TO", "REFRESH", "EMPTY")]
    after = [clause.text for clause in clauses if clause.keyword not in ("TO", "REFRESH", "EMPTY")]
    pieces = [definition[: creation.head.end], *before, columns, *after]
    if creation.query:
        pieces.append(f"AS {creation.query}")
    return Adapted(" ".join(piece for piece in pieces if piece), tuple(dict.fromkeys(changes)))


def _columns(creation: Creation, changes: list[str]) -> str:
    items = split_list(creation.columns[1:-1])
    bare = [_without_ttl(item) for item in items]
    if bare == items:
        return creation.columns
    changes.append("TTL removed")
    return f"({', '.join(bare)})"


def _without_ttl(item: str) -> str:
    """A column without its TTL, which ClickHouse writes behind everything but collation and settings."""
    row = list(tokens(item))
    depth = 0
    start = end = -1
    for at, token in enumerate(row):
        depth += (token.text == "(") - (token.text == ")") if token.kind == "sign" else 0
        if depth == 0 and at > 0 and token.is_word("TTL") and start < 0:
            start, end = token.start, len(item)
        elif depth == 0 and start >= 0 and (token.is_word("COLLATE") or token.is_word("SETTINGS")):
            end = token.start
            break
    return item if start < 0 else f"{item[:start]}{item[end:]}".rstrip()


def _clause(clause: Clause, creation: Creation, changes: list[str]) -> str:
    """The clause as a scratch engine takes it; empty to leave it out."""
    match clause.keyword:
        case "TTL":
            changes.append("TTL removed")
            return ""
        case "REFRESH" | "EMPTY":
            changes.append("it is not refreshed")
            return ""
        case "DEFINER" | "SQL SECURITY":
            changes.append("it has the rights of whoever asks")
            return ""
        case "SETTINGS":
            return _settings(clause, creation, changes)
        case "ENGINE":
            return _engine(clause, creation, changes)
    return clause.text


def _settings(clause: Clause, creation: Creation, changes: list[str]) -> str:
    known = settings(creation)
    kept = {name: value for name, value in known.items() if name not in ("storage_policy", "disk")}
    if len(kept) == len(known):
        return clause.text
    changes.append("storage policy became the default")
    return f"SETTINGS {', '.join(f'{name} = {value}' for name, value in kept.items())}" if kept else ""


def _engine(clause: Clause, creation: Creation, changes: list[str]) -> str:
    """``ReplicatedXMergeTree('/path', 'replica', ...)`` and ``SharedXMergeTree`` as ``XMergeTree(...)``."""
    found = engine(creation)
    plain = plain_engine(found)
    if plain == found:
        return clause.text
    changes.append(f"engine {found.name} became {plain.name}")
    return f"ENGINE = {plain}"
