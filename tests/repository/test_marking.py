"""Marking: everything that roots need, and nothing else, each object read once."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldhouse.errors import Corruption
from coldhouse.model import Buffer, Extent, FileEntry, PackRef, Part, PartState, Snapshot
from coldhouse.repository import Repository, manifest_name, pack_name, snapshot_name
from coldhouse.repository.id_index import IdIndex
from coldhouse.repository.marking import PIECE, mark, read_root
from coldhouse.repository.names import FENCE
from coldhouse.repository.pack_format import FRAME_SIZE, table_size
from tests.repository.samples import checksum, entry, new_repository, root
from tests.support.memory_storage import MemoryStorage
from tests.support.spoiling import spoiled

PACKS = [PackRef(bytes([65 + at]) * 16, 100 + at, table_size(128)) for at in range(4)]
BY_ID = {ref.id: ref for ref in PACKS}

extents = st.builds(
    Extent,
    st.sampled_from(sorted(BY_ID)),
    st.integers(0, 140 * FRAME_SIZE),
    st.one_of(st.integers(1, 3000), st.integers(1, 20 * FRAME_SIZE)),
)
files = st.lists(st.lists(extents, min_size=1, max_size=3), max_size=4)
tables = st.lists(st.lists(files, min_size=1, max_size=6), min_size=1, max_size=3)


def parts_of(described: list[list[list[Extent]]]) -> list[Part]:
    return [
        Part(
            PartState("all", f"all_{at:03}_{at:03}_0", checksum(b"%d" % at), 1, 1),
            tuple(
                FileEntry(f"f{number}", sum(one.length for one in some), checksum(b"x"), tuple(some))
                for number, some in enumerate(files)
            ),
        )
        for at, files in enumerate(described)
    ]


def taken(repository: Repository, tables: dict[str, list[Part]], parent: Snapshot | None = None) -> Snapshot:
    with repository.draft(parent) as draft:
        for name, parts in tables.items():
            draft.add(entry(name), parts, BY_ID.__getitem__)
        return draft.commit(root(parent))


@pytest.fixture
def repository(storage: MemoryStorage) -> Repository:
    return with_packs(storage)


def with_packs(storage: MemoryStorage) -> Repository:
    opened = new_repository(storage)
    for ref in PACKS:
        storage.objects[pack_name(ref.id)] = bytes(ref.size)
    return opened


def pieces_of(described: list[list[list[Extent]]]) -> set[tuple[bytes, int, int]]:
    """What is used, said as simply as it can be: (pack, frame, piece)."""
    return {
        (one.pack, *divmod(at, FRAME_SIZE // PIECE))
        for part in described
        for file in part
        for one in file
        for at in range(one.offset // PIECE, (one.offset + one.length - 1) // PIECE + 1)
    }


@settings(max_examples=60, deadline=None)
@given(tables)
def test_the_used_pieces_of_every_pack_are_marked_and_no_others(described: list[list[list[list[Extent]]]]) -> None:
    repository = with_packs(MemoryStorage())
    snapshot = taken(repository, {f"t{at}": parts_of(some) for at, some in enumerate(described)})
    marks = mark(repository, [snapshot_name(snapshot.id)])
    expected = set[tuple[bytes, int, int]]().union(*map(pieces_of, described))
    found = {
        (ref.id, frame, piece)
        for ref in marks.packs()
        for frame, bits in enumerate(marks.frames_of(ref.id))
        for piece in range(8)
        if bits >> piece & 1
    }
    assert found == expected
    assert {ref.id for ref in marks.packs()} == {pack for pack, _, _ in expected}
    assert all(BY_ID[ref.id] == ref for ref in marks.packs())


def test_all_that_a_snapshot_stored_is_needed_and_what_nobody_committed_is_not(
    repository: Repository, storage: MemoryStorage
) -> None:
    first = taken(repository, {"orders": large("orders", 0), "events": large("events", 1)})
    second = taken(repository, {"orders": large("orders", 0), "events": large("events", 2)}, first)
    with repository.draft(second) as draft:
        draft.add(entry("events"), large("events", 3), BY_ID.__getitem__)  # never committed
        draft._manifests.flush()
    marks = mark(repository, [snapshot_name(second.id)])
    manifests = {name for name in storage.objects if name.startswith("manifests/")}
    needed = {manifest_name(id) for id, _ in marks.manifests()}
    assert needed < manifests
    assert all(len(storage.objects[manifest_name(id)]) == size for id, size in marks.manifests())
    assert [ref.id for ref in PACKS if marks.has_pack(ref.id)] == [PACKS[0].id, PACKS[2].id]
    marks.add([snapshot_name(first.id)])
    assert [ref.id for ref in PACKS if marks.has_pack(ref.id)] == [PACKS[0].id, PACKS[1].id, PACKS[2].id]
    unneeded = manifests - {manifest_name(id) for id, _ in marks.manifests()}
    assert len(unneeded) == 1  # the page of the draft


def large(table: str, pack: int) -> list[Part]:
    """So many parts that their page is an object of its own."""
    return parts_of([[[Extent(PACKS[pack].id, at * 1000, 1000)]] for at in range(200)])


def test_every_object_is_read_once_however_many_snapshots_need_it() -> None:
    class Counting(MemoryStorage):
        def get_range(self, name: str, offset: int, length: int) -> Buffer:
            read[name] += 1
            return super().get_range(name, offset, length)

    read = Counter[str]()
    repository = with_packs(Counting())
    snapshot = taken(repository, {"orders": large("orders", 0)})
    ids = [snapshot.id]
    for at in range(5):
        snapshot = taken(repository, {"orders": large("orders", 0), f"t{at}": large("t", 1)}, snapshot)
        ids.append(snapshot.id)
    read.clear()
    marks = mark(repository, [snapshot_name(id) for id in ids])
    assert set(read.values()) == {1}
    assert not any(name.startswith("packs/") for name in read)
    assert len(list(marks.packs())) == 2


def test_what_is_gone_or_fenced_needs_nothing(repository: Repository, storage: MemoryStorage) -> None:
    snapshot = taken(repository, {"orders": large("orders", 0)})
    name = snapshot_name(snapshot.id)
    storage.objects[name] = FENCE
    assert list(mark(repository, [name, "snapshots/20260101T000000Z-0000000000000000"]).packs()) == []


def test_a_revision_and_an_object_in_quarantine_are_roots_too(repository: Repository, storage: MemoryStorage) -> None:
    snapshot = taken(repository, {"orders": large("orders", 0)})
    name = snapshot_name(snapshot.id)
    for other in (f"{name}.1", f"quarantine/{name}.1", f"quarantine/{name}.12.3"):
        storage.objects[other] = storage.objects[name]
        assert read_root(repository, other) == snapshot
        assert mark(repository, [other]).has_pack(PACKS[0].id)


@pytest.mark.parametrize("kind", ["snapshots/", "manifests/"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_what_cannot_be_read_is_named(repository: Repository, storage: MemoryStorage, kind: str, damage: str) -> None:
    snapshot = taken(repository, {"orders": large("orders", 0)})
    for name in [name for name in storage.objects if name.startswith(kind)]:
        whole = storage.objects[name]
        if damage == "changed":
            storage.objects[name] = spoiled(whole)
        elif kind == "snapshots/":
            continue  # a snapshot that is gone was forgotten
        else:
            del storage.objects[name]
        with pytest.raises(Corruption) as caught:
            mark(repository, [snapshot_name(snapshot.id)])
        assert caught.value.object_name == name
        storage.objects[name] = whole


def test_packs_of_notes_are_needed_as_a_whole(repository: Repository) -> None:
    snapshot = taken(repository, {"orders": large("orders", 0)})
    marks = mark(repository, [snapshot_name(snapshot.id)])
    marks.add_packs([PACKS[0], PACKS[1]])
    assert [marks.has_pack(ref.id) for ref in PACKS] == [True, True, False, False]
    assert [marks.is_whole(ref.id) for ref in PACKS] == [True, True, False, False]
    assert [ref.id for ref in marks.packs()] == [PACKS[0].id, PACKS[1].id]


@given(st.lists(st.integers(0, 400), max_size=600))
def test_an_index_numbers_ids_in_the_order_in_which_they_came(chosen: list[int]) -> None:
    ids = [number.to_bytes(8, "little") * 2 for number in range(401)]
    index = IdIndex()
    places: dict[bytes, int] = {}
    for number in chosen:
        assert index.add(ids[number]) == places.setdefault(ids[number], len(places))
    assert list(index) == list(places) and len(index) == len(places)
    assert all((id in index) == (id in places) and index.find(id) == places.get(id) for id in ids)


def test_an_index_grows(repository: Repository) -> None:
    ids = [secrets.token_bytes(16) for _ in range(5000)]
    index = IdIndex()
    assert [index.add(id) for id in ids] == list(range(5000))
    assert [index.find(id) for id in ids] == list(range(5000))
