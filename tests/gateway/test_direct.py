"""A large body is written, or read, by the thread that works on it, as long as the client keeps up."""

from __future__ import annotations

import http.client
import os
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from coldhouse.errors import Corruption
from coldhouse.gateway import Gateway, direct
from coldhouse.gateway.workers import THREADS
from tests.gateway.client import Client
from tests.gateway.conftest import Serving, Taking
from tests.gateway.memory import MemoryObject
from tests.gateway.test_ingest import OpenPut, eventually

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
    assert eventually(lambda: sum(written) == serving.session.sent_bytes == 2 * len(CONTENT))


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="Linux lets connections choose")
def test_what_this_machine_sends_to_itself_is_not_paced(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the host does by itself: with BBR a restore took a fourth longer."""
    serving.objects["a"] = MemoryObject(CONTENT)
    ways: list[bytes] = []
    begin = direct.DirectWriter.__init__

    def looked_at(writer: direct.DirectWriter, descriptor: int, closing_: Callable[[], bool]) -> None:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            ways.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0"))
        begin(writer, descriptor, closing_)

    monkeypatch.setattr(direct.DirectWriter, "__init__", looked_at)
    assert serving.client.get("a").body == CONTENT
    assert ways == [b"reno"]


def test_many_small_pieces_go_out_in_their_order(serving: Serving, written: list[int]) -> None:
    serving.objects["a"] = MemoryObject(CONTENT[: 2 << 20], chunk=300)
    assert serving.client.get("a").body == CONTENT[: 2 << 20]
    assert eventually(lambda: sum(written) == 2 << 20)


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


# -------------------------------------------------------------------------------------------------------------- reading


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were read by threads, call by call."""
    sizes: list[int] = []
    fill = direct.DirectReader.fill

    def noted(reader: direct.DirectReader, view: memoryview) -> int:
        sizes.append(fill(reader, view))
        return sizes[-1]

    monkeypatch.setattr(direct.DirectReader, "fill", noted)
    return sizes


def put(connection: http.client.HTTPConnection, client: Client, path: str, body: bytes) -> int:
    """PUT on a connection that stays open."""
    connection.request("PUT", client.target(path), body, client.signed("PUT", path, body))
    with connection.getresponse() as answer:
        answer.read()
        return answer.status


def test_a_thread_reads_all_of_it_and_the_connection_stays(taking: Taking, filled: list[int]) -> None:
    with closing(taking.client.connect()) as connection:
        for number in range(3):
            assert put(connection, taking.client, f"data/{number}", CONTENT) == 200
            assert put(connection, taking.client, f"data/small{number}", b"small") == 200
    for number in range(3):
        assert taking.content(f"{number}") == CONTENT
        assert taking.content(f"small{number}") == b"small"
    assert sum(filled) > 2 * len(CONTENT), "but for what came with the heads"
    assert taking.session.received_bytes == 3 * (len(CONTENT) + 5)


def test_frames_lie_in_the_buffer_as_they_are_sealed(taking: Taking, filled: list[int]) -> None:
    """After what came with the head, each read ends where a frame of 256 KiB ends."""
    assert taking.client.put("data/a", CONTENT).status == 200
    beginning = len(CONTENT) - sum(filled)
    assert (beginning + filled[0]) % (256 * 1024) == 0
    assert set(filled[1:-1]) == {256 * 1024}


def test_a_client_that_stalls_is_left_to_the_event_loop(
    taking: Taking, filled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "PATIENCE", 100)
    monkeypatch.setattr(direct, "LOOK_UP", 20)
    half = len(CONTENT) // 2
    stalled = []
    for number in range(THREADS + 2):
        stalled.append(OpenPut(taking.client, f"data/{number}", CONTENT))
        stalled[-1].send(CONTENT[:half])
    assert eventually(lambda: taking.session.received_bytes >= len(stalled) * (half - 1024 * 1024))
    assert taking.client.put("data/b", CONTENT[:1000]).status == 200, "clients that stall keep no thread"
    for each in stalled:
        each.send(CONTENT[half:])
        assert each.answer().status == 200
    assert all(taking.content(f"{number}") == CONTENT for number in range(len(stalled)))
    assert 0 < sum(filled) < len(stalled) * len(CONTENT), "the rest came by way of the event loop"
    assert taking.session.received_bytes == len(stalled) * len(CONTENT) + 1000


def test_after_a_refusal_in_the_middle_the_connection_is_as_good_as_before(taking: Taking) -> None:
    with closing(taking.client.connect()) as connection:
        taking.session.refuse("the backup was interrupted")
        assert put(connection, taking.client, "data/a", CONTENT) == 403
        assert put(connection, taking.client, "data/b", b"small") == 403
    assert not taking.session.arrived


def test_a_client_that_vanishes_leaves_nothing(taking: Taking, filled: list[int]) -> None:
    vanishing = OpenPut(taking.client, "data/a", CONTENT)
    vanishing.send(CONTENT[: 4 * 1024 * 1024])
    assert eventually(lambda: sum(filled) > 3 * 1024 * 1024)
    vanishing.vanish()
    assert eventually(lambda: taking.sink.aborted == 1)
    assert taking.session.error is None
    assert not taking.session.arrived


def test_closing_the_address_ends_a_thread_that_reads(gateway: Gateway, filled: list[int]) -> None:
    taking = Taking(gateway)
    address = taking.session.address
    assert address is not None
    waiting = OpenPut(taking.client, "data/a", CONTENT)
    waiting.send(CONTENT[: 4 * 1024 * 1024])
    assert eventually(lambda: sum(filled) > 3 * 1024 * 1024)
    gateway.close(address)
    assert taking.sink.aborted == 1
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        waiting.answer()


@contextmanager
def _begun(client: Client, path: str) -> Iterator[http.client.HTTPResponse]:
    with closing(client.connect()) as connection:
        connection.request("GET", client.target(path), headers=client.signed("GET", path))
        with connection.getresponse() as answer:
            assert answer.status == 200
            yield answer
