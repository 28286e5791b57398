"""The names inside a ClickHouse backup, and which table and part they belong to.

    metadata/<database>.sql                             definition of a database
    metadata/<database>/<table>.sql                     definition of a table, view or dictionary
    data/<database>/<table>/<part>/<file>               a file of a part; <file> may lie in <projection>.proj/
    data/<database>/<table>/<file>                      a file of a table without parts
    data/<database>/<table>/mutations/<number>.txt      a mutation that was not finished
    temporary_tables/...                                never in our backups

Databases and tables are escaped as ClickHouse's escapeForFileName does; parts and files stand as they are. A
materialized view's rows are under the view's own name, not under that of its inner table. Names come from a document
that ClickHouse sent: whatever is not understood is ``Other``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from coldhouse.model import TableName

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
# <partition>_<min block>_<max block>_<level>[_<mutation>]; MergeTreePartInfo.cpp
# Tables of the syntax before 2017 have <first day>_<last day> for <partition>, whose id is the month.
_PART = re.compile(
    r"(?P<partition>\d{8}_\d{8}|[^/_]+)_(?P<low>\d+)_(?P<high>\d+)_(?P<level>\d+)(?:_(?P<mutation>\d+))?"
)
_MUTATION = re.compile(r"(\d+)\.txt")
_MUTATION_ID = re.compile(r"mutation_(\d+)\.txt")


class DatabaseDefinition(Struct, frozen=True):
    """The .sql of a database."""

    database: str


class TableDefinition(Struct, frozen=True):
    """The .sql of a table."""

    table: TableName


class PartFile(Struct, frozen=True):
    """A file of a part; ``file`` is relative to the part."""

    table: TableName
    part: str
    file: str


class TableFile(Struct, frozen=True):
    """A file of a table without parts."""

    table: TableName
    file: str


class MutationFile(Struct, frozen=True):
    """A mutation that was not finished; system.mutations calls it ``mutation_<number>.txt``."""

    table: TableName
    number: int


class Other(Struct, frozen=True):
    """Anything else."""

    name: str


Member = DatabaseDefinition | TableDefinition | PartFile | TableFile | MutationFile | Other


def escape(name: str) -> str:
    """ClickHouse's escapeForFileName: every byte but letters, digits and ``_`` becomes %XX."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in _encoded(name))


def unescape(name: str) -> str:
    """The inverse of ``escape``."""
    if "%" not in name:  # as most are; millions of files are in a few tables
        return name
    return unquote_to_bytes(name).decode("utf-8", "surrogateescape")


def database_definition(database: str) -> str:
    """The name of a database's .sql."""
    return f"metadata/{escape(database)}.sql"


def table_definition(table: TableName) -> str:
    """The name of a table's .sql."""
    return f"metadata/{escape(table.database)}/{escape(table.table)}.sql"


def part_file(table: TableName, part: str, file: str) -> str:
    """The name of a part's file; of a table's file when ``part`` is empty."""
    folder = f"data/{escape(table.database)}/{escape(table.table)}"
    return f"{folder}/{part}/{file}" if part else f"{folder}/{file}"


def member(name: str) -> Member:
    """What a name in a backup stands for."""
    steps = name.split("/")
    if "" in steps or "." in steps or ".." in steps:
        return Other(name)
    if steps[0] == "metadata" and name.endswith(".sql"):
        return _definition(name, steps)
    if steps[0] == "data" and len(steps) >= 4:
        return _contents(TableName(unescape(steps[1]), unescape(steps[2])), steps[3:])
    return Other(name)


def partition_of(part: str) -> str:
    """The partition id in a part's name; empty if it is not a part's name."""
    found = _PART.fullmatch(part)
    if not found:
        return ""
    return found["partition"][:6] if "_" in found["partition"] else found["partition"]


def served_part_name(part: str) -> str:
    """The part's name without mutation version, as RESTORE must see it.

    RESTORE keeps the version, and then later mutations of the table do nothing, silently (clickhouse-facts 3.5).
    """
    found = _PART.fullmatch(part)
    return part[: found.start("mutation") - 1] if found and found["mutation"] else part


def needs_mutation(part: str, mutation_id: str) -> bool:
    """Whether a part certainly lacks an unfinished mutation and was there when it was submitted.

    A mutation has a number like a block's; a part has all mutations up to its own mutation version, and is not
    concerned by one older than its first block. A Replicated table numbers them by partition, which the id does not
    show: there only a part without any mutation is taken to lack it.
    """
    found, number = _PART.fullmatch(part), _MUTATION_ID.fullmatch(mutation_id)
    if found is None:
        return False
    if number is None:
        return not found["mutation"]
    return int(found["mutation"] or found["low"]) < int(number[1])


def _definition(name: str, steps: list[str]) -> Member:
    last = steps[-1].removesuffix(".sql")
    if len(steps) == 2:
        return DatabaseDefinition(unescape(last))
    if len(steps) == 3:
        return TableDefinition(TableName(unescape(steps[1]), unescape(last)))
    return Other(name)


def _contents(table: TableName, steps: list[str]) -> Member:
    if steps[0] == "mutations" and len(steps) == 2:
        found = _MUTATION.fullmatch(steps[1])
        if found:
            return MutationFile(table, int(found[1]))
    if len(steps) > 1 and _PART.fullmatch(steps[0]):
        return PartFile(table, steps[0], "/".join(steps[1:]))
    return TableFile(table, "/".join(steps))


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
