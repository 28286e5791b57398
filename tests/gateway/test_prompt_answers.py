"""What lies in memory is answered without the application: the same answers, to the same askers, on the same lines."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import pytest

from coldhouse.errors import ColdhouseError
from coldhouse.gateway import AtHand, Gateway, Served, ServeSession
from coldhouse.gateway.objects import InMemory
from coldhouse.model import Buffer
from tests.gateway.client import Client
from tests.gateway.memory import MemoryObject


class Ready(AtHand):
    """An object that can be answered at once; asking a thread for it is a failure."""

    def __init__(self, content: bytes, etag: str = "tag") -> None:
        self.content = content
        self.etag = etag

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        raise ColdhouseError("a thread was asked")

    def at_hand(self, offset: int, length: int) -> Buffer | None:
        return self.content[offset : offset + length]


CONTENT = bytes(range(256)) * 4
OBJECTS: Mapping[str, Served] = {
    "f/1": Ready(CONTENT),
    "f/2": Ready(b""),
    "either": InMemory(CONTENT, "tag"),
    "slow/1": MemoryObject(CONTENT),
    "slow/2": MemoryObject(b""),
    "large": MemoryObject(CONTENT * 4096),
}


@pytest.fixture
def session(gateway: Gateway) -> Iterator[ServeSession]:
    opened = gateway.open_serve(OBJECTS.get)
    yield opened
    gateway.close(opened.address)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("ready", "slow"), [("f/1", "slow/1"), ("f/2", "slow/2")])
def test_both_ways_answer_the_same(session: ServeSession, method: str, ready: str, slow: str) -> None:
    client = Client(session.address)
    one, other = client.send(method, ready), client.send(method, slow)
    for answer in (one, other):
        assert answer.headers["date"]
    shown = [(item.status, item.body, item.headers.keys(), item.headers["etag"]) for item in (one, other)]
    assert shown[0] == shown[1]
    assert session.requests == 2
    assert session.sent_bytes == len(one.body) + len(other.body)


def test_a_range_and_another_tag_go_the_long_way(session: ServeSession) -> None:
    client = Client(session.address)
    assert client.get("f/1", if_match='"tag"').body == CONTENT
    assert client.get("f/1", if_match='"other"').status == 412
    assert client.get("f/1", range="bytes=0-9").status == 503  # a thread was asked


def test_nobody_without_the_right_signature_gets_anything(gateway: Gateway, session: ServeSession) -> None:
    client = Client(session.address)
    signed = client.signed("GET", "f/1")
    last = signed["authorization"][-1]
    forged = {**signed, "authorization": signed["authorization"][:-1] + ("0" if last != "0" else "1")}
    assert client.send_raw("GET", client.target("f/1"), headers=forged).status == 403
    assert client.send_raw("GET", client.target("f/2"), headers=signed).status == 403
    assert client.send_raw("HEAD", client.target("f/1"), headers=signed).status == 403
    other = gateway.open_serve(OBJECTS.get)
    assert Client(other.address).get(client.target("f/1")).status == 403
    session.refuse("the user stopped the restore")
    assert client.get("f/1").message == "the user stopped the restore"
    gateway.close(session.address)
    assert client.get("f/1").status == 403


def test_both_ways_take_turns_on_one_connection(session: ServeSession) -> None:
    client = Client(session.address)
    connection = client.connect()
    for _ in range(3):
        for path in ("f/1", "slow/1", "f/1", "absent", "large", "f/2", "slow/2"):
            for method in ("HEAD", "GET"):
                connection.request(method, client.target(path), headers=client.signed(method, path))
                answer = connection.getresponse()
                found = OBJECTS.get(path)
                body = answer.read()
                assert answer.status == (404 if found is None else 200)
                if found is not None:
                    size = 0 if method == "HEAD" else found.size
                    assert body == (CONTENT * 4096)[:size]
    assert connection.sock is not None, "the connection was kept"
    connection.close()


ORDERS = [("either", "slow/1", "either"), ("slow/1", "either", "large", "either"), ("f/1",) * 20]


@pytest.mark.parametrize("order", ORDERS)
def test_requests_that_come_at_once_are_answered_in_their_order(session: ServeSession, order: tuple[str, ...]) -> None:
    client = Client(session.address)
    place = urlsplit(session.address.url)
    asked = b"".join(_head(client, path) for path in order)
    with socket.create_connection((str(place.hostname), place.port), timeout=20) as line:
        line.sendall(asked)
        with line.makefile("rb") as stream:
            for path in order:
                assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
                size = int(http.client.parse_headers(stream)["content-length"])
                assert size == OBJECTS[path].size
                assert stream.read(size) == (CONTENT * 4096)[:size]


def test_a_request_with_a_body_goes_the_long_way(session: ServeSession) -> None:
    assert Client(session.address).send("GET", "f/1", b"body").status == 503  # a thread was asked


def _head(client: Client, path: str) -> bytes:
    lines = [f"GET {client.target(path)} HTTP/1.1", *(f"{n}: {v}" for n, v in client.signed("GET", path).items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
