"""The time zone of the engine that a snapshot is asked in: its source's, or days and hours would be others."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from coldhouse.model import Snapshot


def engine_zone(snapshot: Snapshot, warn: Callable[[str], None]) -> str:
    """The time zone in which a scratch engine reads a snapshot as its source did; empty if the snapshot names none.

    ``warn`` is told of one that this machine does not know; UTC stands for it.
    """
    name = snapshot.source.timezone
    if not name:
        return ""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        warn(f"the time zone of the source, {name}, is not known on this machine: times are read in UTC instead")
        return "UTC"
    return name
