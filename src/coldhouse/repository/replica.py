"""The same repository in another store: the same objects under the same names, opened by the same keys.

What is handed out here to be stored elsewhere was authenticated as it was read, to the last byte.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec

from coldhouse.errors import NoRepository, ObjectExists, ObjectMissing, RepositoryExists
from coldhouse.model import Buffer, ManifestRef, PackRef, Snapshot
from coldhouse.repository import keys, names, revisions
from coldhouse.repository.crypto import HEADER_SIZE, Kind, content_digest, damaged, missing, unseal
from coldhouse.repository.opened_pack import fetch, opened_pack
from coldhouse.repository.pack_format import FOOTER_SIZE, MAX_FRAMES, open_directory, open_frame
from coldhouse.repository.repository import Repository
from coldhouse.storage.base import Storage


def repository_id(storage: Storage) -> str | None:
    """The id of the repository in a store, or None if there is none. Raises Corruption, UnsupportedFormat."""
    try:
        return keys.decode_config(storage.get(names.CONFIG, limit=keys.MAX_SIZE)).id
    except ObjectMissing:
        return None


def open_replica(original: Repository, storage: Storage) -> Repository | None:
    """The same repository in another store, under the keys of the first; None if there is a repository of its own.

    Raises:
        NoRepository: there is none.
        Corruption: its config is damaged.
    """
    found = repository_id(storage)
    if found is None:
        raise NoRepository(
            f"There is no repository at {storage.url}.",
            hint="Make one with its own passphrase (coldhouse init --repo URL), or one like this (copy --init-like).",
        )
    return Repository(storage, original.ring) if found == original.id else None


def init_replica(original: Repository, storage: Storage) -> Repository:
    """Make another store hold the same repository, without any snapshot yet: its key slots, then its config.

    Raises:
        RepositoryExists: another repository is there.
        Corruption: the config of the first is damaged.
        StorageError: one of the stores failed.
    """
    if repository_id(storage) is None:
        copy_keys(original.storage, storage)
        storage.sync()
        config = original.storage.get(names.CONFIG, limit=keys.MAX_SIZE)
        keys.decode_config(config)  # a damaged one would make that place useless, for a repeat as well
        with suppress(ObjectExists):  # somebody else does the same; which repository it is now is looked at below
            storage.create(names.CONFIG, config)
        storage.sync()
    replica = open_replica(original, storage)
    if replica is None:
        raise RepositoryExists(
            f"There is another repository at {storage.url}.", hint="Leave --init-like away, or choose another place."
        )
    return replica


def copy_keys(source: Storage, target: Storage) -> int:
    """Store the key slots that are missing in another store; returns how many. A rotation makes new ones."""
    there = {slot.name for slot in target.list(names.KEYS)}
    copied = 0
    for slot in source.list(names.KEYS):
        if slot.name in there or slot.size > keys.MAX_SIZE:
            continue
        stored = source.get_range(slot.name, 0, slot.size)
        keys.check_slot(slot.name, stored)
        with suppress(ObjectExists):
            target.create(slot.name, stored)
        copied += 1
    made = {stored.name for stored in target.list(names.ROTATIONS)}
    for rotation in source.list(names.ROTATIONS):
        if rotation.name not in made:
            with suppress(ObjectExists):
                target.create(rotation.name, b"")
    return copied


def sealed_key(repository: Repository, name: str) -> Buffer:
    """A key slot as it is stored, as far as its checksum tells. Raises ObjectMissing, Corruption."""
    stored = repository.storage.get(name, limit=keys.MAX_SIZE)
    keys.check_slot(name, stored)
    return stored


def sealed_snapshot(repository: Repository, id: str) -> tuple[Snapshot, Buffer]:
    """A snapshot, and its object as it is stored. Raises NoSuchSnapshot, Corruption."""
    name, stored = repository._stored_snapshot(id)
    plain = unseal(repository.ring, Kind.SNAPSHOT, name, stored)
    try:
        return msgspec.msgpack.decode(plain, type=Snapshot), stored
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, "holds no snapshot that can be read") from error


def sealed_revision(repository: Repository, name: str) -> Buffer:
    """A snapshot object of any revision as it is stored. Raises Corruption."""
    stored = revisions.read_object(repository.storage, name)
    if stored is None:
        raise missing(name)
    unseal(repository.ring, Kind.SNAPSHOT, name, stored)
    return stored


def sealed_manifest(repository: Repository, ref: ManifestRef) -> Buffer:
    """A manifest as it is stored: what its reference's digest says. Raises Corruption."""
    name = names.manifest(ref.id)
    stored = fetch(repository.storage, name, 0, ref.size)
    if content_digest(stored) != ref.digest:
        raise damaged(name, "is not what the snapshot refers to: its digest differs")
    return stored


def sealed_pack(repository: Repository, ref: PackRef) -> Buffer:
    """A pack as it is stored, held in memory as a whole; every frame of it was opened. Raises Corruption."""
    name = names.pack(ref.id)
    end = ref.table_size + FOOTER_SIZE
    if not FOOTER_SIZE < end <= ref.size - HEADER_SIZE or ref.table_size > 16 * MAX_FRAMES:
        raise damaged(name, "cannot have the sizes that the manifest says")
    stored = memoryview(fetch(repository.storage, name, 0, ref.size))
    opened = opened_pack(repository.ring, ref, stored[ref.size - end :])
    if bytes(stored[:HEADER_SIZE]) != opened.header:
        raise damaged(name, "has a header that differs from the copy at its end")
    starts = opened.table.starts
    for index in range(len(opened.table)):
        piece = stored[starts[index] : starts[index + 1]]
        open_frame(opened.cipher, ref.id, opened.table, index, piece, name)
    directory = stored[starts[-1] : starts[-1] + opened.table.directory_size]
    open_directory(opened.cipher, opened.header, directory, name)
    return stored
