"""The names of all objects in a repository, and the way back from a name to what it names."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from hashlib import sha256

CONFIG = "config"
KEYS = "keys/"
PACKS = "packs/"
MANIFESTS = "manifests/"
SNAPSHOTS = "snapshots/"
NOTES = "notes/"
ROTATIONS = "rotations/"

#: The content of an object at a snapshot's name that says: there is no such snapshot, and never will be.
FENCE = b"coldhouse fence\n"

_SNAPSHOT_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
_OBJECT_ID = re.compile(r"[0-9a-f]{32}")
_NOTE_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")


def new_object_id() -> bytes:
    """Return 16 random bytes: an id that no object ever had, so that a condemned name is never used again."""
    return secrets.token_bytes(16)


def new_snapshot_id(now: datetime) -> str:
    """Return a fresh snapshot id for an aware time: ``YYYYMMDDTHHMMSSZ-``, the microseconds as 5 hex digits, 11 random.

    So that names are in the order of time, also of snapshots of one second: the last one is the latest.
    """
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{now.microsecond:05x}{secrets.randbits(44):011x}"


def is_snapshot_id(text: str) -> bool:
    """Whether the text has the form of a snapshot id."""
    return _SNAPSHOT_ID.fullmatch(text) is not None


def is_hex_id(text: str) -> bool:
    """Whether the text is 16 bytes as 32 lower-case hex digits."""
    return _OBJECT_ID.fullmatch(text) is not None


def key_slot(slot: str) -> str:
    """The name of a key slot, given its id (32 hex digits)."""
    return f"{KEYS}{slot}"


def rotation(number: int) -> str:
    """The name of the empty object that says that a generation of the master key was made."""
    return f"{ROTATIONS}{number}"


def pack(id: bytes) -> str:
    """The name of a pack, given its 16-byte id."""
    return f"{PACKS}{id[:1].hex()}/{id.hex()}"


def manifest(id: bytes) -> str:
    """The name of a manifest, given its 16-byte id."""
    return f"{MANIFESTS}{id[:1].hex()}/{id.hex()}"


def snapshot(id: str) -> str:
    """The name of a snapshot, given its id."""
    return f"{SNAPSHOTS}{id}"


def note_folder(kind: str) -> str:
    """The prefix of all notes of a kind. Raises ValueError for an impossible kind."""
    if _NOTE_KIND.fullmatch(kind) is None:
        raise ValueError(f"not a kind of note: {kind!r}")
    return f"{NOTES}{kind}/"


def note(kind: str, digest: bytes) -> str:
    """The name of a note, given its kind and the keyed hash of its key. Raises ValueError for an impossible kind."""
    return f"{note_folder(kind)}{digest.hex()}"


def snapshot_of(name: str) -> str | None:
    """The id of the snapshot that an object name stands for, or None if it is something else."""
    id = name.removeprefix(SNAPSHOTS)
    return id if is_snapshot_id(id) and name != id else None


def id_of(name: str) -> bytes | None:
    """The 16-byte id of the pack or manifest that an object name stands for, or None if it is something else."""
    head, _, tail = name.rpartition("/")
    if _OBJECT_ID.fullmatch(tail) is None or head not in (f"packs/{tail[:2]}", f"manifests/{tail[:2]}"):
        return None
    return bytes.fromhex(tail)


def bound_id(name: str) -> bytes:
    """The 16 bytes that stand in the header of an object: its own id, or a hash of a name that holds no such id."""
    return id_of(name) or sha256(name.encode()).digest()[:16]
