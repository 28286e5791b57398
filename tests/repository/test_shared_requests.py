"""Readers that share a request: damage of one frame is told to those alone who asked for that frame."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from coldhouse.errors import Corruption
from coldhouse.model import Buffer
from coldhouse.repository import PackSettings, pack_reader
from tests.repository.samples import new_repository, packs_of, store
from tests.support.memory_storage import MemoryStorage

FRAME = 262144


class SlowStorage(MemoryStorage):
    """Answers the first request for frames only when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()
        self.go = threading.Event()
        self.slow = False

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        if self.slow and offset < FRAME:
            self.slow = False
            self.asked.set()
            assert self.go.wait(10)
        return super().get_range(name, offset, length)


def test_who_waits_for_a_sound_frame_gets_it_though_the_request_began_with_a_damaged_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = SlowStorage()
    repository = new_repository(storage)
    content = bytes(range(256)) * (3 * FRAME // 256)
    (file,) = store(repository, [content], PackSettings(compression="none", frames=4))
    packs = packs_of(repository, [file])
    name = next(one for one in storage.objects if one.startswith("packs/"))
    damaged = bytearray(storage.objects[name])
    damaged[1000] ^= 1
    storage.objects[name] = bytes(damaged)

    wait = pack_reader._Flight.wait

    def announced(flight: pack_reader._Flight[object]) -> object:
        storage.go.set()
        return wait(flight)

    monkeypatch.setattr(pack_reader._Flight, "wait", announced)
    with repository.pack_reader() as reader, ThreadPoolExecutor(2) as pool:
        list(reader.read(packs, file.extents, 2 * FRAME, 0))
        storage.slow = True
        first = pool.submit(lambda: b"".join(reader.read(packs, file.extents, 0, FRAME)))
        assert storage.asked.wait(10)
        second = pool.submit(lambda: b"".join(reader.read(packs, file.extents, FRAME, FRAME)))
        assert second.result() == content[FRAME : 2 * FRAME]
        with pytest.raises(Corruption):
            first.result()


def test_a_frame_that_has_just_arrived_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks between the arrival of a frame and its place in the cache waits, and makes no request of his own."""
    repository = new_repository(MemoryStorage())
    content = bytes(range(256)) * 100
    (file,) = store(repository, [content], PackSettings(compression="none", frames=4))
    packs = packs_of(repository, [file])
    began, decided = threading.Event(), threading.Event()
    keep, wait = pack_reader.PackReader._keep, pack_reader._Flight.wait
    later: list[Future[bytes]] = []

    with repository.pack_reader() as reader, ThreadPoolExecutor(2) as pool:

        def asked_meanwhile(self: pack_reader.PackReader, id: bytes, blocks: Mapping[int, bytes]) -> None:
            if not began.is_set():
                began.set()
                later.append(pool.submit(lambda: b"".join(reader.read(packs, file.extents, 0, len(content)))))
                later[0].add_done_callback(lambda _: decided.set())
                assert decided.wait(10)
            keep(self, id, blocks)

        def announced(flight: pack_reader._Flight[object]) -> object:
            decided.set()
            return wait(flight)

        monkeypatch.setattr(pack_reader.PackReader, "_keep", asked_meanwhile)
        monkeypatch.setattr(pack_reader._Flight, "wait", announced)
        assert b"".join(reader.read(packs, file.extents, 0, len(content))) == content
        assert later[0].result() == content
        assert reader.requests == 2, "the pack's table and the frame"
