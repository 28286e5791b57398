"""A bare S3 client that signs by itself, so that tests can send what no real client would."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit

from coldhouse.gateway import Address
from coldhouse.records import replace


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        match = re.search(rb"<Code>(.*?)</Code>", self.body)
        return match[1].decode() if match else ""

    @property
    def message(self) -> str:
        match = re.search(rb"<Message>(.*?)</Message>", self.body)
        return match[1].decode() if match else ""

    def value(self, element: str) -> str:
        match = re.search(f"<{element}>(.*?)</{element}>".encode(), self.body)
        return match[1].decode() if match else ""


@dataclass(frozen=True)
class Client:
    """One that knows an address. ``path`` in its methods is below the address; with a leading slash it is absolute."""

    address: Address
    when: datetime | None = None
    context: ssl.SSLContext | None = None
    region: str = "us-east-1"
    also: Mapping[str, str] = field(default_factory=dict)

    def at(self, when: datetime) -> Client:
        return replace(self, when=when)

    def target(self, path: str) -> str:
        return path if path.startswith("/") else urlsplit(self.address.url).path + path

    def connect(self) -> http.client.HTTPConnection:
        place = urlsplit(self.address.url)
        assert place.hostname is not None
        if place.scheme == "https":
            return http.client.HTTPSConnection(place.hostname, place.port, timeout=20, context=self.context)
        return http.client.HTTPConnection(place.hostname, place.port, timeout=20)

    def signed(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, query: str = ""
    ) -> dict[str, str]:
        """The headers of a signed request."""
        now = self.when or datetime.now(UTC)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        full = {"host": urlsplit(self.address.url).netloc, "x-amz-date": stamp, **(headers or {})}
        full.setdefault("x-amz-content-sha256", hashlib.sha256(body).hexdigest())
        names = sorted(full)
        pairs = sorted((quote(k, safe=""), quote(v, safe="")) for k, v in parse_qsl(query, keep_blank_values=True))
        canonical = "\n".join(
            [
                method,
                self.target(path),
                "&".join(f"{k}={v}" for k, v in pairs),
                *(f"{name}:{full[name]}" for name in names),
                "",
                ";".join(names),
                full["x-amz-content-sha256"],
            ]
        )
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4" + self.address.secret_key.encode()
        for part in (stamp[:8], self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        full["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.address.access_key}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return full

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, query: str = ""
    ) -> Answer:
        """Send a signed request."""
        return self.send_raw(method, path, body, self.signed(method, path, body, headers, query), query)

    def send_raw(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, query: str = ""
    ) -> Answer:
        """Send a request with exactly these headers."""
        connection = self.connect()
        try:
            target = self.target(path) + (f"?{query}" if query else "")
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if (body or method in ("PUT", "POST")) and "content-length" not in (headers or {}):
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body or None)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def put(self, path: str, body: bytes, **headers: str) -> Answer:
        return self.send("PUT", path, body, {k.replace("_", "-"): v for k, v in headers.items()})

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def head(self, path: str) -> Answer:
        return self.send("HEAD", path)

    def delete(self, path: str, query: str = "") -> Answer:
        return self.send("DELETE", path, query=query)

    def post(self, path: str, body: bytes = b"", query: str = "") -> Answer:
        return self.send("POST", path, body, query=query)
