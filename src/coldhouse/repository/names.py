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
INTENTS = "intents/"
CONDEMNED = "condemned/"
GRAVES = "graves/"
QUARANTINE = "quarantine/"
TRIALS = "doctor/"
#: Is there once a fence was removed from a snapshot's name.
FENCES_REMOVED = "fences-removed"

#: The content of an object at a snapshot's name that says: there is no such snapshot, and never will be.
FENCE = b"coldhouse fence\n"

_SNAPSHOT_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{16}")
_REVISION = re.compile(r"snapshots/([0-9]{8}T[0-9]{6}Z-[0-9a-f]{16})(?:\.([1-9][0-9]{0,8}))?")
_DECLARATION = re.compile(r"intents/([0-9a-f]{32})/([0-9]{6})")
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


def quarantined(name: str, number: int) -> str:
    """Where ``repair`` keeps what it replaced or set aside; of several of one name, each has a number."""
    return f"{QUARANTINE}{name}.{number}"


def rotation(number: int) -> str:
    """The name of the empty object that says that a generation of the master key was made."""
    return f"{ROTATIONS}{number}"


def pack(id: bytes) -> str:
    """The name of a pack, given its 16-byte id."""
    return f"{PACKS}{id[:1].hex()}/{id.hex()}"


def manifest(id: bytes) -> str:
    """The name of a manifest, given its 16-byte id."""
    return f"{MANIFESTS}{id[:1].hex()}/{id.hex()}"


def any_revision(id: str) -> str:
    """A name for a snapshot that none of its objects ever had: a random revision."""
    return snapshot(id, 1 + secrets.randbits(29))


def snapshot(id: str, revision: int = 0) -> str:
    """The name of a snapshot, given its id; a later revision says the same of packs that were written anew."""
    return f"{SNAPSHOTS}{id}.{revision}" if revision else f"{SNAPSHOTS}{id}"


def declaration(intent: str, number: int) -> str:
    """The name of a declaration of an intent: the first has number 0, each renewal the next."""
    return f"{INTENTS}{intent}/{number:06}"


def condemned(id: str) -> str:
    """The name of a list of condemned objects, given its id (32 hex digits)."""
    return f"{CONDEMNED}{id}"


def grave(id: str) -> str:
    """The name of a list of objects whose deletion is decided, given its id (32 hex digits)."""
    return f"{GRAVES}{id}"


def trial(token: bytes) -> str:
    """The name of an object that is stored only to see whether it can be, given 16 random bytes."""
    return f"{TRIALS}{token.hex()}"


def note_folder(kind: str) -> str:
    """The prefix of all notes of a kind. Raises ValueError for an impossible kind."""
    if _NOTE_KIND.fullmatch(kind) is None:
        raise ValueError(f"not a kind of note: {kind!r}")
    return f"{NOTES}{kind}/"


def note(kind: str, digest: bytes) -> str:
    """The name of a note, given its kind and the keyed hash of its key. Raises ValueError for an impossible kind."""
    return f"{note_folder(kind)}{digest.hex()}"


def revision_of(name: str) -> tuple[str, int] | None:
    """The snapshot's id and the revision that an object name stands for, or None if it is something else."""
    match = _REVISION.fullmatch(name)
    return None if match is None else (match[1], int(match[2] or 0))


def declaration_of(name: str) -> tuple[str, int] | None:
    """The intent and the number of the declaration that an object name stands for, or None if it is something else."""
    match = _DECLARATION.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))


def id_of(name: str) -> bytes | None:
    """The 16-byte id of the pack or manifest that an object name stands for, or None if it is something else."""
    head, _, tail = name.rpartition("/")
    if _OBJECT_ID.fullmatch(tail) is None or head not in (f"packs/{tail[:2]}", f"manifests/{tail[:2]}"):
        return None
    return bytes.fromhex(tail)


def bound_id(name: str) -> bytes:
    """The 16 bytes that stand in the header of an object: its own id, or a hash of a name that holds no such id.

    All revisions of a snapshot have the same, so that none can stand in the place of another snapshot.
    """
    revision = revision_of(name)
    return id_of(name) or sha256((snapshot(revision[0]) if revision else name).encode()).digest()[:16]
