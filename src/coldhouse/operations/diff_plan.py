"""What is different between two states of the same tables, from their manifests or system tables alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from coldhouse.clickhouse import definition
from coldhouse.errors import UsageError
from coldhouse.model import Octets, PartState, TableKind, TableName

Change = Literal["added", "removed", "changed", "same"]


class Amount(Struct, frozen=True):
    """Parts, their rows and their bytes."""

    parts: int = 0
    rows: int = 0
    bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.parts + other.parts, self.rows + other.rows, self.bytes + other.bytes)


class TableFacts(Struct, frozen=True):
    """A table (or, with an empty table name, a database) on one side.

    ``content`` stands for the contents of a table without parts: equal contents, equal digest; empty if unknown.
    ``counted``: whether the rows of ``amount`` are known.
    """

    name: TableName
    uuid: str
    engine: str
    kind: TableKind
    definition: str
    amount: Amount
    content: Octets = b""
    counted: bool = True


class PartitionChange(Struct, frozen=True):
    """What parts of a partition came and went; a merge makes both without changing a row."""

    partition: str
    added: Amount
    removed: Amount


class TableChange(Struct, frozen=True):
    """A table on both sides: ``before`` and ``after`` are all that it holds, ``definition`` says where that differs.

    ``was`` is its earlier name if it was renamed.
    """

    name: TableName
    engine: str
    change: Change
    before: Amount = msgspec.field(default_factory=Amount)
    after: Amount = msgspec.field(default_factory=Amount)
    definition: str = ""
    was: TableName | None = None
    partitions: tuple[PartitionChange, ...] = ()

    @property
    def added(self) -> Amount:
        """The parts that came."""
        return sum((each.added for each in self.partitions), Amount())

    @property
    def removed(self) -> Amount:
        """The parts that went."""
        return sum((each.removed for each in self.partitions), Amount())


Tables = Mapping[TableName, TableFacts]

#: The parts of a table on the two sides in the order of (partition, name), those that are surely the same left out.
Parts = Callable[[TableFacts, TableFacts], tuple[Iterable[PartState], Iterable[PartState]]]


def compare(before: Tables, after: Tables, parts: Parts) -> Iterator[TableChange]:
    """Every table of either side in the order of the names, those that are the same too."""
    renamed = _renamed(before, after)
    gone = set(renamed.values())
    for name in sorted(before.keys() | after.keys()):
        new = after.get(name)
        old = before.get(renamed.get(name, name))
        if new is None:
            if old is not None and name not in gone:
                yield TableChange(name, old.engine, "removed", before=old.amount)
        elif old is None:
            yield TableChange(name, new.engine, "added", after=new.amount)
        else:
            yield _compared(old, new, parts)


def partition_changes(before: Iterable[PartState], after: Iterable[PartState]) -> Iterator[PartitionChange]:
    """The partitions whose parts are not the same; both sides are in the order of (partition, name).

    A part is the same if its name and hash are; one whose hash is unknown, if its name, rows and bytes are.
    """
    partition = ""
    added = removed = Amount()
    for old, new in _side_by_side(before, after):
        here = (old or new or _NO_PART).partition
        if here != partition and (added.parts or removed.parts):
            yield PartitionChange(partition, added, removed)
            added = removed = Amount()
        partition = here
        if old is None or new is None or not _same(old, new):
            added += _amount(new)
            removed += _amount(old)
    if added.parts or removed.parts:
        yield PartitionChange(partition, added, removed)


def changed_parts(before: Iterable[PartState], after: Iterable[PartState]) -> tuple[list[str], list[str]]:
    """The names of the parts that went, and of those that came."""
    went: list[str] = []
    came: list[str] = []
    for old, new in _side_by_side(before, after):
        if old is None or new is None or not _same(old, new):
            went += [old.name] if old else []
            came += [new.name] if new else []
    return went, came


_NO_PART = PartState("", "", b"", 0, 0)


def _compared(old: TableFacts, new: TableFacts, parts: Parts) -> TableChange:
    differs = _difference(old.definition, new.definition)
    changes: tuple[PartitionChange, ...] = ()
    other_content = False
    if TableKind.PARTS in (old.kind, new.kind):
        changes = tuple(partition_changes(*parts(old, new)))
    elif TableKind.FILES in (old.kind, new.kind):
        known = old.content and new.content
        counted = old.counted and new.counted
        other_content = old.content != new.content if known else counted and old.amount.rows != new.amount.rows
    was = old.name if old.name != new.name else None
    changed = differs or changes or other_content or was
    return TableChange(
        name=new.name,
        engine=new.engine,
        change="changed" if changed else "same",
        before=old.amount,
        after=new.amount,
        definition=differs,
        was=was,
        partitions=changes,
    )


def _renamed(before: Tables, after: Tables) -> dict[TableName, TableName]:
    """The earlier names of tables that are there under another name, known by their UUIDs."""
    lost = {facts.uuid: name for name, facts in before.items() if name not in after and facts.uuid.strip("0-")}
    return {name: lost[facts.uuid] for name, facts in after.items() if name not in before and facts.uuid in lost}


def _difference(old: str, new: str) -> str:
    if old == new or not (old and new):
        return ""
    try:
        return definition.difference(old, new)
    except UsageError:
        return "the definition"


def _side_by_side(
    before: Iterable[PartState], after: Iterable[PartState]
) -> Iterator[tuple[PartState | None, PartState | None]]:
    """Parts of the same partition and name together, the others alone."""
    one, other = iter(before), iter(after)
    old, new = next(one, None), next(other, None)
    while old is not None or new is not None:
        if new is None or (old is not None and _place(old) < _place(new)):
            yield old, None
            old = next(one, None)
        elif old is None or _place(new) < _place(old):
            yield None, new
            new = next(other, None)
        else:
            yield old, new
            old, new = next(one, None), next(other, None)


def _place(state: PartState) -> tuple[str, str]:
    return state.partition, state.name


def _same(old: PartState, new: PartState) -> bool:
    if old.hash and new.hash:
        return old.hash == new.hash
    return (old.rows, old.bytes) == (new.rows, new.bytes)


def _amount(state: PartState | None) -> Amount:
    return Amount(1, state.rows, state.bytes) if state else Amount()
