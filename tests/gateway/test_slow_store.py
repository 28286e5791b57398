"""Where the store is slower than ClickHouse: a few bodies go on, others wait, and nothing is stored twice for it."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from coldhouse.gateway import request
from coldhouse.gateway.workers import BODIES
from tests.gateway.conftest import Taking
from tests.gateway.test_ingest import OpenPut, eventually

SOME = random.Random(5).randbytes(2 * 1024 * 1024)
LARGE = random.Random(6).randbytes(7 * 1024 * 1024)
FIRST, SECOND = {"amz-sdk-request": "attempt=1"}, {"amz-sdk-request": "attempt=2; max=9"}


@contextmanager
def all_places_taken(taking: Taking) -> Iterator[list[OpenPut]]:
    """As many bodies under way as are read at a time, all of them held up by the store."""
    taking.sink.gate.clear()
    with ExitStack() as ends:
        puts = [OpenPut(taking.client, f"data/{number}", SOME) for number in range(BODIES)]
        for put in puts:
            ends.callback(put.connection.close)
            sending = threading.Thread(target=put.send, args=(SOME,))
            sending.start()
            ends.callback(sending.join)
        assert eventually(lambda: taking.sink.opened == BODIES)
        try:
            yield puts
        finally:
            taking.sink.gate.set()


def test_only_a_few_large_bodies_are_read_at_a_time(taking: Taking) -> None:
    with all_places_taken(taking) as puts:
        late = OpenPut(taking.client, "data/late", SOME)
        late.send(SOME[:1000])
        assert not eventually(lambda: taking.sink.opened > BODIES, seconds=0.3)
        taking.sink.gate.set()
        late.send(SOME[1000:])
        assert [put.answer().status for put in (*puts, late)] == [200] * (BODIES + 1)
    assert taking.content("late") == SOME


def test_what_a_client_has_given_up_is_not_taken_for_the_beginning_of_a_file(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "FIRST_ATTEMPT_SECONDS", 0.2)
    with all_places_taken(taking) as puts:
        stale = OpenPut(taking.client, "data/late", LARGE, headers=FIRST)
        stale.send(LARGE[: 1024 * 1024])
        threading.Event().wait(0.4)
        taking.sink.gate.set()
        assert [put.answer().status for put in puts] == [200] * BODIES
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            stale.answer()
        stale.connection.close()
    assert taking.sink.opened == BODIES
    assert taking.client.send("PUT", "data/late", LARGE, SECOND).status == 200
    assert taking.content("late") == LARGE


@pytest.mark.parametrize(("body", "attempt"), [(LARGE, SECOND), (LARGE, {}), (SOME, FIRST)])
def test_who_waits_with_patience_is_served(
    taking: Taking, monkeypatch: pytest.MonkeyPatch, body: bytes, attempt: dict[str, str]
) -> None:
    """A repeated attempt, a client that counts none, a body that the sockets hold: none of them was given up."""
    monkeypatch.setattr(request, "FIRST_ATTEMPT_SECONDS", 0.1)
    with all_places_taken(taking) as puts:
        late = OpenPut(taking.client, "data/late", body, headers=attempt)
        threading.Event().wait(0.3)
        taking.sink.gate.set()
        late.send(body)
        assert [put.answer().status for put in (*puts, late)] == [200] * (BODIES + 1)
    assert taking.content("late") == body


def test_clients_that_stall_hold_up_nobody(taking: Taking) -> None:
    stalled = [OpenPut(taking.client, f"data/{number}", SOME) for number in range(BODIES)]
    for put in stalled:
        put.send(SOME[:1000])
    assert taking.client.put("data/other", SOME).status == 200
    for put in stalled:
        put.send(SOME[1000:])
    assert [put.answer().status for put in stalled] == [200] * BODIES
