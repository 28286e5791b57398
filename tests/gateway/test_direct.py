"""A large body is written by the thread that reads it, as long as the client takes it."""

from __future__ import annotations

import http.client
import random
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from coldhouse.errors import Corruption
from coldhouse.gateway import Gateway, direct
from coldhouse.gateway.workers import THREADS
from tests.gateway.client import Client
from tests.gateway.conftest import Serving
from tests.gateway.memory import MemoryObject

CONTENT = random.Random(5).randbytes(18 * 1024 * 1024 + 7)  # more than the kernel keeps for a connection


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many bytes of each answer were written by a thread."""
    sizes: list[int] = []
    write = direct.DirectWriter.write

    def noted(writer: direct.DirectWriter, data: memoryview) -> memoryview:
        left = write(writer, data)
        sizes.append(len(data) - len(left))
        return left

    monkeypatch.setattr(direct.DirectWriter, "write", noted)
    yield sizes


def test_a_thread_writes_all_of_it_and_the_connection_stays(serving: Serving, written: list[int]) -> None:
    serving.objects["a"] = MemoryObject(CONTENT)
    connection = serving.client.connect()
    for _ in range(2):
        connection.request("GET", serving.client.target("a"), headers=serving.client.signed("GET", "a"))
        assert connection.getresponse().read() == CONTENT
    connection.close()
    assert sum(written) == serving.session.sent_bytes == 2 * len(CONTENT)


def test_a_slow_client_is_left_to_the_event_loop(
    serving: Serving, written: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "PATIENCE", 1)
    monkeypatch.setattr(direct, "LOOK_UP", 1)
    serving.objects["a"] = MemoryObject(CONTENT)
    client = serving.client
    with ExitStack() as stack:
        waiting = [stack.enter_context(_begun(client, "a")) for _ in range(THREADS + 2)]
        serving.objects["b"] = MemoryObject(CONTENT[:1000])
        assert client.get("b").body == CONTENT[:1000], "slow clients keep no thread"
        assert waiting[0].read() == waiting[-1].read() == CONTENT
    assert 0 < sum(written) < len(waiting) * len(CONTENT), "the rest was written by the event loop"


def test_closing_the_address_cuts_what_a_thread_writes(gateway: Gateway) -> None:
    session = gateway.open_serve({"a": MemoryObject(bytes(256 * 1024 * 1024))}.get)
    with _begun(Client(session.address), "a") as answer:
        answer.read(1024)
        gateway.close(session.address)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()


def test_damage_behind_what_was_written_cuts_the_connection(serving: Serving) -> None:
    damage = Corruption("packs/ab/cd is damaged", object_name="packs/ab/cd")
    serving.objects["a"] = MemoryObject(CONTENT, sound=16 * 1024 * 1024, failure=damage)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        serving.client.get("a")
    assert serving.session.error is damage
    serving.objects["b"] = MemoryObject(b"sound")
    assert serving.client.get("b").body == b"sound"


@contextmanager
def _begun(client: Client, path: str) -> Iterator[http.client.HTTPResponse]:
    with closing(client.connect()) as connection:
        connection.request("GET", client.target(path), headers=client.signed("GET", path))
        with connection.getresponse() as answer:
            assert answer.status == 200
            yield answer
