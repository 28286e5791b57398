"""The names of objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from coldhouse.repository import names, new_snapshot_id

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def test_snapshot_ids_are_in_the_order_of_time_also_within_a_second() -> None:
    moments = [NOON + timedelta(microseconds=step) for step in (0, 1, 15, 16, 999, 499_999, 999_999, 1_000_000)]
    ids = [new_snapshot_id(moment) for moment in moments]
    assert ids == sorted(ids)
    assert all(names.is_snapshot_id(each) for each in ids)


def test_snapshot_ids_of_the_same_moment_differ() -> None:
    assert len({new_snapshot_id(NOON) for _ in range(1000)}) == 1000
