"""What ``coldhouse key ... --json`` prints, and ``snapshots --json`` with a key that cannot read; never a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from coldhouse.operations.key import Renewal, Slot


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A key slot: ``proven`` says whether a holder of the master key made it, null where this key cannot tell."""

    id: str
    label: str
    kind: str
    access: str
    generation: int
    created_at: str
    recipient: str
    in_use: bool
    proven: bool | None
    damaged: str


class RenewalDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What ``key rotate`` does with a key, or would do."""

    key: KeyDocument
    renewed: bool
    removed: bool
    reason: str


class RotationDocument(msgspec.Struct, frozen=True):
    """The document of ``key rotate``."""

    done: bool
    keys: list[RenewalDocument]


class SheetDocument(msgspec.Struct, frozen=True):
    """The document of ``key export``: where the sheet is."""

    repository: str
    file: str


class PolicyDocument(msgspec.Struct, frozen=True, rename={"version": "Version", "statements": "Statement"}):
    """An IAM policy as Amazon reads it."""

    version: str
    statements: Sequence[Mapping[str, object]]


class SnapshotTime(msgspec.Struct, frozen=True):
    """An element of the document of ``snapshots`` with a key that cannot read."""

    snapshot: str
    started_at: str


def key(slot: Slot) -> KeyDocument:
    """The document of a key."""
    return KeyDocument(
        id=slot.id,
        label=slot.label,
        kind=slot.kind,
        access="full" if slot.full else "write-only",
        generation=slot.generation,
        created_at=slot.created,
        recipient=str(slot.recipient) if slot.recipient is not None else "",
        in_use=slot.in_use,
        proven=slot.proven,
        damaged=slot.damaged,
    )


def keys(slots: Iterable[Slot]) -> list[KeyDocument]:
    """The document of ``key list`` and ``key remove``."""
    return [key(slot) for slot in slots]


def rotation(plan: Iterable[Renewal], *, done: bool) -> RotationDocument:
    """The document of ``key rotate``."""
    items = [
        RenewalDocument(key=key(item.slot), renewed=item.renewed, removed=item.superseded, reason=item.reason)
        for item in plan
    ]
    return RotationDocument(done, items)


def policy(statements: Sequence[Mapping[str, object]]) -> PolicyDocument:
    """The document of ``key policy``."""
    return PolicyDocument("2012-10-17", statements)


def snapshot_times(found: Iterable[tuple[str, datetime]]) -> list[SnapshotTime]:
    """The document of ``snapshots`` with a key that cannot read."""
    return [SnapshotTime(id, f"{time:%Y-%m-%dT%H:%M:%SZ}") for id, time in found]
