"""Objects that can be read: answering GET and HEAD, whole or by range, never with a wrong byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from coldhouse.errors import Corruption
from coldhouse.gateway import s3
from coldhouse.gateway.request import Request
from coldhouse.gateway.workers import Workers, settle
from coldhouse.model import Buffer

#: Bytes that a thread reads before they are handed to the connection; twice that is in memory per request.
BATCH = 512 * 1024

#: RESTORE has no use for the time, but S3 clients want one in every answer.
LAST_MODIFIED = (b"last-modified", b"Sat, 01 Jan 2000 00:00:00 GMT")
CONTENT_TYPE = (b"content-type", b"application/octet-stream")


class Served(Protocol):
    """An object to be read: its size in bytes and a tag that changes when its bytes do."""

    @property
    def size(self) -> int:
        """Its size in bytes."""

    @property
    def etag(self) -> str:
        """Any stable string of ASCII letters and digits."""

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        """Yield exactly this range; runs in threads. Raises Corruption instead of giving a wrong byte."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """An object whose bytes are at hand."""

    content: Buffer
    etag: str

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self.content)

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        """Yield a range of it, without copying."""
        yield memoryview(self.content)[offset : offset + length]


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    headers: list[s3.Header]
    span: s3.Span


async def send_object(
    request: Request,
    served: Served,
    workers: Workers,
    sent: Callable[[int], None],
    more_headers: tuple[s3.Header, ...] = (),
) -> s3.Reply | None:
    """Answer GET or HEAD with an object or a range of it; ``sent`` is told of the bytes.

    Raises Refusal, Disconnected, and what the object's reader raises: before the answer began, or in the middle of it,
    in which case the connection must be cut.
    """
    head = _head(request, served, more_headers)
    if request.method == "HEAD" or head.span.length == 0:
        return s3.Reply(head.status, tuple(head.headers), length=head.span.length)
    batches = _Batches(partial(served.read, head.span.offset, head.span.length), head.span.length)
    ahead = workers.start(batches.read)
    try:
        batch, last = await ahead
        await request.start(head.status, head.headers, head.span.length)
        while True:
            if not last:
                ahead = workers.start(batches.read)
            for number, chunk in enumerate(batch, 1):
                await request.write(chunk, more=not (last and number == len(batch)))
                sent(len(chunk))
            if last:
                return None
            batch, last = await ahead
    finally:
        await settle(ahead)


def _head(request: Request, served: Served, more_headers: tuple[s3.Header, ...]) -> _Head:
    etag = s3.quoted(served.etag)
    condition = request.header(b"if-match")
    if condition and not s3.matches(condition, etag):
        raise s3.Refusal(412, "PreconditionFailed", "The object's tag is not the one that was asked for.")
    headers = [(b"etag", etag), (b"accept-ranges", b"bytes"), LAST_MODIFIED, CONTENT_TYPE, *more_headers]
    asked = request.header(b"range")
    span = s3.parse_range(asked, served.size) if asked else None
    if span is None:
        return _Head(200, headers, s3.Span(0, served.size))
    last = span.offset + span.length - 1
    headers.append((b"content-range", b"bytes %d-%d/%d" % (span.offset, last, served.size)))
    return _Head(206, headers, span)


class _Batches:
    """An iterator of chunks, read so many bytes at a time, in threads, one read after the other."""

    def __init__(self, begin: Callable[[], Iterator[Buffer]], length: int) -> None:
        self._begin = begin
        self._left = length
        self._chunks: Iterator[Buffer] | None = None

    def read(self) -> tuple[list[Buffer], bool]:
        """The next chunks and whether they are the last. Raises what the reader raises."""
        if self._chunks is None:
            self._chunks = self._begin()
        batch: list[Buffer] = []
        held = 0
        while held < min(BATCH, self._left):
            chunk = next(self._chunks, b"")
            if not chunk or len(chunk) > self._left - held:
                raise Corruption("A file in the repository is not as long as its snapshot says.")
            batch.append(chunk)
            held += len(chunk)
        self._left -= held
        return batch, self._left == 0
