"""Notes: small sealed records under keys that only the repository's own can read, such as the journal of a restore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, ObjectMissing, OldKey
from coldhouse.repository import names
from coldhouse.repository.ahead import reading_ahead
from coldhouse.repository.crypto import MIB, Generation, Keyring, Kind, derive, seal, unseal
from coldhouse.repository.records import decode_record
from coldhouse.storage.base import Storage

#: The largest note, in bytes of plaintext.
MAX_NOTE = 16 * MIB
_MAX_STORED = MAX_NOTE + MIB


class _Note(Struct, frozen=True):
    key: str
    data: bytes


def put_note(storage: Storage, ring: Keyring, kind: str, key: str, data: bytes) -> None:
    """Store a note, replacing one of the same kind and key."""
    if len(data) > MAX_NOTE:
        raise ValueError(f"a note of {len(data)} bytes is too large")
    name = _name(ring, ring.newest, kind, key)
    storage.put(name, seal(ring, Kind.NOTE, name, msgspec.msgpack.encode(_Note(key, data))))
    storage.sync()


def get_note(storage: Storage, ring: Keyring, kind: str, key: str) -> bytes | None:
    """Read a note; None if there is none. Raises Corruption."""
    return _first(storage, ring, (_name(ring, generation, kind, key) for generation in reversed(ring.generations)))


def get_notes(
    storage: Storage, ring: Keyring, kind: str, keys: Iterable[str]
) -> Iterator[tuple[str, bytes | OldKey | Corruption]]:
    """Those of these keys that have a note, in their order, each with it or with what is wrong with it.

    A listing says which have one, so that the others cost no request; several are read at a time.
    """
    there = {stored.name for stored in storage.list(names.note_folder(kind))}
    secrets = [_secret(ring, one) for one in reversed(ring.generations)]  # once: they are most of what a name costs

    def listed(key: str) -> list[str]:
        return [name for secret in secrets if (name := _named(secret, kind, key)) in there]

    def look(having: tuple[str, list[str]]) -> tuple[str, bytes | OldKey | Corruption | None]:
        key, stored = having
        try:
            return key, _first(storage, ring, stored)
        except (OldKey, Corruption) as error:
            return key, error

    having = ((key, stored) for key in keys if (stored := listed(key)))
    with reading_ahead(storage.readers) as ahead:
        for key, found in ahead.each(look, having):
            if found is not None:
                yield key, found


def delete_note(storage: Storage, ring: Keyring, kind: str, key: str) -> None:
    """Remove a note; that there is none is no error."""
    storage.delete([_name(ring, generation, kind, key) for generation in ring.generations])
    storage.sync()


def list_notes(storage: Storage, ring: Keyring, kind: str) -> Iterator[tuple[str, bytes]]:
    """All notes of a kind as (key, data), in no order that means anything. Raises Corruption."""
    for stored in storage.list(names.note_folder(kind)):
        note = _read(storage, ring, stored.name)
        if note is not None:
            yield note.key, note.data


def read_note(storage: Storage, ring: Keyring, name: str) -> bytes | None:
    """The data of the note that is stored under this name; None if it is gone. Raises Corruption."""
    note = _read(storage, ring, name)
    return None if note is None else note.data


def _first(storage: Storage, ring: Keyring, stored: Iterable[str]) -> bytes | None:
    """The data of the first of these notes that is there; None if none is. Raises Corruption."""
    return next((data for name in stored if (data := read_note(storage, ring, name)) is not None), None)


def _read(storage: Storage, ring: Keyring, name: str) -> _Note | None:
    try:
        stored = storage.get(name, limit=_MAX_STORED)
    except ObjectMissing:
        return None
    plain = unseal(ring, Kind.NOTE, name, stored, _MAX_STORED)
    return decode_record(plain, _Note, name, "a note")


def _name(ring: Keyring, generation: Generation, kind: str, key: str) -> str:
    return _named(_secret(ring, generation), kind, key)


def _secret(ring: Keyring, generation: Generation) -> bytes:
    """What hides the keys of notes in their names."""
    return derive(generation.writer, ring.repository, b"coldhouse 1 note names")


def _named(secret: bytes, kind: str, key: str) -> str:
    return names.note(kind, blake2b(key.encode(), key=secret, digest_size=16).digest())
