"""Snapshots of any time and size, to judge."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from coldhouse.model import Accounting, Snapshot, SourceInfo

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def snapshot(
    started: datetime,
    *,
    id: str = "",
    source: str = "db1",
    tags: dict[str, str] | None = None,
    rows: int = 1000,
    size: int = 100_000,
    tables: int = 10,
    include: tuple[str, ...] = (),
    damaged: tuple[str, ...] = (),
) -> Snapshot:
    """A snapshot that was begun at ``started``."""
    utc = started.astimezone(UTC)
    return Snapshot(
        id=id or f"{utc:%Y%m%dT%H%M%SZ}-{sha256(f'{utc}{source}{include}'.encode()).hexdigest()[:16]}",
        started=started,
        finished=started + timedelta(minutes=1),
        source=SourceInfo(f"http://{source}:8123", f"id of {source}", source, "26.9", "UTC"),
        parent="",
        tags=tags or {},
        accounting=Accounting(size, 0, size, size, size, 2, tables, tables, tables, rows, 1),
        catalog=(),
        damaged=damaged,
        include=include,
    )


def daily(days: int, *, last: datetime = NOON, source: str = "db1") -> list[Snapshot]:
    """One each day, oldest first."""
    return [snapshot(last - timedelta(days=ago), source=source) for ago in reversed(range(days))]


def days_of(snapshots: Iterable[Snapshot]) -> list[str]:
    """Their times as short texts, oldest first."""
    return [f"{one.started.astimezone(UTC):%m-%d %H:%M}" for one in sorted(snapshots, key=lambda one: one.started)]
