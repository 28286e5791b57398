"""What earlier runs of Coldhouse left in a server: statements that still run, databases of mounts, tables set aside."""

from __future__ import annotations

from msgspec import Struct

from coldhouse.clickhouse import inspect, sql
from coldhouse.clickhouse.source import Source
from coldhouse.clickhouse.table_state import integer, text
from coldhouse.model import TableName

#: The ids that Coldhouse gives to its BACKUPs, and to its RESTOREs.
_OWN_IDS = "^(coldhouse-[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16}-[0-9a-f]{32})$"
#: A table that is to replace or join another, and one that an interrupted restore had begun to fill.
_BESIDE = "^coldhouse_[0-9a-f]{16}_"
_UNFINISHED = "__partial_[0-9a-f]{8}$"


class RunningOperation(Struct, frozen=True):
    """A BACKUP or RESTORE of Coldhouse's that the server is busy with, since so many seconds."""

    id: str
    statement: str
    seconds: int


class MountDatabase(Struct, frozen=True):
    """A database that was made for a mount: its name, and its comment, which names the mount."""

    name: str
    comment: str


class SetAside(Struct, frozen=True):
    """Tables of restores that did not end: ``beside`` were to replace or join others, ``unfinished`` moved away."""

    beside: tuple[TableName, ...]
    unfinished: tuple[TableName, ...]


def running_operations(source: Source) -> tuple[RunningOperation, ...]:
    """Coldhouse's own statements that run now, whoever waits for them."""
    return tuple(
        RunningOperation(text(id), "RESTORE" if text(status) == "RESTORING" else "BACKUP", integer(seconds))
        for id, status, seconds in source.fetch(sql.running_operations_query(_OWN_IDS))
    )


def mount_databases(source: Source, beginning: str) -> tuple[MountDatabase, ...]:
    """The databases whose comment begins as those of mounts do."""
    found = source.fetch(sql.databases_with_comment_query(beginning))
    return tuple(MountDatabase(text(name), text(comment)) for name, comment in found)


def set_aside(source: Source) -> SetAside:
    """The tables that unfinished restores left; one that runs just now has such tables, too."""
    databases = inspect.local_databases(source)
    beside, unfinished = (
        tuple(
            TableName(text(database), text(name))
            for database, name in source.rows(
                sql.select(
                    ("database", "name"),
                    "system.tables",
                    (sql.one_of("database", databases), sql.matches("name", pattern)),
                    ("database", "name"),
                )
            )
        )
        for pattern in (_BESIDE, _UNFINISHED)
    )
    return SetAside(beside, unfinished)
