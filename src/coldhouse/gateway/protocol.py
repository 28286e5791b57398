"""uvicorn's HTTP protocol with bounds on what has not shown yet that it may ask, and with a way to cut a connection."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle, Transport
from functools import partial
from typing import TYPE_CHECKING

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from coldhouse.gateway.request import MAX_HEADERS
from coldhouse.gateway.signature import join_headers

if TYPE_CHECKING:
    from coldhouse.gateway.app import App

#: Bytes of an unfinished head beyond the network packet it began in; the parser itself knows no limit.
MAX_HEAD = 64 * 1024
#: Bytes of a body that may wait for the application, beside one packet (256 KiB), before the connection is left unread.
MAX_WAITING = 64 * 1024
#: Stands for bytes of a body that the parser has to count, and nobody has to see.
_PASSED = memoryview(bytes(64 * 1024))
#: Headers that announce a body, or that want something before or after it.
_BODY_HEADERS = frozenset((b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
#: Seconds for the first head on a new connection to arrive (and for a TLS handshake, which asyncio limits to 60).
HEAD_LIMIT = 30.0

_LOGGER = logging.getLogger("coldhouse.gateway")
_LOGGER.addHandler(logging.NullHandler())


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True  # between two requests, or in the head of one
    _head_bytes = 0
    _head_begun = False
    _answered = False  # without the application
    _passing = False  # what the parser gets was read, and taken, elsewhere
    _cycles = 0  # requests with which the application was called
    _head_timer: TimerHandle | None = None
    _headers_of_all: list[tuple[bytes, bytes]] | None = None
    _ready_head = b""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # What strangers send is no news on a user's terminal; what is our fault, the session tells.
        self.logger = _LOGGER

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """A client connected: it has to say what it wants."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(HEAD_LIMIT, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._in_head and self._head_bytes > MAX_HEAD and self._head_bytes > len(data):
            self.transport.abort()
            return
        super().data_received(data)
        if self._head_begun and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_LIMIT, self._give_up)

    def _give_up(self) -> None:
        """Break a connection whose head does not come to an end."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete."""
        self.headers.append((name.lower(), value))

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url, self.headers = b"", []
        self._head_begun = True
        self._answered = False

    def _begin_long_way(self) -> None:
        """Make what the application is called with; most requests of a restore are answered without it."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.headers = url, headers
        self.expect_100_continue = any(
            name == b"expect" and value.lower() == b"100-continue" for name, value in headers
        )
        self.scope["headers"] = headers
        self.scope["state"]["body"] = []
        self.scope["state"]["cut"] = self.transport.abort
        self.scope["state"]["closing"] = self.transport.is_closing
        self.scope["state"]["descriptor"] = self._descriptor
        self.scope["state"]["hold"] = self._hold
        self.scope["state"]["passed"] = self._passed

    def _descriptor(self) -> int | None:
        """The connection's descriptor, if what is written to it goes out as it is, after all that was written here."""
        if self.scheme != "http" or self.transport.is_closing() or self.transport.get_write_buffer_size():
            return None
        socket = self.transport.get_extra_info("socket")
        return None if socket is None else int(socket.fileno())

    def _hold(self) -> int | None:
        """Leave the connection unread, and give its descriptor to who reads instead."""
        if self.scheme != "http" or self.transport.is_closing():
            return None
        socket = self.transport.get_extra_info("socket")
        if socket is None:
            return None
        self.flow.pause_reading()
        return int(socket.fileno())

    def _passed(self, size: int) -> None:
        """Let the parser count bytes of the body that were read elsewhere, unless the connection is gone."""
        if self.transport.is_closing():
            return
        self._passing = True
        try:
            for start in range(0, size, len(_PASSED)):
                self.parser.feed_data(_PASSED[: size - start])
        finally:
            self._passing = False

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        self._in_head = self._head_begun = False
        self._stop_timer()
        answer = self._prompt_answer()
        if answer is None:
            self._begin_long_way()
            super().on_headers_complete()
            self._cycles += 1
            self.scope["state"]["wrote"] = partial(_account, self.cycle)
            return
        self._answered = True
        self.transport.write(answer)

    def _prompt_answer(self) -> bytes | None:
        """The answer to a request without a body, on an idle connection that stays, if the application has it ready."""
        busy = self._cycles > 0 and not self.cycle.response_complete
        if busy or self.flow.write_paused or len(self.connections) >= (self.limit_concurrency or 0):
            return None
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return None
        if len(self.headers) > MAX_HEADERS:
            return None
        headers = join_headers(self.headers)
        if not _BODY_HEADERS.isdisjoint(headers) and any(headers.get(name, b"0") != b"0" for name in _BODY_HEADERS):
            return None
        app: App = self.config.app  # type: ignore[assignment]
        answer = app.prompt(self.parser.get_method(), self.url, headers)
        return None if answer is None else b"".join((self._head(), answer))

    def _head(self) -> bytes:
        """The status line of a prompt answer and the headers that all answers have, which change once a second."""
        now = self.server_state.default_headers
        if self._headers_of_all is not now:
            self._headers_of_all = now
            self._ready_head = b"".join((b"HTTP/1.1 200 OK\r\n", *(b"%b: %b\r\n" % header for header in now)))
        return self._ready_head

    def on_body(self, body: bytes) -> None:
        """Bytes of a body arrived: they are handed on as they are (uvicorn would copy them twice)."""
        cycle = self.cycle
        if self._answered or self._passing or cycle.response_complete:
            return
        waiting: list[bytes] = cycle.scope["state"]["body"]
        waiting.append(body)
        if len(waiting) > 1 or len(body) > MAX_WAITING:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """A request's body is complete."""
        self._in_head = True
        self._head_bytes = 0
        if self._answered:
            self.on_response_complete()
        else:
            super().on_message_complete()


def _account(cycle: RequestResponseCycle, size: int) -> None:
    """Let uvicorn know of bytes of the body that went out without it."""
    cycle.expected_content_length -= size
