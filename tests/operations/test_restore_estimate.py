"""The bounds of a restore's cost, from manifests alone, and beside what a reader of packs really asks for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from coldhouse.errors import Corruption
from coldhouse.model import (
    Extent,
    FileEntry,
    ManifestRef,
    Mutation,
    PackRef,
    PageRef,
    Part,
    PartState,
    TableEntry,
    TableKind,
    TableName,
)
from coldhouse.operations.restore_estimate import RestoreSurroundings, TableReads, estimate_restore
from coldhouse.operations.restore_plan import Action, TableStep
from coldhouse.records import replace
from coldhouse.repository import PackSettings, Page, limits
from coldhouse.repository.pack_format import FOOTER_SIZE, MAX_FRAMES, SLOT_SIZE, table_size
from coldhouse.repository.page_encoding import encode_page
from coldhouse.storage.counted import CountedStorage, Requests
from tests.repository.samples import checksum, entry, new_repository, packs_of, store
from tests.support.memory_storage import MemoryStorage

FRAME = limits.FRAME_SIZE
MIB = 1 << 20
SWEEP = 2 * MIB
AROUND = RestoreSurroundings(sweep=SWEEP)
#: What every restore does: a note that is written and removed, and the end of the announcement.
ALWAYS = Requests(put=1, delete=2)


def pack(letter: bytes, frames: int = 128) -> PackRef:
    return PackRef(letter * 16, frames * SLOT_SIZE + 10_000 + table_size(frames), table_size(frames))


def file(*extents: Extent, damaged: bool = False) -> FileEntry:
    size = sum(extent.length for extent in extents)
    return FileEntry("a.bin", size, checksum(repr(extents).encode()), extents, damaged)


def part(*files: FileEntry, partition: str = "p", name: str = "p_1_1_0") -> Part:
    return Part(PartState(partition, name, checksum(name.encode()), 1, 1), files)


def page(*parts: Part, packs: Sequence[PackRef] = ()) -> Page:
    known = {ref.id: ref for ref in (*packs, pack(b"a"), pack(b"b"))}
    return Page(encode_page(parts, known.__getitem__), "a page")


def step(
    *, action: Action = "create", partitions: frozenset[str] | None = None, of: TableEntry | None = None
) -> TableStep:
    return TableStep(of or entry("t"), TableName("shop", "t"), action, partitions, 0, 0, 0)


def bounds(*tables: TableReads, around: RestoreSurroundings = AROUND) -> tuple[Requests, Requests]:
    """At least and at most, without what is written."""
    found = estimate_restore(tables, around).bounds
    assert found.least.uploaded == 0 < found.most.uploaded
    return found.least, replace(found.most, uploaded=0)


def gets(*tables: TableReads, around: RestoreSurroundings = AROUND) -> tuple[int, int]:
    least, most = bounds(*tables, around=around)
    return least.get, most.get


def reads(*parts: Part, packs: Sequence[PackRef] = ()) -> TableReads:
    return TableReads(step(), [page(*parts, packs=packs)])


def at(letter: bytes, offset: int, length: int) -> Extent:
    return Extent(letter * 16, offset, length)


# ------------------------------------------------------------------------------------------------------- beside packs


def test_a_restore_of_nothing_writes_its_note_and_removes_it() -> None:
    assert bounds() == (ALWAYS, ALWAYS)


def test_where_no_announcement_could_be_made_the_note_may_be_refused() -> None:
    least, most = bounds(around=replace(AROUND, noted=False))
    assert (least, most) == (Requests(put=1), Requests(put=1, delete=1))


def test_pages_that_are_objects_are_read_once() -> None:
    refs = [PageRef(ManifestRef(b"m" * 16, 700 + at, b""), f"{at}", f"{at}", 0, 0, 0, 0, b"") for at in range(3)]
    inline = replace(refs[0], ref=ManifestRef(b"", 0, b""), inline=b"x")
    mutated = replace(entry("t"), pages=(*refs, inline), mutations=(Mutation("m", "DELETE WHERE 1"),))
    whole = TableReads(step(of=mutated), [])
    once = ALWAYS + Requests(get=3, downloaded=2103)
    assert bounds(whole) == (once, once)
    one = TableReads(step(of=mutated, partitions=frozenset(["1"])), [])
    assert gets(one) == (1, 1)
    twice = once + Requests(get=3, downloaded=2103)
    assert bounds(whole, around=replace(AROUND, resubmit=True)) == (twice, twice)
    assert bounds(whole, around=replace(AROUND, schema_only=True)) == (ALWAYS, ALWAYS)


def test_an_append_notes_how_far_it_came() -> None:
    least, most = bounds(TableReads(step(action="append"), []))
    assert (least.put, most.put) == (2, 2)
    view = replace(entry("v"), kind=TableKind.DEFINITION)
    least, most = bounds(TableReads(step(action="append", of=view), []))
    assert (least.put, most.put) == (1, 1)


def test_of_what_an_earlier_run_began_everything_may_be_there() -> None:
    table = TableReads(step(action="append"), [page(part(file(at(b"a", 0, 10))))])
    least, most = bounds(table, around=replace(AROUND, resumed=True))
    assert least == ALWAYS
    assert (most.put, most.get) == (2, 2)
    found = estimate_restore([table], replace(AROUND, resumed=True))
    assert (found.served_least, found.served_most) == (0, 10)


# -------------------------------------------------------------------------------------------------------------- packs


def test_a_file_in_one_frame_is_two_requests() -> None:
    assert gets(reads(part(file(at(b"a", 100, 200))))) == (2, 2)


def test_files_that_share_a_frame_share_its_request() -> None:
    files = [file(at(b"a", 1000 * number, 1000)) for number in range(20)]
    assert gets(reads(part(*files))) == (2, 2)
    assert gets(*[reads(part(each)) for each in files]) == (2, 2), "also where they are of several tables"


def test_frames_come_alone_at_most_and_as_many_as_can_be_at_least() -> None:
    assert gets(reads(part(file(at(b"a", 0, FRAME), at(b"a", 9 * FRAME, FRAME // 2))))) == (2, 3)


def test_a_pack_that_is_needed_as_a_whole_takes_a_request_for_each_two_mebibytes_that_cannot_be_its_directory() -> None:
    files = [file(at(b"a", number * FRAME, FRAME)) for number in range(128)]
    least, most = gets(reads(part(*files)))
    assert (least, most) == (1 + 14, 1 + 128)


def test_a_long_run_is_one_request() -> None:
    run = file(at(b"a", 0, SWEEP))
    assert gets(reads(part(run))) == (2, 2)
    assert gets(reads(part(run, run, file(at(b"b", 0, 5 * MIB))))) == (5, 5)
    assert gets(reads(part(run)), around=replace(AROUND, sweep=0)) == (2, 9)


def test_what_lies_in_frames_of_a_long_run_may_come_with_it() -> None:
    run, tail = file(at(b"a", 0, SWEEP + 10)), file(at(b"a", SWEEP + 10, 10))
    assert gets(reads(part(run, tail))) == (2, 3)


def test_what_the_cache_does_not_hold_may_be_fetched_for_each_file() -> None:
    packs = [pack(letter) for letter in (b"a", b"b", b"c")]
    files = [file(at(ref.id[:1], 0, 10)) for ref in packs for _ in range(5)]
    assert gets(reads(part(*files[:10]), packs=packs)) == (4, 4), "two packs of 32 MiB fit"
    assert gets(reads(part(*files), packs=packs)) == (6, 3 + 15)
    each = [reads(part(*files[5 * number : 5 * number + 5]), packs=packs) for number in range(3)]
    assert gets(*each) == (6, 6), "one table after the other"


def test_parts_that_were_damaged_at_the_source_and_other_partitions_are_not_read() -> None:
    sound = part(file(at(b"a", 0, 10)), partition="a", name="a_1_1_0")
    other = part(file(at(b"b", 0, 10)), partition="b", name="b_1_1_0")
    broken = part(file(at(b"b", 0, 10), damaged=True), file(at(b"b", 10, 10)), partition="c", name="c_1_1_0")
    table = TableReads(step(partitions=frozenset(["a", "c"])), [page(sound, other, broken)])
    assert gets(table) == (2, 2)
    assert estimate_restore([table], AROUND).served_most == 10


def test_who_looks_for_damage_first_may_read_twice() -> None:
    table = reads(part(file(at(b"a", 0, SWEEP)), file(at(b"a", SWEEP, 10))))
    assert gets(table, around=replace(AROUND, skip_damaged=True)) == (0, 1 + 2 + 1)


def test_an_address_that_no_pack_has_is_damage() -> None:
    with pytest.raises(Corruption, match="as many frames"):
        estimate_restore([reads(part(file(at(b"a", MAX_FRAMES * FRAME, 10))))], AROUND)


def test_bytes_of_an_open_pack_are_at_least_its_table() -> None:
    least, most = bounds(reads(part(file(at(b"a", 0, SWEEP)))))
    opened = table_size(128) + FOOTER_SIZE
    assert opened < least.downloaded < most.downloaded == opened + 8 * SLOT_SIZE


# ------------------------------------------------------------------------------------------- beside what really happens


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("compression", ["none", "auto"])
@pytest.mark.parametrize("cache", [64 * MIB, MIB])
def test_what_a_reader_asks_for_lies_within_the_bounds(
    cache: int, compression: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of all sizes, in any order, several at a time; with a cache that holds everything, and with a small one."""
    monkeypatch.setattr(limits, "CACHE_BYTES", cache)
    chance = random.Random(seed)
    storage = CountedStorage(MemoryStorage())
    repository = new_repository(storage)
    sizes = [int(2 ** chance.uniform(2, 22.5)) for _ in range(60)]
    contents = [chance.randbytes(size // 2) + bytes(size - size // 2) for size in sizes]
    files = store(repository, contents, PackSettings(compression=compression, frames=24))
    packs = packs_of(repository, files)
    table = TableReads(step(), [Page(encode_page([part(*files)], packs.__getitem__), "a page")])
    least, most = bounds(table)
    before = storage.requests
    chance.shuffle(files)
    with repository.pack_reader(cache_bytes=cache, sweep_bytes=SWEEP) as reader, ThreadPoolExecutor(4) as pool:
        read = pool.map(lambda each: sum(map(len, reader.lend(packs, each.extents, 0, each.size))), files)
        assert sum(read) == sum(sizes) == estimate_restore([table], AROUND).served_least
    asked = storage.requests - before
    assert least.get <= asked.get <= most.get
    assert least.downloaded <= asked.downloaded <= most.downloaded
