"""The XML interface of Google Cloud Storage, as far as obstore uses it; and, as S3's differs by a header, that of S3.

No emulator has it (see fake-gcs-server's documented limits), so this shows that the client and this stub agree, not
that Google does. It can also misbehave on request: lose answers, be overloaded, answer with any error.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

from coldhouse.records import replace

BUCKET = "stub-bucket"
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to a request of a ``method``: it takes ``effect`` or not; the answer is lost (status 0) or wrong.

    ``meanwhile`` runs before, as if another client had been there. It meets keys like ``key`` (``*`` and ``?``); the
    first ``skip`` such requests are spared.
    """

    method: str
    status: int
    code: str = ""
    message: str = ""
    effect: bool = False
    times: int = 1
    meanwhile: Callable[[], None] | None = None
    key: str = "*"
    skip: int = 0


@dataclass
class StubState:
    """The objects of the bucket, the requests so far, and the troubles to come."""

    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    list_backwards: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_trouble(self, method: str, key: str) -> Trouble | None:
        """Take the next trouble for this method and key, if there is one."""
        with self.lock:
            for place, trouble in enumerate(self.troubles):
                if trouble.method == method and fnmatchcase(key, trouble.key):
                    if trouble.skip:
                        self.troubles[place] = replace(trouble, skip=trouble.skip - 1)
                        continue
                    rest = [replace(trouble, times=trouble.times - 1)] if trouble.times > 1 else []
                    self.troubles[place : place + 1] = rest
                    return trouble
        return None


class GcsStub:
    """A server with one bucket, in memory."""

    def __init__(self) -> None:
        self.state = StubState()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.state = self.state
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """The address that takes the place of storage.googleapis.com, or of an S3 endpoint."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a gs:// URL here."""
        return {"GOOGLE_BASE_URL": self.endpoint, "GOOGLE_BEARER_TOKEN": "stub"}

    @property
    def s3_environment(self) -> dict[str, str]:
        """The variables that lead an s3:// URL here."""
        return {"AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}

    def new_url(self, scheme: str = "gs") -> str:
        """A place in the bucket that nobody used before."""
        return f"{scheme}://{BUCKET}/run/{uuid4().hex[:12]}"

    def start(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100
    state: StubState


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._handle("PUT", lambda key: self._put(key, body))

    def do_GET(self) -> None:
        self._handle("LIST" if "list-type" in self._query() else "GET", self._get)

    def do_HEAD(self) -> None:
        self._handle("HEAD", self._get)

    def do_DELETE(self) -> None:
        self._handle("DELETE", self._delete)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _handle(self, method: str, serve: Callable[[str], None]) -> None:
        bucket, _, key = unquote(urlsplit(self.path).path).removeprefix("/").partition("/")
        state = self.server.state
        with state.lock:
            state.requests.append((method, key))
        trouble = state.next_trouble(method, key)
        if trouble is not None and trouble.meanwhile is not None:
            trouble.meanwhile()
        if bucket != BUCKET:
            self._error(404, "NoSuchBucket")
        elif trouble is None or (trouble.status == 0 and trouble.effect):
            self._silent = trouble is not None
            serve(key)
        else:
            self._trouble(trouble, key, serve)

    _silent = False

    def _trouble(self, trouble: Trouble, key: str, serve: Callable[[str], None]) -> None:
        if trouble.effect:
            self._silent = True
            serve(key)
            self._silent = False
        if trouble.status == 0:
            self.close_connection = True
        else:
            self._error(trouble.status, trouble.code, trouble.message)

    def _put(self, key: str, body: bytes) -> None:
        state = self.server.state
        absent = self.headers.get("x-goog-if-generation-match") == "0" or self.headers.get("If-None-Match") == "*"
        with state.lock:
            taken = absent and key in state.objects
            if not taken:
                state.objects[key] = body
        if taken:
            self._error(412, "PreconditionFailed")
        else:
            self._answer(200, b"", {"ETag": _etag(body), "x-goog-generation": "1"})

    def _get(self, key: str) -> None:
        if "list-type" in self._query():
            self._list()
            return
        with self.server.state.lock:
            body = self.server.state.objects.get(key)
        if body is None:
            self._error(404, "NoSuchKey")
            return
        headers = {"ETag": _etag(body), "x-goog-generation": "1", "Last-Modified": formatdate(usegmt=True)}
        if not (wanted := self.headers.get("Range", "").removeprefix("bytes=")):
            self._answer(200, body, headers)
            return
        first, last = (int(text) for text in wanted.split("-"))
        if first >= len(body):
            self._error(416, "InvalidRange")
            return
        piece = body[first : last + 1]
        headers["Content-Range"] = f"bytes {first}-{first + len(piece) - 1}/{len(body)}"
        self._answer(206, piece, headers)

    def _list(self) -> None:
        query = self._query()
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        size = int(query.get("max-keys", [str(_PAGE)])[0])
        with self.server.state.lock:
            found = sorted(
                (key, value)
                for key, value in self.server.state.objects.items()
                if key.startswith(prefix) and key > after
            )
        page, more = found[:size], len(found) > size
        if self.server.state.list_backwards:
            page = page[::-1]
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(body)}</Size><ETag>{escape(_etag(body))}</ETag>"
            "<LastModified>2026-01-02T03:04:05.678Z</LastModified></Contents>"
            for key, body in page
        )
        token = f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>" if more else ""
        text = f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        self._answer(200, text.encode(), {"Content-Type": "application/xml"})

    def _delete(self, key: str) -> None:
        with self.server.state.lock:
            there = self.server.state.objects.pop(key, None) is not None
        if there:
            self._answer(204, b"", {})
        else:
            self._error(404, "NoSuchKey")

    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query)

    def _error(self, status: int, code: str, message: str = "") -> None:
        body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>" if code else ""
        self._answer(status, body.encode(), {"Content-Type": "application/xml"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        if self._silent:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
