"""One HTTP request as the gateway sees it: a thin, bounded face before ASGI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Protocol, TypedDict
from urllib.parse import unquote_to_bytes

from coldhouse.gateway import s3, signature
from coldhouse.gateway.direct import DirectReader, DirectWriter
from coldhouse.model import Buffer

MAX_HEAD = 16 * 1024  # bytes of target and headers together
MAX_HEADERS = 64
MAX_KEY = 1024  # bytes, as in S3
SMALL_BODY = 1024 * 1024
#: Seconds without any byte going out after which ClickHouse gives up its first attempt to send a body, and sends it
#: again, now with patience (ClickHouse 26.9, src/IO/ConnectionTimeouts.cpp).
FIRST_ATTEMPT_SECONDS = 1.0
#: What the kernel takes of a body, at both ends, that nobody reads: up to 5.6 MB were seen.
_IN_SOCKETS = 6 * 1024 * 1024
#: How often the event loop may turn until the head of an answer has gone out.
_TURNS = 4


class State(TypedDict):
    """What our HTTP protocol adds: the body that waits, how to cut the connection, and whether it is closing.

    ``descriptor`` is that of a connection to which a thread may write by itself, ``wrote`` is told of what it wrote.
    ``hold`` leaves the connection unread and gives the descriptor to read from, ``passed`` is told of what was read.
    """

    body: list[bytes]
    cut: Callable[[], None]
    closing: Callable[[], bool]
    descriptor: Callable[[], int | None]
    wrote: Callable[[int], None]
    hold: Callable[[], int | None]
    passed: Callable[[int], None]


class Scope(TypedDict):
    """What ASGI says of a request, as far as it is used here."""

    type: str
    method: str
    scheme: str
    raw_path: bytes
    query_string: bytes
    headers: list[tuple[bytes, bytes]]
    client: tuple[str, int] | None
    state: State


class Message(TypedDict, total=False):
    """An ASGI event."""

    type: str
    body: Buffer
    more_body: bool
    status: int
    headers: Iterable[tuple[bytes, bytes]]


class Receive(Protocol):
    """ASGI's way in."""

    def __call__(self) -> Awaitable[Message]:
        """Wait for the next event."""


class Send(Protocol):
    """ASGI's way out."""

    def __call__(self, message: Message, /) -> Awaitable[None]:
        """Send an event."""


class Disconnected(Exception):
    """The client went away, or its connection was cut."""


