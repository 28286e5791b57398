"""A bounded speed, by a clock that the test turns: no test waits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Condition, Lock

import pytest

from coldhouse.errors import ObjectExists, ObjectMissing
from coldhouse.model import Buffer
from coldhouse.storage import Storage
from coldhouse.storage.local import LocalStorage
from coldhouse.storage.throttled import Pace, ThrottledStorage, throttled
from tests.storage.contract import StorageContract
from tests.support.memory_storage import MemoryStorage

MIB = 1 << 20


class Clock:
    """Time that passes only while somebody sleeps; keeps every sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []
        self._lock = Lock()

    def time(self) -> float:
        with self._lock:
            return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.sleeps.append(seconds)
            self.now += seconds


def pace(rate: int, clock: Clock) -> Pace:
    return Pace(rate, clock=clock.time, sleep=clock.sleep)


class TestContract(StorageContract):
    """It is a store like every other."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        clock = Clock()
        return ThrottledStorage(LocalStorage(tmp_path), upload=pace(MIB, clock), download=pace(MIB, clock))


def test_the_average_is_the_rate_whatever_the_sizes() -> None:
    clock = Clock()
    bounded = pace(1000, clock)
    for size in (1, 999, 5000, 3000, 1000):
        bounded.take(size)
    bounded.take(0)  # when this one's turn has come, all before have had their time
    assert clock.now - 1000.0 == pytest.approx(10.0 - 0.5)  # half a second was unused before


def test_a_pause_gives_no_more_than_half_a_second_for_free() -> None:
    clock = Clock()
    bounded = pace(1000, clock)
    bounded.take(10)
    clock.now += 3600
    began = clock.now
    for _ in range(4):
        bounded.take(500)
    bounded.take(0)
    assert clock.now - began == pytest.approx(1.5)


def test_no_single_sleep_is_longer_than_a_second_so_that_an_interrupt_is_soon_seen() -> None:
    clock = Clock()
    bounded = pace(1000, clock)
    bounded.take(60_000)
    bounded.take(1)
    assert max(clock.sleeps) <= 1.0
    assert sum(clock.sleeps) == pytest.approx(59.5)


def test_threads_share_one_pace() -> None:
    clock = Clock()
    bounded = pace(1000, clock)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bounded.take, [250] * 40))
    bounded.take(0)
    assert clock.now - 1000.0 >= 10.0 - 0.5 - 1e-6


def test_uploads_and_downloads_are_bounded_each_by_their_own() -> None:
    clock = Clock()
    inner = MemoryStorage()
    store = ThrottledStorage(inner, upload=pace(1000, clock), download=pace(100, clock))
    store.create("a", bytes(1500))
    store.put("b", bytes(500))
    assert clock.now == pytest.approx(1001.0)  # the second waited until the first had had its time
    store.get_range("a", 0, 200)
    store.get("b")  # paid afterwards: 200 bytes at 100 in a second, and half a second is free
    store.get_range("a", 0, 1)
    assert clock.now > 1006.0
    assert (inner.objects["a"], inner.objects["b"]) == (bytes(1500), bytes(500))


def test_listing_and_looking_cost_no_bandwidth() -> None:
    clock = Clock()
    store = ThrottledStorage(MemoryStorage(), upload=pace(1, clock), download=pace(1, clock))
    assert list(store.list("")) == []
    with pytest.raises(ObjectMissing):
        store.size("absent")
    store.delete(["absent"])
    store.sync()
    assert clock.sleeps == []


def test_without_a_bound_the_store_stays_itself() -> None:
    inner = MemoryStorage()
    assert throttled(inner) is inner
    assert isinstance(throttled(inner, upload=1), ThrottledStorage)


@pytest.mark.parametrize("rate", [0, -1])
def test_a_pace_is_positive(rate: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        Pace(rate)


class Crowd(MemoryStorage):
    """Keeps every call until so many are under way at once, or until it is told that no more will come."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self.wanted = wanted
        self.inside = 0
        self.most = 0
        self._changed = Condition()

    def create(self, name: str, data: Buffer) -> None:
        self._meet()
        super().create(name, data)

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        self._meet()
        return super().get_range(name, offset, length)

    def _meet(self) -> None:
        with self._changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.most >= self.wanted, 60), "fewer at once than may be"
            self.inside -= 1


class TestAtOnce:
    """So many requests of a kind are under way at once: not more, and not fewer."""

    @pytest.mark.parametrize("at_once", [1, 3])
    def test_uploads(self, at_once: int) -> None:
        crowd = Crowd(at_once)
        bounded = ThrottledStorage(crowd, uploads=at_once)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: bounded.create(f"a{number}", b"x"), range(40)))
        assert crowd.most == at_once
        assert len(crowd.objects) == 40

    def test_downloads_do_not_wait_for_uploads(self) -> None:
        crowd = Crowd(2)
        crowd.objects["a"] = b"abc"
        bounded = throttled(crowd, uploads=1, downloads=1)
        with ThreadPoolExecutor(2) as pool:
            read, written = pool.submit(bounded.get_range, "a", 1, 2), pool.submit(bounded.create, "b", b"")
            assert bytes(read.result()) == b"bc"
            written.result()

    def test_a_long_read_asks_for_2_mib_at_a_time_whatever_pieces_are_wanted(self) -> None:
        store = MemoryStorage()
        store.objects["a"] = bytes(5 * MIB)
        pieces = list(ThrottledStorage(store, downloads=1).read_through("a", 0, 5 * MIB, piece=9))
        assert [len(piece) for piece in pieces] == [2 * MIB, 2 * MIB, MIB]

    def test_a_place_is_given_back_when_the_store_fails(self) -> None:
        bounded = ThrottledStorage(MemoryStorage(), uploads=1, downloads=1)
        for _ in range(3):
            with pytest.raises(ObjectMissing):
                bounded.get("nothing")
            with pytest.raises(ObjectMissing):
                bounded.get_range("nothing", 0, 1)
        bounded.create("a", b"x")
        for _ in range(3):
            with pytest.raises(ObjectExists):
                bounded.create("a", b"x")
        bounded.put("a", b"y")
        assert bounded.get("a") == b"y"
