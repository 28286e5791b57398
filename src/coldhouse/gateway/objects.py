"""Objects that can be read: answering GET and HEAD, whole or by range, never with a wrong byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol, TypeVar

from msgspec import Struct

from coldhouse.errors import Corruption
from coldhouse.gateway import s3
from coldhouse.gateway.direct import Gone, write_all
from coldhouse.gateway.request import Disconnected, Request
from coldhouse.gateway.workers import Workers, settle
from coldhouse.model import Buffer

T = TypeVar("T")

#: RESTORE has no use for the time, but S3 clients want one in every answer.
LAST_MODIFIED = (b"last-modified", b"Sat, 01 Jan 2000 00:00:00 GMT")
CONTENT_TYPE = (b"content-type", b"application/octet-stream")


#: Bytes of an object that are sent from the event loop itself, without a thread.
MOST_PROMPT = 64 * 1024
#: The head of a prompt answer: the same as `_head` gives, ready made.
_PROMPT = (
    b"etag: %b\r\naccept-ranges: bytes\r\n"
    + b"".join(b"%b: %b\r\n" % header for header in (LAST_MODIFIED, CONTENT_TYPE))
    + b"content-length: %d\r\n\r\n"
)


class Served(Protocol):
    """An object to be read: its size in bytes and a tag that changes when its bytes do."""

    @property
    def size(self) -> int:
        """Its size in bytes."""

    @property
    def etag(self) -> str:
        """Any stable string of ASCII letters and digits."""

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        """Yield exactly this range, in threads; a piece is valid until the next one is asked for.

        Raises Corruption instead of giving a wrong byte.
        """


class AtHand:
    """What an object is that can often be answered without waiting: then no thread is asked."""

    __slots__ = ()

    def at_hand(self, offset: int, length: int) -> Buffer | None:
        """Exactly this range if it lies in memory and in one piece, else None; never waits, never computes."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class InMemory(AtHand):
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

    def at_hand(self, offset: int, length: int) -> Buffer | None:
        """A range of it, without copying."""
        return memoryview(self.content)[offset : offset + length]


class _Head(Struct, frozen=True):
    status: int
    headers: list[s3.Header]
    span: s3.Span


def prompt_answer(method: str, headers: Mapping[bytes, bytes], served: Served) -> tuple[bytes, int] | None:
    """The answer to GET or HEAD without its status line, and how many bytes of it are the object's.

    Only for whole objects, which is what RESTORE asks for, and only if nothing has to be waited for; None means that
    ``send_object`` has to answer.
    """
    if b"range" in headers:
        return None
    etag = s3.quoted(served.etag)
    condition = headers.get(b"if-match", b"")
    if condition and condition != etag:
        return None
    size = served.size
    if method == "HEAD" or not size:
        return _PROMPT % (etag, size), 0
    body = served.at_hand(0, size) if size <= MOST_PROMPT and isinstance(served, AtHand) else None
    return None if body is None else (b"".join((_PROMPT % (etag, size), body)), size)


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
    pieces = _Pieces(partial(served.read, head.span.offset, head.span.length), head.span.length)
    piece = await _settled(workers.start(pieces.read))
    await request.start(head.status, head.headers, head.span.length)
    if pieces.more:
        piece = await _send_directly(request, piece, pieces, workers, sent)
    if piece:
        await _send_by_turns(request, piece, pieces, workers, sent)
    return None


async def _send_directly(
    request: Request, piece: Buffer, pieces: _Pieces, workers: Workers, sent: Callable[[int], None]
) -> Buffer:
    """Let one thread read and write to the end; returns what has to be sent otherwise, with all that comes after it."""
    writer = await request.direct()
    if writer is None:
        return piece
    try:
        size, left = await _settled(workers.start(partial(write_all, writer, chain((piece,), pieces), sent)))
    except Gone:
        raise Disconnected from None
    await request.written(size, more=bool(left))
    return left


async def _send_by_turns(
    request: Request, piece: Buffer, pieces: _Pieces, workers: Workers, sent: Callable[[int], None]
) -> None:
    """Let the event loop write while a thread reads on."""
    while piece:
        # The next piece may come into the same memory, and the connection keeps what does not go out at once.
        own = bytes(piece)
        ahead = workers.start(pieces.read) if pieces.more else None
        try:
            await request.write(own, more=ahead is not None)
            sent(len(own))
        finally:
            if ahead is not None:
                await settle(ahead)
        piece = b"" if ahead is None else await ahead


async def _settled(future: asyncio.Future[T]) -> T:
    """A call's result; when waiting is given up, the call has ended all the same."""
    try:
        return await future
    finally:
        await settle(future)


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


class _Pieces:
    """An iterator of pieces, read in threads, one after the other; one is valid until the next is asked for."""

    def __init__(self, begin: Callable[[], Iterator[Buffer]], length: int) -> None:
        self._begin = begin
        self._left = length
        self._pieces: Iterator[Buffer] | None = None

    @property
    def more(self) -> bool:
        """Whether something was not read yet."""
        return self._left > 0

    def __iter__(self) -> Iterator[Buffer]:
        """What was not read yet."""
        while self.more:
            yield self.read()

    def read(self) -> Buffer:
        """The next piece. Raises what the reader raises."""
        if self._pieces is None:
            self._pieces = self._begin()
        piece = next(self._pieces, b"")
        if not piece or len(piece) > self._left:
            raise Corruption("A file in the repository is not as long as its snapshot says.")
        self._left -= len(piece)
        return piece
