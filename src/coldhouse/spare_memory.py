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
    """Blocks that are lent to whoever works, as many as work at the same time; any thread may use it."""

    def __init__(self) -> None:
        self._spare: deque[mmap] = deque()

    @contextmanager
    def lent(self, size: int) -> Generator[memoryview, None, None]:
        """So many bytes, at which nobody may look afterwards."""
        try:
            block = self._spare.pop()
        except IndexError:
            block = own_memory(size)
        if len(block) < size:
            block = own_memory(size)
        try:
            yield memoryview(block)[:size]
        finally:
            self._spare.append(block)
