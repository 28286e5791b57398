"""Whatever comes over the socket, the gateway answers with an error, tells nothing, and goes on."""

from __future__ import annotations

import http.client
import socket
import string
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

from hypothesis import strategies as st

from coldhouse.gateway import Gateway, WebSession
from coldhouse.gateway.s3 import MAX_PARTS, Refusal, parse_completion, parse_range
from tests.gateway.client import Answer, Client
from tests.gateway.conftest import Serving, Taking
from tests.gateway.memory import MemoryObject
from tests.support.fuzzing import BUDGETS, bent_bytes, explore

#: What an answer may be when nothing is as it should be; 500 would be a mistake of ours.
FINE = {200, 204, 206, 304, 400, 403, 404, 411, 412, 416, 431, 501, 503}
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "PROPFIND"]
STEPS = [
    "data",
    "base",
    ".backup",
    ".lock",
    "a",
    "..",
    ".",
    "",
    "%2e%2e",
    "%00",
    "%ff",
    "x" * 300,
    "%25",
    "ä",
    "+",
    "~",
]
QUERIES = [
    "", "uploads", "uploads=", "uploadId=x", "uploadId=&partNumber=0", "partNumber=99999999", "delete", "list-type=2",
    "prefix=", "prefix=%ff", "&&=&", "max-keys=-1", "versionId=%00",
]  # fmt: skip
HEADERS: dict[str, list[str]] = {
    "range": ["bytes=0-", "bytes=-0", "bytes=5-1", "bytes=99999999999999999-", "bytes=0-0,1-1", "x", "bytes=--"],
    "if-none-match": ["*", '"', "x"],
    "if-match": ["*", '"tag"', "x"],
    "content-length": ["0", "1", "-1", "99999999999999999999", "x", "1_0", "\u0663"],
    "x-amz-copy-source": ["/a/b"],
    "x-amz-content-sha256": ["", "UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "z" * 64],
    "x-amz-meta-clickhouse-write-token": ["", "t"],
    "expect": ["100-continue"],
}
BODIES = [
    b"", b"x", b"CREATE TABLE", b"<a", b"<?xml version='1.0' encoding='nonsense'?><a/>",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    b"\xff\xfe<\0a\0/\0>\0",
]  # fmt: skip


def headers(data: st.DataObject) -> dict[str, str]:
    names = data.draw(st.lists(st.sampled_from(sorted(HEADERS)), max_size=3, unique=True))
    return {name: data.draw(st.sampled_from(HEADERS[name])).encode().decode("latin-1") for name in names}


def path(data: st.DataObject) -> str:
    return quote("/".join(data.draw(st.lists(st.sampled_from(STEPS), max_size=4))), safe="/%~+")


def asked(ask: Callable[[], Answer]) -> int:
    """The status of an answer; the connection may also be cut, or never be answered by what is no HTTP."""
    try:
        return ask().status
    except (http.client.HTTPException, ConnectionError, ValueError):  # ValueError: no client could send it
        return 400


@BUDGETS
def test_signed_requests_of_any_kind(gateway: Gateway, budget: int) -> None:
    """From ClickHouse itself, or whoever has its keys: each is answered, and a good one afterwards works."""
    taking = Taking(gateway)
    objects = {"there": MemoryObject(b"content")}
    serving = Serving(gateway.open_serve(objects.get), objects)

    def check(data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([taking.client, serving.client]))
        body = data.draw(st.one_of(st.sampled_from(BODIES), st.binary(max_size=50)))
        with_headers = headers(data)
        if with_headers.get("content-length", "").isdigit():
            with_headers["content-length"] = str(len(body))  # else the gateway rightly waits for the rest
        method, query = data.draw(st.sampled_from(METHODS)), data.draw(st.sampled_from(QUERIES))
        where = data.draw(st.sampled_from(["", "data/", "base/"])) + path(data)
        status = asked(lambda: client.send(method, where, body, with_headers, query))
        assert status in FINE, (method, where, query, with_headers, body)
        assert taking.session.error is None
        assert serving.session.error is None

    explore(check, 50, budget)
    assert serving.client.get("there").body == b"content"
    fresh = Taking(gateway)
    assert fresh.client.put("data/a", b"body").status == 200


@BUDGETS
def test_bytes_that_may_be_no_http_at_all(gateway: Gateway, budget: int) -> None:
    taking = Taking(gateway)
    target = taking.client.target("data/a")
    signed = taking.client.signed("PUT", "data/a", b"body")
    lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
    good = f"PUT {target} HTTP/1.1\r\n{lines}content-length: 4\r\n\r\nbody".encode()

    def check(data: st.DataObject) -> None:
        sent = bent_bytes(data, good)
        for _ in range(data.draw(st.integers(0, 3))):
            sent = bent_bytes(data, sent) if sent else sent
        answer = exchange(gateway, sent)
        assert not answer or answer.startswith(b"HTTP/1.1 ")
        assert not answer or int(answer[9:12]) in FINE, sent
        assert b"Traceback" not in answer
        assert taking.session.error is None

    explore(check, 40, budget)
    assert Taking(gateway).client.put("data/a", b"body").status == 200


def exchange(gateway: Gateway, sent: bytes) -> bytes:
    """Send bytes, say that nothing more will come, and take what comes back."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        answer = b""
        with suppress(ConnectionError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                answer += piece
        return answer


@BUDGETS
def test_paths_of_web_disks_without_the_token(gateway: Gateway, budget: int) -> None:
    """Nobody gets in by a path, and what is answered does not depend on what is there."""
    session: WebSession = gateway.open_web({"0/.index": MemoryObject(b"secret names")}.get)
    client = Client(session.address)
    token = client.target("").split("/")[2]
    letters = st.text(string.hexdigits + "/%._~-+ ", max_size=60)

    def check(data: st.DataObject) -> None:
        begun = data.draw(st.sampled_from([token[:-1], token.upper(), token[:20], "", "%2e%2e/" + token, token + "0"]))
        where = f"/web/{begun}{data.draw(letters)}".replace(" ", "%20")
        if where.startswith(f"/web/{token}"):
            where = where.replace(token, token[::-1])
        answer = client.send_raw(data.draw(st.sampled_from(METHODS)), where, headers={"host": "x"})
        assert answer.status in (400, 403, 404), where
        assert b"secret" not in answer.body

    explore(check, 40, budget)
    assert client.send_raw("GET", "0/.index", headers={"host": "x"}).body == b"secret names"


@BUDGETS
def test_documents_that_complete_an_upload(budget: int) -> None:
    good = b"<CompleteMultipartUpload xmlns='x'>" + b"<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>" * 3
    good += b"</CompleteMultipartUpload>"

    def check(data: st.DataObject) -> None:
        body = data.draw(st.one_of(st.sampled_from(BODIES), st.just(bent_bytes(data, good)), st.binary(max_size=99)))
        with suppress(Refusal):
            numbers = parse_completion(body)
            assert len(numbers) <= MAX_PARTS

    explore(check, 50, budget)


@BUDGETS
def test_ranges(budget: int) -> None:
    def check(data: st.DataObject) -> None:
        size = data.draw(st.integers(0, 1 << 60))
        number = st.one_of(st.just(""), st.integers(0, 1 << 62).map(str))
        text = data.draw(
            st.one_of(st.binary(max_size=30), st.just(f"bytes={data.draw(number)}-{data.draw(number)}".encode()))
        )
        with suppress(Refusal):
            span = parse_range(text, size)
            assert span is None or (span.offset >= 0 < span.length and span.offset + span.length <= size)

    explore(check, 50, budget)
