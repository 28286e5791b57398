"""Which packs are written anew, and where what is needed of them lies then."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from coldhouse.model import Extent, FileEntry, PackRef, Part
from coldhouse.records import replace
from coldhouse.repository.marking import PIECE
from coldhouse.repository.pack_format import FRAME_SIZE, RAW, FrameTable, table_size
from coldhouse.repository.page_encoding import encode_page
from coldhouse.repository.page_extents import read_extents, relocated
from coldhouse.repository.relocation import Relocation, Wanted
from coldhouse.repository.rewrite_plan import PackUse, choose, estimate, measure, worth_measuring
from tests.repository.samples import part

PACK = PackRef(b"p" * 16, 1000, table_size(4))
NEW = PackRef(b"n" * 16, 2000, table_size(8))


def use(letter: str, size: int, unused: int, *, measured: bool = True) -> PackUse:
    return PackUse(PackRef(letter.encode() * 16, size, table_size(10)), unused, measured)


def chosen(uses: list[PackUse], max_unused: float) -> str:
    return "".join(one.ref.id[:1].decode() for one in choose(uses, max_unused).packs)


def test_packs_with_the_largest_unused_share_are_written_anew_until_the_rest_is_within_the_bound() -> None:
    uses = [use("a", 1000, 900), use("b", 1000, 100), use("c", 100, 50), use("d", 1000, 0)]
    assert [chosen(uses, percent) for percent in (100, 50, 10, 5, 0)] == ["", "", "a", "ac", "acb"]
    plan = choose(uses, 10)
    assert (plan.unused, plan.left, plan.freed, plan.read) == (1050, 150, 900, 100)


def test_a_pack_that_was_not_measured_counts_and_is_not_chosen() -> None:
    assert chosen([use("a", 1000, 900, measured=False), use("b", 1000, 10)], 0) == "b"


@given(
    st.lists(st.tuples(st.integers(100, 10**9), st.floats(0, 1)), max_size=30),
    st.floats(0, 100),
)
def test_what_is_left_is_within_the_bound_and_nothing_is_chosen_in_vain(
    described: list[tuple[int, float]], max_unused: float
) -> None:
    uses = [
        PackUse(PackRef(at.to_bytes(16, "big"), size, 100), int(size * share * 0.99), measured=True)
        for at, (size, share) in enumerate(described)
    ]
    plan = choose(uses, max_unused)
    stored = sum(one.ref.size for one in uses)
    assert plan.left == plan.unused - plan.freed == sum(one.unused for one in uses) - plan.freed
    assert plan.left * 100 <= (stored - plan.freed) * max_unused or len(plan.packs) == sum(
        one.unused > 0 for one in uses
    )
    if plan.packs:  # without the last one it would not have been enough
        last = plan.packs[-1].unused
        assert (plan.left + last) * 100 > (stored - plan.freed + last) * max_unused


def frames(table: list[tuple[int, int]]) -> FrameTable:
    """A frame table of (number, plain length) of frames that are stored as they are."""
    starts = [64]
    for _, plain in table:
        starts.append(starts[-1] + plain)
    numbers, plains = array("I", [one[0] for one in table]), array("I", [one[1] for one in table])
    return FrameTable(numbers, array("Q", starts), plains, bytes([RAW]) * len(table), 100)


def test_what_is_unused_is_counted_by_frames_and_their_pieces() -> None:
    table = frames([(0, FRAME_SIZE), (1, FRAME_SIZE), (2, 3 * PIECE), (7, 10)])
    all_of_it = bytes([255, 255, 0b111, 0, 0, 0, 0, 1])
    assert measure(PACK, table, all_of_it).unused == 0
    assert measure(PACK, table, bytes([255] * 16)).unused == 0
    assert measure(PACK, table, b"").unused == table.starts[-1] - 64
    assert measure(PACK, table, bytes([255, 0b11, 0b1, 0, 0, 0, 0, 1])).unused == 6 * PIECE + 2 * PIECE


def test_marks_alone_say_at_least_what_is_unused() -> None:
    table = frames([(0, FRAME_SIZE), (1, 1000)])
    ref = PackRef(b"p" * 16, table.starts[-1] + 300, table_size(2))
    for marks in (b"", b"\xff", b"\xff\x01", b"\x0f\x01"):
        assert estimate(ref, marks).unused >= measure(ref, table, marks).unused - 300
    assert not worth_measuring(estimate(ref, b"\xff\xff"), 10)
    assert worth_measuring(estimate(ref, b"\xff\x01"), 10)


# ----------------------------------------------------------------------------------------------------------- relocation


def as_extents(parts: list[Part]) -> list[tuple[Extent, ...]]:
    return [file.extents for one in parts for file in one.files]


def with_extents(parts: list[Part], extents: dict[Extent, tuple[Extent, ...]]) -> list[Part]:
    return [
        replace(
            one,
            files=tuple(
                replace(file, extents=tuple(new for extent in file.extents for new in extents.get(extent, (extent,))))
                for file in one.files
            ),
        )
        for one in parts
    ]


def sample_parts() -> list[Part]:
    """Parts over two packs; a file of two extents, an empty one, one without a checksum, one that is damaged."""
    other = b"o" * 16
    files = (
        FileEntry("both.bin", 30, b"c" * 16, (Extent(PACK.id, 0, 10), Extent(other, 5, 20))),
        FileEntry("empty", 0, b"", ()),
        FileEntry("damaged", 7, b"", (Extent(other, 300, 7),), damaged=True),
    )
    return [replace(part("1", "1_1_1_0"), files=files), *(part("2", f"2_{at}_{at}_0") for at in range(1, 4))]


def refs(id: bytes) -> PackRef:
    return {NEW.id: NEW}.get(id) or PackRef(id, 1000, table_size(4))


def test_a_relocated_page_is_the_one_that_would_be_made_of_the_same_parts_elsewhere() -> None:
    parts = sample_parts()
    old = sorted(
        {extent for file in as_extents(parts) for extent in file if extent.pack == PACK.id}, key=lambda e: e.offset
    )
    new = [
        (Extent(NEW.id, 1000 + at, one.length - 3), Extent(NEW.id, 9000 + at, 3)) if at % 2 else
        (Extent(NEW.id, 5000 + at, one.length),)
        for at, one in enumerate(old)
    ]  # fmt: skip
    relocation = Relocation()
    relocation.add(PACK.id, old, new)
    relocation.stored_in([NEW])
    page = encode_page(parts, refs)
    assert relocation.touches(read_extents(page, "page"))
    found = relocated(page, "page", relocation.move, relocation.pack)
    assert found == encode_page(with_extents(parts, dict(zip(old, new, strict=True))), refs)
    assert not relocation.touches(read_extents(found, "page"))
    assert relocated(found, "page", relocation.move, relocation.pack) == found


@given(st.lists(st.lists(st.integers(0, 500), max_size=40), max_size=8), st.integers(1, 200))
def test_wanted_extents_are_those_of_all_pages_each_once(pages: list[list[int]], most: int) -> None:
    packs = [PackRef(bytes([at]) * 16, 1000, table_size(4)) for at in range(6)]
    wanted = Wanted(packs[:4], most)
    everything: set[Extent] = set()
    for places in pages:
        extents = [Extent(packs[place % 6].id, place // 6 * 10, 1 + place % 5) for place in places]
        everything.update(extents)
        one = replace(
            part("1", "1_1_1_0"), files=(FileEntry("f", sum(e.length for e in extents), b"", tuple(extents)),)
        )
        wanted.see(read_extents(encode_page([one], refs), "page"))
    assert wanted.packs <= {ref.id for ref in packs[:4]}
    for pack in wanted.packs:
        expected = sorted((one for one in everything if one.pack == pack), key=lambda one: (one.offset, one.length))
        assert wanted.extents(pack) == expected
    assert packs[0].id in wanted.packs
    if len(everything) <= most // 2 and sum(map(len, pages)) <= most:
        assert len(wanted.packs) == 4
    assert sum(len(wanted.extents(pack)) for pack in wanted.packs) <= most or len(wanted.packs) == 1
