"""Small files come as one archive, in parts: each of them is taken as if it had come alone, and nothing else is."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldhouse.cityhash import file_hash
from coldhouse.errors import StorageFull
from coldhouse.gateway import archive
from coldhouse.gateway.archive import ArchiveSink, UnknownArchive
from coldhouse.gateway.intake import Received
from coldhouse.gateway.s3 import Refusal
from tests.gateway.client import Answer
from tests.gateway.conftest import Taking
from tests.gateway.memory import MemorySink
from tests.gateway.test_multipart import begin, complete, part

PATH = "data/archive.tar"
FILES = {
    "98f/b8fc2ee4efd357": b"CREATE TABLE db.t (id UInt64) ENGINE = MergeTree ORDER BY id",
    "2ee/e4b47292cd047f": bytes(range(256)) * 10,
    "e5f/e93075849e04b9": b"0",
    "41e/e69e361f39e978": b"x" * 512,
    "big": bytes(range(255)) * 8000,  # of two parts, and too large to be kept in memory
    ".backup": b"<config>the list</config>",
}


def tar(files: Mapping[str, bytes] = FILES) -> bytes:
    """An archive as ClickHouse writes it: plain entries only."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as writer:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            writer.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def in_parts(content: bytes, size: int = 1_000_000) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def send(taking: Taking, content: bytes) -> Answer:
    """All parts, and the end; the first answer that is a refusal, or that to the end."""
    upload = begin(taking.client, PATH)
    parts = in_parts(content)
    for number, body in enumerate(parts, 1):
        answer = part(taking.client, upload, number, body, PATH)
        if answer.status != 200:
            return answer
    return complete(taking.client, upload, range(1, len(parts) + 1), PATH)


def test_its_files_have_arrived_as_if_each_had_come_alone(taking: Taking) -> None:
    assert send(taking, tar()).status == 200
    files = {name: content for name, content in FILES.items() if name != ".backup"}
    assert set(taking.session.arrived) == set(files)
    for name, content in files.items():
        there = taking.session.arrived[name]
        assert (there.size, there.checksum, taking.content(name)) == (len(content), file_hash(content), content)
    assert taking.session.kept == {"98f/b8fc2ee4efd357": FILES["98f/b8fc2ee4efd357"]}
    assert taking.session.document == FILES[".backup"]
    assert taking.judged == [FILES[".backup"]]
    assert not taking.session.unknown_archive


def test_the_server_sees_the_archive_once_it_is_complete(taking: Taking) -> None:
    content = tar()
    assert taking.client.head(PATH).status == 404
    assert send(taking, content).status == 200
    seen = taking.client.head(PATH)
    assert (seen.status, seen.headers["content-length"]) == (200, str(len(content)))
    assert taking.client.get(PATH).status == 403


def test_a_part_and_an_end_whose_answers_were_lost_come_again(taking: Taking) -> None:
    upload = begin(taking.client, PATH)
    parts = in_parts(tar())
    assert len(parts) == 3
    for number in (1, 2, 2, 1, 3, 3):
        assert part(taking.client, upload, number, parts[number - 1], PATH).status == 200
    for _ in range(2):
        assert complete(taking.client, upload, [1, 2, 3], PATH).status == 200
    assert taking.content("big") == FILES["big"]
    assert taking.sink.opened == 5, "every file was stored once"
    assert len(taking.judged) == 1


def test_its_lock_is_a_lock(taking: Taking) -> None:
    lock = "data/archive.tar.lock"
    assert taking.client.put(lock, b"me", if_none_match="*").status == 200
    assert taking.client.get(lock).body == b"me"
    assert taking.client.put(lock, b"you", if_none_match="*").status == 412
    assert taking.client.delete(lock).status == 204
    assert part(taking.client, "none", 1, b"", PATH).status == 403, "after the lock is gone nothing is taken"


def test_the_last_word_is_that_of_who_judges(taking: Taking) -> None:
    taking.verdict = "b: listed, but never sent"
    answer = send(taking, tar())
    assert (answer.status, answer.message) == (403, "b: listed, but never sent")
    assert taking.session.document is None
    assert taking.client.head(PATH).status == 404
    assert not taking.session.unknown_archive


def test_a_store_that_is_full_ends_it(taking: Taking) -> None:
    taking.sink.failure = StorageFull("no room")
    assert send(taking, tar()).status == 507
    assert taking.session.error is taking.sink.failure


def test_an_archive_that_is_given_up_holds_nothing(taking: Taking) -> None:
    upload = begin(taking.client, PATH)
    assert part(taking.client, upload, 1, in_parts(tar())[0], PATH).status == 200
    assert taking.sink.aborted == 0
    assert taking.client.delete(PATH, f"uploadId={upload}").status == 204
    assert taking.sink.aborted == 1, "the large file that had begun"


def of_kind(kind: bytes) -> bytes:
    entry = tarfile.TarInfo("a")
    entry.type = kind
    entry.linkname = "b"
    return entry.tobuf(tarfile.USTAR_FORMAT) + tar()


