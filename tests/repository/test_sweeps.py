"""Long runs are read through by one request, and nothing that is not authenticated comes out of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldhouse.errors import Corruption
from coldhouse.model import Buffer, Extent
from coldhouse.repository import PackSettings, Repository
from coldhouse.storage import Storage
from coldhouse.storage.base import PIECE
from tests.repository.samples import new_repository, packs_of, store
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage

FRAME = 262_144
RAW = PackSettings(compression="none")
CONTENT = random.Random(11).randbytes(9 * FRAME + 1234)
#: Frames that can be compressed between frames that cannot.
MIXED = b"".join(
    CONTENT[at : at + FRAME] if at // FRAME % 3 else bytes(str(at), "ascii") * (FRAME // len(str(at)))
    for at in range(0, len(CONTENT), FRAME)
)


def joined(pieces: Iterator[memoryview]) -> bytes:
    """All of what is lent: a piece is valid until the next is asked for."""
    content = bytearray()
    for piece in pieces:
        content += piece
    return bytes(content)


class PiecewiseStorage(MemoryStorage):
    """What is read through comes in pieces of any size, one after the other in the same memory."""

    sizes: Sequence[int] = (1,)

    def read_through(self, name: str, offset: int, length: int, *, piece: int = PIECE) -> Iterator[Buffer]:
        whole = memoryview(self.get_range(name, offset, length))
        memory = memoryview(bytearray(max(self.sizes)))
        for size in cycle(self.sizes):
            if not whole:
                return
            given, whole = whole[:size], whole[size:]
            memory[: len(given)] = given
            yield memory[: len(given)]


def repository_on(storage: Storage) -> Repository:
    return new_repository(storage)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_any_range_is_the_same_as_without(data: st.DataObject) -> None:
    """Of frames as they are, of compressed ones, and of both one behind the other."""
    repository = repository_on(MemoryStorage())
    content, pack_settings = data.draw(st.sampled_from([(CONTENT, RAW), (MIXED, PackSettings(compression="auto"))]))
    entries = store(repository, [b"before", content, b"behind"], pack_settings)
    packs = packs_of(repository, entries)
    offset = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, len(content) - offset))
    with repository.pack_reader(sweep_bytes=1) as reader:
        assert joined(reader.lend(packs, entries[1].extents, offset, length)) == content[offset : offset + length]
        for entry, content in zip((entries[0], entries[2]), (b"before", b"behind"), strict=True):
            assert joined(reader.lend(packs, entry.extents, 0, len(content))) == content


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(5_000, 3 * (FRAME + 16)), min_size=1, max_size=4),
    st.integers(0, len(CONTENT)),
)
def test_pieces_of_any_size(sizes: list[int], offset: int) -> None:
    """A bucket gives what it has: frames lie within a piece, span two of them, or many."""
    storage = PiecewiseStorage()
    storage.sizes = sizes
    repository = repository_on(storage)
    (entry,) = store(repository, [CONTENT], RAW)
    with repository.pack_reader(sweep_bytes=1) as reader:
        lent = reader.lend(packs_of(repository, [entry]), entry.extents, offset, len(CONTENT) - offset)
        assert joined(lent) == CONTENT[offset:]


def test_a_run_is_one_request_and_short_ranges_stay_with_the_cache() -> None:
    repository = repository_on(MemoryStorage())
    (entry,) = store(repository, [CONTENT], RAW)
    packs = packs_of(repository, [entry])
    runs = sum(extent.length >= 2 * FRAME for extent in entry.extents)
    with repository.pack_reader(sweep_bytes=2 * FRAME) as reader:
        joined(reader.lend(packs, entry.extents, 0, 10))
        before = reader.requests
        joined(reader.lend(packs, entry.extents, 0, 10))
        assert reader.requests == before, "what is short is cached"
        assert joined(reader.lend(packs, entry.extents, 0, len(CONTENT))) == CONTENT
        tails = len(entry.extents) - runs
        assert before + runs <= reader.requests <= before + runs + 2 * tails + len(packs)


def test_the_end_of_a_large_file_is_read_as_the_rest_of_it() -> None:
    """What lies behind it is not fetched with it, though the run is shorter than what is read through for itself."""
    repository = repository_on(MemoryStorage())
    beginning, end = CONTENT[: 6 * FRAME], CONTENT[6 * FRAME :]
    entries = store(repository, [beginning, end, CONTENT[::-1]], RAW)
    whole = (*entries[0].extents, *entries[1].extents)
    packs = packs_of(repository, entries)
    with repository.pack_reader(sweep_bytes=5 * FRAME) as reader:
        assert joined(reader.lend(packs, whole, 0, len(CONTENT))) == CONTENT
        assert all(FRAME <= extent.length < 5 * FRAME for extent in entries[1].extents)
        assert reader.requests == len(packs) + len(whole)
        assert reader.bytes_fetched < len(CONTENT) + 2 * FRAME


def test_small_files_share_requests_in_whatever_order_they_are_read() -> None:
    """Sixteen are asked for at a time: with a frame for each request a restore made four times as many requests."""
    small = [random.Random(number).randbytes(FRAME // 2) for number in range(22)]
    repository = repository_on(MemoryStorage())
    entries = store(repository, small, RAW)
    packs = packs_of(repository, entries)
    with repository.pack_reader(fetch_bytes=7 * (FRAME + 16), sweep_bytes=2 * FRAME) as reader:
        for number in (0, 8, 16, 1, 9, 17, *range(22)):
            assert joined(reader.lend(packs, entries[number].extents, 0, FRAME // 2)) == small[number]
        assert reader.requests == 1 + 3, "a pack's table; frames 0 to 6, 8 to 10, and 7"


def test_what_will_be_read_through_does_not_come_along_behind_a_small_file() -> None:
    """Unless a small file lies behind it that does: that would be another request."""
    contents = [b"a", CONTENT[: 3 * FRAME], b"b", CONTENT[3 * FRAME : 8 * FRAME], b"c" * FRAME, b"d"]
    repository = repository_on(MemoryStorage())
    entries = store(repository, contents, RAW)
    packs = packs_of(repository, entries)
    with repository.pack_reader(fetch_bytes=6 * (FRAME + 16), sweep_bytes=3 * FRAME) as reader:
        swept = reader.swept_frames()
        for entry in entries:
            swept.add(entry)
        (table,) = packs.values()
        for number in (0, 2, 4, 5):
            assert (
                joined(reader.lend(packs, entries[number].extents, 0, len(contents[number]), swept)) == contents[number]
            )
        assert reader.requests == 1 + 2, "a pack's table; frames 0 to 3; 8 and 9, without the 4 to 7 before them"
        assert reader.bytes_fetched <= 6 * (FRAME + 16) + table.table_size + 1024
        for number in (1, 3):
            assert joined(reader.lend(packs, entries[number].extents, 0, len(contents[number]))) == contents[number]


@pytest.mark.parametrize("how", [How.FLIP, How.SHORT])
def test_damage_on_the_way_is_found(how: How) -> None:
    storage = FaultyStorage(MemoryStorage())
    repository = repository_on(storage)
    (entry,) = store(repository, [CONTENT], RAW)
    packs = packs_of(repository, [entry])
    with repository.pack_reader(sweep_bytes=1) as reader:
        joined(reader.lend(packs, entry.extents, 0, 1))  # the frame table
        storage.inject(Fault(how, "get_range", "packs/*", skip=1))
        taken = bytearray()
        with pytest.raises(Corruption) as caught:
            for piece in reader.lend(packs, entry.extents, 0, len(CONTENT)):
                taken += piece
        assert caught.value.object_name.startswith("packs/")
        assert CONTENT.startswith(taken)


def test_a_pack_that_is_gone_is_named() -> None:
    storage = MemoryStorage()
    repository = repository_on(storage)
    (entry,) = store(repository, [CONTENT], RAW)
    packs = packs_of(repository, [entry])
    with repository.pack_reader(sweep_bytes=1) as reader:
        joined(reader.lend(packs, entry.extents, 0, 1))
        gone = [name for name in storage.objects if name.startswith("packs/")]
        storage.delete(gone)
        with pytest.raises(Corruption) as caught:
            joined(reader.lend(packs, entry.extents, 0, len(CONTENT)))
    assert caught.value.object_name in gone


def test_a_manifest_that_claims_frames_which_are_not_there() -> None:
    repository = repository_on(MemoryStorage())
    (entry,) = store(repository, [CONTENT], RAW)
    packs = packs_of(repository, [entry])
    first = entry.extents[0]
    beyond = (Extent(first.pack, first.offset + 4000 * FRAME, 3 * FRAME),)
    longer = (Extent(first.pack, first.offset, 4000 * FRAME),)
    with repository.pack_reader(sweep_bytes=1) as reader:
        for extents in (beyond, longer):
            with pytest.raises(Corruption):
                joined(reader.lend(packs, extents, 0, extents[0].length))


def test_what_lies_in_a_frame_with_a_long_run_is_not_fetched_again() -> None:
    repository = repository_on(MemoryStorage())
    entries = store(repository, [CONTENT, b"behind"], RAW)
    packs = packs_of(repository, entries)
    with repository.pack_reader(sweep_bytes=1) as reader:
        joined(reader.lend(packs, entries[0].extents, 0, len(CONTENT)))
        before = reader.requests
        assert joined(reader.read(packs, entries[1].extents, 0, 6)) == b"behind"
        assert reader.requests == before
