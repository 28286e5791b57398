"""What a bucket would bill: every request by its kind, and the bytes each way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coldhouse.errors import ObjectExists, ObjectMissing
from coldhouse.model import Buffer
from coldhouse.storage import Storage
from coldhouse.storage.base import PIECE
from coldhouse.storage.counted import CountedStorage, Requests, requests_of
from coldhouse.storage.local import LocalStorage
from tests.storage.contract import StorageContract
from tests.support.memory_storage import MemoryStorage


class TestContract(StorageContract):
    """It is a store like every other."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        return CountedStorage(LocalStorage(tmp_path))


def test_every_kind_of_request_is_counted_with_its_bytes() -> None:
    store = CountedStorage(MemoryStorage())
    store.create("a", b"12345")
    store.put("b", b"123")
    store.get("a")
    store.get_range("a", 1, 2)
    store.size("a")
    store.delete(["a", "b"])
    assert store.requests == Requests(put=2, get=2, head=1, delete=1, uploaded=8, downloaded=7)
    assert store.requests.total == 6


def test_a_long_read_is_left_to_the_store_and_is_one_request() -> None:
    """The default asks in pieces of 2 MiB; a bucket has one answer for all of it, and must be asked for that."""

    class Streaming(MemoryStorage):
        def read_through(self, name: str, offset: int, length: int, *, piece: int = PIECE) -> Iterator[Buffer]:
            yield memoryview(self.objects[name])[offset : offset + length]

    inner = Streaming()
    inner.objects["a"] = bytes(5 << 20)
    store = CountedStorage(inner)
    assert [len(piece) for piece in store.read_through("a", 1, 4 << 20)] == [4 << 20]
    assert store.requests == Requests(get=1, downloaded=4 << 20)


def test_a_request_that_is_refused_is_billed_all_the_same() -> None:
    store = CountedStorage(MemoryStorage())
    store.create("a", b"1")
    with pytest.raises(ObjectExists):
        store.create("a", b"1")
    with pytest.raises(ObjectMissing):
        store.get("b")
    assert (store.requests.put, store.requests.get, store.requests.downloaded) == (2, 1, 0)


@pytest.mark.parametrize(("objects", "answers"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (2000, 2), (2001, 3)])
def test_a_listing_is_billed_by_answers_of_a_thousand_names(objects: int, answers: int) -> None:
    inner = MemoryStorage()
    inner.objects = {f"x/{number:05}": b"" for number in range(objects)}
    store = CountedStorage(inner)
    assert len(list(store.list("x/"))) == objects
    assert store.requests == Requests(list=answers)
    store.delete(list(inner.objects))
    assert store.requests.delete == -(-objects // 1000)


def test_threads_lose_no_count() -> None:
    store = CountedStorage(MemoryStorage())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.create(f"{number}", b"12"), range(2000)))
    assert store.requests == Requests(put=2000, uploaded=4000)


def test_a_store_that_does_not_count_says_so() -> None:
    inner = MemoryStorage()
    assert requests_of(inner) is None
    assert requests_of(CountedStorage(inner)) == Requests()
