"""Intents and condemned lists: what is announced, what is seen, and what becomes of it when something fails."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldhouse.errors import BackupFailed, Corruption, ObjectExists, StorageError, StorageRefused
from coldhouse.repository import Repository, condemned, intents, names
from coldhouse.repository.condemned import Candidate, What
from coldhouse.repository.intents import Declaration, Intent, NotADeclaration
from coldhouse.storage.base import names_of
from tests.repository.samples import entry, new_repository, parts, root, store
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage

ID = "0123456789abcdef" * 2
#: What a backup may commit.
FUTURE = names.snapshot("20260517T120000Z-0123456789abcdef")
PACK, MANIFEST = Candidate(What.PACK, b"p" * 16), Candidate(What.MANIFEST, b"m" * 16)
candidates = st.builds(Candidate, st.sampled_from(What), st.binary(min_size=16, max_size=16))


def declared(storage: MemoryStorage) -> list[Declaration]:
    found = [intents.read(storage, name) for name in names_of(storage.list("intents/"))]
    return [each for each in found if each is not None]


class TestLists:
    @given(st.sets(candidates, max_size=40), candidates)
    def test_what_was_put_in_comes_out(self, objects: set[Candidate], other: Candidate) -> None:
        found = condemned.decode(ID, "condemned/x", condemned.encode(objects))
        assert list(found) == sorted(objects)
        assert all(found.holds(each.what, each.id) for each in objects)
        assert found.holds(other.what, other.id) == (other in objects)

    @given(st.binary(max_size=80))
    def test_anything_else_is_damage(self, stored: bytes) -> None:
        with pytest.raises(Corruption):
            condemned.decode(ID, "condemned/x", stored)

    @given(st.sets(candidates, min_size=1, max_size=5), st.data())
    def test_a_changed_byte_is_damage(self, objects: set[Candidate], data: st.DataObject) -> None:
        stored = bytearray(condemned.encode(objects))
        stored[data.draw(st.integers(0, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
        with pytest.raises(Corruption):
            condemned.decode(ID, "condemned/x", stored)

    def test_several_lists_are_one(self, storage: MemoryStorage) -> None:
        storage.create(names.condemned(ID), condemned.encode([PACK]))
        storage.create(names.condemned("f" * 32), condemned.encode([MANIFEST]))
        storage.create(names.CONDEMNED + "other", b"not one")
        found = condemned.read_all(storage, names.CONDEMNED)
        assert found.pack(PACK.id) and found.manifest(MANIFEST.id)
        assert not found.pack(MANIFEST.id) and not found.manifest(PACK.id)
        assert not condemned.read_all(storage, names.GRAVES)


class TestDeclarations:
    def test_what_was_put_in_comes_out(self) -> None:
        one = Declaration(kind="backup", commits=(FUTURE,), seen=(ID,), reads=("y",))
        assert intents.decode("intents/x", intents.encode(one)) == one

    @given(st.binary(max_size=200))
    def test_anything_else_is_damage(self, stored: bytes) -> None:
        with pytest.raises(Corruption):
            intents.decode("intents/x", stored)

    def test_a_later_version_is_not_understood(self) -> None:
        with pytest.raises(Corruption, match="later version"):
            intents.decode("intents/x", intents.encode(Declaration(version=2, kind="backup")))

    @pytest.mark.parametrize("name", ["rotations/4", "", "../escape", "snapshots/x", f"{FUTURE}.0", f"{FUTURE}\n"])
    def test_one_that_would_commit_anything_but_a_snapshot_is_nobodys(self, name: str) -> None:
        with pytest.raises(NotADeclaration, match="nobody"):
            intents.decode("intents/x", intents.encode(Declaration(kind="backup", commits=(FUTURE, name))))


class TestIntents:
    def test_it_is_published_and_taken_back(self, repository: Repository, storage: MemoryStorage) -> None:
        with repository.intent("backup", [FUTURE]) as intent:
            assert declared(storage) == [Declaration(kind="backup", commits=(FUTURE,))]
            assert not intent.condemned
            intent.renew()
            assert len(declared(storage)) == 2
        assert declared(storage) == []

    def test_who_finds_a_list_says_that_he_saw_it(self, repository: Repository, storage: MemoryStorage) -> None:
        storage.create(names.condemned(ID), condemned.encode([PACK]))
        with repository.intent("backup", [FUTURE]) as intent:
            assert intent.condemned.pack(PACK.id)
            first, second = declared(storage)
            assert (first.seen, second.seen) == ((), (ID,))
            intent.renew()
            assert declared(storage)[-1] == second

    def test_a_damaged_list_stops_whoever_would_have_to_heed_it(
        self, repository: Repository, storage: MemoryStorage
    ) -> None:
        storage.create(names.condemned(ID), b"nonsense")
        with pytest.raises(Corruption, match="prune"), repository.intent("backup", [FUTURE]):
            pass
        assert declared(storage) == []

    def test_signs_of_life(self, storage: MemoryStorage) -> None:
        with Intent(storage, "backup", [FUTURE], renewal=0.001):
            deadline = time.monotonic() + 60
            while len(declared(storage)) < 3 and time.monotonic() < deadline:
                time.sleep(0.001)
            assert len(declared(storage)) >= 3
        assert declared(storage) == []

    def test_a_commit_that_is_in_doubt_leaves_it(self, storage: MemoryStorage) -> None:
        faulty = FaultyStorage(storage, Fault(How.AFTER, "create", "snapshots/*"))
        with pytest.raises(StorageError), Intent(faulty, "backup", [FUTURE]) as intent:
            intent.create(FUTURE, b"content")
        assert len(declared(storage)) == 1

    def test_a_commit_that_found_the_name_taken_does_not(self, storage: MemoryStorage) -> None:
        storage.create(FUTURE, b"")
        with pytest.raises(ObjectExists), Intent(storage, "backup", [FUTURE]) as intent:
            intent.create(FUTURE, b"content")
        assert declared(storage) == []

    def test_a_host_that_may_not_delete_leaves_it(self, storage: MemoryStorage) -> None:
        faulty = FaultyStorage(storage, Fault(How.BEFORE, "delete", "intents/*", StorageRefused("no")))
        with Intent(faulty, "backup", [FUTURE]):
            pass
        assert len(declared(storage)) == 1

    def test_a_reader_who_may_not_write_goes_on(self, storage: MemoryStorage) -> None:
        faulty = FaultyStorage(storage, Fault(How.BEFORE, "create", "intents/*", StorageRefused("no")))
        repository = new_repository(faulty)
        with repository.reading("restore", ["x"]):
            assert declared(storage) == []
        with repository.reading("restore", ["x"]):
            assert declared(storage) == [Declaration(kind="restore", reads=("x",))]
        assert declared(storage) == []


class TestCommits:
    def test_nothing_condemned_is_committed(self, repository: Repository, storage: MemoryStorage) -> None:
        files = store(repository, [b"content"])
        packs = {id: repository.directory(id)[0] for id, _ in repository.stored_packs()}
        storage.create(names.condemned(ID), condemned.encode(Candidate(What.PACK, id) for id in packs))
        held = [type(each)(each.state, tuple(files)) for each in parts(1, 1)]
        with repository.draft(None) as draft:
            draft.add(entry("orders"), held, packs.__getitem__)
            with pytest.raises(BackupFailed, match="removed by a prune"):
                draft.commit(root())
        assert repository.snapshot_ids() == []

    def test_nor_what_is_carried(self, repository: Repository, storage: MemoryStorage) -> None:
        files = store(repository, [b"content"])
        packs = {id: repository.directory(id)[0] for id, _ in repository.stored_packs()}
        held = [type(each)(each.state, tuple(files)) for each in parts(1, 1)]
        with repository.draft(None) as draft:
            draft.add(entry("orders"), held, packs.__getitem__)
            first = draft.commit(root())
        storage.create(names.condemned(ID), condemned.encode(Candidate(What.PACK, id) for id in packs))
        with repository.draft(first) as draft:
            for each in repository.entries(first):
                draft.carry(each)
            with pytest.raises(BackupFailed, match="removed by a prune"):
                draft.commit(root(first))

    def test_nor_what_is_in_a_grave(self, repository: Repository, storage: MemoryStorage) -> None:
        """Without an intent of his own a writer cannot know what was decided while he worked."""
        files = store(repository, [b"content"])
        packs = {id: repository.directory(id)[0] for id, _ in repository.stored_packs()}
        storage.create(names.grave(ID), condemned.encode(Candidate(What.PACK, id) for id in packs))
        held = [type(each)(each.state, tuple(files)) for each in parts(1, 1)]
        with repository.draft(None) as draft:
            draft.add(entry("orders"), held, packs.__getitem__)
            with pytest.raises(BackupFailed, match="removed by a prune"):
                draft.commit(root())
