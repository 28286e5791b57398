"""The web disk's door: a token in the path, GET and ranges, and nothing else for anybody."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from coldhouse.errors import Corruption, StorageFull
from coldhouse.gateway import Gateway, Served, WebSession
from tests.gateway.client import Answer, Client
from tests.gateway.memory import MemoryObject
from tests.gateway.test_ingest import eventually

CONTENT = bytes(range(256)) * 4096
OBJECTS = {
    "0/all_1_1_0/data.bin": MemoryObject(CONTENT),
    "0/.index": MemoryObject(b"all_1_1_0\t1\n"),
    "0/all_1_1_0/v%2Esize.bin": MemoryObject(b"dotted"),
    "0/damaged": MemoryObject(CONTENT, failure=Corruption("pack 7 is damaged"), sound=0),
    "0/half": MemoryObject(CONTENT, failure=Corruption("pack 8 is damaged"), sound=786_432),
    "0/busy": MemoryObject(CONTENT, failure=StorageFull("the store is slow"), sound=0),
}


@pytest.fixture
def web(gateway: Gateway) -> Iterator[WebSession]:
    session = gateway.open_web(OBJECTS.get)
    yield session
    gateway.close(session.address)


def get(session: WebSession, path: str, method: str = "GET", **headers: str) -> Answer:
    return Client(session.address).send_raw(method, path, headers={"host": "x", **headers})


def test_whole_files_and_ranges(web: WebSession) -> None:
    assert get(web, "0/.index").body == b"all_1_1_0\t1\n"
    whole = get(web, "0/all_1_1_0/data.bin")
    assert (whole.status, whole.body) == (200, CONTENT)
    some = get(web, "0/all_1_1_0/data.bin", range="bytes=1000-1999")
    assert (some.status, some.body) == (206, CONTENT[1000:2000])
    assert some.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    rest = get(web, "0/all_1_1_0/data.bin", range=f"bytes={len(CONTENT) - 5}-")
    assert (rest.status, rest.body) == (206, CONTENT[-5:])
    assert get(web, "0/all_1_1_0/data.bin", range=f"bytes={len(CONTENT)}-").status == 416
    assert web.error is None
    sent = len(CONTENT) + 1000 + 5 + len(b"all_1_1_0\t1\n")
    assert eventually(lambda: (web.requests, web.sent_bytes) == (5, sent))


def test_names_are_percent_encoded_once(web: WebSession) -> None:
    assert get(web, "0/all_1_1_0/v%252Esize.bin").body == b"dotted"
    assert get(web, "0/all_1_1_0/v%2Esize.bin").status == 404


@pytest.mark.parametrize("method", ["HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])
def test_only_get(web: WebSession, method: str) -> None:
    assert get(web, "0/.index", method).status == 404


@pytest.mark.parametrize(
    "path", ["0/absent", "0", "", "1/.index", "0/", "0/../0/.index", "0/%2e%2e/0/.index", "0//.index"]
)
def test_what_is_not_there_is_404(web: WebSession, path: str) -> None:
    assert get(web, path).status == 404


def test_without_the_token_everything_is_404(gateway: Gateway, web: WebSession) -> None:
    token = urlsplit(web.address.url).path.split("/")[2]
    assert len(token) >= 32
    other = gateway.open_web({"0/.index": MemoryObject(b"of the other")}.get)
    for path in ("/web/", "/web", f"/web/{token[:-1]}/0/.index", f"/web/{token}x/0/.index", "/web/../web/0/.index"):
        assert get(web, path).status in (403, 404), path
        assert b"all_1_1_0" not in get(web, path).body
    assert get(other, "0/.index").body == b"of the other"
    assert get(other, "0/all_1_1_0/data.bin").status == 404
    gateway.close(other.address)


def test_a_token_is_no_key_for_signed_requests(gateway: Gateway, web: WebSession) -> None:
    signed = Client(web.address).send("GET", f"/coldhouse/{web.address.access_key}/0/.index")
    assert (signed.status, signed.code) == (403, "AccessDenied")


def test_a_token_dies_with_its_session(gateway: Gateway) -> None:
    session = gateway.open_web(OBJECTS.get)
    assert get(session, "0/.index").status == 200
    gateway.close(session.address)
    assert get(session, "0/.index").status == 404


def test_two_sessions_never_share_a_token(gateway: Gateway) -> None:
    urls = {gateway.open_web(OBJECTS.get).address.url for _ in range(20)}
    assert len(urls) == 20


def test_damage_is_an_error_that_is_not_repeated(web: WebSession) -> None:
    answer = get(web, "0/damaged")
    assert (answer.status, answer.message) == (403, "pack 7 is damaged")
    assert isinstance(web.error, Corruption)
    assert get(web, "0/busy").status == 503
    assert isinstance(web.error, Corruption), "the damage is what must be told"


def test_damage_in_the_middle_cuts_the_connection(web: WebSession) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        get(web, "0/half")
    again = get(web, "0/half", range="bytes=0-9")
    assert (again.status, again.message) == (403, "pack 8 is damaged"), "what was cut is not worth another try"
    assert isinstance(web.error, Corruption)


def test_lookups_may_be_slow_without_holding_up_the_gateway(gateway: Gateway, web: WebSession) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow(key: str) -> Served | None:
        entered.set()
        go_on.wait(20)
        return OBJECTS.get(key)

    session = gateway.open_web(slow)
    answers: list[Answer] = []
    asker = threading.Thread(target=lambda: answers.append(get(session, "0/.index")))
    asker.start()
    assert entered.wait(20)
    assert get(web, "0/.index").status == 200
    go_on.set()
    asker.join(20)
    assert answers[0].body == b"all_1_1_0\t1\n"
