"""What the user may do in a ClickHouse, asked without doing it."""

from __future__ import annotations

from msgspec import Struct

from coldhouse.clickhouse import sql
from coldhouse.clickhouse.source import Source
from coldhouse.clickhouse.table_state import integer
from coldhouse.errors import MissingGrant, StatementFailed

#: What a backup reads to know what is there; without system.functions and system.disks it does with less.
_SYSTEM_TABLES = ("databases", "tables", "columns", "parts", "mutations", "backups", "settings", "functions")
#: Since this version BACKUP and RESTORE check the rights on S3 itself, under these names.
_S3_SINCE = (26, 8)


class Lacking(Struct, frozen=True):
    """A right that the user lacks, as GRANT writes it, and what it is for."""

    grant: str
    purpose: str


def lacking_rights(source: Source) -> tuple[Lacking, ...]:
    """The rights besides BACKUP that a backup uses and this user does not have.

    The server is asked (CHECK GRANT, 24.10), or what can be tried without harm is tried.
    """
    found = [
        Lacking(f"SELECT ON system.{name}", "to see what is there")
        for name in _SYSTEM_TABLES
        if not _may_read(source, f"system.{name}")
    ]
    if source.version >= _S3_SINCE:
        found += [
            Lacking(f"{grant} ON S3", "to send its data to the gateway")
            for grant in ("READ", "WRITE")
            if not _has(source, grant, "S3")
        ]
    return tuple(found)


def _may_read(source: Source, table: str) -> bool:
    try:
        source.fetch(sql.nothing_of_query(table))
    except MissingGrant:
        return False
    except StatementFailed:  # a version that does not have this table
        return True
    return True


def _has(source: Source, grant: str, on: str) -> bool:
    """Whether the user has a grant; where the server cannot say, only the attempt tells."""
    try:
        return bool(integer(source.value(sql.check_grant_query(grant, on))))
    except StatementFailed:
        return True
