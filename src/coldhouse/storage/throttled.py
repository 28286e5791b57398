"""Another store at a bounded speed: the same interface, and what goes up or comes down waits for its turn.

The bound is kept on average, over any time longer than one object takes: a pack of 32 MiB goes at the speed of the line
once its turn has come, and the next one waits until the average is right again. Reads are requests of 2 MiB at most.
How many objects go up, or are read, at the same time can be bounded as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from coldhouse.model import Buffer
from coldhouse.storage.base import NO_LIMIT, Storage, StoredObject

#: Seconds of unused turn that are not lost, so that a short pause costs nothing; and the longest single sleep.
_BURST = 0.5
_LONGEST_SLEEP = 1.0


class Pace:
    """Bytes for each second, shared by all threads: whoever takes some waits until it is their turn."""

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``rate`` is in bytes per second, and positive."""
        if rate <= 0:
            raise ValueError("a pace must be positive")
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock() - _BURST  # when all that was taken so far has had its time

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes may go, after those that others took before."""
        with self._lock:
            turn = max(self._free_at, self._clock() - _BURST)
            self._free_at = turn + count / self._rate
        while (left := turn - self._clock()) > 0:
            self._sleep(min(left, _LONGEST_SLEEP))


class Lane:
    """One direction: its pace, if it has one, and how many may be under way at once, if that is bounded (not 0)."""

    def __init__(self, pace: Pace | None, at_once: int) -> None:
        self._pace = pace
        self._room = threading.BoundedSemaphore(at_once) if at_once else None

    @contextmanager
    def turn(self, count: int) -> Iterator[None]:
        """Wait until ``count`` bytes may go, and hold a place while they do."""
        if self._room is None:
            self.pay(count)
            yield
            return
        with self._room:
            self.pay(count)
            yield

    def pay(self, count: int) -> None:
        """Wait until ``count`` bytes may go."""
        if self._pace is not None:
            self._pace.take(count)


class ThrottledStorage(Storage):
    """Another store, whose uploads and downloads keep a pace, so many of them at once; None and 0 are no bound.

    Closing it closes the other.
    """

    def __init__(
        self,
        inner: Storage,
        *,
        upload: Pace | None = None,
        download: Pace | None = None,
        uploads: int = 0,
        downloads: int = 0,
    ) -> None:
        self._inner = inner
        self._up = Lane(upload, uploads)
        self._down = Lane(download, downloads)

    @property
    def url(self) -> str:
        """The inner store's."""
        return self._inner.url

    @property
    def readers(self) -> int:
        """The inner store's."""
        return self._inner.readers

    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        """Return the whole object; it is paid for afterwards, when its size is known.

        Raises ObjectMissing, or Corruption if it has more than ``limit`` bytes.
        """
        with self._down.turn(0):
            found = self._inner.get(name, limit=limit)
            self._down.pay(memoryview(found).nbytes)
        return found

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """Return exactly ``length`` bytes from ``offset``. Raises ObjectMissing, or Corruption if it is shorter."""
        with self._down.turn(length):
            return self._inner.get_range(name, offset, length)

    def size(self, name: str) -> int:
        """Return the object's size in bytes. Raises ObjectMissing."""
        return self._inner.size(name)

    def create(self, name: str, data: Buffer) -> None:
        """Store a new object, atomically. Raises ObjectExists if the name is taken, and then changes nothing."""
        with self._up.turn(memoryview(data).nbytes):
            self._inner.create(name, data)

    def put(self, name: str, data: Buffer) -> None:
        """Store an object, atomically replacing one of the same name."""
        with self._up.turn(memoryview(data).nbytes):
            self._inner.put(name, data)

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose name starts with ``prefix`` and sorts after ``after``."""
        return self._inner.list(prefix, after=after)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; names that do not exist are no error."""
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


def throttled(storage: Storage, *, upload: int = 0, download: int = 0, uploads: int = 0, downloads: int = 0) -> Storage:
    """The store with bounds in bytes per second and in objects at once; 0 is no bound, without any it is itself."""
    if not any((upload, download, uploads, downloads)):
        return storage
    return ThrottledStorage(
        storage,
        upload=Pace(upload) if upload else None,
        download=Pace(download) if download else None,
        uploads=uploads,
        downloads=downloads,
    )
