"""Files put together from what the directories of packs say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from coldhouse.operations.rebuild import whole_file
from coldhouse.repository import Run


def run(start: int, length: int, *, size: int, offset: int = 0) -> Run:
    return Run(b"s" * 16, 1, b"c" * 16, size, start, offset, length, verified=True)


@settings(deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.data())
def test_runs_that_cover_a_file_make_it_whole_in_whatever_order_they_are_told(
    lengths: list[int], data: st.DataObject
) -> None:
    starts = [sum(lengths[:at]) for at in range(len(lengths))]
    size = sum(lengths)
    pieces = [
        (bytes([at]) * 16, run(start, length, size=size))
        for at, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    told = data.draw(st.permutations(pieces + data.draw(st.lists(st.sampled_from(pieces), max_size=3))))
    whole = whole_file(told)
    assert [extent.length for extent in whole] == lengths
    assert [extent.pack for extent in whole] == [pack for pack, _ in pieces]
    missing = data.draw(st.sampled_from(pieces))
    assert whole_file([piece for piece in told if piece != missing]) == ()


def test_no_runs_are_no_file() -> None:
    assert whole_file([]) == ()
