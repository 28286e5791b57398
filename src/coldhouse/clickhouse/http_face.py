"""ClickHouse's HTTP interface before the embedded engine, as far as clickhouse-connect and this project need it.

What a client sends (query in the URL or the body, settings as parameters of the URL, Basic or X-ClickHouse credentials)
and what it expects back (formats, error codes in a header, errors in the middle of a stream) follow ClickHouse's own
documentation of the interface. It is meant for one loopback client that knows the password, and for nothing else.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
import secrets
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import parse_qsl, urlsplit

from coldhouse.clickhouse.embedded_engine import (
    FORMAT,
    INSERT,
    Engine,
    EngineError,
    answer_format,
    apply_settings,
    engine_error,
    insert,
    run,
)

#: What the HTTP interface itself understands; every other parameter of the URL is a setting of the query.
TRANSPORT = frozenset(
    {
        "query",
        "database",
        "default_format",
        "user",
        "password",
        "session_id",
        "session_timeout",
        "session_check",
        "query_id",
        "quota_key",
        "compress",
        "decompress",
        "buffer_size",
        "wait_end_of_query",
        "client_protocol_version",
        "role",
        "enable_http_compression",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
    }
)
STATUS = {516: 403, 497: 403, 192: 403, 193: 403, 194: 401, 60: 404, 81: 404, 62: 400, 46: 404, 158: 507}


@dataclass(slots=True)
class Asked:
    """A request taken apart."""

    query: bytes
    content: bytes
    format: str
    database: str
    session: str
    query_id: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def answer_format(self) -> str:
        """The format that the answer will have."""
        return answer_format(self.query, self.format)


class FaceServer(ThreadingHTTPServer):
    """Listens on loopback and answers for one engine to one user."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, engine: Engine, user: str, password: str, face: type[Face] | None = None) -> None:
        super().__init__(("127.0.0.1", port), face or Face)
        self.engine = engine
        self.user = user
        self.password = password

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is nothing to tell."""


class Face(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    # http.server's default sends headers and body apart, and Nagle's algorithm then waits 40 ms between them
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = 600

    @property
    def house(self) -> FaceServer:
        """The server that this connection belongs to."""
        return cast("FaceServer", self.server)

    def do_GET(self) -> None:
        """Answer a query in the URL."""
        self._serve(b"")

    def do_HEAD(self) -> None:
        """Answer that there is someone."""
        self._plain(200, b"")

    def do_POST(self) -> None:
        """Answer a query in the body, or take in what it inserts."""
        self._serve(self._body())

    def log_message(self, format: str, *args: object) -> None:
        """Queries are nobody else's business."""

    def check_grants(self, asked: Asked) -> None:
        """The embedded engine knows no users: a place for those who play some. Raises EngineError."""

    def _serve(self, body: bytes) -> None:
        url = urlsplit(self.path)
        if url.path in ("/ping", "/replicas_status"):
            return self._plain(200, b"Ok.\n")
        given = dict(parse_qsl(url.query, keep_blank_values=True))
        try:
            self._check_user(given)
            asked = self._asked(given, body)
            if not asked.query.strip():
                return self._plain(200, b"Ok.\n")
            self.check_grants(asked)
            self._answer(asked)
        except EngineError as error:
            text = error.text if error.text.endswith("\n") else error.text + "\n"
            self._plain(STATUS.get(error.code, 500), text.encode(), {"X-ClickHouse-Exception-Code": str(error.code)})
        return None

    def _check_user(self, given: Mapping[str, str]) -> None:
        user = self.headers.get("X-ClickHouse-User") or given.get("user", "")
        password = self.headers.get("X-ClickHouse-Key") or given.get("password", "")
        authorization = self.headers.get("Authorization", "")
        if authorization.startswith("Basic "):
            try:
                user, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
            except ValueError:
                user = password = "?"  # noqa: S105 - neither is one
        user = user or "default"
        same = hmac.compare_digest(password.encode(), self.house.password.encode())
        if user != self.house.user or not same:
            raise EngineError(
                516,
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user "
                f"with such name. (AUTHENTICATION_FAILED) (version {self.house.engine.version} (official build))",
            )

    def _asked(self, given: Mapping[str, str], body: bytes) -> Asked:
        in_url = given.get("query", "").encode()
        content = b""
        if INSERT.match(in_url) and body:
            query, content = in_url, body
        else:
            query = in_url + b"\n" + body if in_url and body else in_url or body
            head, mark, tail = query.partition(b"\n")
            if INSERT.match(query) and mark and FORMAT.search(head) and b"VALUES" not in head.upper():
                query, content = head, tail
        return Asked(
            query=query,
            content=content,
            format=given.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated",
            database=given.get("database") or self.headers.get("X-ClickHouse-Database") or "",
            session=given.get("session_id", ""),
            query_id=given.get("query_id") or str(uuid.uuid4()),
            settings={name: value for name, value in given.items() if name not in TRANSPORT},
        )

    def _answer(self, asked: Asked) -> None:
        engine = self.house.engine
        connection = engine.session(asked.session) if asked.session else engine.connection()
        if asked.content:
            pieces = insert(connection, asked.query, asked.content)
        else:
            pieces = run(connection, asked.query, asked.format)
        try:
            try:
                if asked.database and asked.database != "default":
                    connection.query("USE `" + asked.database.replace("\\", "\\\\").replace("`", "\\`") + "`", "TSV")
                apply_settings(connection, asked.settings)
                first = next(pieces, b"")
                second = next(pieces, None) if first else None
            except RuntimeError as error:
                raise engine_error(error) from None
            headers = self._headers(asked)
            if second is None:
                self._plain(200, first, headers)
            else:
                self._stream(itertools.chain((first, second), pieces), headers)
        finally:
            pieces.close()
            if not asked.session:
                connection.close()

    def _stream(self, pieces: Iterator[bytes], headers: dict[str, str]) -> None:
        """As ClickHouse: an error after the first bytes can only be told in the stream, between two marks."""
        tag = secrets.token_hex(8)
        self.send_response(200)
        for name, value in (headers | {"X-ClickHouse-Exception-Tag": tag, "Transfer-Encoding": "chunked"}).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            try:
                for piece in pieces:
                    if piece:
                        self._chunk(piece)
                self._chunk(b"")
            except RuntimeError as error:
                text = engine_error(error).text.encode()
                mark = tag.encode()
                self._chunk(
                    b"\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n" % (mark, text, len(text), mark)
                )
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def _headers(self, asked: Asked) -> dict[str, str]:
        engine = self.house.engine
        text = asked.answer_format.startswith(("T", "JSON", "CSV", "Pretty"))
        return {
            "Content-Type": "text/plain; charset=UTF-8" if text else "application/octet-stream",
            "X-ClickHouse-Format": asked.answer_format,
            "X-ClickHouse-Query-Id": asked.query_id,
            "X-ClickHouse-Timezone": engine.timezone,
            "X-ClickHouse-Server-Display-Name": engine.host,
            "X-ClickHouse-Summary": json.dumps({"read_rows": "0", "read_bytes": "0", "written_rows": "0"}),
        }

    def _plain(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return _decompressed(body, self.headers.get("Content-Encoding", ""))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding == "lz4":
        import lz4.frame  # type: ignore[import-untyped]

        result: bytes = lz4.frame.decompress(body)
        return result
    if encoding == "zstd":
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    if encoding == "gzip":
        import gzip

        return gzip.decompress(body)
    return body
