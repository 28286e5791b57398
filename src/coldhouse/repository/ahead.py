"""Read ahead: threads fetch what is asked for next while earlier results are looked at."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

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
    ) -> Generator[R, None, None]:
        """The results of an action on each item, in order. The first failure is raised where its result would be.

        What ``waits`` for nothing is done when its turn comes: to hand it to a thread would take longer.
        """
        if self._pool is None:
            yield from map(act, items)
            return
        under_way: deque[Future[R] | _Here[R]] = deque()
        begun = 0
        try:
            for item in items:
                reads = waits(item)
                under_way.append(self._pool.submit(act, item) if reads else _Here(partial(act, item)))
                begun += reads
                while under_way and (isinstance(under_way[0], _Here) or begun > self._most or len(under_way) > _FAR):
                    first = under_way.popleft()
                    begun -= not isinstance(first, _Here)
                    yield first.result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


class _Here(Generic[R]):
    """What is done by whoever asks for its result."""

    def __init__(self, act: Callable[[], R]) -> None:
        self.result = act

    def cancel(self) -> None:
        """It has not begun."""


@contextmanager
def reading_ahead(threads: int) -> Iterator[Ahead]:
    """So many threads (0: none) to read with."""
    if not threads:
        yield Ahead(None, 0)
        return
    from concurrent.futures import ThreadPoolExecutor  # most commands never need it

    with ThreadPoolExecutor(threads, "ahead") as pool:
        yield Ahead(pool, 2 * threads)
