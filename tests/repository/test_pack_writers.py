"""Many threads that write packs at once: no deadlock, bounded memory, and every byte where it belongs."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from coldhouse.errors import StorageFull
from coldhouse.model import Buffer, Extent
from coldhouse.repository import FileStream, PackSettings, PackWriter, Repository
from coldhouse.repository.pack_format import FRAME_SIZE
from tests.repository.samples import checksum, new_repository
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage

TINY = PackSettings("none", buffers=2, uploads=1, frames=4)


class SlowStorage(MemoryStorage):
    """A store that takes its time, or stands still until it is let go; it notes the most creates at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.seconds = seconds

    def create(self, name: str, data: Buffer) -> None:
        if name.startswith("packs/"):
            assert self.open.wait(30)
            time.sleep(self.seconds)
        super().create(name, data)


def write_in_pieces(writer: PackWriter, data: bytes, dice: random.Random) -> tuple[Extent, ...]:
    stream = writer.open_file(len(data), checksum(data) if dice.random() < 0.5 else None)
    view = memoryview(data)
    while view:
        step = dice.choice([1, 100, 4096, 65536, FRAME_SIZE, 3 * FRAME_SIZE])
        stream.write(view[:step])
        view = view[step:]
        if dice.random() < 0.05:
            time.sleep(0.0005)
    return stream.finish(checksum(data), verified=True)


@pytest.mark.parametrize("seed", range(6))
def test_random_writers_at_once(seed: int) -> None:
    dice = random.Random(seed)
    storage = SlowStorage(dice.choice([0, 0.002]))
    repository = new_repository(storage)
    options = PackSettings(
        dice.choice(["none", "auto"]), dice.randint(1, 3), dice.randint(1, 2), frames=dice.choice([1, 3, 8])
    )
    sizes = [dice.choice([0, 10, 999, 70_000, FRAME_SIZE, 900_000]) for _ in range(60)]
    kept: dict[int, tuple[bytes, tuple[Extent, ...]]] = {}

    def work(number: int) -> None:
        mine = random.Random(1000 * seed + number)
        data = mine.randbytes(sizes[number])
        if mine.random() < 0.15:
            stream = writer.open_file(len(data), None)
            stream.write(data[: len(data) // 2])
            stream.abort()
        elif mine.random() < 0.1:
            writer.flush()
        else:
            kept[number] = data, write_in_pieces(writer, data, mine)

    with repository.pack_writer(options) as writer:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(len(sizes))))
        writer.flush()
        packs = {ref.id: ref for ref in writer.packs()}
    reader = repository.pack_reader()
    for data, extents in kept.values():
        assert b"".join(reader.read(packs, extents, 0, len(data))) == data
    for id in packs:
        repository.check_pack(id)
    listed = {(id, run.offset, run.length): run for id in packs for run in repository.directory(id)[1]}
    for data, extents in kept.values():
        for extent in extents:
            run = listed[extent.pack, extent.offset, extent.length]
            assert run.size == len(data)
            assert run.checksum in (checksum(data), b"")  # not known if the pack was flushed before the file ended


def test_streams_that_stall_with_slots_in_hand_hold_up_nobody(repository: Repository) -> None:
    """Each stalled stream has reserved slots; together they have reserved every slot of every buffer."""
    with repository.pack_writer(TINY) as writer:
        stalled = [writer.open_file(4 * FRAME_SIZE, None) for _ in range(6)]
        for stream in stalled:
            stream.write(b"s" * FRAME_SIZE)
        done = threading.Event()

        def others() -> None:
            for _ in range(20):
                write_in_pieces(writer, os.urandom(2 * FRAME_SIZE + 100), random.Random(1))
            done.set()

        thread = threading.Thread(target=others)
        thread.start()
        assert done.wait(30)
        thread.join()
        extents = []
        for stream in stalled:
            stream.write(b"s" * 3 * FRAME_SIZE)
            extents.append(stream.finish(b"c" * 16, verified=True))
        writer.flush()
        packs = {ref.id: ref for ref in writer.packs()}
    reader = repository.pack_reader()
    for found in extents:
        assert b"".join(reader.read(packs, found, 0, 4 * FRAME_SIZE)) == b"s" * 4 * FRAME_SIZE


def test_more_waiting_writers_than_buffers_all_end() -> None:
    storage = SlowStorage()
    repository = new_repository(storage)
    storage.open.clear()
    with repository.pack_writer(TINY) as writer:
        with ThreadPoolExecutor(10) as pool:
            ends = [pool.submit(write_in_pieces, writer, bytes(6 * FRAME_SIZE), random.Random(n)) for n in range(10)]
            time.sleep(0.3)
            assert not all(end.done() for end in ends)  # all buffers are busy: the writers wait
            storage.open.set()
            assert all(len(end.result(30)) >= 1 for end in ends)
        writer.flush()


def test_memory_is_bounded_while_the_store_stands_still() -> None:
    storage = SlowStorage()
    repository = new_repository(storage)
    storage.open.clear()
    taken = 0
    with repository.pack_writer(TINY) as writer:

        def pour() -> None:
            nonlocal taken
            stream = writer.open_file(100 * FRAME_SIZE, None)
            for _ in range(100):
                stream.write(bytes(FRAME_SIZE))
                taken += 1
            stream.finish(b"c" * 16, verified=True)

        thread = threading.Thread(target=pour)
        thread.start()
        time.sleep(0.3)
        assert taken <= TINY.buffers * TINY.frames
        storage.open.set()
        thread.join(30)
        assert taken == 100


