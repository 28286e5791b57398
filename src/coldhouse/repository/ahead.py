"""Read ahead: threads fetch what is asked for next while earlier results are looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")
R = TypeVar("R")

#: So many threads read where nothing else is said.
THREADS = 8
#: So many items are looked at ahead, also where few of them have to be waited for.
_FAR = 1000


class Ahead:
    """Acts on items in threads while earlier results are looked at; without threads, when a result is asked for."""

    def __init__(self, pool: Executor | None, most: int) -> None:
        self._pool = pool
        self._most = most

    def each(
        self, act: Callable[[T], R], items: Iterable[T], *, waits: Callable[[T], bool] = lambda _: True
    ) -> Iterator[R]:
        """The results of an action on each item, in order. The first failure is raised where its result would be.

        What ``waits`` for nothing is done when its turn comes: to hand it to a thread would take longer.
        """
        if self._pool is None:
            yield from map(act, items)
            return
        under_way: deque[tuple[bool, Callable[[], R]]] = deque()  # whether it was begun, and what gives its result
        begun = 0
        for item in items:
            reads = waits(item)
            under_way.append((reads, self._pool.submit(act, item).result if reads else partial(act, item)))
            begun += reads
            while under_way and (not under_way[0][0] or begun > self._most or len(under_way) > _FAR):
                reads, result = under_way.popleft()
                begun -= reads
                yield result()
        for _, result in under_way:
            yield result()


@contextmanager
def reading_ahead(threads: int) -> Iterator[Ahead]:
    """So many threads (0: none) to read with; in the end what they have not begun is not done."""
    if not threads:
        yield Ahead(None, 0)
        return
    from concurrent.futures import ThreadPoolExecutor  # most commands never need it

    pool = ThreadPoolExecutor(threads, "ahead")
    try:
        yield Ahead(pool, 2 * threads)
    finally:
        pool.shutdown(cancel_futures=True)
