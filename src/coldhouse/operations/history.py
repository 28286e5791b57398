"""What an earlier snapshot of a source holds, table by table: the parent of a new snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from coldhouse.clickhouse import TableState
from coldhouse.model import Snapshot, TableEntry, TableName
from coldhouse.repository import Repository

#: How many snapshots of a source are looked through for one that chose its tables as the new one does.
DEPTH = 50

Patterns = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class History:
    """The parent of a new snapshot, and what it holds of each table; nothing for a full backup."""

    parent: Snapshot | None = None
    _by_name: dict[TableName, TableEntry] = field(default_factory=dict)
    _by_uuid: dict[str, TableEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, repository: Repository, identity: str, patterns: Patterns, *, full: bool) -> History:
        """Choose the parent: the newest snapshot of the source that chose all tables, or the same ones as now.

        So that a nightly backup of everything is not compared with an hourly one of one table. Where there is no such
        snapshot, the newest one of the source will do.
        """
        parent = None if full else _parent(repository, identity, patterns)
        if parent is None:
            return cls()
        by_name = {entry.name: entry for entry in repository.entries(parent)}
        # Tables of databases without uuids all show the same zeros.
        by_uuid = {entry.uuid: entry for entry in by_name.values() if entry.name.table and entry.uuid.strip("0-")}
        return cls(parent, by_name, by_uuid)

    def table(self, state: TableState) -> TableEntry | None:
        """What is known of a table, under its name or (renamed since) under its uuid."""
        return self._by_name.get(state.name) or self._by_uuid.get(state.uuid)

    def database(self, name: str) -> TableEntry | None:
        """What is known of a database."""
        return self._by_name.get(TableName(name, ""))


def _parent(repository: Repository, identity: str, patterns: Patterns) -> Snapshot | None:
    newest: Snapshot | None = None
    for snapshot in islice(_newest_of(repository, identity), DEPTH):
        if (snapshot.include, snapshot.exclude) in (patterns, ((), ())):
            return snapshot
        newest = newest or snapshot
    return newest


def _newest_of(repository: Repository, identity: str) -> Iterator[Snapshot]:
    for snapshot_id in reversed(repository.readable_snapshot_ids()):
        snapshot = repository.snapshot(snapshot_id)
        if snapshot.source.identity == identity:
            yield snapshot
