"""Reading without signatures: what ClickHouse's ``web`` disk asks for, below a token that nobody can guess.

The web disk has no way to sign a request nor to send a header of ours, so the right to read is the knowledge of the
path. Whoever does not know it learns nothing: every other request is answered with 404.
"""

from __future__ import annotations

import threading
from functools import partial

from coldhouse.errors import ColdhouseError, Corruption
from coldhouse.gateway import s3
from coldhouse.gateway.objects import Served, send_object
from coldhouse.gateway.request import Request
from coldhouse.gateway.serve import Namespace
from coldhouse.gateway.settings import Address
from coldhouse.gateway.workers import Workers

#: The first step of every path of a web disk; the second is the token.
FOLDER = "web"
#: How many damaged files a session remembers.
MOST_DAMAGED = 10_000


class WebSession:
    """One reader of a web disk, at ``address.url``. Everything public may be read from any thread.

    ``lookup`` gets the key below the address and may take its time: it runs in the gateway's worker threads. ``error``
    is the first Corruption, or else the latest other failure to read.
    """

    def __init__(self, lookup: Namespace, address: Address) -> None:
        self.address = address
        self.error: ColdhouseError | None = None
        self.sent_bytes = 0
        self.requests = 0
        self._lookup = lookup
        self._counting = threading.Lock()
        self._damaged: dict[str, Corruption] = {}

    async def answer(self, request: Request, key: str, workers: Workers) -> s3.Reply | None:
        """Answer GET; there is nothing else. Raises Refusal, Disconnected, ColdhouseError."""
        if request.method != "GET":
            raise hidden()
        self.requests += 1
        if key in self._damaged:
            raise self._damaged[key]
        try:
            found: Served | None = await workers.run(partial(self._lookup, key))
            if found is None:
                raise hidden()
            return await send_object(request, found, workers, self._sent)
        except Corruption as error:
            # An answer that was cut in its middle is asked for again, for half a minute: the next time it is refused.
            if len(self._damaged) < MOST_DAMAGED:
                self._damaged[key] = error
            raise

    def forget_error(self) -> None:
        """Begin anew: what was wrong with the last query is told; a damaged file is told again if it is asked for."""
        self.error = None

    async def delete_objects(self, _: Request) -> s3.Reply:
        """There is no such call here."""
        raise hidden()

    async def find(self, _key: str, _workers: Workers) -> s3.Listed | None:
        """There are no listings here but ``.index`` files."""
        return None

    def fail(self, error: ColdhouseError) -> s3.Refusal:
        """Keep an error for the operation to tell. ClickHouse repeats after 503 but not after 403."""
        if not isinstance(self.error, Corruption):
            self.error = error
        return s3.forbidden(error.message) if isinstance(error, Corruption) else s3.too_slow(error.message)

    def _sent(self, size: int) -> None:
        with self._counting:
            self.sent_bytes += size


def hidden() -> s3.Refusal:
    """The one answer to whatever is not there, or not for the asker."""
    return s3.Refusal(404, "NoSuchKey", "There is nothing here.")


def is_web(path: bytes) -> bool:
    """Whether a raw path belongs to web disks, so that it is answered as they answer."""
    return path.startswith(b"/" + FOLDER.encode() + b"/")
