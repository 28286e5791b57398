"""What a restore will do, decided from values alone, so that it can be printed before anything is touched."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from coldhouse.clickhouse import Selection, creation_order
from coldhouse.errors import TargetExists, UsageError
from coldhouse.model import PageRef, TableEntry, TableKind, TableName
from coldhouse.operations.renaming import Renaming

Existing = Literal["fail", "skip", "replace", "append"]
Action = Literal["create", "skip", "replace", "append"]

#: How many names an error lists before it says "and N more".
SHOWN = 10


class Share(Struct, frozen=True):
    """Some of a table: so many parts, rows, bytes."""

    parts: int = 0
    rows: int = 0
    bytes: int = 0

    def __add__(self, other: Share) -> Share:
        """Both together."""
        return Share(self.parts + other.parts, self.rows + other.rows, self.bytes + other.bytes)


class TableOutcome(Struct, frozen=True):
    """What happened (or would happen) to one table; ``status`` is planned, restored, in part or skipped.

    ``rows``, ``bytes`` and ``parts`` are those of the snapshot (rows if they are known); of these, ``left_out`` was
    damaged, at the source or since. ``rows_restored`` were counted in the target; None where nobody did, or could.
    """

    name: TableName
    target: TableName
    action: str
    rows: int
    bytes: int
    parts: int
    status: str
    note: str = ""
    left_out: Share = Share()
    rows_known: bool = True
    rows_restored: int | None = None

    @property
    def brought(self) -> Share:
        """What came back, or would: all but what was left out."""
        out = self.left_out
        return Share(self.parts - out.parts, self.rows - out.rows, self.bytes - out.bytes)

    @property
    def rows_moved(self) -> int:
        """The rows that came, or are to come, as far as that is known."""
        return self.brought.rows if self.rows_restored is None else self.rows_restored


class TableStep(Struct, frozen=True):
    """One table to restore: what it is in the snapshot, the name it gets, and what happens to a table of that name.

    ``partitions`` is None for all of it; ``parts``, ``rows`` and ``bytes`` are what will be restored.
    """

    entry: TableEntry
    target: TableName
    action: Action
    partitions: frozenset[str] | None
    parts: int
    rows: int
    bytes: int

    @property
    def pages(self) -> tuple[PageRef, ...]:
        """The manifest pages that can hold parts of what is restored."""
        wanted = self.partitions
        return tuple(
            [
                page
                for page in self.entry.pages
                if wanted is None or any(page.first <= partition <= page.last for partition in wanted)
            ]
        )

    def outcome(self, status: str, note: str = "") -> TableOutcome:
        """What the report says of this step."""
        return TableOutcome(
            self.entry.name,
            self.target,
            self.action,
            self.rows,
            self.bytes,
            self.parts,
            status,
            note,
            rows_known=self.rows_known,
        )

    @property
    def rows_known(self) -> bool:
        """Whether ``rows`` is how many will come, and not 0 for want of a count."""
        return self.bytes == 0 or self.entry.rows_known


class DatabaseStep(Struct, frozen=True):
    """A database to create, with the CREATE statement that the source showed."""

    name: str
    source_name: str
    definition: str


class RestorePlan(Struct, frozen=True):
    """Everything that a restore will do, in its order."""

    databases: tuple[DatabaseStep, ...]
    tables: tuple[TableStep, ...]

    @property
    def bytes(self) -> int:
        """Bytes of ClickHouse files that will go over to the target."""
        return sum(step.bytes for step in self.tables if step.action != "skip")


def choose(
    entries: Iterable[TableEntry],
    selection: Selection,
    partitions: Mapping[TableName, Collection[str]],
) -> list[TableEntry]:
    """The entries that a restore is about: those the patterns match, or the tables whose partitions are asked for.

    Database entries of chosen tables, and of databases (even empty ones) that a pattern takes as a whole, come with
    them. Raises UsageError when a pattern or a partition's table matches nothing.
    """
    everything = list(entries)
    chosen = [entry for entry in everything if entry.name.table and _chosen(entry.name, selection, partitions)]
    for name in partitions:
        if not any(entry.name == name for entry in chosen):
            raise UsageError(f"the snapshot has no table {name}", hint="coldhouse show SNAPSHOT lists its tables")
    idle = selection.idle(frozenset(entry.name for entry in everything))
    if idle:
        raise UsageError(
            f"no table of the snapshot matches {', '.join(idle)}",
            hint="patterns are database.table with * and ?; coldhouse show SNAPSHOT lists its tables",
        )
    needed = {entry.name.database for entry in chosen}
    databases = [
        entry
        for entry in everything
        if not entry.name.table and (entry.name.database in needed or _chosen(entry.name, selection, partitions))
    ]
    return databases + chosen


def require_effect(
    entries: Iterable[TableEntry], chosen: Sequence[TableEntry], selection: Selection, renaming: Renaming
) -> None:
    """Raise UsageError for what leaves out, or renames, nothing: with a slip of the pen the live table is replaced."""
    idle = selection.idle_exclusions(frozenset(entry.name for entry in entries))
    if idle:
        raise UsageError(
            f"no table of the snapshot matches --exclude {', '.join(idle)}",
            hint="patterns are database.table with * and ?; coldhouse show SNAPSHOT lists its tables",
        )
    unknown = renaming.idle(frozenset(entry.name for entry in chosen))
    if unknown:
        raise UsageError(
            f"--rename has a new name for {', '.join(map(str, unknown))}, of which nothing would be restored",
            hint="coldhouse show SNAPSHOT lists its tables",
        )


def _chosen(name: TableName, selection: Selection, partitions: Mapping[TableName, Collection[str]]) -> bool:
    if partitions and not selection.include:
        return name in partitions
    return selection.takes(name)


def plan_restore(
    chosen: Sequence[TableEntry],
    renaming: Renaming,
    there: Collection[TableName],
    existing: Existing,
    shares: Mapping[TableName, tuple[frozenset[str], Share]],
    *,
    schema_only: bool = False,
    ours: Collection[TableName] = (),
) -> RestorePlan:
    """Decide what happens to every chosen table, in an order in which each one's dependencies come first.

    ``there`` are the tables and databases (empty table) of the target. ``shares`` holds, for tables of which only some
    partitions are restored, which and how much that is. ``ours`` are tables that an interrupted run of this same
    restore began, so that finding them is no conflict. Raises TargetExists, naming the tables, when one is there and
    ``existing`` is "fail"; UsageError when two tables get one name.
    """
    tables = [entry for entry in chosen if entry.name.table]
    targets = [renaming.of(entry.name) for entry in tables]
    _refuse_collisions(tables, targets)
    conflicts = [target for target in targets if target in there and target not in ours]
    if conflicts and existing == "fail":
        raise TargetExists(
            f"already there: {_listed(conflicts)}; nothing was touched",
            hint="say --existing skip, replace or append, or restore beside them with --rename OLD=NEW",
        )
    conflicting = set(conflicts)
    steps = []
    for entry in creation_order(tables):
        target = renaming.of(entry.name)
        action: Action = "create" if target not in conflicting or existing == "fail" else existing
        partitions, share = shares.get(entry.name, (None, Share(entry.parts, entry.rows, entry.bytes)))
        if schema_only or entry.kind is TableKind.DEFINITION:
            share = Share(0, 0, 0)
        steps.append(TableStep(entry, target, action, partitions, share.parts, share.rows, share.bytes))
    return RestorePlan(
        _databases(chosen, steps, renaming, {name.database for name in there if not name.table}), tuple(steps)
    )


def _databases(
    chosen: Sequence[TableEntry], steps: Sequence[TableStep], renaming: Renaming, existing: Collection[str]
) -> tuple[DatabaseStep, ...]:
    """The databases that do not exist yet: chosen ones, and those that a renamed table goes to."""
    needed = {renaming.of(entry.name).database: entry for entry in chosen if not entry.name.table}
    created = {
        name: DatabaseStep(name, entry.name.database, entry.definition)
        for name, entry in needed.items()
        if name not in existing
    }
    for step in steps:
        name = step.target.database
        if name not in existing and name not in created:
            created[name] = DatabaseStep(name, "", "")
    return tuple(created[name] for name in sorted(created))


def _refuse_collisions(tables: Sequence[TableEntry], targets: Sequence[TableName]) -> None:
    first: dict[TableName, TableName] = {}
    for entry, target in zip(tables, targets, strict=True):
        other = first.setdefault(target, entry.name)
        if other != entry.name:
            raise UsageError(
                f"{other} and {entry.name} would both become {target}", hint="give them different names with --rename"
            )


def _listed(names: Sequence[TableName]) -> str:
    shown = ", ".join(str(name) for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
