"""Multipart uploads: what is too large for one PUT, and what servers do that know no larger limit for one."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence

import pytest

from coldhouse.cityhash import file_hash
from coldhouse.errors import StorageFull
from coldhouse.gateway import Gateway
from tests.gateway.client import Answer, Client
from tests.gateway.conftest import Taking
from tests.gateway.test_ingest import OpenPut, eventually

PART = 2 * 1024 * 1024 + 1000  # no multiple of anything
CONTENT = random.Random(2).randbytes(3 * PART + 5)
PARTS = [CONTENT[start : start + PART] for start in range(0, len(CONTENT), PART)]


def begin(client: Client, path: str = "data/a") -> str:
    answer = client.post(path, query="uploads")
    assert answer.status == 200
    return answer.value("UploadId")


def part(client: Client, upload: str, number: int, body: bytes, path: str = "data/a") -> Answer:
    return client.send("PUT", path, body, query=f"partNumber={number}&uploadId={upload}")


def complete(client: Client, upload: str, numbers: Sequence[int], path: str = "data/a") -> Answer:
    listed = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>x</ETag></Part>" for number in numbers)
    return client.post(
        path, f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode(), f"uploadId={upload}"
    )


def test_parts_in_order_make_one_file(taking: Taking) -> None:
    upload = begin(taking.client)
    assert [part(taking.client, upload, number, body).status for number, body in enumerate(PARTS, 1)] == [200] * 4
    assert "a" not in taking.session.arrived, "not before it is complete"
    assert complete(taking.client, upload, [1, 2, 3, 4]).status == 200
    there = taking.session.arrived["a"]
    assert (there.size, there.checksum) == (len(CONTENT), file_hash(CONTENT))
    assert taking.content("a") == CONTENT
    assert complete(taking.client, upload, [1, 2, 3, 4]).status == 200, "its answer was lost"


def test_a_part_that_comes_early_waits_for_those_before_it(taking: Taking) -> None:
    upload = begin(taking.client)
    answers: list[int] = []

    def send(number: int) -> None:
        answers.append(part(taking.client, upload, number, PARTS[number - 1]).status)

    threads = [threading.Thread(target=send, args=(number,)) for number in (4, 2, 3)]
    for thread in threads:
        thread.start()
    threads[0].join(0.2)
    assert answers == []
    send(1)
    for thread in threads:
        thread.join()
    assert answers == [200] * 4
    assert complete(taking.client, upload, [1, 2, 3, 4]).status == 200
    assert taking.content("a") == CONTENT
    assert taking.session.arrived["a"].checksum == file_hash(CONTENT)


def test_a_part_that_waits_is_not_waited_for_when_the_address_is_closed(gateway: Gateway) -> None:
    taking = Taking(gateway)
    upload = begin(taking.client)
    first = OpenPut(taking.client, "data/a", PARTS[0], f"partNumber=1&uploadId={upload}")
    first.send(PARTS[0][: PART - 1])
    second = OpenPut(taking.client, "data/a", PARTS[1], f"partNumber=2&uploadId={upload}")
    assert eventually(lambda: taking.sink.opened == 1)
    began = time.monotonic()
    gateway.close(taking.client.address)
    assert time.monotonic() - began < 10
    assert taking.sink.aborted == 1
    first.connection.close()
    second.connection.close()


def test_a_part_that_waits_is_refused_when_the_user_stops_the_backup(taking: Taking) -> None:
    upload = begin(taking.client)
    second = OpenPut(taking.client, "data/a", PARTS[1], f"partNumber=2&uploadId={upload}")
    second.send(PARTS[1])
    taking.session.refuse("the user stopped the backup")
    answer = second.answer()
    assert (answer.status, answer.message) == (403, "the user stopped the backup")
    second.connection.close()


def test_a_part_that_broke_off_comes_again(taking: Taking) -> None:
    upload = begin(taking.client)
    part(taking.client, upload, 1, PARTS[0])
    broken = OpenPut(taking.client, "data/a", PARTS[1], f"partNumber=2&uploadId={upload}")
    broken.send(PARTS[1][: PART - 1])
    assert eventually(lambda: taking.sink.opened == 2)
    broken.vanish()
    assert part(taking.client, upload, 2, PARTS[1]).status == 200
    assert part(taking.client, upload, 2, PARTS[1]).status == 200, "its answer was lost"
    assert complete(taking.client, upload, [1, 2]).status == 200
    assert taking.content("a") == PARTS[0] + PARTS[1]
    assert taking.session.arrived["a"].checksum == file_hash(PARTS[0] + PARTS[1])


def test_a_part_that_comes_again_with_other_bytes_is_refused(taking: Taking) -> None:
    upload = begin(taking.client)
    broken = OpenPut(taking.client, "data/a", PARTS[0], f"partNumber=1&uploadId={upload}")
    broken.send(PARTS[0][: PART - 1])
    assert eventually(lambda: taking.session.received_bytes > 0)
    broken.vanish()
    assert part(taking.client, upload, 1, b"\0" + PARTS[0][1:]).status == 403
    assert part(taking.client, upload, 1, PARTS[0]).status == 200
    assert part(taking.client, upload, 1, PARTS[1]).status == 403
    assert complete(taking.client, upload, [1]).status == 200
    assert taking.content("a") == PARTS[0]


def test_the_document_may_come_in_parts(taking: Taking) -> None:
    path = "data/.backup"
    upload = begin(taking.client, path)
    part(taking.client, upload, 1, b"<config>", path)
    part(taking.client, upload, 2, b"</config>", path)
    assert complete(taking.client, upload, [1, 2], path).status == 200
    assert taking.session.document == b"<config></config>"
    assert taking.sink.opened == 0


def test_a_document_in_parts_is_judged_and_bounded(taking: Taking) -> None:
    path = "data/.backup"
    taking.verdict = "incomplete"
    upload = begin(taking.client, path)
    part(taking.client, upload, 1, b"<config/>", path)
    assert part(taking.client, upload, 2, bytes(4**10), path).status == 403
    answer = complete(taking.client, upload, [1], path)
    assert (answer.status, answer.message) == (403, "incomplete")
    assert taking.session.document is None


def test_an_aborted_upload_leaves_nothing(taking: Taking) -> None:
    """After a 400 on a PUT ClickHouse tries, and aborts, an upload: that is no cleanup of the whole backup."""
    upload = begin(taking.client)
    part(taking.client, upload, 1, PARTS[0])
    assert taking.client.delete("data/a", f"uploadId={upload}").status == 204
    assert part(taking.client, upload, 2, PARTS[1]).code == "NoSuchUpload"
    assert complete(taking.client, upload, [1]).code == "NoSuchUpload"
    assert not taking.session.cleanup_seen
    assert not taking.session.arrived


@pytest.mark.parametrize("numbers", [[], [2], [1, 3], [2, 1], [1, 2, 3]])
def test_the_parts_that_are_listed_must_be_those_that_came(taking: Taking, numbers: list[int]) -> None:
    upload = begin(taking.client)
    part(taking.client, upload, 1, b"one")
    part(taking.client, upload, 2, b"two")
    assert complete(taking.client, upload, numbers).status == 403
    assert not taking.session.arrived


@pytest.mark.parametrize("number", ["0", "10001", "x", "", "-1"])
def test_a_part_number_lies_between_1_and_10000(taking: Taking, number: str) -> None:
    upload = begin(taking.client)
    answer = taking.client.send("PUT", "data/a", b"body", query=f"partNumber={number}&uploadId={upload}")
    assert answer.status == 403


def test_an_upload_belongs_to_its_key(taking: Taking) -> None:
    upload = begin(taking.client)
    assert part(taking.client, upload, 1, b"body", "data/b").code == "NoSuchUpload"
    assert part(taking.client, "0" * 32, 1, b"body").code == "NoSuchUpload"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<CompleteMultipartUpload><Part><PartNumber>one</PartNumber></Part></CompleteMultipartUpload>",
        b'<!DOCTYPE x [<!ENTITY a "1">]><Complete><Part><PartNumber>&a;</PartNumber></Part></Complete>',
    ],
)
def test_a_completion_that_cannot_be_read_is_refused(taking: Taking, body: bytes) -> None:
    upload = begin(taking.client)
    part(taking.client, upload, 1, b"body")
    assert taking.client.post("data/a", body, f"uploadId={upload}").code == "MalformedXML"


def test_a_full_store_fails_an_upload_at_once(taking: Taking) -> None:
    upload = begin(taking.client)
    taking.sink.failure = StorageFull("full")
    assert part(taking.client, upload, 1, PARTS[0]).status == 507
    assert part(taking.client, upload, 1, PARTS[0]).status == 507
