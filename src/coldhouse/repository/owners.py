"""Who else works on the repository, as a prune sees it: pure decisions over the intents that it has read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from coldhouse.errors import Corruption
from coldhouse.repository import intents, names
from coldhouse.repository.intents import Declaration, NotADeclaration
from coldhouse.storage.base import Storage, StoredObject

PRUNE = "prune"


class Owner(Struct, frozen=True):
    """One intent: what its last declaration says (None if that cannot be read), and when the store had which.

    ``objects`` are the names of its declarations. It is ``nobodys`` if none of them was made by who keeps to the
    protocol: then there is nobody to wait for, or to shut out.
    """

    id: str
    says: Declaration | None
    began: datetime
    heard: datetime
    objects: tuple[str, ...]
    nobodys: bool = False

    @property
    def writes(self) -> bool:
        """Whether it may commit something."""
        return not self.nobodys if self.says is None else bool(self.says.commits)


class Wait(Struct, frozen=True):
    """Why a list must wait: an owner of this kind is at work; ``began`` and ``heard`` are the store's times.

    ``damaged`` names a declaration that cannot be read.
    """

    kind: str
    began: datetime
    heard: datetime
    damaged: str = ""


def read_owners(storage: Storage) -> list[Owner]:
    """Every intent there is; one that ends meanwhile is left out."""
    found: dict[str, list[StoredObject]] = {}
    for stored in storage.list(names.INTENTS):
        declaration = names.declaration_of(stored.name)
        if declaration is not None:
            found.setdefault(declaration[0], []).append(stored)
    owners = (_read_owner(storage, id, objects) for id, objects in found.items())
    return [owner for owner in owners if owner is not None]


def _read_owner(storage: Storage, id: str, objects: list[StoredObject]) -> Owner | None:
    """The last declaration that can be read tells all: each repeats what the earlier ones committed to."""
    says: Declaration | None = None
    gone = nobodys = True
    for stored in reversed(objects):
        try:
            says = intents.read(storage, stored.name)
        except Corruption as error:
            gone = False
            nobodys = nobodys and isinstance(error, NotADeclaration)
            continue
        if says is not None:
            break
    if says is None and gone:
        return None
    times = [stored.modified for stored in objects]
    return Owner(id, says, min(times), max(times), tuple(stored.name for stored in objects), says is None and nobodys)


def unreadable(storage: Storage) -> Iterator[Corruption]:
    """What is wrong with each declaration that cannot be read, or that nobody can have made."""
    for stored in storage.list(names.INTENTS):
        if names.declaration_of(stored.name) is not None:
            try:
                intents.read(storage, stored.name)
            except Corruption as error:
                yield error


def is_over(owner: Owner, taken: Collection[str]) -> bool:
    """Whether all that it could commit is decided: ``taken`` are the names below snapshots/, fences among them."""
    return owner.says is not None and bool(owner.says.commits) and all(name in taken for name in owner.says.commits)


def is_dead(owner: Owner, now: datetime, dead_after: timedelta) -> bool:
    """Whether nothing was heard of it for too long, both times being the store's.

    Of one that cannot be read nobody knows what to shut it out of: it may live as long as it likes.
    """
    return (owner.says is not None or owner.nobodys) and now - owner.heard > dead_after


def blocks(
    owner: Owner, condemned: str, taken: Collection[str], standing: Collection[str], fenced: Mapping[str, datetime]
) -> bool:
    """Whether a condemned list must wait for an owner that is not dead.

    ``standing`` are the ids of snapshots; ``fenced`` says when a fence was last put over one of their revisions. A
    reader who said what he reads blocks only when that was forgotten, or revised, since he began; a prune never does,
    as it refers to nothing.
    """
    if owner.says is None:
        return not owner.nobodys
    if owner.says.commits:
        return condemned not in owner.says.seen and not is_over(owner, taken)
    if owner.says.kind == PRUNE:
        return False
    reads = owner.says.reads
    return not reads or any(id not in standing or (id in fenced and fenced[id] >= owner.began) for id in reads)


def oldest_writer(owners: Iterable[Owner]) -> datetime | None:
    """When the first of those that may still commit something began."""
    return min((owner.began for owner in owners if owner.writes), default=None)


def wait_of(owner: Owner) -> Wait:
    """What to say of an owner that blocks."""
    if owner.says is None:
        return Wait("unreadable", owner.began, owner.heard, owner.objects[-1])
    return Wait(owner.says.kind, owner.began, owner.heard)
