"""Manifest pages: their encoding, and which of them a change touches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldhouse.errors import Corruption
from coldhouse.model import Extent, FileEntry, ManifestRef, PackRef, PageRef, Part, PartState
from coldhouse.records import replace
from coldhouse.repository import Page, digest_of_states, match_pages
from coldhouse.repository.crypto import content_digest
from coldhouse.repository.page import MAX_FILES, MAX_PARTS
from coldhouse.repository.page_encoding import encode_page
from coldhouse.repository.paging import Pager
from tests.repository.samples import PACK, pack_of, part, parts

numbers = st.integers(0, (1 << 64) - 1)
texts = st.text(max_size=12)
checksums = st.binary(min_size=16, max_size=16)


@st.composite
def files(draw: st.DrawFn) -> FileEntry:
    extents = draw(st.lists(st.builds(Extent, checksums, numbers, st.integers(1, 1 << 40)), max_size=3))
    checksum = draw(st.one_of(checksums, st.just(b"")))
    size = sum(extent.length for extent in extents)
    return FileEntry(draw(texts), size, checksum, tuple(extents), draw(st.booleans()))


@st.composite
def pages(draw: st.DrawFn) -> list[Part]:
    hashes = st.one_of(checksums, st.just(b""))
    states = st.builds(PartState, texts, texts, hashes, numbers, numbers)
    found = draw(st.lists(states, max_size=8, unique_by=lambda state: (state.partition, state.name)))
    found.sort(key=lambda state: (state.partition, state.name))
    return [Part(state, tuple(draw(st.lists(files(), max_size=4)))) for state in found]


def refs(id: bytes) -> PackRef:
    return PackRef(id, int.from_bytes(id[:6], "big"), id[7])


@settings(max_examples=150, deadline=None)
@given(pages())
def test_a_page_comes_back_as_it_was(found: list[Part]) -> None:
    stored = encode_page(found, refs)
    page = Page(stored, "")
    assert list(page.parts()) == found
    assert len(page) == len(found)
    assert list(page.states()) == [each.state for each in found]
    every = [file for each in found for file in each.files]
    assert list(page.file_keys()) == [(file.size, file.checksum) for file in every]
    assert [page.file(at) for at in range(page.file_count)] == every
    assert page.damaged_files() == {at for at, file in enumerate(every) if file.damaged}
    assert page.has_damage == any(file.damaged for file in every)
    assert page.packs == {extent.pack: refs(extent.pack) for file in every for extent in file.extents}
    assert encode_page(list(page.parts()), page.packs.__getitem__) == stored
    assert encode_page(list(page.kept()), page.packs.__getitem__) == stored


@settings(max_examples=150, deadline=None)
@given(pages(), pages(), st.data())
def test_parts_of_earlier_pages_are_written_as_if_they_came_now(
    one: list[Part], two: list[Part], data: st.DataObject
) -> None:
    kept = {each.state: each for found in (two, one) for each in Page(encode_page(found, refs), "").kept()}
    parts = {each.state: each for each in (*two, *one)}
    order = data.draw(st.permutations(list(parts)))  # so that parts of a page do not follow each other
    order = sorted(order[: data.draw(st.integers(0, len(order)))], key=lambda state: state.partition)
    mixed = [kept[state] if data.draw(st.booleans()) else parts[state] for state in order]
    assert [each.file_count for each in mixed] == [parts[state].file_count for state in order]
    assert encode_page(mixed, refs) == encode_page([parts[state] for state in order], refs)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), pages().map(lambda found: encode_page(found, refs))), st.data())
def test_garbage_is_corruption_and_nothing_else(stored: bytes, data: st.DataObject) -> None:
    spoiled = bytearray(stored)
    for _ in range(data.draw(st.integers(1, 3))):
        if spoiled:
            spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    try:
        page = Page(bytes(spoiled), "manifests/x")
        list(page.parts())
    except Corruption as error:
        assert error.object_name == "manifests/x"


def test_extents_must_make_up_the_size() -> None:
    wrong = replace(part("a", "a_1_1_0", files=1).files[0], size=5)
    with pytest.raises(ValueError, match="make up"):
        encode_page([Part(part("a", "a_1_1_0").state, (wrong,))], pack_of)


def test_the_digest_sees_every_field_of_a_state() -> None:
    state = PartState("202605", "202605_1_1_0", b"h" * 16, 10, 100)
    others = [
        replace(state, partition="202606"),
        replace(state, name="202605_1_1_1"),
        replace(state, hash=b"i" * 16),
        replace(state, rows=11),
        replace(state, bytes=101),
    ]
    assert len({digest_of_states([one]) for one in [state, *others]} | {digest_of_states([])}) == 7
    assert digest_of_states([state, others[0]]) != digest_of_states([others[0], state])


class Notebook:
    """Writes pages into a list, and reads them back from it."""

    def __init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}
        self.written = 0

    def write(self, plain: bytes) -> PageRef:
        self.written += 1
        parts = list(Page(plain, "").parts())
        content = content_digest(plain)
        self.stored[content] = plain
        states = [each.state for each in parts]
        return PageRef(
            ManifestRef(content, len(plain), content),
            states[0].partition,
            states[-1].partition,
            len(parts),
            sum(len(each.files) for each in parts),
            sum(state.rows for state in states),
            sum(file.size for each in parts for file in each.files),
            digest_of_states(states),
            sum(file.damaged for each in parts for file in each.files),
            content,
        )

    def load(self, ref: PageRef) -> Iterator[Part]:
        return Page(self.stored[ref.content], "").parts()

    def page(self, items: Sequence[Part | PageRef], earlier: Sequence[PageRef] = ()) -> tuple[PageRef, ...]:
        self.written = 0
        found = Pager(earlier, pack_of, self.load, self.write).page(items)
        self.check(found)
        return found

    def check(self, refs: Sequence[PageRef]) -> None:
        for one, next_one in pairwise(refs):
            together = one.first == one.last == next_one.first == next_one.last
            assert one.last < next_one.first or together
        assert all(ref.parts == 1 or (ref.parts <= MAX_PARTS and ref.files <= MAX_FILES) for ref in refs)

    def contents(self, refs: Sequence[PageRef]) -> list[Part]:
        return [part for ref in refs for part in self.load(ref)]


class TestPaging:
    def test_parts_fill_pages_of_whole_partitions(self) -> None:
        notebook = Notebook()
        found = parts(30, 100)
        refs = notebook.page(found)
        assert [ref.parts for ref in refs] == [1000, 1000, 1000]
        assert notebook.contents(refs) == found

    def test_unchanged_parts_write_nothing(self) -> None:
        notebook = Notebook()
        found = parts(30, 100)
        refs = notebook.page(found)
        assert notebook.page(found, refs) == refs
        assert notebook.written == 0

    def test_a_change_writes_its_page_alone(self) -> None:
        notebook = Notebook()
        found = parts(30, 100)
        refs = notebook.page(found)
        found[1500] = part("00015", "00015_000000_000007_1")
        found.sort(key=lambda each: (each.state.partition, each.state.name))
        again = notebook.page(found, refs)
        assert notebook.written == 1
        assert (again[0], again[2]) == (refs[0], refs[2])
        assert notebook.contents(again) == found

    def test_new_partitions_come_behind(self) -> None:
        notebook = Notebook()
        refs = notebook.page(parts(30, 100))
        again = notebook.page(parts(33, 100), refs)
        assert again[:3] == refs
        assert notebook.written == 1

    def test_a_dropped_partition_touches_its_page_alone(self) -> None:
        notebook = Notebook()
        found = parts(30, 100)
        refs = notebook.page(found)
        left = [each for each in found if each.state.partition != "00012"]
        again = notebook.page(left, refs)
        assert notebook.written == 1
        assert notebook.contents(again) == left

    def test_a_partition_larger_than_a_page_is_cut_where_it_was(self) -> None:
        notebook = Notebook()
        found = parts(1, 9000)
        refs = notebook.page(found)
        assert len(refs) > 9
        found.insert(4500, part("00000", "00000_004499_004499_1"))
        again = notebook.page(found, refs)
        assert notebook.contents(again) == found
        assert len(set(again) - set(refs)) <= 3

    def test_small_pages_beside_a_change_are_merged(self) -> None:
        notebook = Notebook()
        refs = notebook.page(parts(4, 100))
        small = [notebook.page(parts(1, 5, first=first))[0] for first in range(4)]
        found = parts(4, 5)
        found[0] = part("00000", "00000_000000_000000_7")
        found.sort(key=lambda each: (each.state.partition, each.state.name))
        assert len(refs) == 1
        assert len(notebook.page(found, small)) == 1
        assert notebook.contents(notebook.page([*found[:5], *small[1:]])) == found

    def test_a_part_with_more_files_than_a_page_has_a_page(self) -> None:
        notebook = Notebook()
        found = [part("a", "a_1_1_0"), part("a", "a_2_2_0", files=MAX_FILES + 1), part("b", "b_1_1_0")]
        refs = notebook.page(found)
        assert notebook.contents(refs) == found
        assert notebook.page(found, refs) == refs

    def test_a_part_whose_files_lie_elsewhere_is_not_the_same(self) -> None:
        notebook = Notebook()
        found = parts(3, 10)
        refs = notebook.page(found)
        moved = replace(found[5].files[0], extents=(Extent(b"q" * 16, 0, found[5].files[0].size),))
        found[5] = replace(found[5], files=(moved, *found[5].files[1:]))
        again = notebook.page(found, refs)
        assert notebook.written == 1
        assert notebook.contents(again) == found

    def test_parts_out_of_order_are_refused(self) -> None:
        with pytest.raises(ValueError, match="out of order"):
            Notebook().page(list(reversed(parts(2, 2))))

    @settings(max_examples=12, deadline=None)
    @given(st.data())
    def test_a_series_of_changes_never_loses_a_part(self, data: st.DataObject) -> None:
        """Parts appear and vanish; partitions are small and huge; pages are carried by parts or by reference."""
        notebook = Notebook()
        refs: tuple[PageRef, ...] = ()
        held: dict[tuple[str, str], Part] = {}
        for turn in range(data.draw(st.integers(2, 5))):
            for _ in range(data.draw(st.integers(0, 4))):
                partition = f"{data.draw(st.integers(0, 6)):03}"
                first = data.draw(st.integers(0, 3000))
                for at in range(first, first + data.draw(st.sampled_from([1, 30, 700, 1500]))):
                    held.setdefault((partition, f"{at:06}"), part(partition, f"{at:06}", files=1, salt=str(turn)))
            for key in data.draw(st.lists(st.sampled_from(sorted(held)), max_size=3)) if held else ():
                held.pop(key, None)
            found = [held[key] for key in sorted(held)]
            by_reference = notebook.page(list(items(refs, found)), ())
            by_parts = notebook.page(found, refs)
            assert notebook.contents(by_parts) == notebook.contents(by_reference) == found
            refs = by_parts if data.draw(st.booleans()) else by_reference


def items(refs: Sequence[PageRef], found: Sequence[Part]) -> Iterator[Part | PageRef]:
    """What a caller hands over who asks which pages are unchanged."""
    by_key = {(each.state.partition, each.state.name): each for each in found}
    for match in match_pages(refs, (each.state for each in found)):
        if match.unchanged and match.page is not None:
            yield match.page
        else:
            yield from (by_key[state.partition, state.name] for state in match.states)


class TestMatching:
    def test_every_state_is_told_once(self) -> None:
        notebook = Notebook()
        refs = notebook.page(parts(30, 100))
        now = [each.state for each in parts(31, 99)]
        matches = list(match_pages(refs, now))
        assert [state for match in matches for state in match.states] == now
        assert [match.page for match in matches] == list(refs)
        assert not any(match.unchanged for match in matches)

    def test_unchanged_pages_are_told_from_changed_ones(self) -> None:
        notebook = Notebook()
        refs = notebook.page(parts(30, 100))
        now = [each.state for each in parts(30, 100)]
        del now[1100]
        assert [match.unchanged for match in match_pages(refs, now)] == [True, False, True]
        assert [match.unchanged for match in match_pages(refs, [])] == [False, False, False]
        assert [match.unchanged for match in match_pages((), now)] == [False]
        assert list(match_pages((), [])) == []

    def test_what_is_not_known_never_matches(self) -> None:
        notebook = Notebook()
        found = parts(1, 3)
        (ref,) = notebook.page(found)
        unhashed = [replace(each.state, hash=b"") for each in found]
        (empty,) = notebook.page([replace(each, state=state) for each, state in zip(found, unhashed, strict=True)])
        assert [match.unchanged for match in match_pages([empty], unhashed)] == [False]
        hurt = replace(ref, damaged=1)
        assert [match.unchanged for match in match_pages([hurt], [each.state for each in found])] == [False]
        assert [match.unchanged for match in match_pages([ref], [each.state for each in found])] == [True]


def test_the_sample_pack_is_one() -> None:
    assert pack_of(PACK.id) == PACK
