"""Giving out what RESTORE reads: whole, by range, and never a wrong byte."""

from __future__ import annotations

import http.client
import random
import threading
import time

import pytest

from coldhouse.errors import Corruption, StorageError
from coldhouse.gateway import Gateway
from tests.gateway.client import Answer
from tests.gateway.conftest import Serving
from tests.gateway.memory import MemoryObject
from tests.gateway.test_ingest import eventually

CONTENT = random.Random(3).randbytes(3 * 1024 * 1024 + 11)


@pytest.mark.parametrize("size", [0, 1, 4096, 256 * 1024, 512 * 1024, 512 * 1024 + 1, len(CONTENT)])
def test_a_whole_object(serving: Serving, size: int) -> None:
    serving.objects["f/1"] = MemoryObject(CONTENT[:size], "abc")
    head, there = serving.client.head("f/1"), serving.client.get("f/1")
    assert (head.status, head.headers["content-length"], head.headers["etag"]) == (200, str(size), '"abc"')
    assert (there.status, there.headers["etag"], there.body) == (200, '"abc"', CONTENT[:size])
    assert eventually(lambda: serving.session.sent_bytes == size)  # it is counted when it is sent
    assert serving.session.requests == 2


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-0", 0, 0), ("5-9", 5, 9), ("1048576-", 1048576, len(CONTENT) - 1), ("-7", len(CONTENT) - 7, len(CONTENT) - 1)],
)
def test_a_range(serving: Serving, asked: str, first: int, last: int) -> None:
    serving.objects["a"] = MemoryObject(CONTENT)
    there = serving.client.get("a", range=f"bytes={asked}")
    assert (there.status, there.headers["content-range"]) == (206, f"bytes {first}-{last}/{len(CONTENT)}")
    assert there.body == CONTENT[first : last + 1]


def test_a_range_that_reaches_beyond_the_end_is_cut_to_it(serving: Serving) -> None:
    serving.objects["a"] = MemoryObject(b"0123456789")
    assert serving.client.get("a", range="bytes=8-100").body == b"89"
    assert serving.client.get("a", range="bytes=-100").body == b"0123456789"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_a_range_outside_of_the_object_is_refused(serving: Serving, asked: str) -> None:
    serving.objects["a"] = MemoryObject(b"0123456789")
    assert (serving.client.get("a", range=asked).status, serving.session.sent_bytes) == (416, 0)


@pytest.mark.parametrize("asked", ["bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=x-y"])
def test_what_is_no_range_means_the_whole_object(serving: Serving, asked: str) -> None:
    serving.objects["a"] = MemoryObject(b"0123456789")
    answer = serving.client.get("a", range=asked)
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_a_condition_on_the_tag(serving: Serving) -> None:
    serving.objects["a"] = MemoryObject(b"content", "abc")
    assert serving.client.get("a", if_match='"abc"').status == 200
    assert serving.client.get("a", if_match="*").status == 200
    assert serving.client.get("a", if_match='"xyz", "abc"').status == 200
    assert serving.client.get("a", if_match='"xyz"').status == 412


def test_what_is_not_there(serving: Serving) -> None:
    answer = serving.client.get("absent")
    assert (answer.status, answer.code) == (404, "NoSuchKey")
    assert (serving.client.head("absent").status, serving.client.head("absent").body) == (404, b"")


def test_a_listing_tells_whether_something_exists(serving: Serving) -> None:
    serving.objects["r/.backup"] = MemoryObject(b"content")
    prefix = "/".join(serving.session.address.url.split("/")[4:])
    found = serving.client.send("GET", "/coldhouse", query=f"max-keys=1&prefix={prefix}r/.backup")
    absent = serving.client.send("GET", "/coldhouse", query=f"max-keys=1&prefix={prefix}r/.lock")
    assert (found.value("Key"), found.value("Size"), absent.value("Key")) == (f"{prefix}r/.backup", "7", "")


def test_nothing_can_be_changed(serving: Serving) -> None:
    serving.objects["a"] = MemoryObject(b"content")
    answers = [
        serving.client.put("a", b"body"),
        serving.client.delete("a"),
        serving.client.post("a", query="uploads"),
        serving.client.send("POST", "/coldhouse", b"<Delete/>", query="delete"),
    ]
    assert {answer.status for answer in answers} == {403}
    assert serving.client.get("a").body == b"content"


