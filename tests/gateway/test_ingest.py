"""Taking in what BACKUP sends, as BACKUP sends it."""

from __future__ import annotations

import gc
import hashlib
import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping

import pytest

from coldhouse.cityhash import file_hash
from coldhouse.errors import StorageFull
from coldhouse.gateway import Gateway
from coldhouse.gateway.ingest import Arrived
from coldhouse.gateway.request import Request
from tests.gateway.client import Answer, Client
from tests.gateway.conftest import BASE, Taking

LARGE = random.Random(1).randbytes(5 * 1024 * 1024 + 77)
TOKEN = "x-amz-meta-clickhouse-write-token"


def eventually(happened: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class OpenPut:
    """A PUT whose body comes piece by piece."""

    def __init__(
        self, client: Client, path: str, body: bytes, query: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        self.connection = client.connect()
        target = client.target(path) + (f"?{query}" if query else "")
        self.connection.putrequest("PUT", target, skip_host=True, skip_accept_encoding=True)
        for name, value in client.signed("PUT", path, body, headers, query).items():
            self.connection.putheader(name, value)
        self.connection.putheader("content-length", str(len(body)))
        self.connection.endheaders()

    def send(self, piece: bytes) -> None:
        self.connection.send(piece)

    def answer(self) -> Answer:
        response = self.connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        self.connection.close()
        return answer

    def vanish(self) -> None:
        """Break the connection in the middle of the body, as a killed client does."""
        assert self.connection.sock is not None
        self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()


@pytest.mark.parametrize("body", [b"a", b"CREATE TABLE t", LARGE[: 1024 * 1024], LARGE[: 1024 * 1024 + 1], LARGE])
def test_a_file_arrives_with_its_size_and_checksum(taking: Taking, body: bytes) -> None:
    answer = taking.client.put("data/abc/def", body)
    there = taking.session.arrived["abc/def"]
    assert (answer.status, answer.headers["etag"]) == (200, f'"{file_hash(body).hex()}"')
    assert (there.size, there.checksum) == (len(body), file_hash(body))
    assert taking.content("abc/def") == body
    assert taking.session.received_bytes == len(body)
    assert taking.session.arrived_files == 1


def test_an_empty_file_needs_no_place(taking: Taking) -> None:
    assert taking.client.put("data/empty", b"").status == 200
    there = taking.session.arrived["empty"]
    assert (there.size, there.checksum, there.extents) == (0, b"", ())
    assert taking.sink.opened == 0


def test_definitions_are_kept_in_memory(taking: Taking) -> None:
    taking.client.put("data/one", b"CREATE TABLE t (x UInt8)")
    taking.client.put("data/two", b"parts")
    taking.client.put("data/three", b"CREATE" + bytes(1024 * 1024))  # too large for a definition
    assert taking.session.kept == {"one": b"CREATE TABLE t (x UInt8)"}


def test_a_repeated_put_replaces_the_first(taking: Taking) -> None:
    for body in (b"CREATE first", b"second"):
        assert taking.client.put("data/a", body).status == 200
    assert taking.content("a") == b"second"
    assert taking.session.kept == {}


def test_a_client_that_vanishes_leaves_nothing_and_may_come_again(taking: Taking) -> None:
    put = OpenPut(taking.client, "data/a", LARGE)
    put.send(LARGE[: 3 * 1024 * 1024])
    assert eventually(lambda: taking.sink.opened == 1)
    put.vanish()
    assert eventually(lambda: taking.sink.aborted == 1)
    assert not taking.session.arrived
    assert taking.client.put("data/a", LARGE).status == 200
    assert taking.content("a") == LARGE
    assert taking.session.error is None


def test_the_same_key_again_while_the_first_is_open(taking: Taking) -> None:
    """After a stall of 31 s ClickHouse sends a file a second time while the first PUT still hangs."""
    first = OpenPut(taking.client, "data/a", LARGE)
    first.send(LARGE[: 2 * 1024 * 1024])
    assert eventually(lambda: taking.sink.opened == 1)
    assert taking.client.put("data/a", LARGE).status == 200
    assert taking.content("a") == LARGE
    first.send(LARGE[2 * 1024 * 1024 :])
    assert first.answer().status == 200
    assert taking.content("a") == LARGE


def test_a_slow_store_is_waited_for_in_bounded_memory(taking: Taking) -> None:
    """While the sink blocks, the body waits in ClickHouse's socket and not here."""
    taking.sink.gate.clear()
    put = OpenPut(taking.client, "data/a", bytes(64 * 1024 * 1024))
    assert put.connection.sock is not None
    put.connection.sock.settimeout(0.5)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 * 1024 * 1024:
            sent += put.connection.sock.send(bytes(256 * 1024))
    assert taking.session.received_bytes <= 2 * 1024 * 1024
    taking.sink.gate.set()
    put.connection.sock.settimeout(20)
    put.send(bytes(64 * 1024 * 1024 - sent))
    assert put.answer().status == 200


def test_many_connections_at_once(taking: Taking) -> None:
    def send(number: int) -> None:
        for step in range(20):
            body = f"{number} {step}".encode() * 1000
            assert taking.client.put(f"data/{number}/{step}", body).status == 200

    threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taking.session.arrived_files == 400
    assert taking.content("7/3") == b"7 3" * 1000


def test_requests_share_a_connection(taking: Taking) -> None:
    connection = taking.client.connect()
    for number in range(5):
        path = f"data/{number}"
        connection.request("PUT", taking.client.target(path), b"body", taking.client.signed("PUT", path, b"body"))
        assert connection.getresponse().read() == b""
    connection.close()
    assert taking.session.arrived_files == 5


def test_a_full_store_fails_the_backup_at_once(taking: Taking) -> None:
    taking.sink.failure = StorageFull("no space left in /backups")
    answers = [
        taking.client.put("data/a", b"body"),
        taking.client.put("data/b", LARGE),
        taking.client.put("data/c", b""),
    ]
    assert [answer.status for answer in answers] == [507, 507, 507]
    assert answers[0].message == "no space left in /backups"
    assert taking.session.error is taking.sink.failure


def test_an_unexpected_failure_does_not_tell_about_itself(taking: Taking, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: bytes, __: object) -> str:
        raise ZeroDivisionError("secret detail")

    taking.session._verify = fail
    answer = taking.client.put("data/.backup", b"<config/>")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert taking.session.error is not None
    assert taking.session.document is None
    caplog.clear()


def test_the_lock_is_created_once(taking: Taking) -> None:
    assert taking.client.head("data/.lock").status == 404
    once = {"if-none-match": "*"}
    mine, theirs = {**once, TOKEN: "mine"}, {**once, TOKEN: "theirs"}
    assert taking.client.send("PUT", "data/.lock", b"uuid", mine).status == 200
    assert taking.client.send("PUT", "data/.lock", b"other", theirs).status == 412
    assert taking.client.send("PUT", "data/.lock", b"uuid", theirs).status == 412
    assert taking.client.send("PUT", "data/.lock", b"uuid", once).status == 412
    assert taking.client.send("PUT", "data/.lock", b"uuid", mine).status == 200, "its answer was lost"
    there = taking.client.get("data/.lock")
    assert (there.body, there.headers[TOKEN]) == (b"uuid", "mine")
    assert taking.client.head("data/.lock").headers["etag"] == there.headers["etag"]
    assert taking.client.head("data/.lock").headers["content-length"] == "4"


def test_the_base_has_a_document_and_nothing_else(taking: Taking) -> None:
    head, there = taking.client.head("base/.backup"), taking.client.get("base/.backup")
    assert (head.status, head.headers["content-length"], there.body) == (200, str(len(BASE)), BASE)
    assert head.headers["etag"] == there.headers["etag"]
    assert taking.client.get("base/.lock").status == 404
    assert taking.client.put("base/.backup", b"forged").status == 403
    assert taking.client.delete("base/.backup").status == 403


def test_what_was_sent_can_be_asked_for_but_not_read(taking: Taking) -> None:
    taking.client.put("data/a", b"body")
    assert taking.client.head("data/a").headers["content-length"] == "4"
    assert taking.client.get("data/a").status == 403
    assert taking.client.head("data/b").status == 404


def test_older_servers_list_where_newer_ones_ask(taking: Taking) -> None:
    prefix = "/".join(taking.client.address.url.split("/")[4:])
    taking.client.put("data/a", b"body")
    for version in ("", "list-type=2&"):
        found = taking.client.send("GET", "/coldhouse", query=f"{version}max-keys=1&prefix={prefix}data/a")
        absent = taking.client.send("GET", "/coldhouse/", query=f"{version}max-keys=1&prefix={prefix}data/.backup")
        assert (found.status, found.value("Key"), found.value("Size")) == (200, f"{prefix}data/a", "4")
        assert (absent.status, absent.value("Key")) == (200, "")


def test_a_document_that_is_let_pass_ends_the_backup(taking: Taking) -> None:
    taking.client.put("data/a", b"body")
    assert taking.client.put("data/.backup", b"<config/>").status == 200
    assert taking.session.document == b"<config/>"
    assert taking.client.put("data/.backup", b"<config/>").status == 200, "its answer was lost"
    assert taking.judged == [b"<config/>"]
    assert taking.client.put("data/.backup", b"<other/>").status == 403
    assert taking.client.put("data/a", b"late").status == 403
    assert taking.content("a") == b"body"
    assert taking.client.delete("data/.lock").status == 204
    assert taking.client.head("data/.backup").status == 200


def test_a_document_that_is_refused_fails_the_backup_with_the_reason(taking: Taking) -> None:
    taking.verdict = "data/db/t/all_1_1_0/x.bin: listed, but <never> sent"
    answer = taking.client.put("data/.backup", b"<config/>")
    assert answer.status == 403
    assert answer.message == "data/db/t/all_1_1_0/x.bin: listed, but &lt;never&gt; sent"
    assert taking.session.document is None


def test_a_document_may_not_be_larger_than_allowed(taking: Taking) -> None:
    answer = taking.client.put("data/.backup", bytes(4**10 + 1))
    assert answer.status == 403
    assert taking.judged == []


def test_a_deletion_is_never_obeyed_and_nothing_comes_in_after_it(taking: Taking) -> None:
    """PUTs that were under way when a BACKUP failed land after its cleanup."""
    taking.client.put("data/a", b"body")
    late = OpenPut(taking.client, "data/late", LARGE)
    late.send(LARGE[:-1])
    body = b"<Delete><Object><Key>data/a</Key></Object></Delete>"
    answer = taking.client.send("POST", "/coldhouse", body, query="delete")
    assert (answer.status, answer.value("Error")) == (200, "")
    assert taking.session.cleanup_seen
    late.send(LARGE[-1:])
    assert late.answer().status == 403
    assert taking.client.put("data/b", b"late").status == 403
    assert taking.client.put("data/.backup", b"<config/>").status == 403
    assert list(taking.session.arrived) == ["a"]
    assert taking.content("a") == b"body"


def test_single_deletions_are_answered_and_not_obeyed(taking: Taking) -> None:
    taking.client.put("data/a", b"body")
    seen = []
    for key in (".lock", ".lock", "a"):
        assert taking.client.delete(f"data/{key}").status == 204
        seen.append(taking.session.cleanup_seen)
    assert seen == [False, False, True]
    assert taking.content("a") == b"body"


def test_a_cancelled_backup_is_refused_everything(taking: Taking) -> None:
    put = OpenPut(taking.client, "data/a", LARGE)
    put.send(LARGE[: 1024 * 1024])
    assert eventually(lambda: taking.sink.opened == 1)
    taking.session.refuse("the user stopped the backup")
    put.send(LARGE[1024 * 1024 :])
    for answer in (put.answer(), taking.client.put("data/b", b"body")):
        assert (answer.status, answer.message) == (403, "the user stopped the backup")
    assert eventually(lambda: taking.sink.aborted == 1)


def test_closing_cuts_what_is_under_way(gateway: Gateway) -> None:
    taking = Taking(gateway)
    put = OpenPut(taking.client, "data/a", LARGE)
    put.send(LARGE[: 2 * 1024 * 1024])
    assert eventually(lambda: taking.sink.opened == 1)
    gateway.close(taking.client.address)
    assert taking.sink.aborted == 1
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        put.send(LARGE[2 * 1024 * 1024 :])
        put.answer()
    put.connection.close()


def test_what_no_backup_needs_is_not_implemented(taking: Taking) -> None:
    copy = taking.client.send("PUT", "data/a", headers={"x-amz-copy-source": "/bucket/key"})
    chunked = taking.client.send(
        "PUT", "data/a", b"body", headers={"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    )
    assert [copy.status, chunked.status] == [501, 501], "400 would make ClickHouse try a multipart upload"


def test_the_length_of_a_body_must_be_said(taking: Taking) -> None:
    headers = taking.client.signed("PUT", "data/a", b"") | {"transfer-encoding": "chunked", "content-length": ""}
    headers.pop("content-length")
    connection = taking.client.connect()
    connection.request("PUT", taking.client.target("data/a"), iter([b"body"]), headers, encode_chunked=True)
    assert connection.getresponse().status == 411
    connection.close()


def test_a_large_body_is_compared_where_the_peer_is_another_host(
    taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Request, "from_loopback", False)
    changed = b"\0" + LARGE[1:]
    headers = taking.client.signed("PUT", "data/a", LARGE)
    assert taking.client.send_raw("PUT", "data/a", changed, headers).status == 403
    assert taking.client.send_raw("PUT", "data/a", LARGE, headers).status == 200
    unsigned = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    assert taking.client.send("PUT", "data/b", LARGE, unsigned).status == 403


def test_an_unsigned_body_is_taken_from_this_machine(taking: Taking) -> None:
    unsigned = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    assert taking.client.send("PUT", "data/a", b"body", unsigned).status == 200
    assert hashlib.sha256(taking.content("a")).digest() == hashlib.sha256(b"body").digest()


def test_whoever_waits_for_the_end_hears_of_it(taking: Taking) -> None:
    taking.client.put("data/.lock", b"a lock")
    assert not taking.session.wait(0.01)
    taking.client.delete("data/.lock")
    assert taking.session.wait(20)
    assert not taking.session.wait(0.01), "it is told once"
    taking.client.send("POST", "/coldhouse", b"<Delete/>", query="delete")
    assert taking.session.wait(20)


def test_what_arrived_can_be_walked_through_while_more_arrives(taking: Taking) -> None:
    """A collection of garbage in the middle of the walk lets the other thread run."""
    for number in range(50):
        taking.client.put(f"data/{number}", b"content")

    def one_more(*_: object) -> None:
        taking.session._arrived[f"more-{len(taking.session._arrived)}"] = Arrived(1, b"", ())

    usual = gc.get_threshold()
    gc.callbacks.append(one_more)
    gc.set_threshold(1)
    try:
        found = list(taking.session.arrived.items())
    finally:
        gc.set_threshold(*usual)
        gc.callbacks.remove(one_more)
    assert len(found) >= 50
    assert len(taking.session.arrived) > len(found), "more arrived meanwhile, or this shows nothing"
