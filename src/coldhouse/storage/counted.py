"""Another store that counts: requests by their kind, as a bucket bills them, and the bytes that went each way.

A folder asks nobody, so its numbers say what the same work would cost in a bucket. Counted is what is asked for: a
request that a store's library repeats after a failure is one here, and so is a long read, which a bucket answers as a
whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from msgspec import Struct

from coldhouse.model import Buffer
from coldhouse.storage.base import NO_LIMIT, PIECE, Storage, StoredObject

#: Names in one answer to LIST, and in one DELETE.
PAGE = 1000


class Requests(Struct, frozen=True):
    """Requests to a store by their kind, and the bytes of objects that went up to it and came down from it.

    ``list`` counts answers of up to 1,000 names, ``delete`` requests for up to 1,000 names.
    """

    put: int = 0
    get: int = 0
    list: int = 0
    head: int = 0
    delete: int = 0
    uploaded: int = 0
    downloaded: int = 0

    def __add__(self, other: Requests) -> Requests:
        return Requests(
            self.put + other.put,
            self.get + other.get,
            self.list + other.list,
            self.head + other.head,
            self.delete + other.delete,
            self.uploaded + other.uploaded,
            self.downloaded + other.downloaded,
        )

    def __sub__(self, other: Requests) -> Requests:
        return Requests(
            self.put - other.put,
            self.get - other.get,
            self.list - other.list,
            self.head - other.head,
            self.delete - other.delete,
            self.uploaded - other.uploaded,
            self.downloaded - other.downloaded,
        )

    @property
    def total(self) -> int:
        """All requests together."""
        return self.put + self.get + self.list + self.head + self.delete


class CountedStorage(Storage):
    """Another store whose requests are counted; ``requests`` is what was asked so far. Closing it closes the other."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._counted = Requests()

    @property
    def requests(self) -> Requests:
        """What was asked so far, by all threads."""
        with self._lock:
            return self._counted

    @property
    def url(self) -> str:
        """The inner store's."""
        return self._inner.url

    @property
    def readers(self) -> int:
        """The inner store's."""
        return self._inner.readers

    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        """Return the whole object. Raises ObjectMissing, or Corruption if it has more than ``limit`` bytes."""
        self._count(Requests(get=1))
        found = self._inner.get(name, limit=limit)
        self._count(Requests(downloaded=memoryview(found).nbytes))
        return found

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """Return exactly ``length`` bytes from ``offset``. Raises ObjectMissing, or Corruption if it is shorter."""
        self._count(Requests(get=1) if length else Requests(head=1))
        found = self._inner.get_range(name, offset, length)
        self._count(Requests(downloaded=length))
        return found

    def read_through(self, name: str, offset: int, length: int, *, piece: int = PIECE) -> Iterator[Buffer]:
        """Yield ``length`` bytes from ``offset`` as the inner store does best. Raises ObjectMissing, Corruption."""
        self._count(Requests(get=1))
        downloaded = 0
        try:
            for part in self._inner.read_through(name, offset, length, piece=piece):
                downloaded += memoryview(part).nbytes
                yield part
        finally:
            self._count(Requests(downloaded=downloaded))

    def size(self, name: str) -> int:
        """Return the object's size in bytes. Raises ObjectMissing."""
        self._count(Requests(head=1))
        return self._inner.size(name)

    def create(self, name: str, data: Buffer) -> None:
        """Store a new object, atomically. Raises ObjectExists if the name is taken, and then changes nothing."""
        self._count(Requests(put=1, uploaded=memoryview(data).nbytes))
        self._inner.create(name, data)

    def put(self, name: str, data: Buffer) -> None:
        """Store an object, atomically replacing one of the same name."""
        self._count(Requests(put=1, uploaded=memoryview(data).nbytes))
        self._inner.put(name, data)

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose name starts with ``prefix`` and sorts after ``after``."""
        self._count(Requests(list=1))
        for number, found in enumerate(self._inner.list(prefix, after=after)):
            if number and number % PAGE == 0:
                self._count(Requests(list=1))
            yield found

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; names that do not exist are no error."""
        self._count(Requests(delete=-(-len(names) // PAGE)))
        self._inner.delete(names)

    def sync(self) -> None:
        """Return only when all that was stored before survives a power failure."""
        self._inner.sync()

    def free_space(self) -> int | None:
        """Return the bytes left for us, or None where the store does not know."""
        return self._inner.free_space()

    def remove_leftovers(self, older_than: float) -> int:
        """Remove what dead writers left."""
        return self._inner.remove_leftovers(older_than)

    def close(self) -> None:
        """Close the inner store."""
        self._inner.close()

    def _count(self, more: Requests) -> None:
        with self._lock:
            self._counted += more


def requests_of(storage: Storage) -> Requests | None:
    """What a store was asked so far; None if it does not count."""
    return storage.requests if isinstance(storage, CountedStorage) else None
