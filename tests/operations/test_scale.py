"""What grows with the parts and what does not, on manifests of invented parts: requests, objects and bytes, no time."""

from __future__ import annotations

import pytest

from benchmarks.scale.invented import Shape
from benchmarks.scale.report import Figure, bars, slope
from benchmarks.scale.works import FIRST, ONE_PARTITION, RECENT, UNCHANGED, WORKS, Place
from coldhouse.storage.counted import Requests

SMALL, LARGE = 2_000, 10_000


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Requests]:
    """What each work asks of the store at two sizes; one table, so that its pages are more than one."""
    found: dict[tuple[str, int], Requests] = {}
    for size in (SMALL, LARGE):
        place = Place(tmp_path_factory.mktemp(f"parts{size}") / "repository", Shape(size, tables=1))
        for work in (FIRST, UNCHANGED, RECENT, ONE_PARTITION):
            found[work, size] = WORKS[work](place).requests
    return found


Costs = dict[tuple[str, int], Requests]


def test_an_unchanged_increment_asks_the_same_whatever_the_size(costs: Costs) -> None:
    small, large = costs[UNCHANGED, SMALL], costs[UNCHANGED, LARGE]
    assert _counts(small) == _counts(large)
    assert large.put <= 10
    assert large.uploaded < 2000
    assert large.downloaded < 0.01 * costs[FIRST, LARGE].uploaded


def test_a_change_in_the_last_partitions_writes_their_page_alone(costs: Costs) -> None:
    """At 10,000 parts a page is a tenth of all; the bar of 5 % is for more than that."""
    small, large = costs[RECENT, SMALL], costs[RECENT, LARGE]
    assert small.put <= large.put <= 6
    assert large.uploaded < 0.15 * costs[FIRST, LARGE].uploaded


def test_one_partition_needs_the_same_of_a_larger_table(costs: Costs) -> None:
    small, large = costs[ONE_PARTITION, SMALL], costs[ONE_PARTITION, LARGE]
    assert _counts(small) == _counts(large)
    assert large.downloaded < 1.05 * small.downloaded


def test_the_first_snapshot_writes_an_object_for_a_thousand_parts(costs: Costs) -> None:
    small, large = costs[FIRST, SMALL], costs[FIRST, LARGE]
    assert large.put - small.put == (LARGE - SMALL) // 1000
    assert large.uploaded / small.uploaded == pytest.approx(LARGE / SMALL, rel=0.1)


def _counts(asked: Requests) -> tuple[int, ...]:
    return asked.put, asked.get, asked.list, asked.head, asked.delete


# ---------------------------------------------------------------------------------------------------- how it is judged


def test_a_slope_is_the_exponent_of_growth() -> None:
    assert slope([10, 100, 1000], [7, 70, 700]) == pytest.approx(1)
    assert slope([10, 100, 1000], [5, 5, 5]) == pytest.approx(0)
    assert slope([10, 100], [1, 100]) == pytest.approx(2)
    assert slope([10], [3]) == 0


def test_a_bar_that_does_not_hold_says_so() -> None:
    def figure(work: str, parts: int, seconds: float) -> Figure:
        return Figure(work, parts, seconds, 1 << 20, Requests(put=1, uploaded=1000, downloaded=1))

    works = (FIRST, UNCHANGED, RECENT, ONE_PARTITION)
    good = [figure(work, parts, parts / 1e6) for work in works for parts in (1000, 10000)]
    assert [bar.promise for bar in bars(good) if not bar.holds] == ["2 % changed, recent: at most 5 % of the metadata"]
    slow = [*good[:-1], figure(ONE_PARTITION, 10000, 1)]
    assert "nothing grows faster than linearly" in [bar.promise for bar in bars(slow) if not bar.holds]
