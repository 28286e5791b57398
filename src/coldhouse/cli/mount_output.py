"""What ``mount`` prints when the tables are there, as text and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.output import count, listed, table

if TYPE_CHECKING:
    from coldhouse.operations.mount import Mount


class MountedText(msgspec.Struct, frozen=True):
    """A table; ``absent`` says why it is not in the server, and is empty if it is."""

    database: str
    table: str
    mounted_as: str
    rows: int
    absent: str


class MountDocument(msgspec.Struct, frozen=True):
    """The document of ``mount``, printed when the tables can be read."""

    snapshot: str
    tables: list[MountedText]
    left_out: list[str]


def document(mounted: Mount) -> MountDocument:
    """What is mounted, as JSON."""
    tables = [
        MountedText(each.name.database, each.name.table, str(each.target), each.rows, each.absent)
        for each in mounted.tables
    ]
    return MountDocument(mounted.snapshot.id, tables, list(mounted.left_out))


def lines(mounted: Mount) -> list[str]:
    """What is mounted, as text."""
    there = [each for each in mounted.tables if not each.absent]
    absent = [f"{each.name}: {each.absent}" for each in mounted.tables if each.absent]
    rows = [(str(each.target), str(each.name), f"{each.rows:,}" if each.rows else "") for each in there]
    return [
        f"Mounted {count(len(there), 'table')} of snapshot {mounted.snapshot.id}",
        "",
        *table(("in the server", "in the snapshot", "rows"), rows, right=(2,)),
        *listed("Not there:", absent),
        *listed("Left out, because their bytes were damaged at the source already:", list(mounted.left_out)),
        "",
        "Ctrl-C ends the mount; the tables are then gone.",
    ]
