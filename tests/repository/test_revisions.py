"""Fences and revisions: what counts as a snapshot when its name holds something else, or has companions."""

from __future__ import annotations

from contextlib import suppress

import msgspec
import pytest

from coldhouse.errors import BackupFailed, Corruption, NoSuchSnapshot, ObjectExists
from coldhouse.model import Snapshot
from coldhouse.records import replace
from coldhouse.repository import Repository, names, revisions
from coldhouse.repository.crypto import Kind, seal
from coldhouse.storage.base import names_of
from tests.repository.samples import entry, new_repository, parts, root, store
from tests.support.faulty import Call, FaultyStorage
from tests.support.memory_storage import MemoryStorage


def commit(repository: Repository) -> Snapshot:
    with repository.draft(None) as draft:
        return draft.commit(root())


def test_a_forgotten_snapshot_is_a_fence_and_nothing_else(repository: Repository, storage: MemoryStorage) -> None:
    first, second = commit(repository), commit(repository)
    repository.forget([first.id])
    assert repository.snapshot_ids() == [second.id]
    assert storage.objects[names.snapshot(first.id)] == names.FENCE
    with pytest.raises(NoSuchSnapshot):
        repository.snapshot(first.id)
    with pytest.raises(NoSuchSnapshot):
        repository.find(first.id)


def test_the_request_that_created_it_comes_too_late(repository: Repository, storage: MemoryStorage) -> None:
    first = commit(repository)
    sealed = storage.objects[names.snapshot(first.id)]
    repository.forget([first.id])
    with suppress(ObjectExists):
        storage.create(names.snapshot(first.id), sealed)
    assert repository.snapshot_ids() == []


def test_a_later_revision_counts_when_the_earlier_one_is_fenced(repository: Repository, storage: MemoryStorage) -> None:
    first = commit(repository)
    old, new = names.snapshot(first.id), names.snapshot(first.id, 1)
    storage.objects[new] = storage.objects[old]
    assert repository.snapshot_objects() == {first.id: [old, new]}
    storage.objects[old] = names.FENCE
    assert repository.snapshot_objects() == {first.id: [new]}
    assert repository.snapshot(first.id) == first
    assert repository.find("latest") == first
    assert revisions.next_revision(revisions.revisions(storage, first.id)) == 2
    repository.forget([first.id])
    assert storage.objects[new] == names.FENCE
    assert repository.snapshot_ids() == []


def test_a_revision_of_another_snapshot_is_refused(repository: Repository, storage: MemoryStorage) -> None:
    first, second = commit(repository), commit(repository)
    storage.objects[names.snapshot(first.id, 1)] = storage.objects[names.snapshot(second.id)]
    storage.objects[names.snapshot(first.id)] = names.FENCE
    with pytest.raises(Corruption, match="another object than its name says"):
        repository.snapshot(first.id)


@pytest.mark.parametrize("name", ["snapshots/{id}.0", "snapshots/{id}.01", "snapshots/{id}.x", "snapshots/{id}.1.1"])
def test_other_names_are_no_revisions(repository: Repository, storage: MemoryStorage, name: str) -> None:
    first = commit(repository)
    storage.objects[name.format(id=first.id)] = storage.objects[names.snapshot(first.id)]
    storage.objects[names.snapshot(first.id)] = names.FENCE
    assert repository.snapshot_ids() == []


def test_one_that_is_written_anew_while_it_is_forgotten(storage: MemoryStorage) -> None:
    """The new revision appears just when the old one is fenced: the second look of forget finds it."""
    watched = FaultyStorage(storage)
    repository = new_repository(watched)
    first = commit(repository)
    old, new = names.snapshot(first.id), names.snapshot(first.id, 1)

    def rewrite(call: Call) -> None:
        if (call.verb, call.name) == ("put", old):
            storage.objects[new] = storage.objects[old]

    watched.watch = rewrite
    repository.forget([first.id])
    assert repository.snapshot_ids() == []
    assert storage.objects[new] == names.FENCE


def test_one_that_is_forgotten_while_it_is_read(storage: MemoryStorage) -> None:
    watched = FaultyStorage(storage)
    repository = new_repository(watched)
    first = commit(repository)

    def forget(call: Call) -> None:
        if call.verb == "get":
            watched.watch = None
            repository.forget([first.id])

    watched.watch = forget
    with pytest.raises(NoSuchSnapshot):
        repository.snapshot(first.id)


def test_a_backup_whose_name_was_fenced_has_failed(repository: Repository, storage: MemoryStorage) -> None:
    wanted = root()
    storage.objects[names.snapshot(wanted.id)] = names.FENCE
    with repository.draft(None) as draft, pytest.raises(BackupFailed, match="for dead"):
        draft.commit(wanted)
    assert repository.snapshot_ids() == []
    assert list(storage.list("intents/")) == []


def test_a_parent_that_was_written_anew_is_another_one(repository: Repository, storage: MemoryStorage) -> None:
    """Its later revision needs other packs, so what is carried from the first one is no longer held by anything."""
    first = with_a_table(repository)
    second = with_a_table(repository)
    with repository.draft(first) as draft:
        for each in repository.entries(first):
            draft.carry(each)
        storage.objects[names.snapshot(first.id, 1)] = resealed(repository, first, second)
        storage.objects[names.snapshot(first.id)] = names.FENCE
        with pytest.raises(BackupFailed, match="removed"):
            draft.commit(root(first))


def test_with_an_intent_everything_is_proven_instead(repository: Repository, storage: MemoryStorage) -> None:
    first = with_a_table(repository)
    wanted = root(first)
    with (
        repository.intent("backup", [names.snapshot(wanted.id)]) as intent,
        repository.draft(repository.snapshot(first.id), intent) as draft,
    ):
        for each in repository.entries(first):
            draft.carry(each)
        repository.forget([first.id])
        draft.commit(wanted)
    assert repository.snapshot_ids() == [wanted.id]
    another = root(wanted)
    with (
        repository.intent("backup", [names.snapshot(another.id)]) as intent,
        repository.draft(repository.snapshot(wanted.id), intent) as draft,
    ):
        for each in repository.entries(repository.snapshot(wanted.id)):
            draft.carry(each)
        repository.forget([wanted.id])
        storage.delete(names_of(storage.list("packs/")))
        with pytest.raises(Corruption, match="missing"):
            draft.commit(another)


def with_a_table(repository: Repository) -> Snapshot:
    files = store(repository, [b"content" * 100])
    packs = {id: repository.directory(id)[0] for id, _ in repository.stored_packs()}
    held = [type(each)(each.state, tuple(files)) for each in parts(1, 1)]
    with repository.draft(None) as draft:
        draft.add(entry("orders"), held, packs.__getitem__)
        return draft.commit(root())


def resealed(repository: Repository, snapshot: Snapshot, other: Snapshot) -> bytes:
    """The first snapshot with the catalog of another."""
    changed = replace(snapshot, catalog=other.catalog)
    return seal(repository._ring, Kind.SNAPSHOT, names.snapshot(snapshot.id), msgspec.msgpack.encode(changed))
