"""A store in memory: for tests that need no files, and that want to look at, change or swap what is stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing
from coldhouse.model import Buffer
from coldhouse.storage.base import NO_LIMIT, Storage, StoredObject, too_large

_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryStorage(Storage):
    """Objects in a dictionary, open to the test: ``objects`` by name; ``readers`` is what it says of itself."""

    def __init__(self, readers: int = 0) -> None:
        self.objects: dict[str, bytes] = {}
        self._readers = readers
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """A name for messages."""
        return "memory:"

    @property
    def readers(self) -> int:
        """As given."""
        return self._readers

    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        """The whole object."""
        with self._lock:
            if name not in self.objects:
                raise ObjectMissing(f"{name} does not exist.", object_name=name)
            found = self.objects[name]
        if len(found) > limit:
            raise too_large(name, len(found), limit)
        return found

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """A range of it."""
        found = memoryview(self.get(name))[offset : offset + length]
        if len(found) != length:
            raise Corruption(f"{name} is truncated.", object_name=name)
        return found

    def size(self, name: str) -> int:
        """Its size."""
        return len(self.get(name))

    def create(self, name: str, data: Buffer) -> None:
        """Store it unless the name is taken."""
        with self._lock:
            if name in self.objects:
                raise ObjectExists(f"{name} exists.", object_name=name)
            self.objects[name] = bytes(data)

    def put(self, name: str, data: Buffer) -> None:
        """Store it."""
        with self._lock:
            self.objects[name] = bytes(data)

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """List names."""
        with self._lock:
            found = sorted(name for name in self.objects if name.startswith(prefix) and name > after)
            sizes = [len(self.objects[name]) for name in found]
        for name, size in zip(found, sizes, strict=True):
            yield StoredObject(name, size, _WRITTEN)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects."""
        with self._lock:
            for name in names:
                self.objects.pop(name, None)

    def sync(self) -> None:
        """Nothing to do."""

    def free_space(self) -> int | None:
        """Unknown."""
        return None

    def close(self) -> None:
        """Nothing to do."""
