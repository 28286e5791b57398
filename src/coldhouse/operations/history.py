"""What an earlier snapshot of a source holds, table by table: the parent of a new snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec
from msgspec import Struct

from coldhouse.clickhouse import TableState
from coldhouse.errors import Corruption, NoSuchSnapshot, OldKey
from coldhouse.model import PageRef, Snapshot, TableEntry, TableName
from coldhouse.operations import broken
from coldhouse.operations.backup_plan import Earlier
from coldhouse.repository import Page, Repository

#: How many snapshots of a source are looked through for one that chose its tables as the new one does.
DEPTH = 50

Patterns = tuple[tuple[str, ...], tuple[str, ...]]


class History(Struct, frozen=True):
    """The parent of a new snapshot, and what it holds of each table; nothing for a full backup.

    ``shared``: the parent again, if all of its catalog can be read, so that the new one can share objects of it.
    ``pages`` reads its pages, and knows which must not be built upon.
    """

    parent: Snapshot | None = None
    shared: Snapshot | None = None
    pages: Earlier = msgspec.field(default_factory=lambda: Earlier(_nothing))
    warnings: tuple[str, ...] = ()
    _by_name: dict[TableName, TableEntry] = msgspec.field(default_factory=dict)
    _by_uuid: dict[str, TableEntry] = msgspec.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        repository: Repository,
        identity: str,
        patterns: Patterns,
        *,
        full: bool,
        condemned: frozenset[bytes] = frozenset(),
    ) -> History:
        """Choose the parent: the newest snapshot of the source that chose all tables, or the same ones as now.

        So that a nightly backup of everything is not compared with an hourly one of one table. Where there is no such
        snapshot, the newest one of the source will do. Nothing that is ``condemned`` by a prune is built upon.
        """
        warnings: list[str] = []
        parent = None if full else _parent(repository, identity, patterns, warnings)
        if parent is None:
            return cls(warnings=tuple(warnings))
        entries, whole = _entries(repository, parent, warnings)
        by_name = {entry.name: entry for entry in entries}
        # Tables of databases without uuids all show the same zeros.
        by_uuid = {entry.uuid: entry for entry in by_name.values() if entry.name.table and entry.uuid.strip("0-")}
        whole = whole and condemned.isdisjoint(ref.id for ref in parent.catalog)
        pages = Earlier(repository.page, broken.read(repository).ids | condemned)
        return cls(parent, parent if whole else None, pages, tuple(warnings), by_name, by_uuid)

    @property
    def entries(self) -> int:
        """How many tables and databases the parent holds."""
        return len(self._by_name)

    def table(self, state: TableState) -> TableEntry | None:
        """What is known of a table, under its name or (renamed since) under its uuid."""
        return self._by_name.get(state.name) or self._by_uuid.get(state.uuid)

    def database(self, name: str) -> TableEntry | None:
        """What is known of a database."""
        return self._by_name.get(TableName(name, ""))


def _nothing(ref: PageRef) -> Page:
    raise LookupError(f"a full backup has no earlier page {ref.first}")


def _entries(repository: Repository, parent: Snapshot, warnings: list[str]) -> tuple[list[TableEntry], bool]:
    """The tables of a snapshot, as far as its catalog can be read, and whether all of it can."""
    entries: list[TableEntry] = []
    whole = True
    for ref in parent.catalog:
        try:
            entries += repository.catalog(ref)
        except Corruption as error:
            whole = False
            warnings.append(f"{error.message} What it held is sent again.")
    return entries, whole


def _parent(repository: Repository, identity: str, patterns: Patterns, warnings: list[str]) -> Snapshot | None:
    newest: Snapshot | None = None
    for snapshot in islice(_newest_of(repository, identity, warnings), DEPTH):
        if (snapshot.include, snapshot.exclude) in (patterns, ((), ())):
            return snapshot
        newest = newest or snapshot
    return newest


def _newest_of(repository: Repository, identity: str, warnings: list[str]) -> Iterator[Snapshot]:
    for snapshot_id in reversed(repository.readable_snapshot_ids()):
        try:
            snapshot = repository.snapshot(snapshot_id)
        except NoSuchSnapshot:
            continue  # forgotten meanwhile
        except (Corruption, OldKey) as error:
            warnings.append(f"{error.message} This backup does not build on it.")
            continue
        if snapshot.source.identity == identity:
            yield snapshot
