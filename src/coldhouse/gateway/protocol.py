"""uvicorn's HTTP protocol with bounds on what has not shown yet that it may ask, and with a way to cut a connection."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop, TimerHandle, Transport

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

#: Bytes of an unfinished head beyond the network packet it began in; the parser itself knows no limit.
MAX_HEAD = 64 * 1024
#: Bytes of a body that may wait for the application, beside one packet (256 KiB), before the connection is left unread.
MAX_WAITING = 64 * 1024
#: Seconds for the first head on a new connection to arrive (and for a TLS handshake, which asyncio limits to 60).
HEAD_LIMIT = 30.0

_LOGGER = logging.getLogger("coldhouse.gateway")
_LOGGER.addHandler(logging.NullHandler())


class GatewayProtocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True  # between two requests, or in the head of one
    _head_bytes = 0
    _head_begun = False
    _head_timer: TimerHandle | None = None

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

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_begun = True
        self.scope["state"]["body"] = []
        self.scope["state"]["cut"] = self.transport.abort
        self.scope["state"]["closing"] = self.transport.is_closing

    def on_headers_complete(self) -> None:
        """A request's head is complete."""
        self._in_head = self._head_begun = False
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body arrived: they are handed on as they are (uvicorn would copy them twice)."""
        cycle = self.cycle
        if cycle.response_complete:
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
        super().on_message_complete()
