"""Readers that share a request: damage of one frame is told to those alone who asked for that frame."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

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
