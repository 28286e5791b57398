"""A set of 16-byte ids that gives each a small number, in about 30 bytes an id: for walks over millions of objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

_ID = 16
_SMALLEST = 256


class IdIndex:
    """Ids in the order in which they were added; an id's place is its number. Used by one thread at a time.

    Open addressing over one array of numbers. The ids are random, so that their first bytes serve as the hash; ids that
    were chosen to collide make it slow and nothing else.
    """

    def __init__(self) -> None:
        self._ids = bytearray()
        self._slots = array("I", [0]) * _SMALLEST  # 0: free; else place + 1
        self._mask = _SMALLEST - 1

    def __len__(self) -> int:
        return len(self._ids) // _ID

    def __iter__(self) -> Iterator[bytes]:
        return map(self.id_at, range(len(self)))

    def __contains__(self, id: bytes) -> bool:
        return self.find(id) is not None

    def add(self, id: bytes) -> int:
        """The place of an id, which is added if it is new: then its place is what the length was before."""
        if len(id) != _ID:
            raise ValueError(f"an id of {len(id)} bytes")
        slot = self._slot(id)
        if self._slots[slot]:
            return self._slots[slot] - 1
        self._ids += id
        self._slots[slot] = len(self)
        if 3 * len(self) > 2 * len(self._slots):
            self._grow()
        return len(self) - 1

    def find(self, id: bytes) -> int | None:
        """The place of an id, or None."""
        number = self._slots[self._slot(id)]
        return number - 1 if number else None

    def id_at(self, place: int) -> bytes:
        """The id at a place."""
        return bytes(self._ids[_ID * place : _ID * (place + 1)])

    def _slot(self, id: bytes) -> int:
        """Where an id stands, or where it would."""
        at = int.from_bytes(id[:8], "little") & self._mask
        slots, ids = self._slots, self._ids
        while slots[at]:
            start = _ID * (slots[at] - 1)
            if ids[start : start + _ID] == id:
                return at
            at = (at + 1) & self._mask
        return at

    def _grow(self) -> None:
        self._slots = array("I", [0]) * (2 * len(self._slots))
        self._mask = len(self._slots) - 1
        for place in range(len(self)):
            self._slots[self._slot(self.id_at(place))] = place + 1
