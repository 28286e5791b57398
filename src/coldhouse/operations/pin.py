"""Pins: snapshots that no policy may forget, each with a reason, kept as notes beside them."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, OldKey
from coldhouse.model import Snapshot
from coldhouse.operations import choosing
from coldhouse.repository import IMPOSSIBLE, Repository

KIND = "pin"


class Pin(Struct, frozen=True):
    """Why a snapshot is kept for good, and since when."""

    reason: str
    at: datetime


class PinChange(Struct, frozen=True):
    """What ``pin`` or ``unpin`` did: the pin that the snapshot has now, and the one that it had."""

    snapshot: Snapshot
    now: Pin | None
    before: Pin | None


def pin(repository: Repository, name: str, reason: str = "", *, source: str = "") -> PinChange:
    """Pin a snapshot; one that is pinned gets the new reason. Raises NoSuchSnapshot, Corruption, StorageError."""
    snapshot = choosing.find(repository, name, source)
    made = Pin(reason, datetime.now(UTC))
    before = _read(repository, snapshot.id)
    repository.put_note(KIND, snapshot.id, msgspec.msgpack.encode(made))
    return PinChange(snapshot, made, before)


def unpin(repository: Repository, name: str, *, source: str = "") -> PinChange:
    """Let a snapshot go as others do; also one that was not pinned. Raises as ``pin`` does."""
    snapshot = choosing.find(repository, name, source)
    before = _read(repository, snapshot.id)
    repository.delete_note(KIND, snapshot.id)
    return PinChange(snapshot, None, before)


def pins(repository: Repository) -> dict[str, Pin]:
    """All pins by snapshot id. Raises Corruption where one cannot be read: it may be any snapshot's."""
    return {snapshot_id: _decoded(snapshot_id, stored) for snapshot_id, stored in repository.notes(KIND)}


def known_pins(repository: Repository) -> dict[str, Pin]:
    """The same for a listing, which damaged pins must not prevent; ``doctor`` reports them."""
    found: dict[str, Pin] = {}
    try:
        for snapshot_id, stored in repository.notes(KIND):
            found[snapshot_id] = _decoded(snapshot_id, stored)
    except (Corruption, OldKey):
        return found
    return found


def _read(repository: Repository, snapshot_id: str) -> Pin | None:
    """A pin; a damaged one counts as one without a reason, so that it can be replaced or removed."""
    try:
        stored = repository.get_note(KIND, snapshot_id)
        return None if stored is None else _decoded(snapshot_id, stored)
    except Corruption:
        return Pin("", datetime.fromtimestamp(0, UTC))


def _decoded(snapshot_id: str, stored: bytes) -> Pin:
    try:
        return msgspec.msgpack.decode(stored, type=Pin)
    except IMPOSSIBLE as error:
        raise Corruption(
            f"The pin of {snapshot_id} cannot be read.", hint=f"Set it again: coldhouse pin {snapshot_id}"
        ) from error
