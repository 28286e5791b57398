"""In which order tables can be created: what others need comes first."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Protocol, TypeVar

from coldhouse.model import TableName

_CONSUMERS = frozenset(
    {"Kafka", "Kafka2", "NATS", "RabbitMQ", "S3Queue", "AzureQueue", "FileLog", "MaterializedPostgreSQL"}
)
#: Engines that read other tables and may look at them when they are created.
_REFERRING = frozenset({"Distributed", "Merge", "Buffer", "Alias", "Loop"})
_VIEWS = frozenset({"View", "LiveView", "WindowView"})


class Dependent(Protocol):
    """What the order is made from; a TableState and a TableEntry are such."""

    @property
    def name(self) -> TableName:
        """What it is called."""
        ...

    @property
    def engine(self) -> str:
        """Its engine."""
        ...

    @property
    def depends_on(self) -> tuple[TableName, ...]:
        """What must be there before it."""
        ...


Each = TypeVar("Each", bound=Dependent)


def rank(engine: str) -> int:
    """The class of an engine, for what the dependencies do not say: data first, consumers last.

    A consumer that is created before the views on it begins to read when no one listens, and one that is created
    before the data is back mixes new rows with old.
    """
    if engine in _CONSUMERS:
        return 5
    if engine == "MaterializedView":
        return 4
    if engine in _VIEWS:
        return 3
    if engine in _REFERRING:
        return 2
    return 1 if engine == "Dictionary" else 0


def creation_order(tables: Iterable[Each]) -> list[Each]:
    """The tables so that each comes after what it depends on; among the free ones by rank, then in the given order.

    Dependencies on tables that are not among the given are ignored. A cycle (two views may name each other through a
    third) is broken at its table of the lowest rank: no order can satisfy it, and RESTORE does not need one.
    """
    given = list(tables)
    place = {table.name: index for index, table in enumerate(given)}
    missing = [{place[name] for name in table.depends_on if name in place and name != table.name} for table in given]
    waiting: list[list[int]] = [[] for _ in given]
    for index, needed in enumerate(missing):
        for other in needed:
            waiting[other].append(index)
    keys = [(rank(table.engine), index) for index, table in enumerate(given)]
    free = [key for key in keys if not missing[key[1]]]
    heapify(free)
    stuck = sorted(keys, reverse=True)
    order: list[Each] = []
    done = [False] * len(given)
    while len(order) < len(given):
        if not free:
            while done[stuck[-1][1]]:
                stuck.pop()
            free.append(stuck[-1])
        _, index = heappop(free)
        if done[index]:
            continue
        done[index] = True
        order.append(given[index])
        for other in waiting[index]:
            missing[other].discard(index)
            if not missing[other] and not done[other]:
                heappush(free, keys[other])
    return order
