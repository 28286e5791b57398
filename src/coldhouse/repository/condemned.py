"""Lists of packs and manifests: those that a prune has condemned, and those whose deletion is decided.

They are plain, so that a host whose key cannot read can see them; who forges one makes work, and destroys nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from enum import IntEnum
from itertools import pairwise

from msgspec import Struct

from coldhouse.errors import Corruption, ObjectMissing
from coldhouse.model import Buffer
from coldhouse.repository import names
from coldhouse.repository.crypto import content_digest
from coldhouse.storage.base import Storage, StoredObject

#: A list of more objects is stored as several.
MAX_OBJECTS = 1 << 20
_MAGIC = b"COLDCOND"
_HEAD = len(_MAGIC) + 4
_ROW = 17
_DIGEST = 16
_MAX_SIZE = _HEAD + MAX_OBJECTS * _ROW + _DIGEST


class What(IntEnum):
    """What an object of a list is."""

    PACK = 1
    MANIFEST = 2


class Candidate(Struct, frozen=True, order=True):
    """A pack or a manifest, by its id."""

    what: What
    id: bytes

    @property
    def name(self) -> str:
        """The name of the object."""
        return names.pack(self.id) if self.what is What.PACK else names.manifest(self.id)


class CondemnedList:
    """One list, as sorted rows of 17 bytes."""

    def __init__(self, id: str, rows: bytes) -> None:
        """``id`` is that of the list; ``rows`` are sorted."""
        self.id = id
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows) // _ROW

    def __iter__(self) -> Iterator[Candidate]:
        for at in range(0, len(self._rows), _ROW):
            yield Candidate(What(self._rows[at]), self._rows[at + 1 : at + _ROW])

    def holds(self, what: What, id: bytes) -> bool:
        """Whether an object is in the list."""
        row = bytes([what]) + id
        at = bisect_left(range(len(self)), row, key=self._row)
        return at < len(self) and self._row(at) == row

    def _row(self, at: int) -> bytes:
        return self._rows[at * _ROW : (at + 1) * _ROW]


class Condemned:
    """What several lists hold together; false if there are none."""

    def __init__(self, lists: Iterable[CondemnedList] = ()) -> None:
        self.lists = tuple(lists)

    def __bool__(self) -> bool:
        return bool(self.lists)

    @property
    def ids(self) -> frozenset[bytes]:
        """The ids of all of them, packs and manifests."""
        return frozenset(found.id for each in self.lists for found in each)

    def pack(self, id: bytes) -> bool:
        """Whether this pack is in one of them."""
        return any(each.holds(What.PACK, id) for each in self.lists)

    def manifest(self, id: bytes) -> bool:
        """Whether this manifest is in one of them."""
        return any(each.holds(What.MANIFEST, id) for each in self.lists)


def encode(objects: Iterable[Candidate]) -> bytes:
    """A list as it is stored. Raises ValueError for more objects than one may have."""
    rows = sorted({bytes([each.what]) + each.id for each in objects})
    if len(rows) > MAX_OBJECTS:
        raise ValueError(f"{len(rows)} objects are too many for one list")
    body = _MAGIC + len(rows).to_bytes(4, "little") + b"".join(rows)
    return body + content_digest(body)


def decode(id: str, name: str, stored: Buffer) -> CondemnedList:
    """Read a list; ``name`` is its object. Raises Corruption."""
    data = bytes(stored)
    body, rows = data[:-_DIGEST], data[_HEAD:-_DIGEST]
    if len(data) < _HEAD + _DIGEST or not data.startswith(_MAGIC) or content_digest(body) != data[-_DIGEST:]:
        raise _damaged(name)
    cut = [rows[at : at + _ROW] for at in range(0, len(rows), _ROW)]
    counted = int.from_bytes(data[len(_MAGIC) : _HEAD], "little") * _ROW == len(rows)
    in_order = all(one < other for one, other in pairwise(cut))
    if not counted or not in_order or any(row[0] not in (What.PACK, What.MANIFEST) for row in cut):
        raise _damaged(name)
    return CondemnedList(id, rows)


def is_closed(stored: StoredObject) -> bool:
    """Whether a listed object is a list that a collection has finished: a fence stands in its place."""
    return stored.size == len(names.FENCE)


def listed(storage: Storage, folder: str) -> list[str]:
    """The ids of the lists below ``condemned/`` or ``graves/`` that are not closed."""
    found = (stored.name.removeprefix(folder) for stored in storage.list(folder) if not is_closed(stored))
    return [id for id in found if names.is_hex_id(id)]


def read(storage: Storage, folder: str, id: str) -> CondemnedList | None:
    """One list; None if it is gone or closed. Raises Corruption."""
    name = f"{folder}{id}"
    try:
        stored = storage.get(name, limit=_MAX_SIZE)
    except ObjectMissing:
        return None
    except Corruption as error:
        raise _damaged(name) from error
    return None if len(stored) == len(names.FENCE) else decode(id, name, stored)


def read_all(storage: Storage, folder: str) -> Condemned:
    """All lists below ``condemned/`` or ``graves/``. Raises Corruption."""
    found = (read(storage, folder, id) for id in listed(storage, folder))
    return Condemned(each for each in found if each is not None)


def _damaged(name: str) -> Corruption:
    hint = "Run coldhouse prune: it closes a list that nobody can read. Then repeat this."
    if name.startswith(names.GRAVES):
        hint = "When no backup, copy or prune has been running for a while, delete this object and repeat."
    return Corruption(f"{name} is damaged: it is no list of objects that can be read.", object_name=name, hint=hint)
