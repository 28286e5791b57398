"""Trying what nobody would send: values bent out of shape, and the bounds within which a parser must say so."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: The same examples every time in `make test`; fifty times as many, and always others, in `make test-long`.
BUDGETS = pytest.mark.parametrize("budget", [1, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(3000)])])

Check = Callable[[st.DataObject], None]


def explore(check: Check, examples: int, budget: int) -> None:
    """Let hypothesis try a check with as many examples."""
    bounds = settings(
        max_examples=examples * budget,
        deadline=None,
        derandomize=budget == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    bounds(given(st.data())(check))()


#: Numbers at the edges of what they are read into.
NUMBERS = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([0, 1, -1, 15, 16, 255, 256, 65535, 65536, 1 << 31, 1 << 32, 1 << 34, 1 << 62, 1 << 63, 2**64 - 1]),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.floats(), st.text(max_size=8), st.binary(max_size=40), st.datetimes()
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)


def bent(data: st.DataObject, value: object) -> object:
    """A value with one thing in it replaced, left out, doubled or added; mostly something deep inside."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 9)):
        field = data.draw(st.sampled_from(list(value)))
        match data.draw(st.integers(0, 9)):
            case 0:
                return {name: each for name, each in value.items() if name != field}
            case 1:
                return {**value, data.draw(st.text(max_size=5)): data.draw(VALUES)}
        return {**value, field: bent(data, value[field])}
    if isinstance(value, list | tuple) and value and data.draw(st.integers(0, 9)):
        at = data.draw(st.integers(0, len(value) - 1))
        items = list(value)
        match data.draw(st.integers(0, 9)):
            case 0:
                return items[:at] + items[at + 1 :]
            case 1:
                return items[:at] + items[at : at + 1] * 2 + items[at + 1 :]
        return [*items[:at], bent(data, items[at]), *items[at + 1 :]]
    if isinstance(value, bytes) and value and data.draw(st.booleans()):
        return bent_bytes(data, value)
    return data.draw(VALUES)


def bent_bytes(data: st.DataObject, stored: bytes) -> bytes:
    """Bytes with a few of them replaced, cut out or put in; or with numbers at the edges of what they mean."""
    at = data.draw(st.integers(0, len(stored)))
    match data.draw(st.integers(0, 5)):
        case 0:
            return stored[:at] + data.draw(st.binary(min_size=1, max_size=8)) + stored[at + 1 :]
        case 1:
            return stored[:at] + stored[at + data.draw(st.integers(1, 40)) :]
        case 2:
            return stored[:at] + data.draw(st.binary(max_size=40)) + stored[at:]
    number = data.draw(NUMBERS) % (1 << 64)
    width = data.draw(st.sampled_from([4, 8]))
    start = at // width * width
    return stored[:start] + (number % (1 << 8 * width)).to_bytes(width, "little") + stored[start + width :]


def bent_record(data: st.DataObject, stored: bytes) -> bytes:
    """A MessagePack record bent as a value, or as bytes."""
    if data.draw(st.integers(0, 3)) == 0:
        return bent_bytes(data, stored)
    value = bent(data, msgspec.msgpack.decode(stored))
    for _ in range(data.draw(st.integers(0, 2))):
        value = bent(data, value)
    return msgspec.msgpack.encode(value)