def test_the_first_failure_sticks(storage: MemoryStorage) -> None:
    full = StorageFull("no room")
    faulty = FaultyStorage(storage, Fault(How.BEFORE, "create", "packs/*", full))
    repository = new_repository(faulty)
    with repository.pack_writer(TINY) as writer:
        stream = writer.open_file(10 * FRAME_SIZE, None)
        with pytest.raises(StorageFull):
            for _ in range(10):
                stream.write(bytes(FRAME_SIZE))
                time.sleep(0.01)
        for call in (writer.flush, lambda: writer.open_file(1, None), lambda: stream.write(bytes(FRAME_SIZE))):
            with pytest.raises(StorageFull):
                call()
        stream.abort()


def test_a_failure_wakes_those_who_wait(storage: MemoryStorage) -> None:
    faulty = FaultyStorage(storage, Fault(How.DELAY, "create", "packs/*", seconds=0.2, times=2))
    faulty.inject(Fault(How.BEFORE, "create", "packs/*", StorageFull("no room"), skip=0, times=99))
    repository = new_repository(faulty)
    with repository.pack_writer(TINY) as writer, ThreadPoolExecutor(6) as pool:
        ends = [pool.submit(write_in_pieces, writer, bytes(20 * FRAME_SIZE), random.Random(n)) for n in range(6)]
        for end in ends:
            with pytest.raises(StorageFull):
                end.result(30)


def test_a_failing_sync_fails_the_flush(storage: MemoryStorage) -> None:
    faulty = FaultyStorage(storage)
    repository = new_repository(faulty)
    faulty.inject(Fault(How.BEFORE, "sync", error=StorageFull("no room")))
    with repository.pack_writer(TINY) as writer, pytest.raises(StorageFull):
        writer.flush()


def test_closing_leaves_no_thread_and_wakes_waiting_writers() -> None:
    storage = SlowStorage(0.05)
    repository = new_repository(storage)
    before = threading.active_count()
    writer = repository.pack_writer(TINY)
    errors = []

    def pour() -> None:
        try:
            write_in_pieces(writer, bytes(300 * FRAME_SIZE), random.Random(1))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=pour)
    thread.start()
    time.sleep(0.1)
    writer.close()
    thread.join(30)
    writer.close()
    assert len(errors) == 1
    assert threading.active_count() == before


class TestStream:
    """What a stream makes of senders that do not keep their word."""

    def open(self, repository: Repository, size: int) -> FileStream:
        self.writer = repository.pack_writer(TINY)
        return self.writer.open_file(size, None)

    def test_more_bytes_than_announced(self, repository: Repository) -> None:
        stream = self.open(repository, 10)
        with pytest.raises(ValueError, match="gets more"):
            stream.write(bytes(11))
        self.writer.close()

    def test_fewer_bytes_than_announced(self, repository: Repository) -> None:
        stream = self.open(repository, FRAME_SIZE + 10)
        stream.write(bytes(FRAME_SIZE + 3))
        with pytest.raises(ValueError, match="7 bytes early"):
            stream.finish(b"c" * 16, verified=False)
        stream.abort()
        self.writer.flush()
        self.writer.close()

    def test_an_aborted_file_gives_its_slots_back(self, repository: Repository, storage: MemoryStorage) -> None:
        stream = self.open(repository, 4 * FRAME_SIZE)
        stream.write(bytes(FRAME_SIZE))
        stream.abort()
        other = self.writer.open_file(3 * FRAME_SIZE, None)
        other.write(bytes(3 * FRAME_SIZE))
        other.finish(b"c" * 16, verified=True)
        self.writer.flush()
        assert self.writer.objects == 1
        (ref,) = self.writer.packs()
        assert [run.length for run in repository.directory(ref.id)[1]] == [3 * FRAME_SIZE]
        self.writer.close()

    def test_nothing_written_stores_nothing(self, repository: Repository, storage: MemoryStorage) -> None:
        stream = self.open(repository, 100)
        stream.abort()
        self.writer.flush()
        self.writer.close()
        assert self.writer.objects == 0


def test_a_file_of_more_than_4_gib(repository: Repository) -> None:
    """Its bytes are thrown away by the store; what counts is the arithmetic of its extents."""

    class Abyss(MemoryStorage):
        def create(self, name: str, data: Buffer) -> None:
            super().create(name, b"" if name.startswith("packs/") else data)

    repository = new_repository(Abyss())
    size = (4 << 30) + 5
    chunk = bytes(16 << 20)
    with repository.pack_writer(PackSettings("none")) as writer:
        stream = writer.open_file(size, None)
        for _ in range(size // len(chunk)):
            stream.write(chunk)
        stream.write(bytes(5))
        extents = stream.finish(b"c" * 16, verified=True)
        writer.flush()
    assert sum(extent.length for extent in extents) == size
    assert len({extent.pack for extent in extents}) == writer.objects == 129
