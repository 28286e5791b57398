"""Memory that is lent is nobody else's at the same time, and is used again."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from coldhouse.spare_memory import SpareMemory


def address_of(block: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(block))


def test_who_works_at_the_same_time_has_other_memory_and_who_comes_later_the_same() -> None:
    spare = SpareMemory()
    with spare.lent(1000) as one, spare.lent(1000) as other:
        one[:] = b"1" * 1000
        other[:] = b"2" * 1000
        assert bytes(one) == b"1" * 1000
        places = {address_of(one), address_of(other)}
        assert len(places) == 2
    with spare.lent(1000) as one, spare.lent(1000) as other:
        assert {address_of(one), address_of(other)} == places


def test_it_begins_on_a_page() -> None:
    with SpareMemory().lent(3) as block:
        assert address_of(block) % mmap.PAGESIZE == 0


def test_it_is_given_back_after_a_failure() -> None:
    spare = SpareMemory()
    with pytest.raises(KeyError), spare.lent(10) as block:
        place = address_of(block)
        raise KeyError
    with spare.lent(10) as block:
        assert address_of(block) == place


def test_it_is_as_long_as_asked_for() -> None:
    spare = SpareMemory()
    for size in (10, 100_000, 3):
        with spare.lent(size) as block:
            assert len(block) == size