@pytest.mark.parametrize("sound", [256 * 1024, 512 * 1024, 2 * 1024 * 1024])
def test_damage_in_the_middle_cuts_the_connection(serving: Serving, sound: int) -> None:
    damage = Corruption("packs/ab/cd is damaged", object_name="packs/ab/cd")
    serving.objects["a"] = MemoryObject(CONTENT, sound=sound, failure=damage)
    with pytest.raises((http.client.HTTPException, ConnectionError)) as cut:
        answer: Answer = serving.client.get("a")
        if answer.status != 200:
            raise http.client.IncompleteRead(b"")
    partial = getattr(cut.value, "partial", b"")
    assert CONTENT.startswith(partial)
    assert serving.session.error is damage


def test_damage_at_the_beginning_is_an_answer_that_nobody_repeats(serving: Serving) -> None:
    damage = Corruption("packs/ab/cd is damaged", object_name="packs/ab/cd")
    serving.objects["a"] = MemoryObject(CONTENT[:1000], sound=0, failure=damage)
    answer = serving.client.get("a")
    assert (answer.status, answer.message) == (403, "packs/ab/cd is damaged")
    assert serving.session.error is damage


def test_a_store_that_fails_for_once_is_asked_again(serving: Serving) -> None:
    serving.objects["a"] = MemoryObject(CONTENT, sound=0, failure=StorageError("the store does not answer"))
    assert serving.client.get("a").status == 503
    damage = Corruption("damaged")
    serving.objects["b"] = MemoryObject(CONTENT, sound=0, failure=damage)
    serving.client.get("b")
    serving.client.get("a")
    assert serving.session.error is damage, "what is damaged is the news"


def test_an_object_that_is_shorter_than_it_says_is_cut(serving: Serving) -> None:
    class Short(MemoryObject):
        @property
        def size(self) -> int:
            return len(self.content) + 1

    serving.objects["a"] = Short(CONTENT)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        serving.client.get("a")
    assert isinstance(serving.session.error, Corruption)


def test_a_refused_session_gives_nothing_more(serving: Serving) -> None:
    serving.objects["a"] = MemoryObject(b"content")
    serving.session.refuse("the user stopped the restore")
    answer = serving.client.get("a")
    assert (answer.status, answer.message) == (403, "the user stopped the restore")


def test_a_client_that_vanishes_stops_the_reading(serving: Serving) -> None:
    serving.objects["a"] = MemoryObject(bytes(256 * 1024 * 1024))
    connection = serving.client.connect()
    connection.request("GET", serving.client.target("a"), headers=serving.client.signed("GET", "a"))
    connection.getresponse().read(1024)
    connection.close()
    sent = -1
    for _ in range(100):
        if sent == serving.session.sent_bytes:
            break
        sent = serving.session.sent_bytes
        time.sleep(0.1)
    assert 0 < sent < 64 * 1024 * 1024


def test_many_readers_at_once(serving: Serving) -> None:
    for number in range(16):
        serving.objects[f"f/{number}"] = MemoryObject(CONTENT[number:])
    wrong: list[int] = []

    def read(number: int) -> None:
        if serving.client.get(f"f/{number}").body != CONTENT[number:]:
            wrong.append(number)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_sessions_do_not_see_each_other(gateway: Gateway) -> None:
    one = Serving(gateway.open_serve({"a": MemoryObject(b"one")}.get), {})
    two = Serving(gateway.open_serve({"a": MemoryObject(b"two")}.get), {})
    assert (one.client.get("a").body, two.client.get("a").body) == (b"one", b"two")
    assert two.client.get(one.client.target("a")).status == 403


def test_whoever_waits_hears_when_almost_all_that_is_expected_was_sent(gateway: Gateway) -> None:
    objects = {"a": MemoryObject(CONTENT), "b": MemoryObject(b"short")}
    serving = Serving(gateway.open_serve(objects.get, len(CONTENT) + 6), {})
    serving.client.get("b")
    assert serving.session.wait(0.05) is False
    serving.client.get("a")
    assert serving.session.wait(20) is True
    serving.client.get("a")
    assert serving.session.wait(0.05) is False, "it is told once"


def test_where_nobody_knows_what_is_expected_nobody_waits_for_news_of_the_end(serving: Serving) -> None:
    serving.objects["a"] = MemoryObject(CONTENT)
    serving.client.get("a")
    assert serving.session.wait(0.05) is None