class Request:
    """A request whose head is read. ``key`` is the percent-decoded path below the bucket."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises Refusal if the head is too large, or its path could mean another object than it seems to."""
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = False
        self._came = time.monotonic()
        self.method = scope["method"]
        self.headers: Mapping[bytes, bytes] = _bounded_headers(scope)
        self.path = unquote_to_bytes(scope["raw_path"])
        self.bucket, self.key = split_path(self.path)
        self._pairs = signature.parse_query(scope["query_string"])
        self.query = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in self._pairs}

    @property
    def signed(self) -> signature.SignedRequest:
        """What the client's signature covers."""
        return signature.SignedRequest(self.method.encode(), self.path, self._pairs, self.headers)

    @property
    def from_loopback(self) -> bool:
        """Whether the peer is this machine."""
        client = self._scope["client"]
        host = client[0] if client else ""
        return host.startswith("127.") or host == "::1" or host.startswith("::ffff:127.")

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return self._scope["scheme"] == "https"

    def header(self, name: bytes) -> bytes:
        """A header's value, empty if it is absent."""
        return self.headers.get(name, b"")

    def content_length(self) -> int:
        """The length of the body. Raises Refusal (411) if the client does not say it."""
        text = self.header(b"content-length")
        if not (text.isdigit() and len(text) < 19):
            raise s3.Refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        return int(text)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; nothing is read from the connection while the caller is busy elsewhere.

        Raises Disconnected.
        """
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Disconnected
            more = message["more_body"]
            for chunk in self.arrived():
                yield chunk

    @property
    def given_up(self) -> bool:
        """Whether a large body that nobody began to read has been given up by now, as the client's first attempt is.

        What is still in the sockets would look like its beginning, and would be stored for nothing.
        """
        first = self.header(b"amz-sdk-request").startswith(b"attempt=1") and self.content_length() > _IN_SOCKETS
        return first and time.monotonic() - self._came > FIRST_ATTEMPT_SECONDS

    def hold(self) -> DirectReader | None:
        """A way for a thread to read the body beside what has ``arrived``; None if there is none (TLS)."""
        descriptor = self._scope["state"]["hold"]()
        return None if descriptor is None else DirectReader(descriptor, self._scope["state"]["closing"])

    def arrived(self) -> list[bytes]:
        """Take what of the body has arrived."""
        waiting = self._scope["state"]["body"]
        arrived = waiting[:]
        waiting.clear()
        return arrived

    def passed(self, size: int) -> None:
        """Go on behind ``size`` bytes of the body, which a thread has read."""
        self._scope["state"]["passed"](size)

    async def read(self, limit: int) -> bytes:
        """Return the whole body. Raises Refusal (403) if it is longer than ``limit`` bytes, and Disconnected."""
        collected: list[bytes] = []
        size = 0
        async for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise s3.forbidden(f"The body is larger than the {limit} bytes that are allowed here.")
            collected.append(chunk)
        return collected[0] if len(collected) == 1 else b"".join(collected)

    async def start(self, status: int, headers: Iterable[s3.Header], length: int) -> None:
        """Send the head of the answer."""
        self._started = True
        full = [*headers, (b"content-length", b"%d" % length)]
        await self._send({"type": "http.response.start", "status": status, "headers": full})

    async def write(self, body: Buffer, *, more: bool) -> None:
        """Send bytes of the answer's body; returns when the connection can take more. Raises Disconnected."""
        if self.closing:
            raise Disconnected
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def direct(self) -> DirectWriter | None:
        """A way for a thread to write the body, after the head is sent; None if there is none (TLS, a slow client)."""
        for _ in range(_TURNS):
            descriptor = self._scope["state"]["descriptor"]()
            if descriptor is not None:
                return DirectWriter(descriptor, self._scope["state"]["closing"])
            await asyncio.sleep(0)
        return None

    async def written(self, size: int, *, more: bool) -> None:
        """Go on with an answer, ``size`` bytes of which a thread has written. Raises Disconnected."""
        self._scope["state"]["wrote"](size)
        await self.write(b"", more=more)

    async def reply(self, reply: s3.Reply) -> None:
        """Send an answer; does nothing if one has begun already."""
        if self._started:
            return
        length = len(reply.body) if reply.length is None else reply.length
        await self.start(reply.status, reply.headers, length)
        await self.write(b"" if self.method == "HEAD" else reply.body, more=False)

    @property
    def closing(self) -> bool:
        """Whether the connection is cut or closed, so that no answer can be given any more."""
        return self._scope["state"]["closing"]()

    @property
    def started(self) -> bool:
        """Whether the head of the answer is sent."""
        return self._started

    def cut(self) -> None:
        """Break the connection at once, so that what was sent cannot be taken for a whole answer."""
        self._scope["state"]["cut"]()


def split_path(path: bytes) -> tuple[str, str]:
    """Split a decoded path into bucket and key. Raises Refusal (403) on ``.``, ``..``, empty steps, strange bytes."""
    try:
        text = path.decode()
    except UnicodeDecodeError:
        raise s3.denied() from None
    bucket, _, key = text.removeprefix("/").partition("/")
    steps = key.split("/") if key else []
    strange = not text.startswith("/") or len(path) > MAX_KEY or not text.isprintable() or bucket in ("", ".", "..")
    if strange or any(step in ("", ".", "..") for step in steps):
        raise s3.denied()
    return bucket, key


def _bounded_headers(scope: Scope) -> dict[bytes, bytes]:
    headers = scope["headers"]
    size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers)
    if size > MAX_HEAD or len(headers) > MAX_HEADERS:
        raise s3.Refusal(431, "RequestHeaderSectionTooLarge", "The request's head is too large.")
    return signature.join_headers(headers)
