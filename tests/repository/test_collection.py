"""What a collection deletes and what it leaves, when nothing else happens meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import msgspec
import pytest

from coldhouse.errors import BackupFailed, Corruption, PruneRefused, StorageError
from coldhouse.model import Snapshot
from coldhouse.repository import Repository, condemned, intents, names
from coldhouse.repository.collection import FORGETTABLE, Collected, Collection, Tally
from coldhouse.repository.condemned import Candidate, What
from coldhouse.repository.intents import Declaration
from coldhouse.storage.base import StoredObject, names_of
from tests.repository.interleaving import ClockedStorage
from tests.repository.samples import entry, new_repository, packs_of, parts, root, store
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.spoiling import spoiled

LIST = "0123456789abcdef" * 2
HOURS = timedelta(hours=3)
#: What a backup may commit.
FUTURE = names.snapshot("20260517T120000Z-0123456789abcdef")


@pytest.fixture
def storage() -> ClockedStorage:
    return ClockedStorage()


@pytest.fixture
def repository(storage: ClockedStorage) -> Repository:
    return new_repository(storage)


def taken(repository: Repository, content: bytes, parent: Snapshot | None = None) -> Snapshot:
    """A snapshot with a table in a pack of its own, and the tables of its parent."""
    files = store(repository, [content])
    packs = packs_of(repository, files)
    held = [type(each)(each.state, tuple(files)) for each in parts(1, 1)]
    wanted = root(parent)
    with repository.draft(parent) as draft:
        for each in repository.entries(parent) if parent is not None else ():
            draft.carry(each)
        draft.add(entry(f"t{wanted.id}"), held, packs.__getitem__)
        return draft.commit(wanted)


def collect(repository: Repository) -> Collected:
    return Collection(repository, threads=0).run()


def objects(storage: ClockedStorage) -> set[str]:
    return {name for name in storage.objects if name.startswith((names.PACKS, names.MANIFESTS))}


def test_a_forgotten_snapshot_gives_back_what_only_it_needed(repository: Repository, storage: ClockedStorage) -> None:
    first = taken(repository, b"one")
    of_first = objects(storage)
    second = taken(repository, b"two", first)
    assert collect(repository).deleted == Tally()
    repository.forget([first.id])
    done = collect(repository)
    assert (done.deleted.packs, done.deleted.manifests) == (0, 1)  # its catalog; what it held is in the other one too
    assert len(of_first - objects(storage)) == 1
    repository.forget([second.id])
    done = collect(repository)
    assert done.deleted.packs == 2
    assert objects(storage) == set()


def test_what_is_deleted_is_in_a_grave_and_its_list_is_closed(repository: Repository, storage: ClockedStorage) -> None:
    first = taken(repository, b"one")
    packs = [id for id, _ in repository.stored_packs()]
    repository.forget([first.id])
    collect(repository)
    assert all(map(repository.graves().pack, packs))
    (closed,) = storage.list(names.CONDEMNED)
    assert storage.get(closed.name) == names.FENCE
    assert names_of(storage.list(names.INTENTS)) == []


def test_fences_graves_and_closed_lists_go_when_no_request_can_be_that_late(
    repository: Repository, storage: ClockedStorage
) -> None:
    first, second = taken(repository, b"one"), taken(repository, b"two")
    storage.objects[names.snapshot(second.id, 1)] = storage.objects[names.snapshot(second.id)]
    storage.put(names.snapshot(second.id), names.FENCE)
    repository.forget([first.id])
    collect(repository)
    storage.now += FORGETTABLE
    collect(repository)
    assert names.snapshot(first.id) in storage.objects
    storage.now += timedelta(days=1)
    collect(repository)
    kept = {names.snapshot(second.id), names.snapshot(second.id, 1)}  # a fence stays as long as its snapshot
    left = {name for name in storage.objects if name.startswith((names.SNAPSHOTS, names.CONDEMNED, names.GRAVES))}
    assert left == kept


@pytest.mark.parametrize("folder", [names.SNAPSHOTS, names.MANIFESTS])
def test_what_cannot_be_read_stops_it(repository: Repository, storage: ClockedStorage, folder: str) -> None:
    first = taken(repository, b"one")
    store(repository, [b"left over"])
    name = next(iter(storage.list(folder))).name
    storage.objects[name] = spoiled(storage.objects[name])
    before = objects(storage)
    with pytest.raises(PruneRefused, match="Nothing was deleted"):
        collect(repository)
    assert objects(storage) == before
    repository.forget([first.id])
    collect(repository)
    assert objects(storage) == set()


def test_a_list_that_cannot_be_read_is_closed(repository: Repository, storage: ClockedStorage) -> None:
    storage.create(names.condemned(LIST), b"nonsense that is longer than a fence")
    collect(repository)
    assert storage.get(names.condemned(LIST)) == names.FENCE
    taken(repository, b"one")


def test_a_list_that_was_left_is_finished(repository: Repository, storage: ClockedStorage) -> None:
    store(repository, [b"left over"])
    broken = FaultyStorage(storage, Fault(How.BEFORE, "delete", "packs/*"))
    with pytest.raises(StorageError):
        collect(Repository(broken, repository._ring))
    assert len(objects(storage)) == 1
    assert collect(repository).deleted.packs == 1
    assert not condemned.read_all(storage, names.CONDEMNED)


def test_a_forged_list_deletes_nothing_that_is_needed(repository: Repository, storage: ClockedStorage) -> None:
    first = taken(repository, b"one")
    before = objects(storage)
    forged = [Candidate(What.PACK, id) for id, _ in repository.stored_packs()]
    storage.create(names.condemned(LIST), condemned.encode(forged))
    assert collect(repository).deleted == Tally()
    assert objects(storage) == before
    assert repository.snapshot(first.id) == first


class TestOthersAtWork:
    def test_a_writer_is_waited_for_and_his_objects_are_not_even_condemned(
        self, repository: Repository, storage: ClockedStorage
    ) -> None:
        store(repository, [b"left over"])
        storage.now += HOURS
        with repository.intent("backup", [FUTURE]):
            store(repository, [b"his own"])
            done = collect(repository)
            assert (done.deleted, done.waiting.packs) == (Tally(), 1)
            assert [wait.kind for wait in done.waits] == ["backup"]
        assert collect(repository).deleted.packs == 2

    def test_one_who_has_seen_the_list_is_not(self, repository: Repository, storage: ClockedStorage) -> None:
        (file,) = store(repository, [b"left over"])
        old = [Candidate(What.PACK, extent.pack) for extent in file.extents]
        storage.create(names.condemned(LIST), condemned.encode(old))
        with repository.intent("backup", [FUTURE]):
            assert collect(repository).deleted.packs == 1

    def test_a_dead_one_is_shut_out(self, repository: Repository, storage: ClockedStorage) -> None:
        wanted = root()
        intent = repository.intent("backup", [names.snapshot(wanted.id)])
        with intent, repository.draft(None, intent) as draft:
            store(repository, [b"his own"])
            storage.now += HOURS
            done = collect(repository)
            assert done.fenced == (names.snapshot(wanted.id),)
            assert done.deleted.packs == 1
            with pytest.raises(BackupFailed, match="for dead"):
                draft.commit(wanted)

    def test_one_who_gives_signs_of_life_is_not_dead(self, repository: Repository, storage: ClockedStorage) -> None:
        store(repository, [b"left over"])
        storage.now += HOURS
        with repository.intent("backup", [FUTURE]) as intent:
            storage.now += HOURS
            intent.renew()
            storage.now += timedelta(hours=1)
            assert collect(repository).waits

    def test_a_reader_of_what_was_forgotten_is_waited_for(self, repository: Repository) -> None:
        first, second = taken(repository, b"one"), taken(repository, b"two")
        with repository.reading("restore", [first.id]), repository.reading("mount", [second.id]):
            repository.forget([first.id])
            assert [wait.kind for wait in collect(repository).waits] == ["restore"]
        assert collect(repository).deleted.packs == 1

    def test_an_intent_that_cannot_be_read_is_waited_for(self, repository: Repository, storage: ClockedStorage) -> None:
        store(repository, [b"left over"])
        storage.now += HOURS
        name = names.declaration(LIST, 0)
        storage.create(name, b"nonsense")
        storage.now += HOURS
        (wait,) = collect(repository).waits
        assert wait.damaged == name
        storage.delete([name])
        assert collect(repository).deleted.packs == 1

    @pytest.mark.parametrize(
        "commits",
        [
            ("rotations/4",),
            ("keys/" + "f" * 32,),
            ("hello/x",),
            ("",),
            ("../escape",),
            ("snapshots/x",),
            (FUTURE + ".0",),
            (FUTURE + "\n",),
            (FUTURE, "config.bak"),
        ],
    )
    def test_one_that_nobody_made_who_keeps_to_the_protocol_is_not_obeyed_and_not_waited_for(
        self, repository: Repository, storage: ClockedStorage, commits: tuple[str, ...]
    ) -> None:
        """Who may write below intents/ alone would otherwise create what he likes, with the rights of who prunes."""
        store(repository, [b"left over"])
        storage.now += HOURS
        storage.create(names.declaration(LIST, 0), intents.encode(Declaration(kind="backup", commits=commits)))
        before = set(storage.objects)
        done = collect(repository)
        assert (done.deleted.packs, done.waits, done.fenced) == (1, (), ())
        storage.now += HOURS
        assert collect(repository).fenced == ()
        assert all(name.startswith((names.CONDEMNED, names.GRAVES)) for name in set(storage.objects) - before)
        assert names_of(storage.list(names.INTENTS)) == []

    def test_beside_what_an_owner_said_it_says_nothing(self, repository: Repository, storage: ClockedStorage) -> None:
        store(repository, [b"left over"])
        storage.now += HOURS
        storage.create(names.declaration(LIST, 0), intents.encode(Declaration(kind="backup", commits=(FUTURE,))))
        storage.create(names.declaration(LIST, 1), intents.encode(Declaration(kind="prune", commits=("config",))))
        assert [wait.kind for wait in collect(repository).waits] == ["backup"]
        storage.now += HOURS
        assert collect(repository).fenced == (FUTURE,)

    def test_who_speaks_in_the_name_of_a_backup_at_work_makes_that_one_fail(
        self, repository: Repository, storage: ClockedStorage
    ) -> None:
        """Nothing proves who made a declaration. Snapshots that are there do not suffer by it."""
        kept = taken(repository, b"kept")
        wanted = root()
        intent = repository.intent("backup", [names.snapshot(wanted.id)])
        with intent, repository.draft(None, intent) as draft:
            files = store(repository, [b"his own"])
            packs = packs_of(repository, files)
            storage.create(names.declaration(intent.id, 9), intents.encode(Declaration(kind="prune")))
            assert collect(repository).deleted.packs == 1
            draft.add(entry("t"), [type(each)(each.state, tuple(files)) for each in parts(1, 1)], packs.__getitem__)
            with pytest.raises((BackupFailed, Corruption)):
                draft.commit(wanted)
        assert repository.find("latest") == kept

    def test_who_may_not_delete_his_intent_is_tidied_up_after(
        self, repository: Repository, storage: ClockedStorage
    ) -> None:
        first = taken(repository, b"one")
        says = Declaration(kind="backup", commits=(names.snapshot(first.id),))
        storage.create(names.declaration(LIST, 0), intents.encode(says))
        store(repository, [b"left over"])
        done = collect(repository)
        assert (done.deleted.packs, done.waits) == (0, ())  # younger than that intent: it could be his
        assert names_of(storage.list(names.INTENTS)) == []
        assert collect(repository).deleted.packs == 1


class TestNotes:
    def note(self, repository: Repository, content: bytes) -> None:
        packs = packs_of(repository, store(repository, [content]))
        repository.put_note("unfinished", "x 0", msgspec.msgpack.encode({"packs": list(packs.values())}))

    def test_what_an_unfinished_backup_has_stored_is_kept_for_the_next(
        self, repository: Repository, storage: ClockedStorage
    ) -> None:
        self.note(repository, b"one")
        storage.now += timedelta(days=13)
        assert collect(repository).deleted == Tally()
        storage.now += timedelta(days=2)
        assert collect(repository).deleted.packs == 1
        assert names_of(storage.list("notes/")) == []

    def test_a_note_that_cannot_be_read_keeps_nothing(self, repository: Repository, storage: ClockedStorage) -> None:
        self.note(repository, b"one")
        (name,) = names_of(storage.list("notes/"))
        storage.objects[name] = b"nonsense"
        assert collect(repository).deleted.packs == 1


def test_what_was_set_aside_keeps_what_it_needs(repository: Repository, storage: ClockedStorage) -> None:
    first = taken(repository, b"one")
    before = objects(storage)
    name = names.snapshot(first.id)
    storage.objects[f"quarantine/{name}.1"] = storage.objects[name]
    storage.objects["quarantine/snapshots/other.1"] = b"nonsense"
    repository.forget([first.id])
    assert collect(repository).deleted == Tally()
    assert objects(storage) == before


def test_a_snapshot_that_gets_a_new_revision_while_it_is_listed(
    repository: Repository, storage: ClockedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first listing shows the old one as a fence already, and does not show the new one yet."""
    first = taken(repository, b"one")
    before = objects(storage)
    old, new = names.snapshot(first.id), names.snapshot(first.id, 1)
    storage.objects[new] = storage.objects[old]
    storage.put(old, names.FENCE)
    look, looks = storage.list, [old]

    def listed(prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        shown = looks.pop() if prefix == names.SNAPSHOTS and looks else ""
        return (each for each in look(prefix, after=after) if not shown or each.name == shown)

    monkeypatch.setattr(storage, "list", listed)
    assert collect(repository).deleted == Tally()
    assert not looks
    assert objects(storage) == before


def test_a_survey_changes_nothing(repository: Repository, storage: ClockedStorage) -> None:
    first = taken(repository, b"one")
    repository.forget([first.id])
    before = dict(storage.objects)
    survey = Collection(repository, threads=0).survey()
    assert (survey.unneeded.packs, survey.unneeded.manifests) == (1, 1)
    assert survey.stored == survey.unneeded
    assert storage.objects == before
