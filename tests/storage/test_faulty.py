"""The store with faults does what its faults say: other tests build on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.errors import Corruption, ObjectExists, StorageError, StorageFull
from coldhouse.storage import Storage, names_of
from coldhouse.storage.local import LocalStorage
from tests.storage.contract import StorageContract
from tests.support.faulty import Call, Fault, FaultyStorage, How


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Storage]:
        storage = FaultyStorage(LocalStorage(tmp_path))
        yield storage
        storage.close()


@pytest.fixture
def storage(tmp_path: Path) -> FaultyStorage:
    return FaultyStorage(LocalStorage(tmp_path))


def test_an_error_before_the_effect(storage: FaultyStorage) -> None:
    storage.inject(Fault(How.BEFORE, "create", "packs/*", StorageFull("full")))
    storage.create("config", b"")
    with pytest.raises(StorageFull):
        storage.create("packs/1", b"")
    storage.create("packs/2", b"")
    assert names_of(storage.list("")) == ["config", "packs/2"]


def test_an_error_after_the_effect(storage: FaultyStorage) -> None:
    storage.inject(Fault(How.AFTER, "create"))
    with pytest.raises(StorageError, match="injected"):
        storage.create("config", b"")
    assert names_of(storage.list("")) == ["config"]


def test_the_third_and_fourth_call_fail(storage: FaultyStorage) -> None:
    storage.inject(Fault(How.BEFORE, "put", skip=2, times=2))
    failed = []
    for number in range(6):
        try:
            storage.put(f"{number}", b"")
        except StorageError:
            failed.append(number)
    assert failed == [2, 3]


def test_a_request_that_is_repeated(storage: FaultyStorage) -> None:
    storage.inject(Fault(How.TWICE, "create"))
    with pytest.raises(ObjectExists):
        storage.create("config", b"")


def test_what_is_read_is_short_or_different(storage: FaultyStorage) -> None:
    storage.create("a", b"0123456789")
    storage.inject(Fault(How.SHORT, "get"), Fault(How.FLIP, "get"), Fault(How.SHORT, "get_range"))
    assert bytes(storage.get("a")) == b"01234"
    assert bytes(storage.get("a")) == b"0123446789"
    with pytest.raises(Corruption):
        storage.get_range("a", 0, 10)
    assert bytes(storage.get("a")) == b"0123456789"


def test_a_listing_that_breaks_off(storage: FaultyStorage) -> None:
    for name in "abcd":
        storage.create(name, b"")
    storage.inject(Fault(How.AFTER, "list"), Fault(How.SHORT, "list"))
    seen = []
    with pytest.raises(StorageError):
        for found in storage.list(""):
            seen.append(found.name)
    assert seen == ["a", "b", "c", "d"]
    assert names_of(storage.list("")) == ["a", "b"]


def test_a_delay(storage: FaultyStorage) -> None:
    storage.inject(Fault(How.DELAY, "sync", seconds=0.05))
    before = time.monotonic()
    storage.sync()
    assert time.monotonic() - before >= 0.05


def test_calls_are_counted_and_watched(storage: FaultyStorage) -> None:
    seen: list[Call] = []
    storage.watch = seen.append
    storage.create("packs/1", b"123")
    storage.get_range("packs/1", 0, 2)
    storage.delete(["packs/1", "packs/2"])
    assert (
        storage.calls
        == seen
        == [Call("create", "packs/1", 3), Call("get_range", "packs/1", 2), Call("delete", "packs/1", 2)]
    )
    assert (storage.count(), storage.count("create"), storage.count("*", "keys/*")) == (3, 1, 0)
    storage.forget_calls()
    assert storage.count() == 0
