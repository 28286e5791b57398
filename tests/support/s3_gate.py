"""Stands before an S3 server and enforces what that server's policies cannot say: every PUT names If-None-Match.

So does Amazon, by the condition ``{"Null": {"s3:if-none-match": "false"}}`` of a policy. All else is passed on as it
comes, signed as it was: the server behind it decides.
"""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import urlsplit

_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}
_REFUSED = b"<Error><Code>AccessDenied</Code><Message>no If-None-Match</Message></Error>"


class S3Gate:
    """The gate before one server; ``refused`` are the paths of requests that it did not let pass."""

    def __init__(self, server: str) -> None:
        """``server`` is the URL of what stands behind it."""
        self.refused: list[str] = []
        handler = type("Bound", (_Handler,), {"gate": self, "behind": urlsplit(server).netloc})
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._listener.daemon_threads = True
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)

    @property
    def endpoint(self) -> str:
        """Its own URL."""
        return f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: ClassVar[S3Gate]
    behind: ClassVar[str]

    def do_PUT(self) -> None:
        body = self._body()
        if self.headers.get("If-None-Match") is None:
            self.gate.refused.append(self.path)
            return self._answer(403, {}, _REFUSED)
        return self._pass(body)

    def do_GET(self) -> None:
        self._pass(self._body())

    def do_HEAD(self) -> None:
        self._pass(self._body())

    def do_POST(self) -> None:
        self._pass(self._body())

    def do_DELETE(self) -> None:
        self._pass(self._body())

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _pass(self, body: bytes) -> None:
        connection = HTTPConnection(self.behind, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
            elif name.lower() == "content-length" and self.command == "HEAD":
                length = value
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
