"""What goes into packs comes out of them, whole and by ranges."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldhouse.errors import UsageError
from coldhouse.model import Extent
from coldhouse.repository import PackSettings, Repository
from coldhouse.repository.pack_format import FRAME_SIZE
from tests.repository.samples import checksum, new_repository, packs_of, read, store
from tests.support.memory_storage import MemoryStorage

SMALL = PackSettings(frames=4, buffers=2)  # packs of a megabyte, so that files go over several of them

sizes = st.one_of(
    st.integers(0, 3000),
    st.integers(FRAME_SIZE - 2, FRAME_SIZE + 2),
    st.integers(0, 6 * FRAME_SIZE),
)


def content(size: int, seed: int, *, compressible: bool) -> bytes:
    data = random.Random(seed).randbytes(size)
    return data.translate(bytes(byte % 4 for byte in range(256))) if compressible else data


@settings(max_examples=25, deadline=None)
@given(
    files=st.lists(st.tuples(sizes, st.booleans()), max_size=12),
    compression=st.sampled_from(["none", "auto", "zstd:3"]),
)
def test_files_of_any_size_come_back(files: list[tuple[int, bool]], compression: str) -> None:
    repository = new_repository(MemoryStorage())
    contents = [content(size, at, compressible=soft) for at, (size, soft) in enumerate(files)]
    entries = store(repository, contents, PackSettings(compression, buffers=2, frames=4))
    packs = packs_of(repository, entries)
    assert [read(repository, entry, packs) for entry in entries] == contents


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_range_of_a_file_can_be_read(data: st.DataObject) -> None:
    repository = new_repository(MemoryStorage())
    whole = content(5 * FRAME_SIZE + 1234, 1, compressible=True)
    entry = store(repository, [b"before", whole, b"after"], SMALL)[1]
    reader = repository.pack_reader(cache_bytes=FRAME_SIZE, fetch_bytes=FRAME_SIZE)
    packs = packs_of(repository, [entry])
    for _ in range(5):
        offset = data.draw(st.integers(0, len(whole)))
        length = data.draw(st.integers(0, len(whole) - offset))
        assert b"".join(reader.read(packs, entry.extents, offset, length)) == whole[offset : offset + length]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * FRAME_SIZE + 77), max_size=8))
def test_a_file_may_arrive_in_any_pieces(cuts: list[int]) -> None:
    repository = new_repository(MemoryStorage())
    whole = content(3 * FRAME_SIZE + 77, 2, compressible=False)
    bounds = [0, *sorted(cuts), len(whole)]
    with repository.pack_writer(SMALL) as writer:
        stream = writer.open_file(len(whole), None)
        for start, end in pairwise(bounds):
            stream.write(memoryview(whole)[start:end])
        extents = stream.finish(checksum(whole), verified=True)
        writer.flush()
        packs = {extent.pack: writer.pack(extent.pack) for extent in extents}
    assert b"".join(repository.pack_reader().read(packs, extents, 0, len(whole))) == whole


def test_a_large_file_lies_in_few_extents(repository: Repository) -> None:
    entry = store(repository, [bytes(40 * FRAME_SIZE + 5)], PackSettings("none"))[0]
    assert [extent.length for extent in entry.extents] == [40 * FRAME_SIZE + 5] or len(entry.extents) <= 4


def test_small_files_share_a_pack(repository: Repository, storage: MemoryStorage) -> None:
    store(repository, [os.urandom(1000) for _ in range(500)])
    assert sum(name.startswith("packs/") for name in storage.objects) == 1


def test_an_empty_file_needs_no_pack(repository: Repository, storage: MemoryStorage) -> None:
    (entry,) = store(repository, [b""])
    assert entry.extents == ()
    assert not any(name.startswith("packs/") for name in storage.objects)
    assert read(repository, entry) == b""


def test_compression_is_used_where_it_saves(storage: MemoryStorage, repository: Repository) -> None:
    soft, hard = bytes(20 * FRAME_SIZE), os.urandom(4 * FRAME_SIZE)
    store(repository, [soft], PackSettings("auto"))
    assert sum(map(len, storage.objects.values())) < 100_000
    store(repository, [hard], PackSettings("auto"))
    assert sum(map(len, storage.objects.values())) < len(hard) + 110_000


@pytest.mark.parametrize("setting", ["", "lz4", "zstd", "zstd:", "zstd:0", "zstd:23", "zstd:-1", "zstd:³"])
def test_an_unknown_compression_is_refused(repository: Repository, setting: str) -> None:
    with pytest.raises(UsageError):
        repository.pack_writer(PackSettings(setting))


def test_totals_are_what_the_store_holds(repository: Repository, storage: MemoryStorage) -> None:
    with repository.pack_writer(SMALL) as writer:
        stream = writer.open_file(10 * FRAME_SIZE, None)
        stream.write(os.urandom(10 * FRAME_SIZE))
        stream.finish(b"c" * 16, verified=True)
        writer.flush()
        stored = [len(object) for name, object in storage.objects.items() if name.startswith("packs/")]
        assert (writer.stored_bytes, writer.objects) == (sum(stored), len(stored))
        assert {ref.size for ref in writer.packs()} == set(stored)


def test_the_directory_says_what_lies_where(repository: Repository) -> None:
    small, large = b"small file", os.urandom(6 * FRAME_SIZE + 9)
    entries = store(repository, [small, large], SMALL)
    runs = [run for pack in packs_of(repository, entries) for run in repository.directory(pack)[1]]
    for entry, whole in zip(entries, [small, large], strict=True):
        mine = sorted((run for run in runs if run.size == entry.size), key=lambda run: run.start)
        assert mine[0].start == 0
        assert sum(run.length for run in mine) == entry.size
        assert mine[-1].verified
        assert mine[-1].checksum == entry.checksum
        assert len({(run.session, run.file) for run in mine}) == 1
        assert {(run.offset, run.length) for run in mine} == {(run.offset, run.length) for run in entry.extents}
        assert read(repository, entry) == whole


def test_a_pack_that_was_stored_before_its_file_ended_knows_what_it_was_told(repository: Repository) -> None:
    with repository.pack_writer(SMALL) as writer:
        stream = writer.open_file(3 * FRAME_SIZE, b"k" * 16)
        stream.write(bytes(2 * FRAME_SIZE))
        writer.flush()
        (ref,) = writer.packs()
        (run,) = repository.directory(ref.id)[1]
        assert (run.checksum, run.verified, run.start, run.length) == (b"k" * 16, False, 0, 2 * FRAME_SIZE)
        stream.write(bytes(FRAME_SIZE))
        assert len(stream.finish(b"k" * 16, verified=True)) == 2


def test_one_pack_holds_no_more_runs_than_it_may(repository: Repository, storage: MemoryStorage) -> None:
    entries = store(repository, [b"%d" % number for number in range(70_000)])
    packs = packs_of(repository, entries)
    assert len(packs) == 2
    assert sum(len(repository.directory(id)[1]) for id in packs) == 70_000
    reader = repository.pack_reader()
    for number in (0, 65_535, 65_536, 69_999):
        found = b"".join(reader.read(packs, entries[number].extents, 0, entries[number].size))
        assert found == b"%d" % number


class TestRequests:
    """How many requests reading costs."""

    def test_a_pack_costs_one_request_for_its_table_and_one_for_each_fetch(self, repository: Repository) -> None:
        entry = store(repository, [os.urandom(16 * FRAME_SIZE)], PackSettings("none"))[0]
        packs = packs_of(repository, [entry])
        reader = repository.pack_reader(fetch_bytes=8 * (FRAME_SIZE + 16))
        assert len(b"".join(reader.read(packs, entry.extents, 0, entry.size))) == entry.size
        assert reader.requests == 3

    def test_what_is_cached_is_not_fetched_again(self, repository: Repository) -> None:
        entries = store(repository, [os.urandom(1000) for _ in range(50)])
        packs = packs_of(repository, entries)
        reader = repository.pack_reader()
        for entry in entries:
            list(reader.read(packs, entry.extents, 0, entry.size))
        assert reader.requests == 2

    def test_a_point_read_fetches_one_frame(self, repository: Repository) -> None:
        entry = store(repository, [os.urandom(20 * FRAME_SIZE)], PackSettings("none"))[0]
        reader = repository.pack_reader(fetch_bytes=FRAME_SIZE)
        list(reader.read(packs_of(repository, [entry]), entry.extents, 7 * FRAME_SIZE + 5, 10))
        assert reader.bytes_fetched < 1.1 * FRAME_SIZE

    def test_the_cache_keeps_its_bound(self, repository: Repository) -> None:
        entry = store(repository, [os.urandom(20 * FRAME_SIZE)], PackSettings("none"))[0]
        packs = packs_of(repository, [entry])
        reader = repository.pack_reader(cache_bytes=3 * FRAME_SIZE, fetch_bytes=FRAME_SIZE)
        for _ in range(2):
            list(reader.read(packs, entry.extents, 0, entry.size))
        assert reader.bytes_fetched > 39 * FRAME_SIZE


@pytest.mark.parametrize("wrong", [(-1, 2), (0, 11), (10, 1), (5, -1)])
def test_a_range_outside_the_file_is_refused(repository: Repository, wrong: Sequence[int]) -> None:
    (entry,) = store(repository, [b"0123456789"])
    with pytest.raises(ValueError, match="within"):
        list(repository.pack_reader().read(packs_of(repository, [entry]), entry.extents, *wrong))


def test_an_extent_can_be_any_run_of_addresses(repository: Repository) -> None:
    first, second = store(repository, [b"first", b"second"])
    packs = packs_of(repository, [first, second])
    (extent,) = first.extents
    both = (Extent(extent.pack, extent.offset, 11),)
    assert b"".join(repository.pack_reader().read(packs, both, 3, 6)) == b"stseco"
