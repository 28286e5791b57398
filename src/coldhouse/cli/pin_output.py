"""What ``pin`` and ``unpin`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.documents import utc
from coldhouse.cli.output import printable

if TYPE_CHECKING:
    from coldhouse.operations.pin import PinChange


class PinDocument(msgspec.Struct, frozen=True):
    """The document of ``pin`` and ``unpin``: how it is now, and whether it was pinned before."""

    snapshot: str
    pinned: bool
    reason: str
    pinned_at: str | None
    was_pinned: bool


def document(change: PinChange) -> PinDocument:
    """The document of a change."""
    now = change.now
    return PinDocument(
        snapshot=change.snapshot.id,
        pinned=now is not None,
        reason=now.reason if now else "",
        pinned_at=utc(now.at) if now else None,
        was_pinned=change.before is not None,
    )


def text(change: PinChange) -> list[str]:
    """The change for people."""
    if change.now is None:
        was = "is no longer pinned" if change.before else "was not pinned"
        return [f"Snapshot {change.snapshot.id} {was}."]
    why = f": {printable(change.now.reason)}" if change.now.reason else ""
    return [f"Snapshot {change.snapshot.id} is pinned{why}."]
