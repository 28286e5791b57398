"""Whatever a store does to an object, reading it ends in Corruption that names the object; never in other bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldhouse.errors import ColdhouseError, Corruption, NoSuchSnapshot
from coldhouse.model import FileEntry, Part, PartState, Snapshot
from coldhouse.repository import PackSettings, Repository, open_repository
from coldhouse.repository.pack_format import FRAME_SIZE
from tests.repository.samples import (
    CHEAP,
    PASSPHRASE,
    checksum,
    entry,
    new_repository,
    pack_of,
    packs_of,
    parts,
    read,
    root,
    store,
)
from tests.support.memory_storage import MemoryStorage


@dataclass(frozen=True)
class Sound:
    """A repository with one of each: config, key slot, packs, pages, catalog, snapshot, note."""

    objects: dict[str, bytes]
    contents: tuple[bytes, ...]
    snapshot: Snapshot

    def spoiled(self, name: str, stored: bytes) -> MemoryStorage:
        storage = MemoryStorage()
        storage.objects = {**self.objects, name: stored}
        return storage

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))


@pytest.fixture(scope="module")
def sound() -> Sound:
    storage = MemoryStorage()
    repository = new_repository(storage)
    contents = (b"a small file", bytes(3 * FRAME_SIZE), os.urandom(2 * FRAME_SIZE + 10), b"")
    files = store(repository, contents, PackSettings(frames=4))
    snapshot = save(repository, files)
    repository.put_note("journal", "key", b"note")
    return Sound(storage.objects, contents, snapshot)


def save(repository: Repository, files: list[FileEntry]) -> Snapshot:
    packs = packs_of(repository, files)
    held = Part(PartState("all", "all_1_1_0", b"h" * 16, 3, 100), tuple(files))
    with repository.draft(None) as draft:
        draft.add(entry("t"), [held], packs.__getitem__)
        draft.add(entry("many"), [Part(each.state, ()) for each in parts(2, 1000)], packs.__getitem__)
        return draft.commit(root())


def read_everything(storage: MemoryStorage, snapshot: str) -> None:
    """Open the repository, read every object, and compare nothing: whatever is wrong must raise."""
    repository = open_repository(storage, PASSPHRASE)
    for found in repository.snapshots():
        for table in repository.entries(found):
            assert table.definition.startswith("CREATE")
            for ref in table.pages:
                list(repository.page(ref).parts())
    repository.snapshot(snapshot)
    for name in storage.objects:
        if name.startswith("packs/"):
            repository.check_pack(bytes.fromhex(name.rpartition("/")[2]))
    list(repository.notes("journal"))


def test_a_sound_repository_raises_no_alarm(sound: Sound) -> None:
    storage = MemoryStorage()
    storage.objects = dict(sound.objects)
    read_everything(storage, sound.snapshot.id)


@pytest.mark.parametrize("prefix", ["config", "keys/", "packs/", "manifests/", "snapshots/", "notes/"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_found(sound: Sound, prefix: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sound.names(prefix)))
    stored = bytearray(sound.objects[name])
    ends = st.sampled_from([0, 7, 8, 9, 10, 11, 12, 15, 16, 31, 32, 63, 64, -1, -8, -9, -16, -17, -80, -81, -97])
    place = data.draw(st.one_of(ends, st.integers(0, len(stored) - 1)))
    stored[place % len(stored)] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Corruption) as caught:
        read_everything(sound.spoiled(name, bytes(stored)), sound.snapshot.id)
    assert caught.value.object_name == name
    assert caught.value.hint


def test_every_byte_of_the_small_objects_counts(sound: Sound) -> None:
    """No byte of config and snapshot, and none of the first and last of a pack, can change unseen."""
    for prefix in ("config", "snapshots/"):
        (name,) = sound.names(prefix)
        for place in range(len(sound.objects[name])):
            stored = bytearray(sound.objects[name])
            stored[place] ^= 0x20
            with pytest.raises(Corruption):
                read_everything(sound.spoiled(name, bytes(stored)), sound.snapshot.id)


@pytest.mark.parametrize("prefix", ["config", "keys/", "packs/", "manifests/", "snapshots/", "notes/"])
def test_a_truncated_object_is_found(sound: Sound, prefix: str) -> None:
    for name in sound.names(prefix):
        stored = sound.objects[name]
        for length in (0, 1, 40, 64, 79, 80, len(stored) // 2, len(stored) - 80, len(stored) - 1):
            with pytest.raises(Corruption) as caught:
                read_everything(sound.spoiled(name, stored[: max(0, length)]), sound.snapshot.id)
            assert caught.value.object_name == name


@pytest.mark.parametrize("prefix", ["config", "keys/", "packs/", "notes/", "snapshots/"])
def test_an_object_with_more_behind_it_is_found(sound: Sound, prefix: str) -> None:
    (name, *_) = sound.names(prefix)
    with pytest.raises(Corruption) as caught:
        read_everything(sound.spoiled(name, sound.objects[name] + b"x"), sound.snapshot.id)
    assert caught.value.object_name == name


def test_a_missing_pack_or_manifest_is_named(sound: Sound) -> None:
    for name in sound.names("manifests/"):
        storage = sound.spoiled(name, b"")
        del storage.objects[name]
        with pytest.raises(Corruption, match="missing") as caught:
            read_everything(storage, sound.snapshot.id)
        assert caught.value.object_name == name
    with pytest.raises(Corruption, match="missing"):
        open_repository(storage, PASSPHRASE).check_pack(b"n" * 16)


def test_two_objects_that_changed_places_are_found(sound: Sound) -> None:
    for prefix in ("packs/", "manifests/"):
        one, other, *_ = sound.names(prefix)
        for first, second in ((one, other), (other, one)):
            with pytest.raises(Corruption) as caught:
                read_everything(sound.spoiled(first, sound.objects[second]), sound.snapshot.id)
            assert caught.value.object_name == first


def test_objects_of_another_kind_or_repository_are_found(sound: Sound) -> None:
    other = MemoryStorage()
    strangers = new_repository(other)
    save(strangers, store(strangers, sound.contents, PackSettings(frames=4)))
    strangers.put_note("journal", "key", b"note")
    for prefix in ("packs/", "manifests/", "snapshots/", "notes/"):
        name = sound.names(prefix)[0]
        stranger = sorted(each for each in other.objects if each.startswith(prefix))[0]
        for stored in (other.objects[stranger], rename(other.objects[stranger], sound.objects[name])):
            with pytest.raises(Corruption) as caught:
                read_everything(sound.spoiled(name, stored), sound.snapshot.id)
            assert caught.value.object_name == name


def rename(stored: bytes, like: bytes) -> bytes:
    """An object with the id of another in its headers, as an attacker would write it."""
    copied = stored[:16] + like[16:32] + stored[32:]
    return copied.replace(stored[:64], copied[:64])


def test_a_snapshot_under_another_name_is_found(sound: Sound) -> None:
    (name,) = sound.names("snapshots/")
    forged = "snapshots/20300101T000000Z-0123456789abcdef"
    storage = sound.spoiled(forged, sound.objects[name])
    with pytest.raises(Corruption) as caught:
        open_repository(storage, PASSPHRASE).snapshot(forged.removeprefix("snapshots/"))
    assert caught.value.object_name == forged
    with pytest.raises(NoSuchSnapshot):
        open_repository(storage, PASSPHRASE).snapshot("20300101T000000Z-0123456789abcdee")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from(["config", "keys/", "packs/", "manifests/", "snapshots/", "notes/"]),
    head=st.integers(0, 80),
    garbage=st.binary(max_size=300),
    tail=st.integers(0, 100),
)
def test_garbage_never_does_worse(sound: Sound, prefix: str, head: int, garbage: bytes, tail: int) -> None:
    """Begins and ends like the real object, with anything in between."""
    name = sound.names(prefix)[0]
    stored = sound.objects[name]
    spoiled = stored[:head] + garbage + (stored[-tail:] if tail else b"")
    with pytest.raises(ColdhouseError):
        read_everything(sound.spoiled(name, spoiled), sound.snapshot.id)


class TestReadingFiles:
    """Damage as a restore meets it."""

    def files(self, storage: MemoryStorage) -> tuple[Repository, list[FileEntry], list[bytes]]:
        repository = new_repository(storage)
        contents = [os.urandom(FRAME_SIZE) for _ in range(8)]
        return repository, store(repository, contents, PackSettings("none")), contents

    def test_only_the_damaged_frame_is_lost(self, storage: MemoryStorage) -> None:
        """Also when good frames are fetched together with it."""
        repository, files, contents = self.files(storage)
        packs = packs_of(repository, files)
        (name,) = (name for name in storage.objects if name.startswith("packs/"))
        stored = bytearray(storage.objects[name])
        stored[64 + 3 * (FRAME_SIZE + 16) + 1000] ^= 1
        storage.objects[name] = bytes(stored)
        for at, (file, content) in enumerate(zip(files, contents, strict=True)):
            if at != 3:
                assert read(repository, file, packs) == content
                continue
            with pytest.raises(Corruption) as caught:
                read(repository, file, packs)
            assert caught.value.object_name == name

    def test_a_missing_pack_is_named(self, storage: MemoryStorage) -> None:
        repository, files, _ = self.files(storage)
        packs = packs_of(repository, files)
        (name,) = (name for name in storage.objects if name.startswith("packs/"))
        del storage.objects[name]
        with pytest.raises(Corruption, match="missing") as caught:
            read(repository, files[0], packs)
        assert caught.value.object_name == name

    def test_a_reference_to_what_the_pack_has_not(self, storage: MemoryStorage) -> None:
        repository, files, _ = self.files(storage)
        packs = packs_of(repository, files)
        (extent,) = files[0].extents
        for wrong in (extent.offset + 100 * FRAME_SIZE, extent.offset + 20 * FRAME_SIZE):
            moved = type(extent)(extent.pack, wrong, extent.length)
            with pytest.raises(Corruption, match="frame"):
                list(repository.pack_reader().read(packs, [moved], 0, moved.length))

    @pytest.mark.parametrize("change", [lambda size: size - 1, lambda size: 64, lambda size: size + 1, lambda size: 0])
    def test_a_reference_with_a_wrong_size(self, storage: MemoryStorage, change: Callable[[int], int]) -> None:
        repository, files, _ = self.files(storage)
        packs = {
            id: type(ref)(ref.id, change(ref.size), ref.table_size) for id, ref in packs_of(repository, files).items()
        }
        with pytest.raises(Corruption):
            read(repository, files[0], packs)


def test_the_samples_are_of_use() -> None:
    assert checksum(b"a") != checksum(b"b")
    assert CHEAP.memory_kib < 1000
    assert pack_of(b"x" * 16).id == b"x" * 16
