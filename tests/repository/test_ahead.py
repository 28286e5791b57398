"""Reading ahead: the results are those of a plain loop, in its order."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldhouse.repository.ahead import reading_ahead


@given(st.integers(0, 3), st.lists(st.integers(0, 9), max_size=40))
def test_results_come_in_the_order_of_the_items(threads: int, items: list[int]) -> None:
    with reading_ahead(threads) as ahead:
        found = list(ahead.each(lambda item: item * item, items, waits=lambda item: item % 2 == 1))
    assert found == [item * item for item in items]


def test_what_waits_for_nothing_is_done_in_the_caller_s_thread() -> None:
    with reading_ahead(2) as ahead:
        found = list(ahead.each(lambda _: threading.current_thread(), range(6), waits=lambda item: item < 3))
    here = threading.current_thread()
    assert [thread is here for thread in found] == [False] * 3 + [True] * 3


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("waits", [True, False])
def test_what_came_before_a_failure_comes_before_it(threads: int, waits: bool) -> None:
    def act(item: int) -> int:
        if item == 3:
            raise ValueError("the fourth")
        return item

    found: list[int] = []
    with reading_ahead(threads) as ahead, pytest.raises(ValueError, match="the fourth"):
        found.extend(ahead.each(act, range(10), waits=lambda item: waits or item != 3))
    assert found == [0, 1, 2]


@pytest.mark.parametrize(("each", "looked"), [(1, 5), (100, 401), (5000, 1001)])
def test_what_has_to_be_waited_for_is_begun_however_much_else_is_between(each: int, looked: int) -> None:
    """Two for each thread beside the first; no more than a thousand items are kept in mind for it."""
    seen: list[int] = []

    def waits(item: int) -> bool:
        seen.append(item)
        return item % each == 0

    with reading_ahead(2) as ahead:
        results = ahead.each(lambda item: item, range(10_000), waits=waits)
        assert next(results) == 0
    assert len(seen) == looked


def test_a_loop_that_is_left_waits_for_no_more_than_has_begun() -> None:
    done: list[int] = []
    with reading_ahead(1) as ahead:
        results = ahead.each(done.append, range(1000))
        next(results)
    assert len(done) < 10
