"""Creating a repository and opening it again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from coldhouse.errors import (
    ColdhouseError,
    Corruption,
    NoRepository,
    RepositoryExists,
    UnsupportedFormat,
    WrongPassphrase,
)
from coldhouse.repository import KdfCost, Repository, init, keys, open_repository
from coldhouse.repository.crypto import Generation, Keyring, Kind, content_digest, seal, unseal
from tests.repository.samples import CHEAP, PASSPHRASE, new_repository
from tests.support.memory_storage import MemoryStorage


def test_a_repository_opens_with_its_passphrase(storage: MemoryStorage) -> None:
    created = new_repository(storage)
    assert open_repository(storage, PASSPHRASE).id == created.id
    assert sorted(name.partition("/")[0] for name in storage.objects) == ["config", "keys"]


def test_a_passphrase_is_the_same_in_any_unicode_form(storage: MemoryStorage) -> None:
    init(storage, "cafe\u0301", kdf=CHEAP)
    open_repository(storage, "caf\u00e9")


def test_a_wrong_passphrase_is_told_from_damage(storage: MemoryStorage) -> None:
    new_repository(storage)
    with pytest.raises(WrongPassphrase):
        open_repository(storage, "wrong")


def test_nowhere_is_no_repository(storage: MemoryStorage) -> None:
    with pytest.raises(NoRepository):
        open_repository(storage, PASSPHRASE)


def test_a_repository_is_not_created_twice(storage: MemoryStorage) -> None:
    new_repository(storage)
    before = dict(storage.objects)
    with pytest.raises(RepositoryExists):
        new_repository(storage)
    assert storage.objects == before


def test_packs_without_a_config_are_not_built_over(storage: MemoryStorage) -> None:
    storage.put("packs/ab/abcdef", b"x")
    with pytest.raises(RepositoryExists):
        new_repository(storage)


def test_of_many_that_create_at_once_one_wins(storage: MemoryStorage) -> None:
    def create(_: int) -> Repository | None:
        try:
            return new_repository(storage)
        except RepositoryExists:
            return None

    with ThreadPoolExecutor(8) as pool:
        created = [found for found in pool.map(create, range(24)) if found is not None]
    assert len(created) == 1
    assert open_repository(storage, PASSPHRASE).id == created[0].id
    assert sum(name.startswith("keys/") for name in storage.objects) == 1


def test_a_slot_left_by_a_lost_race_does_not_disturb(storage: MemoryStorage) -> None:
    other = MemoryStorage()
    new_repository(other)
    repository = new_repository(storage)
    for name, stored in other.objects.items():
        storage.objects.setdefault(name, stored)
    assert open_repository(storage, PASSPHRASE).id == repository.id


def test_a_damaged_slot_beside_a_sound_one_does_no_harm(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    storage.put("keys/" + "0" * 32, b"garbage")
    assert open_repository(storage, PASSPHRASE).id == repository.id


def test_a_missing_slot_is_said_to_be_missing(storage: MemoryStorage) -> None:
    new_repository(storage)
    storage.delete([name for name in storage.objects if name.startswith("keys/")])
    with pytest.raises(Corruption, match="no key slot"):
        open_repository(storage, PASSPHRASE)


def test_a_later_format_is_said_to_be_one(storage: MemoryStorage) -> None:
    new_repository(storage)
    config = json.loads(storage.objects["config"].splitlines()[0])
    line = json.dumps({**config, "version": 2, "novelty": True}).encode() + b"\n"
    storage.put("config", line + json.dumps(content_digest(line).hex()).encode() + b"\n")
    with pytest.raises(UnsupportedFormat, match="version 2"):
        open_repository(storage, PASSPHRASE)


@pytest.mark.parametrize("cost", [(1 << 21, 1, 1), (64, 33, 1), (64, 1, 17), (7, 1, 1)])
def test_a_hostile_cost_of_opening_is_refused(cost: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cost"):
        KdfCost(*cost)


def test_secrets_are_in_no_repr(storage: MemoryStorage) -> None:
    config = keys.new_config()
    master = keys.new_master()
    ring = keys.keyring_of(config, [master])
    for secret in (master.master, ring.newest.writer, ring.newest.private or b""):
        assert repr(secret) not in repr((master, ring))


class TestWriteOnly:
    """A slot with the public key and the writer key alone, as a database host will hold it."""

    def test_it_seals_but_does_not_open(self) -> None:
        config = keys.new_config()
        full = keys.keyring_of(config, [keys.new_master()])
        halves = [keys.WriteKey(one.number, one.public, one.writer) for one in full.generations]
        slot, stored = keys.new_slot(config, PASSPHRASE, halves, CHEAP)
        writer = keys.open_slot(config, f"keys/{slot}", stored, PASSPHRASE)
        assert writer is not None
        assert writer.newest.private is None
        sealed = seal(writer, Kind.NOTE, "notes/x/y", b"content")
        assert unseal(full, Kind.NOTE, "notes/x/y", sealed) == b"content"
        with pytest.raises(ColdhouseError, match="not read"):
            unseal(writer, Kind.NOTE, "notes/x/y", sealed)

    def test_without_the_writer_key_nothing_can_be_forged(self) -> None:
        config = keys.new_config()
        full = keys.keyring_of(config, [keys.new_master()])
        public_alone = Generation(1, bytes(32), full.newest.public, None)
        forged = seal(Keyring(full.repository, (public_alone,)), Kind.NOTE, "notes/x/y", b"content")
        with pytest.raises(Corruption):
            unseal(full, Kind.NOTE, "notes/x/y", forged)

    def test_each_generation_opens_what_it_sealed(self) -> None:
        config = keys.new_config()
        masters = [keys.new_master(1), keys.new_master(2)]
        old, both = keys.keyring_of(config, masters[:1]), keys.keyring_of(config, masters)
        for ring in (old, both):
            assert unseal(both, Kind.NOTE, "notes/x/y", seal(ring, Kind.NOTE, "notes/x/y", b"content")) == b"content"
        with pytest.raises(Corruption, match="generation 2"):
            unseal(old, Kind.NOTE, "notes/x/y", seal(both, Kind.NOTE, "notes/x/y", b"content"))


def test_a_repository_that_lost_its_config_is_not_taken_for_none(storage: MemoryStorage) -> None:
    new_repository(storage)
    storage.create("packs/00/0", b"something")
    storage.delete(["config"])
    with pytest.raises(NoRepository, match=r"config object of the repository at .* is missing") as caught:
        open_repository(storage, PASSPHRASE)
    assert "from a copy" in caught.value.hint
