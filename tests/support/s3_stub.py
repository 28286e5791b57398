"""The least of an S3 that ClickHouse's BACKUP and RESTORE need, kept in memory: for tests of the statements alone."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

from coldhouse.clickhouse import S3Place


class S3Stub:
    """A bucket; ``requests`` lists what was asked: (method, key, bytes of the body).

    ``hold`` makes every PUT of data wait while it is clear; ``refused`` are the methods that are answered with 403.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.refused = frozenset[str]()
        handler = type("Bound", (_Handler,), {"stub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def place(self, prefix: str) -> S3Place:
        """An address in the bucket."""
        return S3Place(
            f"http://127.0.0.1:{self._server.server_address[1]}/bucket/{prefix}/", "key", "secret-of-the-stub"
        )

    def under(self, prefix: str) -> dict[str, bytes]:
        """What was stored below a prefix."""
        start = f"{prefix}/"
        return {key.removeprefix(start): body for key, body in self.objects.items() if key.startswith(start)}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    stub: ClassVar[S3Stub]

    def do_GET(self) -> None:
        self._read(body_wanted=True)

    def do_HEAD(self) -> None:
        self._read(body_wanted=False)

    def do_PUT(self) -> None:
        key = self._key()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.stub.requests.append(("PUT", key, len(body)))
        if not key.endswith((".lock", ".backup")):
            self.stub.hold.wait(60)
        if self.command in self.stub.refused:
            return self._answer(403, b"<Error><Code>AccessDenied</Code><Message>refused by the test</Message></Error>")
        self.stub.objects[key] = body
        return self._answer(200, b"", etag=hashlib.md5(body).hexdigest())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.stub.requests.append(("POST", self._key(), 0))
        self._answer(200, b"<DeleteResult></DeleteResult>")

    def do_DELETE(self) -> None:
        self.stub.requests.append(("DELETE", self._key(), 0))
        self.stub.objects.pop(self._key(), None)
        self._answer(204, b"")

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket/")

    def _read(self, *, body_wanted: bool) -> None:
        key = self._key()
        self.stub.requests.append(("GET" if body_wanted else "HEAD", key, 0))
        body = self.stub.objects.get(key)
        if self.command in self.stub.refused:
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>refused by the test</Message></Error>")
        elif body is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>" if body_wanted else b"")
        else:
            self._answer(200, body, etag=hashlib.md5(body).hexdigest(), send=body_wanted)

    def _answer(self, status: int, body: bytes, *, etag: str = "", send: bool = True) -> None:
        self.send_response(status)
        if etag:
            self.send_header("ETag", f'"{etag}"')
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send and self.command != "HEAD":
            self.wfile.write(body)
