"""Rotations that were interrupted and repeated: nobody has two keys afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from coldhouse.errors import StorageError
from coldhouse.operations import key
from coldhouse.repository import Credential, Recipient, Slot, new_key_file, open_repository
from coldhouse.repository.credentials import new_identity
from tests.repository.samples import CHEAP, PASSPHRASE, new_repository
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage

OTHER, STRANGER = "open barley", new_identity().recipient
FILE, IDENTITY = new_key_file(), new_identity()


@dataclass(frozen=True, order=True)
class Shown:
    """What of a key stays when it is renewed."""

    label: str
    kind: str
    full: bool


@pytest.fixture
def storage() -> MemoryStorage:
    """A repository with a key of each kind, two of them for one holder."""
    storage = MemoryStorage()
    with new_repository(storage) as repository:
        repository.slots.add(OTHER, full=True, label="colleague", cost=CHEAP)
        repository.slots.add(FILE, full=False, label="db1")
        repository.slots.add(FILE, full=True, label="restores")
        repository.slots.add(IDENTITY.recipient, full=True, label="safe")
        repository.slots.add("left out", full=True, label="left out", cost=CHEAP)
    return storage


def slots(storage: MemoryStorage) -> list[Slot]:
    return open_repository(storage, PASSPHRASE).slots.all()


def shown(storage: MemoryStorage) -> list[Shown]:
    return sorted(Shown(slot.label, slot.kind, slot.full) for slot in slots(storage))


def rotate(storage: MemoryStorage | FaultyStorage, *others: Credential) -> None:
    key.Rotation(open_repository(storage, PASSPHRASE), PASSPHRASE, others).run()


def interrupted(storage: MemoryStorage, *others: Credential) -> None:
    faulty = FaultyStorage(storage, Fault(How.BEFORE, "delete", "keys/*"))
    with pytest.raises(StorageError):
        rotate(faulty, *others)


def test_the_repeat_leaves_as_many_keys_as_there_were(storage: MemoryStorage) -> None:
    before = shown(storage)
    interrupted(storage, OTHER, FILE)
    interrupted(storage, OTHER, FILE)
    rotate(storage, OTHER, FILE)
    assert shown(storage) == before
    generations = {slot.label: slot.generation for slot in slots(storage)}
    assert generations.pop("left out") == 1
    assert set(generations.values()) == {4}
    repository = open_repository(storage, PASSPHRASE)
    assert key.find(repository.slots.all(), "colleague").full
    for credential in (OTHER, FILE, IDENTITY):
        assert open_repository(storage, credential).ring.newest.number == 4


def test_the_repeat_also_takes_away_what_was_replaced_for_those_who_are_not_at_hand_now(storage: MemoryStorage) -> None:
    before = shown(storage)
    interrupted(storage, OTHER, FILE)
    rotate(storage)
    assert shown(storage) == before
    assert open_repository(storage, OTHER).ring.newest.number == 2


def test_what_is_not_replaced_yet_is_not_taken_away(storage: MemoryStorage) -> None:
    """It ends after the first of the new keys."""
    before = shown(storage)
    faulty = FaultyStorage(storage, Fault(How.BEFORE, "create", "keys/*", skip=1))
    with pytest.raises(StorageError):
        rotate(faulty, OTHER, FILE)
    rotate(storage)
    assert shown(storage) == before
    for credential in (PASSPHRASE, OTHER, FILE, IDENTITY, "left out"):
        open_repository(storage, credential)


def test_a_key_that_nobody_proves_replaces_none(storage: MemoryStorage) -> None:
    """Who may write to the store could otherwise have the keys of others removed."""
    forged = MemoryStorage()
    repository = new_repository(forged)
    rotate(forged)
    repository = open_repository(forged, PASSPHRASE)
    before = shown(storage)
    with open_repository(storage, PASSPHRASE) as mine:
        repository.slots._config = mine.slots._config
        made = repository.slots._create(
            repository.ring, repository.slots._masters(), "x", full=True, label="colleague", cost=CHEAP
        )
    storage.objects[f"keys/{made}"] = forged.objects[f"keys/{made}"]
    (slot,) = [slot for slot in slots(storage) if slot.id == made]
    assert (slot.proven, slot.generation, slot.label) == (False, 2, "colleague")
    rotate(storage)
    assert shown(storage) == sorted([*before, Shown("colleague", "passphrase", True)])
    open_repository(storage, OTHER)


def test_two_keys_of_one_label_and_kind_of_different_recipients_both_stay(storage: MemoryStorage) -> None:
    with open_repository(storage, PASSPHRASE) as repository:
        repository.slots.add(STRANGER, full=True, label="safe")
    before = shown(storage)
    rotate(storage)
    assert shown(storage) == before
    recipients: set[Recipient | None] = {slot.recipient for slot in slots(storage) if slot.label == "safe"}
    assert recipients == {STRANGER, IDENTITY.recipient}
