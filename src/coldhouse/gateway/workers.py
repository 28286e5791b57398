"""Threads for what may block or compute: hashing, sealing, reading from the repository."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

#: As many as ClickHouse has requests under way (its ``backup_threads`` and ``restore_threads``).
THREADS = 16
#: Large bodies that are read at a time. ClickHouse gives a request up, and repeats it, once nothing of its body went
#: out for a second; so where the store is slow, a few go on without a stop and the others have not begun, instead of
#: all of them stopping half-way and coming twice (7 to 9 % more was stored for 2 GB, to a store of 150 MB/s).
BODIES = 4


async def settle(future: asyncio.Future[T]) -> None:
    """Wait until a call has ended, whatever came of it."""
    if not future.done():
        await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # seen: who waits here has a failure of its own to tell


class Workers:
    """A bounded pool of threads whose results come back to the event loop."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="coldhouse-gateway")
        self.bodies = asyncio.Semaphore(BODIES)

    async def run(self, call: Callable[[], T]) -> T:
        """Run ``call`` in a thread; raises what it raises."""
        return await asyncio.wrap_future(self._pool.submit(call))

    def start(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Begin to run ``call`` in a thread."""
        return asyncio.wrap_future(self._pool.submit(call))

    def stop(self) -> None:
        """Wait for what runs; the pool is not used afterwards."""
        self._pool.shutdown(wait=True, cancel_futures=True)
