"""Snapshots: what a draft shares, what it writes, and what is found again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

import pytest

from coldhouse.errors import BackupFailed, Corruption, NoSuchSnapshot
from coldhouse.model import Buffer, PackRef, Part, Snapshot, TableEntry
from coldhouse.records import replace
from coldhouse.repository import Repository, crypto, names, notes, open_repository
from coldhouse.storage import Storage
from coldhouse.storage.base import NO_LIMIT
from coldhouse.storage.counted import CountedStorage
from coldhouse.storage.throttled import ThrottledStorage
from tests.repository.samples import MOMENT, PACK, PASSPHRASE, entry, new_repository, pack_of, part, parts, root
from tests.support.faulty import FaultyStorage
from tests.support.memory_storage import MemoryStorage

Tables = dict[str, list[Part]]


@pytest.fixture(autouse=True)
def pack(repository: Repository, storage: MemoryStorage) -> None:
    """The pack that the parts of these tests refer to; nothing here reads it."""
    storage.put(f"packs/{PACK.id[:1].hex()}/{PACK.id.hex()}", bytes(PACK.size))


def commit(repository: Repository, tables: Tables, parent: Snapshot | None = None) -> Snapshot:
    with repository.draft(parent) as draft:
        for name, found in tables.items():
            draft.add(entry(name), found, pack_of)
        return draft.commit(root(parent))


def held(repository: Repository, snapshot: Snapshot) -> Tables:
    return {found.name.table: list(repository.parts(found)) for found in repository.entries(snapshot)}


def new_objects(storage: MemoryStorage, act: Callable[[], Snapshot]) -> tuple[Snapshot, list[str]]:
    before = set(storage.objects)
    snapshot = act()
    return snapshot, sorted(name.partition("/")[0] for name in set(storage.objects) - before)


def test_a_snapshot_holds_what_was_put_into_it(repository: Repository) -> None:
    tables = {"orders": parts(3, 10), "views": [], "big": parts(25, 100)}
    snapshot = commit(repository, tables)
    assert repository.snapshot(snapshot.id) == snapshot
    assert held(repository, snapshot) == tables
    assert [str(found.name) for found in repository.entries(snapshot)] == ["shop.big", "shop.orders", "shop.views"]


def test_the_entry_is_filled_in(repository: Repository) -> None:
    with repository.draft(None) as draft:
        found = draft.add(entry("orders"), parts(3, 10), pack_of)
    assert (found.parts, found.files, found.rows, found.bytes) == (30, 60, 300, 30 * 201)


def test_the_accounting_counts_what_the_draft_stored(repository: Repository, storage: MemoryStorage) -> None:
    snapshot, objects = new_objects(storage, lambda: commit(repository, {"big": parts(25, 100)}))
    assert objects == ["manifests", "manifests", "manifests", "manifests", "snapshots"]
    assert snapshot.accounting.objects == 5
    manifests = sum(len(stored) for name, stored in storage.objects.items() if name.startswith("manifests/"))
    assert snapshot.accounting.stored == manifests


class TestIncrement:
    """A second snapshot, and how many objects it costs."""

    TABLES: ClassVar[Tables] = {"big": parts(25, 100), "orders": parts(3, 10), "small": parts(1, 1)}

    def test_carried_tables_cost_the_snapshot_alone(self, repository: Repository, storage: MemoryStorage) -> None:
        first = commit(repository, self.TABLES)

        def again() -> Snapshot:
            with repository.draft(first) as draft:
                for found in repository.entries(first):
                    draft.carry(found)
                return draft.commit(root(first))

        second, objects = new_objects(storage, again)
        assert objects == ["snapshots"]
        assert second.catalog == first.catalog
        assert held(repository, second) == self.TABLES

    def test_tables_added_unchanged_cost_the_snapshot_alone(
        self, repository: Repository, storage: MemoryStorage
    ) -> None:
        first = commit(repository, self.TABLES)
        second, objects = new_objects(storage, lambda: commit(repository, self.TABLES, first))
        assert objects == ["snapshots"]
        assert second.catalog == first.catalog

    def test_one_changed_part_costs_its_page_and_the_catalog(
        self, repository: Repository, storage: MemoryStorage
    ) -> None:
        first = commit(repository, self.TABLES)
        changed = {**self.TABLES, "big": [*self.TABLES["big"][:-1], part("00024", "00024_000099_000120_1")]}
        second, objects = new_objects(storage, lambda: commit(repository, changed, first))
        assert objects == ["manifests", "manifests", "snapshots"]
        assert held(repository, second) == changed
        assert held(repository, first) == self.TABLES

    def test_a_small_table_needs_no_page_object(self, repository: Repository, storage: MemoryStorage) -> None:
        first = commit(repository, self.TABLES)
        changed = {**self.TABLES, "small": parts(1, 2)}
        second, objects = new_objects(storage, lambda: commit(repository, changed, first))
        assert objects == ["manifests", "snapshots"]
        assert held(repository, second) == changed

    def test_a_renamed_table_keeps_its_pages(self, repository: Repository, storage: MemoryStorage) -> None:
        uuid = "6b6ee9b1-8e36-4f43-93d2-3fa1f6d8a3a2"
        found = parts(25, 100)
        with repository.draft(None) as draft:
            draft.add(entry("before", uuid=uuid), found, pack_of)
            first = draft.commit(root())

        def rename() -> Snapshot:
            with repository.draft(first) as draft:
                draft.add(entry("after", uuid=uuid), found, pack_of)
                return draft.commit(root(first))

        second, objects = new_objects(storage, rename)
        assert objects == ["manifests", "snapshots"]
        assert held(repository, second) == {"after": found}

    def test_dropped_and_new_tables(self, repository: Repository) -> None:
        first = commit(repository, self.TABLES)
        changed = {"big": self.TABLES["big"], "new": parts(2, 2)}
        assert held(repository, commit(repository, changed, first)) == changed

    def test_pages_can_be_carried_by_reference(self, repository: Repository, storage: MemoryStorage) -> None:
        first = commit(repository, self.TABLES)
        pages = next(iter(repository.entries(first))).pages
        more = [part("00099", "00099_1_1_0")]

        def append() -> Snapshot:
            with repository.draft(first) as draft:
                draft.add(entry("big"), [*pages, *more], pack_of)
                return draft.commit(root(first))

        second, objects = new_objects(storage, append)
        assert objects == ["manifests", "snapshots"]
        assert held(repository, second) == {"big": [*self.TABLES["big"], *more]}

    def test_pages_of_a_third_snapshot_are_proven(self, repository: Repository, storage: MemoryStorage) -> None:
        other = commit(repository, {"big": parts(25, 100)})
        first = commit(repository, {"orders": parts(3, 10)})

        def borrow() -> Snapshot:
            with repository.draft(first) as draft:
                for found in repository.entries(other):
                    draft.carry(found)
                return draft.commit(root(first))

        second, objects = new_objects(storage, borrow)
        assert objects == ["manifests", "snapshots"]
        assert held(repository, second) == {"big": parts(25, 100)}
        page = next(iter(repository.entries(other))).pages[0]
        storage.delete([f"manifests/{page.ref.id[:1].hex()}/{page.ref.id.hex()}"])
        with pytest.raises(Corruption, match="missing"):
            borrow()


class TestCatalog:
    """Thousands of tables over several catalog objects."""

    @staticmethod
    def many(repository: Repository, tables: dict[str, str], parent: Snapshot | None) -> Snapshot:
        with repository.draft(parent) as draft:
            for name, definition in tables.items():
                draft.carry(entry(name, definition=definition))
            return draft.commit(root(parent))

    def test_a_changed_table_touches_one_object(self, repository: Repository, storage: MemoryStorage) -> None:
        tables = {f"t{at:04}": "CREATE TABLE " + "x" * 1000 for at in range(2000)}
        first = self.many(repository, tables, None)
        assert len(first.catalog) >= 4
        tables["t1234"] += "!"
        second = self.many(repository, tables, first)
        assert len(set(second.catalog) - set(first.catalog)) == 1
        assert {e.name.table: e.definition for e in repository.entries(second)} == tables

    def test_dropped_tables_leave_no_dwarfs_behind(self, repository: Repository) -> None:
        tables = {f"t{at:04}": "CREATE TABLE " + "x" * 1000 for at in range(2000)}
        first = self.many(repository, tables, None)
        few = {name: text for name, text in tables.items() if name.endswith("00")}
        second = self.many(repository, few, first)
        assert len(second.catalog) == 1
        assert {e.name.table: e.definition for e in repository.entries(second)} == few

    def test_tables_may_come_in_any_order_but_once(self, repository: Repository) -> None:
        with repository.draft(None) as draft:
            draft.carry(entry("b"))
            draft.carry(entry("a"))
            with pytest.raises(ValueError, match="already"):
                draft.carry(entry("b"))
            snapshot = draft.commit(root())
        assert [found.name.table for found in repository.entries(snapshot)] == ["a", "b"]

    def test_an_entry_comes_back_as_it_was(self, repository: Repository) -> None:
        full: TableEntry = replace(
            entry('Überschrift `"\\ %', uuid="u", definition="CREATE …"),
            new_bytes=5,
            written_by="x",
            depends_on=(entry("other").name,),
            damaged=("a_1_1_0",),
        )
        with repository.draft(None) as draft:
            draft.carry(full)
            snapshot = draft.commit(root())
        assert list(repository.entries(snapshot)) == [full]


class TestProof:
    """A commit that finds something missing makes no snapshot."""

    def test_a_missing_pack(self, repository: Repository, storage: MemoryStorage) -> None:
        name = next(name for name in storage.objects if name.startswith("packs/"))
        storage.delete([name])
        with pytest.raises(Corruption, match="missing") as caught:
            commit(repository, {"orders": parts(1, 1)})
        assert caught.value.object_name == name
        assert repository.snapshot_ids() == []

    def test_a_pack_of_another_size(self, repository: Repository, storage: MemoryStorage) -> None:
        name = next(name for name in storage.objects if name.startswith("packs/"))
        storage.put(name, storage.objects[name][:-1])
        with pytest.raises(Corruption, match="instead of"):
            commit(repository, {"orders": parts(1, 1)})
        assert repository.snapshot_ids() == []

    def test_many_packs_are_found_by_listing(self, repository: Repository, storage: MemoryStorage) -> None:
        ids = [bytes([at]) * 16 for at in range(150)]
        found = [
            replace(
                one := part("a", f"a_{at:03}", files=1),
                files=(replace(one.files[0], extents=(replace(one.files[0].extents[0], pack=id),)),),
            )
            for at, id in enumerate(ids)
        ]
        for id in ids:
            storage.put(f"packs/{id[:1].hex()}/{id.hex()}", bytes(10))

        def small(id: bytes) -> PackRef:
            return replace(PACK, id=id, size=10)

        with repository.draft(None) as draft:
            draft.add(entry("t"), found, small)
            draft.commit(root())
        storage.delete([f"packs/77/{ids[0x77].hex()}"])
        with repository.draft(None) as draft:
            draft.add(entry("t"), found, small)
            with pytest.raises(Corruption, match="missing"):
                draft.commit(root())

    def test_a_parent_that_was_removed(self, repository: Repository, storage: MemoryStorage) -> None:
        first = commit(repository, {"orders": parts(1, 1)})
        with repository.draft(first) as draft:
            for found in repository.entries(first):
                draft.carry(found)
            storage.delete([f"snapshots/{first.id}"])
            with pytest.raises(BackupFailed, match="removed"):
                draft.commit(root(first))
        assert repository.snapshot_ids() == []


class TestFinding:
    def test_oldest_first(self, repository: Repository) -> None:
        later = commit_at(repository, 2)
        earlier = commit_at(repository, 1)
        assert repository.snapshot_ids() == [earlier.id, later.id]
        assert [found.id for found in repository.snapshots()] == [earlier.id, later.id]
        assert repository.find("latest").id == later.id

    def test_by_id_by_beginning_and_by_tail(self, repository: Repository) -> None:
        first, second = commit_at(repository, 1), commit_at(repository, 2)
        for name in (first.id, first.id[:15], first.id.partition("-")[2][:8]):
            assert repository.find(name) == first
        with pytest.raises(NoSuchSnapshot, match="2 snapshots"):
            repository.find(second.id[:8])

    @pytest.mark.parametrize("name", ["latest", "", "20260517", "../config", "config"])
    def test_nothing_is_found_in_an_empty_repository(self, repository: Repository, name: str) -> None:
        with pytest.raises(NoSuchSnapshot):
            repository.find(name)
        with pytest.raises(NoSuchSnapshot):
            repository.snapshot(name)

    def test_other_objects_are_no_snapshots(self, repository: Repository, storage: MemoryStorage) -> None:
        storage.put("snapshots/.tmp", b"x")
        storage.put("snapshots/readme", b"x")
        assert repository.snapshot_ids() == []


def commit_at(repository: Repository, hours: int) -> Snapshot:
    with repository.draft(None) as draft:
        return draft.commit(root(moment=MOMENT + timedelta(hours=hours)))


def test_a_partition_costs_only_its_pages(repository: Repository, storage: MemoryStorage) -> None:
    snapshot = commit(repository, {"big": parts(100, 100)})
    watched = FaultyStorage(storage)
    reader = open_repository(watched, PASSPHRASE)
    (found,) = reader.entries(snapshot)
    assert len(found.pages) == 10
    watched.forget_calls()
    assert len(list(reader.parts(found, ["00042"]))) == 100
    assert watched.count() == watched.count("get_range", "manifests/*") == 1


def test_listing_costs_one_request_a_snapshot(repository: Repository, storage: MemoryStorage) -> None:
    for hour in range(5):
        commit_at(repository, hour)
    watched = FaultyStorage(storage)
    reader = open_repository(watched, PASSPHRASE)
    watched.forget_calls()
    assert len(list(reader.snapshots())) == 5
    assert watched.count("list") == 1
    assert watched.count() == 6


@pytest.mark.parametrize("readers", [0, 3])
def test_many_are_read_in_their_order_and_what_is_wrong_with_one_stands_in_its_place(readers: int) -> None:
    """Also by threads, where a store answers late; forty of them are more than are under way at a time."""
    storage = MemoryStorage(readers)
    repository = new_repository(storage)
    made = [commit_at(repository, hour) for hour in range(40)]
    storage.objects[names.snapshot(made[7].id)] = b"damaged"
    ids = [snapshot.id for snapshot in made]
    del storage.objects[names.snapshot(made[20].id)]
    found = dict(repository.each_snapshot(ids))
    assert list(found) == [id for id in ids if id != made[20].id]
    assert isinstance(found.pop(made[7].id), Corruption)
    assert list(found.values()) == [made[hour] for hour in range(40) if hour not in (7, 20)]
    with pytest.raises(Corruption, match=made[7].id):
        list(repository.snapshots())
    assert list(repository.snapshots(ids[30:])) == made[30:]


def test_a_store_that_answers_late_is_asked_for_several_at_a_time() -> None:
    """Nobody is let in before three stand at the door."""
    door = threading.Barrier(3, timeout=30)

    class Late(MemoryStorage):
        def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
            if name.startswith("snapshots/"):
                door.wait()
            return super().get(name, limit=limit)

    repository = new_repository(Late(3))
    made = [commit_at(repository, hour) for hour in range(6)]
    assert list(repository.snapshots()) == made


@pytest.mark.parametrize("store", [CountedStorage, FaultyStorage, ThrottledStorage])
def test_a_store_around_another_has_as_many_readers(store: Callable[[Storage], Storage]) -> None:
    assert store(MemoryStorage(5)).readers == 5


class TestNotes:
    @pytest.mark.parametrize("readers", [0, 3])
    def test_those_of_many_keys_cost_a_listing_and_a_request_each(self, readers: int) -> None:
        storage = MemoryStorage(readers)
        watched = FaultyStorage(storage)
        repository = new_repository(watched)
        for key in ("one", "two", "three", "of nobody"):
            repository.put_note("proof", key, key.encode())
        damaged = next(name for name in storage.objects if name.startswith("notes/"))
        storage.objects[damaged] = b"damaged"
        watched.forget_calls()
        found = dict(
            repository.get_notes("proof", [f"none {number}" for number in range(50)] + ["three", "one", "two"])
        )
        assert list(found) == ["three", "one", "two"]
        assert isinstance(found["one"], Corruption)
        assert (found["two"], found["three"]) == (b"two", b"three")
        assert (watched.count("list"), watched.count("get"), watched.count()) == (1, 3, 4)

    @pytest.mark.parametrize("noted", [0, 20])
    def test_the_names_of_those_of_many_keys_cost_one_derived_key(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch, noted: int
    ) -> None:
        for number in range(noted):
            repository.put_note("proof", str(number), b"a proof")
        derived = 0

        def counting(secret: bytes, salt: bytes, info: bytes) -> bytes:
            nonlocal derived
            derived += 1
            return crypto.derive(secret, salt, info)

        monkeypatch.setattr(notes, "derive", counting)
        found = list(repository.get_notes("proof", map(str, range(1000))))
        assert found == [(str(number), b"a proof") for number in range(noted)]
        assert derived == 1

    def test_a_note_comes_back(self, repository: Repository, storage: MemoryStorage) -> None:
        assert repository.get_note("restore", "target and snapshot") is None
        repository.put_note("restore", "target and snapshot", b"one")
        repository.put_note("restore", "target and snapshot", b"two")
        repository.put_note("restore", "another", b"three")
        assert repository.get_note("restore", "target and snapshot") == b"two"
        assert sorted(repository.notes("restore")) == [("another", b"three"), ("target and snapshot", b"two")]
        repository.delete_note("restore", "target and snapshot")
        repository.delete_note("restore", "target and snapshot")
        assert repository.get_note("restore", "target and snapshot") is None
        assert not any(b"another" in stored or "another" in name for name, stored in storage.objects.items())

    def test_kinds_are_apart(self, repository: Repository) -> None:
        repository.put_note("restore", "key", b"data")
        assert repository.get_note("verify", "key") is None
        assert list(repository.notes("verify")) == []
        with pytest.raises(ValueError, match="kind"):
            repository.put_note("../config", "key", b"")
