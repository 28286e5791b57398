"""Memory for bytes on their way from and to a disk: it begins on a page, and is used again.

Memory that is new costs the system a fault for each of its pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap


def own_memory(size: int) -> mmap:
    """So many bytes that begin on a page of the memory, from where a disk can take them without a copy."""
    return mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)


class SpareMemory:
    """Blocks of one size, lent to whoever works, as many as work at the same time; any thread may use it."""

    def __init__(self, size: int) -> None:
        """The size of a block in bytes."""
        self._size = size
        self._spare: deque[mmap] = deque()

    @contextmanager
    def lent(self) -> Generator[memoryview, None, None]:
        """A block, of which nobody may look at a byte afterwards."""
        try:
            block = self._spare.pop()
        except IndexError:
            block = own_memory(self._size)
        try:
            yield memoryview(block)
        finally:
            self._spare.append(block)
