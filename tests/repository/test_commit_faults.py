"""A commit that is hit by a fault at any call to the store: the snapshot is complete, or it is not there."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import pytest

from coldhouse.errors import NoSuchSnapshot, RepositoryExists, StorageError
from coldhouse.model import Part, PartState, Snapshot
from coldhouse.repository import Repository, open_repository
from tests.repository.samples import PASSPHRASE, entry, new_repository, parts, read, root
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage

CONTENT = b"what must not be lost " * 1000


def back_up(repository: Repository, wanted: Snapshot, parent: Snapshot | None) -> None:
    """Write a file, a large table and a carried one, and commit."""
    with repository.pack_writer() as writer, repository.draft(parent) as draft:
        stream = writer.open_file(len(CONTENT), None)
        stream.write(CONTENT)
        extents = stream.finish(b"c" * 16, verified=True)
        writer.flush()
        pack = writer.pack(extents[0].pack)
        for carried in repository.entries(parent) if parent else ():
            draft.carry(carried)
        file = parts(1, 1)[0].files[0]
        held = Part(
            PartState("all", f"all_{wanted.id}", b"", 1, 1), (type(file)("a", len(CONTENT), b"c" * 16, extents),)
        )
        found = [Part(each.state, ()) for each in parts(2, 400)]
        draft.add(entry(f"t{wanted.id}"), found, lambda _: pack)
        draft.add(entry(f"u{wanted.id}"), [held], lambda _: pack)
        draft.commit(wanted)


def is_whole(repository: Repository, wanted: Snapshot, tables: int) -> bool:
    """Whether the snapshot is there, and all that it promises; or is not there at all."""
    try:
        snapshot = repository.snapshot(wanted.id)
    except NoSuchSnapshot:
        assert wanted.id not in repository.snapshot_ids()
        return False
    entries = list(repository.entries(snapshot))
    assert len(entries) == tables
    for found in entries:
        for ref in found.pages:
            page = repository.page(ref)
            for each in page.parts():
                for file in each.files:
                    assert read(repository, file, dict(page.packs)) == CONTENT
    return True


def calls_of_a_backup() -> int:
    storage = FaultyStorage(MemoryStorage())
    repository = new_repository(storage)
    back_up(repository, first := root(), None)
    parent = repository.snapshot(first.id)
    storage.forget_calls()
    back_up(repository, root(), parent)
    return len(storage.calls)


@pytest.mark.parametrize("how", [How.BEFORE, How.AFTER])
def test_an_error_at_any_call(how: How) -> None:
    """For each call of a backup: let it fail there, look at what is visible, and repeat it."""
    calls = calls_of_a_backup()
    assert calls > 10
    visible = 0
    for count in range(calls):
        inner = MemoryStorage()
        storage = FaultyStorage(inner)
        repository = new_repository(storage)
        back_up(repository, first := root(), None)
        parent = repository.snapshot(first.id)
        storage.inject(Fault(how, skip=count))
        last = count == calls - 1  # the intent is taken back; if that fails a prune does it
        with nullcontext() if last else pytest.raises(StorageError):
            back_up(repository, second := root(), parent)
        storage.heal()
        clean = open_repository(inner, PASSPHRASE)
        assert is_whole(clean, first, 2)
        visible += is_whole(clean, second, 4)
        back_up(clean, again := root(), parent)
        assert is_whole(clean, again, 4)
    assert (
        visible <= 3
    )  # only a lost answer, or the sync behind it, or taking back the intent, can fail after the commit


@pytest.mark.parametrize("how", [How.BEFORE, How.AFTER])
def test_an_error_while_a_repository_is_created(how: How) -> None:
    whole = FaultyStorage(MemoryStorage())
    new_repository(whole)
    assert len(whole.calls) >= 7
    for count in range(len(whole.calls)):
        inner = MemoryStorage()
        with suppress(StorageError):
            new_repository(FaultyStorage(inner, Fault(how, skip=count)))
        with suppress(RepositoryExists):  # the answer was lost, not the repository
            new_repository(inner)
        open_repository(inner, PASSPHRASE)


def test_a_draft_that_is_given_up_leaves_nothing_visible() -> None:
    storage = MemoryStorage()
    repository = new_repository(storage)
    with repository.draft(None) as draft:
        draft.add(entry("t"), [Part(each.state, ()) for each in parts(2, 400)], lambda _: pytest.fail("no pack"))
    assert repository.snapshot_ids() == []
