"""Giving out: the objects that one RESTORE (or a query) reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from coldhouse.errors import ColdhouseError, Corruption
from coldhouse.gateway import s3
from coldhouse.gateway.objects import Served, prompt_answer, send_object
from coldhouse.gateway.request import Request
from coldhouse.gateway.settings import Address
from coldhouse.gateway.workers import Workers

__all__ = ["Namespace", "ServeSession", "Served"]

#: The object of a key below the session's prefix. Called on the gateway's own thread: it answers from memory.
Namespace = Callable[[str], Served | None]
#: So small a share of what is expected may be left when the end is near: RESTORE passes over a file in each part.
_NEAR = 0.01


class ServeSession:
    """One operation that reads, at ``address``. Everything public may be read from any thread.

    ``error`` is its first Corruption, or else its latest other failure to read. ``expected`` bytes, about, are all that
    the operation will read, where that is known.
    """

    def __init__(self, lookup: Namespace, address: Address, expected: int | None = None) -> None:
        self.address = address
        self.error: ColdhouseError | None = None
        self.sent_bytes = 0
        self.requests = 0
        self._lookup = lookup
        self._counting = threading.Lock()
        self._refusal = ""
        self._near = None if expected is None else expected * (1 - _NEAR)
        self._ending = threading.Event()

    def wait(self, seconds: float) -> bool | None:
        """Wait, but not on when almost all that is expected was sent; says whether it was (once).

        None: nobody knows how much is expected.
        """
        ending = self._ending.wait(seconds)
        self._ending.clear()
        return ending if self._near is not None else None

    def refuse(self, reason: str) -> None:
        """Make everything that ClickHouse still asks for fail with ``reason``, so that RESTORE ends at once."""
        self._refusal = self._refusal or reason

    async def find(self, key: str, _: Workers) -> s3.Listed | None:
        """What a listing says of a key."""
        found = self._lookup(key)
        return None if found is None else s3.Listed(found.size, found.etag)

    async def answer(self, request: Request, key: str, workers: Workers) -> s3.Reply | None:
        """Answer GET and HEAD; nothing else is possible here. Raises Refusal, Disconnected, ColdhouseError."""
        if request.method not in ("GET", "HEAD"):
            raise s3.forbidden("This address can only be read.")
        if self._refusal:
            raise s3.forbidden(self._refusal)
        self.requests += 1
        found = self._lookup(key)
        if found is None:
            raise s3.absent()
        return await send_object(request, found, workers, self._sent)

    def prompt(self, method: str, headers: Mapping[bytes, bytes], key: str) -> bytes | None:
        """The answer to GET or HEAD without its status line, if it is at hand; None if ``answer`` has to be asked."""
        if self._refusal or method not in ("GET", "HEAD"):
            return None
        found = self._lookup(key)
        answer = None if found is None else prompt_answer(method, headers, found)
        if answer is None:
            return None
        self.requests += 1
        self._sent(answer[1])
        return answer[0]

    async def delete_objects(self, _: Request) -> s3.Reply:
        """Refuse DeleteObjects."""
        raise s3.forbidden("This address can only be read.")

    def fail(self, error: ColdhouseError) -> s3.Refusal:
        """Keep an error for the operation to tell, and say how it is answered (what is damaged: not to be repeated)."""
        if not isinstance(self.error, Corruption):
            self.error = error
        return s3.forbidden(error.message) if isinstance(error, Corruption) else s3.too_slow(error.message)

    def _sent(self, size: int) -> None:
        with self._counting:
            before = self.sent_bytes
            self.sent_bytes += size
            near = self._near is not None and before < self._near <= self.sent_bytes
        if near:
            self._ending.set()