@pytest.mark.parametrize(
    "content",
    [
        of_kind(tarfile.SYMTYPE),
        of_kind(tarfile.DIRTYPE),
        of_kind(tarfile.XHDTYPE),
        b"PK\3\4" + tar(),
        tar()[512:],
        tar().rstrip(b"\0"),
        tar()[:3000],
        tar({"a": b"1"}),
        tar({}),
        tar({"a": b"1" * (65 << 20)})[: 65 << 20],
    ],
    ids=["link", "folder", "extended", "zip", "no head", "no end", "cut", "no list", "empty", "part too large"],
)
def test_what_is_no_such_archive_is_refused_and_told(content: bytes, taking: Taking) -> None:
    if len(content) > archive.MAX_PART:
        upload = begin(taking.client, PATH)
        answer = part(taking.client, upload, 1, content, PATH)
    else:
        answer = send(taking, content)
    assert answer.status == 403
    assert "cannot be read" in answer.message
    assert taking.session.unknown_archive
    assert taking.session.document is None


def test_a_list_that_is_too_long_is_refused(taking: Taking) -> None:
    answer = send(taking, tar({".backup": bytes(4**10 + 1)}))
    assert (answer.status, "larger than" in answer.message) == (403, True)
    assert not taking.session.unknown_archive


def fed(pieces: Iterable[bytes]) -> tuple[dict[str, bytes], bytes]:
    """What comes of an archive that arrives in these parts."""
    sink = MemorySink()
    found: dict[str, bytes] = {}

    def record(name: str, received: Received, body: bytes | None) -> None:
        content = sink.read(received.extents)
        assert body in (None, content)
        assert received == Received(len(content), file_hash(content) if content else b"", received.extents)
        found[name] = content

    archived = ArchiveSink(sink, 1 << 20, record)
    for piece in pieces:
        stream = archived.open_file(len(piece), None)
        stream.write(piece)
        stream.finish(bytes(16), verified=False)
    return found, archived.document()


CONTENTS = st.one_of(
    st.binary(max_size=3), st.integers(0, 3000).map(bytes), st.sampled_from([511, 512, 513]).map(bytes)
)


@settings(max_examples=200)
@given(st.dictionaries(st.from_regex(r"[0-9a-f]{3}/[0-9a-f]{29}", fullmatch=True), CONTENTS, max_size=6), st.data())
def test_wherever_it_is_cut_into_parts_its_files_are_the_same(files: dict[str, bytes], data: st.DataObject) -> None:
    content = tar(files | {".backup": b"list"})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    places = [0, *cuts, len(content)]
    pieces = [content[start:end] for start, end in pairwise(places)]
    assert fed(pieces) == (files, b"list")


@settings(max_examples=300)
@given(st.binary(max_size=2000), st.integers(0, 5000), st.integers(0, 512))
def test_any_bytes_give_files_or_a_refusal(junk: bytes, at: int, cut: int) -> None:
    content = bytearray(tar({"abc/def": b"1" * 700, ".backup": b"list"}))
    content[at : at + len(junk)] = junk
    with suppress(UnknownArchive, Refusal):  # the latter where the head of the list says that it is too long
        fed([bytes(content[:cut]), bytes(content[cut:])])


FIELDS = [(0, 100), (100, 108), (124, 136), (148, 156), (156, 157), (157, 257), (257, 265), (265, 345), (345, 500)]


def summed(header: bytes) -> bytes:
    """The header with the checksum that it has to have."""
    checksum = sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")
    return header[:148] + b"%06o\0 " % checksum + header[156:]


@settings(max_examples=500)
@given(
    st.from_regex(r"[0-9a-f]{3}/[0-9a-f]{29}", fullmatch=True)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=24),
    st.integers(0, 1500),
    st.sampled_from((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT)),
    st.lists(st.tuples(st.sampled_from(FIELDS), st.integers(0, 3), st.sampled_from(b"\0 07a\xff")), max_size=2),
    st.sampled_from([True, True, True, False]),
)
def test_a_header_is_what_the_tar_library_takes_it_for(
    name: str, size: int, form: Literal[0, 1], changes: list[tuple[tuple[int, int], int, int]], right: bool
) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    header = bytearray(entry.tobuf(form, "utf-8", "surrogateescape")[-512:])
    for (start, end), at, byte in changes:
        header[start + at % (end - start)] = byte
    head = summed(bytes(header)) if right else bytes(header)
    try:
        told = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        told = tarfile.TarInfo("")
    told_size = told.size
    if told.type != tarfile.REGTYPE or not told.name or told_size not in range(5000):
        with pytest.raises((UnknownArchive, Refusal)):
            fed([head, bytes(-size % 512 + size), tar({".backup": b"list"})])
        return
    content = bytes(range(256)) * 20
    body = content[:told_size] + bytes(-told_size % 512)
    files, _ = fed([head, body, tar({".backup": b"list"})])
    assert files == {told.name: content[:told_size]}
