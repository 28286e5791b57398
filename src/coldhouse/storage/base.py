"""The contract of a store: bytes by name, and nothing else.

Names are relative, of ``[A-Za-z0-9/._-]`` and never contain ``..``. Every method may be called from any thread. Errors
are those of :mod:`coldhouse.errors` (ObjectMissing, ObjectExists, StorageFull, StorageRefused, StorageError), never a
library's own.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from coldhouse.errors import Corruption
from coldhouse.model import Buffer

#: Bytes of an object that are read at a time where it is read through.
PIECE = 2 << 20

#: What is read whole may be of any size: only where nobody else can have written it, or all of it is needed anyway.
NO_LIMIT = sys.maxsize


class StoredObject(Struct, frozen=True):
    """An object in a listing: its name, its size in bytes and when the store says it was written (UTC)."""

    name: str
    size: int
    modified: datetime


class Storage(ABC):
    """A folder or a bucket, seen as a flat set of named objects."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where this store is, without credentials, for people to read."""

    @property
    def readers(self) -> int:
        """How many threads are best to read many small objects with; 0 where nobody waits for an answer.

        To list 1,000 snapshots in a folder with 8 of them took 0.2 s longer: they wait for the interpreter's lock.
        """
        return 0

    @abstractmethod
    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        """Return the whole object, in one request (a bucket: two if it is large) and as it was at one moment.

        Raises ObjectMissing, or Corruption if it has more than ``limit`` bytes: then nothing of it comes into memory.
        """

    @abstractmethod
    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """Return exactly ``length`` bytes from ``offset``. Raises ObjectMissing, or Corruption if it is shorter."""

    def read_through(self, name: str, offset: int, length: int, *, piece: int = PIECE) -> Iterator[Buffer]:
        """Yield ``length`` bytes from ``offset`` in pieces of any size, for who reads much from beginning to end.

        A piece is valid until the next one is asked for, whose bytes may come into the same memory. ``piece`` is the
        size of pieces that would be best, in bytes; a store to which each piece is a request, as here, gives larger
        ones.

        Raises ObjectMissing, or Corruption if the object is shorter, perhaps after some pieces.
        """
        step = max(piece, PIECE)
        for at in range(offset, offset + length, step):
            yield self.get_range(name, at, min(step, offset + length - at))

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the object's size in bytes. Raises ObjectMissing."""

    @abstractmethod
    def create(self, name: str, data: Buffer) -> None:
        """Store a new object, atomically. Raises ObjectExists if the name is taken, and then changes nothing.

        If the store's answer is lost, the implementation looks and compares: success means the object is there with
        these bytes' size, and was not there with others.
        """

    @abstractmethod
    def put(self, name: str, data: Buffer) -> None:
        """Store an object, atomically replacing one of the same name."""

    @abstractmethod
    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose name starts with ``prefix`` and sorts after ``after``, in name order, lazily."""

    @abstractmethod
    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; names that do not exist are no error."""

    @abstractmethod
    def sync(self) -> None:
        """Return only when all that was stored before survives a power failure (a no-op for a bucket)."""

    @abstractmethod
    def free_space(self) -> int | None:
        """Return the bytes left for us, or None where the store does not know."""

    def remove_leftovers(self, older_than: float) -> int:
        """Remove what writers that died left behind outside of any object, ``older_than`` seconds old or more.

        Returns how many. A store where an unfinished object leaves nothing has nothing to do.
        """
        return 0

    @abstractmethod
    def close(self) -> None:
        """Let go of connections; the store is not used afterwards."""


def too_large(name: str, size: int, limit: int) -> Corruption:
    """The error for an object that has more bytes than one of its kind can have."""
    return Corruption(
        f"{name} is larger than it can be: it has {size:,} bytes, and no more than {limit:,} were written.",
        object_name=name,
        hint="No Coldhouse wrote it: look who may write there, and put it back from a copy of the repository.",
    )


def names_of(objects: Iterable[StoredObject]) -> list[str]:
    """The names of listed objects."""
    return [stored.name for stored in objects]
