"""Reading files out of packs: by ranges, each frame authenticated, each frame fetched once however many ask for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from coldhouse.errors import Corruption, ObjectMissing
from coldhouse.model import Buffer, Extent, PackRef
from coldhouse.repository import names
from coldhouse.repository.crypto import MIB, Keyring, damaged, missing
from coldhouse.repository.opened_pack import OpenedPack, check_sizes, fetch, opened_pack
from coldhouse.repository.pack_format import (
    FOOTER_SIZE,
    FRAME_SIZE,
    SLOT_SIZE,
    open_frame,
    open_frame_into,
)
from coldhouse.repository.sweeps import SweptFrames, is_swept
from coldhouse.spare_memory import SpareMemory
from coldhouse.storage.base import Storage

#: Bytes of decrypted frames that a reader keeps, and bytes that one of its requests fetches, unless it is told others.
CACHE_BYTES = 64 * MIB
FETCH_BYTES = 2 * MIB
#: Frame tables that a reader keeps; one of a pack of 128 frames takes about 4 KiB.
TABLES = 1024
#: Frames of a run that are read, deciphered and given on together: some of the interpreter's cost is paid once for all.
_SWEPT = 8

T = TypeVar("T")


class _Flight(Generic[T]):
    """Something that one thread fetches while others wait for it."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._landed: list[T] = []
        self._error: BaseException | None = None

    def land(self, value: T) -> None:
        self._landed.append(value)
        self._done.set()

    def crash(self, error: BaseException) -> None:
        self._error = error
        self._done.set()

    def wait(self) -> T:
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._landed[0]


class PackReader:
    """Reads byte ranges of files out of packs; any thread may use it.

    Decrypted frames are kept up to ``cache_bytes``, the least recently used go first. One request fetches at most
    ``fetch_bytes`` (and at least a frame): what lies behind the frame asked for comes along and waits in the cache.
    What is lent in ranges of at least ``sweep_bytes`` is read through instead, past the cache, by one request for each
    run of a frame or more in a pack; 0: nothing is.
    """

    def __init__(
        self, storage: Storage, ring: Keyring, cache_bytes: int, fetch_bytes: int, sweep_bytes: int = 0
    ) -> None:
        self.bytes_fetched = 0
        self.requests = 0
        self._storage = storage
        self._ring = ring
        self._cache_bytes = cache_bytes
        self._fetch_bytes = fetch_bytes
        self._sweep_bytes = sweep_bytes
        self._memory = SpareMemory()
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._block_bytes = 0
        self._block_flights: dict[tuple[bytes, int], _Flight[dict[int, bytes]]] = {}
        self._packs: OrderedDict[bytes, OpenedPack] = OrderedDict()
        self._pack_flights: dict[bytes, _Flight[OpenedPack]] = {}

    def __enter__(self) -> PackReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget what is cached."""
        with self._lock:
            self._blocks.clear()
            self._block_bytes = 0
            self._packs.clear()

    def read(
        self, packs: Mapping[bytes, PackRef], extents: Sequence[Extent], offset: int, length: int
    ) -> Iterator[memoryview]:
        """Yield ``length`` bytes from ``offset`` of the file that these extents make up, in pieces of a frame at most.

        Raises:
            Corruption: a pack is missing or damaged; nothing that is not authenticated is ever yielded.
            ValueError: the range is not within the file.
        """
        for pack, at, size in _runs(extents, offset, length):
            yield from self._read(packs[pack], at, size)

    def lend(
        self,
        packs: Mapping[bytes, PackRef],
        extents: Sequence[Extent],
        offset: int,
        length: int,
        swept: SweptFrames | None = None,
    ) -> Iterator[memoryview]:
        """As :meth:`read`, with long runs read through; a piece is valid until the next is asked for, and no longer.

        The next one comes into the same memory: new memory for each cost a restore a tenth of its processor time.
        Of what lies behind short runs, nothing comes along of which only frames are left that are ``swept``.
        """
        for pack, at, size in _runs(extents, offset, length):
            if is_swept(length, size, self._sweep_bytes):
                yield from self._sweep(packs[pack], at, size)
            else:
                yield from self._read(packs[pack], at, size, swept.of(pack) if swept else 0)

    def swept_frames(self) -> SweptFrames:
        """Begin to note what will be read through, for :meth:`lend`."""
        return SweptFrames(self._sweep_bytes)

    def kept(self, extents: Sequence[Extent], offset: int, length: int) -> memoryview | None:
        """A range of a file without waiting: None unless it lies in one frame and that frame is in the cache."""
        if len(extents) != 1 or offset + length > extents[0].length:
            return None
        frame, begin = divmod(extents[0].offset + offset, FRAME_SIZE)
        key = (extents[0].pack, frame)
        with self._lock:
            block = self._blocks.get(key)
            if block is None or begin + length > len(block):
                return None
            self._blocks.move_to_end(key)
        return memoryview(block)[begin : begin + length]

    # --------------------------------------------------------------------------------------------------------- sweeps

    def _sweep(self, ref: PackRef, at: int, length: int) -> Iterator[memoryview]:
        """Read through a long run of plaintext in one request; nothing of it is kept but what others lie in as well."""
        opened = self._opened(ref)
        number, last = at // FRAME_SIZE, (at + length - 1) // FRAME_SIZE
        first, end = opened.table.index(number), opened.table.index(last)
        if first is None or end is None or end - first != last - number:
            raise damaged(opened.name, "lacks frames that the manifest says it has")
        begin = at - number * FRAME_SIZE  # in the frames of a piece
        indexes = range(first, end + 1)
        sealed = self._sealed(opened, indexes)
        with self._memory.lent(_SWEPT * FRAME_SIZE) as memory:
            for done in range(0, len(indexes), _SWEPT):
                frames = indexes[done : done + _SWEPT]
                stop = min(begin + length, len(frames) * FRAME_SIZE)
                self._decipher(opened, frames, sealed, memory, stop)
                self._keep_edges(opened, frames, memory, range(begin, stop))
                yield memory[begin:stop]
                length -= stop - begin
                begin = 0

    def _sealed(self, opened: OpenedPack, indexes: range) -> Iterator[memoryview]:
        """Frames that lie one behind the other, still sealed, as they arrive, one at a time. Raises Corruption."""
        starts = opened.table.starts
        begin, end = starts[indexes.start], starts[indexes.stop]
        sizes = [starts[index + 1] - starts[index] for index in indexes]
        with self._lock:
            self.requests += 1
            self.bytes_fetched += end - begin
        try:
            read = self._storage.read_through(opened.name, begin, end - begin, piece=_SWEPT * SLOT_SIZE)
            yield from regrouped(read, sizes, opened.name)
        except ObjectMissing as error:
            raise missing(opened.name) from error

    def _decipher(
        self, opened: OpenedPack, frames: range, sealed: Iterator[memoryview], memory: memoryview, wanted: int
    ) -> None:
        """Open frames into memory, one behind the other; so many bytes of them must be there. Raises Corruption."""
        table = opened.table
        for place, index in enumerate(frames):
            room = memory[place * FRAME_SIZE : (place + 1) * FRAME_SIZE]
            size = open_frame_into(opened.cipher, opened.ref.id, table, index, next(sealed), room, opened.name)
            if size < FRAME_SIZE and place * FRAME_SIZE + size < wanted:
                raise _too_short(opened.ref.id, table.numbers[index])

    def _keep_edges(self, opened: OpenedPack, frames: range, memory: memoryview, wanted: range) -> None:
        """Keep the frames of which not all is wanted: others lie in them."""
        table = opened.table
        for place in {wanted.start // FRAME_SIZE, (wanted.stop - 1) // FRAME_SIZE}:
            begin = place * FRAME_SIZE
            end = begin + table.plain[frames[place]]
            if begin < wanted.start or wanted.stop < end:
                self._keep(opened.ref.id, {table.numbers[frames[place]]: bytes(memory[begin:end])})

    # --------------------------------------------------------------------------------------------------------- frames

    def _read(self, ref: PackRef, at: int, length: int, swept: int = 0) -> Iterator[memoryview]:
        for frame, begin, end in _frames(at, length):
            yield _cut(self._frame(ref, frame, swept), begin, end, ref.id, frame)

    def _frame(self, ref: PackRef, number: int, swept: int) -> bytes:
        opened = self._opened(ref)
        index = opened.table.index(number)
        if index is None:
            raise damaged(opened.name, f"has no frame {number}, though the manifest says so")
        while True:
            with self._lock:
                block = self._blocks.get((ref.id, number))
                if block is not None:
                    self._blocks.move_to_end((ref.id, number))
                    return block
                flight = self._block_flights.get((ref.id, number))
                if flight is None:
                    claimed = self._claim(opened, index, swept)
            blocks = self._fly(opened, claimed) if flight is None else flight.wait()
            if number in blocks:
                return blocks[number]

    def _claim(self, opened: OpenedPack, index: int, swept: int) -> range:
        """Choose the frames, by their places in the table, that one request will fetch; the lock is held."""
        id, starts, numbers = opened.ref.id, opened.table.starts, opened.table.numbers
        stop = index + 1
        for behind in range(stop, len(numbers)):
            key = (id, numbers[behind])
            beyond = starts[behind + 1] - starts[index] > self._fetch_bytes
            if beyond or key in self._blocks or key in self._block_flights:
                break
            if not swept >> numbers[behind] & 1:
                stop = behind + 1
        flight: _Flight[dict[int, bytes]] = _Flight()
        self._block_flights.update({(id, numbers[claimed]): flight for claimed in range(index, stop)})
        return range(index, stop)

    def _fly(self, opened: OpenedPack, claimed: range) -> dict[int, bytes]:
        id, numbers = opened.ref.id, opened.table.numbers
        flight = self._block_flights[id, numbers[claimed.start]]
        try:
            blocks = self._fetch(opened, claimed)
        except Corruption:
            # Of the frame that was asked for here: who waits for another frame of this request asks for it again.
            self._landed(opened, claimed, {})
            flight.land({})
            raise
        except BaseException as error:
            self._landed(opened, claimed, {})
            flight.crash(error)
            raise
        self._landed(opened, claimed, blocks)
        flight.land(blocks)
        return blocks

    def _landed(self, opened: OpenedPack, claimed: range, blocks: dict[int, bytes]) -> None:
        self._keep(opened.ref.id, blocks)  # first, so that nobody finds a frame neither under way nor here
        with self._lock:
            for index in claimed:
                del self._block_flights[opened.ref.id, opened.table.numbers[index]]

    def _keep(self, id: bytes, blocks: Mapping[int, bytes]) -> None:
        with self._lock:
            for number, block in blocks.items():
                self._block_bytes += len(block) - len(self._blocks.pop((id, number), b""))
                self._blocks[id, number] = block
            while self._block_bytes > self._cache_bytes:
                _, block = self._blocks.popitem(last=False)
                self._block_bytes -= len(block)

    def _fetch(self, opened: OpenedPack, claimed: range) -> dict[int, bytes]:
        """Fetch and open frames; damage behind the first one does not concern whoever asked for the first."""
        table = opened.table
        first = table.starts[claimed.start]
        try:
            sealed = memoryview(self._get(opened.name, first, table.starts[claimed.stop] - first))
        except Corruption:
            if len(claimed) == 1:
                raise
            return self._fetch(opened, claimed[:1])
        blocks = {}
        for index in claimed:
            piece = sealed[table.starts[index] - first : table.starts[index + 1] - first]
            try:
                plain = open_frame(opened.cipher, opened.ref.id, table, index, piece, opened.name)
            except Corruption:
                if index == claimed.start:
                    raise
                break
            blocks[table.numbers[index]] = plain
        return blocks

    # ---------------------------------------------------------------------------------------------------------- packs

    def _opened(self, ref: PackRef) -> OpenedPack:
        with self._lock:
            opened = self._packs.get(ref.id)
            if opened is not None:
                self._packs.move_to_end(ref.id)
                return opened
            flight = self._pack_flights.get(ref.id)
            if flight is None:
                mine = self._pack_flights[ref.id] = _Flight()
        if flight is not None:
            return flight.wait()
        try:
            opened = self._open(ref)
        except BaseException as error:
            with self._lock:
                del self._pack_flights[ref.id]
            mine.crash(error)
            raise
        with self._lock:
            del self._pack_flights[ref.id]
            self._packs[ref.id] = opened
            if len(self._packs) > TABLES:
                self._packs.popitem(last=False)
        mine.land(opened)
        return opened

    def _open(self, ref: PackRef) -> OpenedPack:
        end = ref.table_size + FOOTER_SIZE
        check_sizes(ref)
        stored = memoryview(self._get(names.pack(ref.id), ref.size - end, end))
        return opened_pack(self._ring, ref, stored)

    def _get(self, name: str, offset: int, length: int) -> Buffer:
        stored = fetch(self._storage, name, offset, length)
        with self._lock:
            self.requests += 1
            self.bytes_fetched += length
        return stored


def _runs(extents: Sequence[Extent], offset: int, length: int) -> Iterator[tuple[bytes, int, int]]:
    """Cut a range of a file into runs of plaintext (pack, offset in it, length), lazily. Raises ValueError."""
    if offset < 0 or length < 0 or offset + length > sum(extent.length for extent in extents):
        raise ValueError("the range is not within the file")
    for extent in extents:
        if length == 0:
            return
        if offset >= extent.length:
            offset -= extent.length
            continue
        size = min(extent.length - offset, length)
        yield extent.pack, extent.offset + offset, size
        length -= size
        offset = 0


def _frames(at: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Cut a run of plaintext into (frame, begin, end), lazily."""
    end = at + length
    while at < end:
        frame, begin = divmod(at, FRAME_SIZE)
        stop = min(FRAME_SIZE, begin + end - at)
        yield frame, begin, stop
        at += stop - begin


def _cut(block: bytes, begin: int, end: int, pack: bytes, frame: int) -> memoryview:
    """A range of a frame. Raises Corruption."""
    if end > len(block):
        raise _too_short(pack, frame)
    return memoryview(block)[begin:end]


def _too_short(pack: bytes, frame: int) -> Corruption:
    return damaged(names.pack(pack), f"has a frame {frame} that is shorter than the manifest says")


def regrouped(pieces: Iterator[Buffer], sizes: Iterable[int], name: str) -> Iterator[memoryview]:
    """Pieces of any size as blocks of these sizes, copied only where a block spans pieces. Raises Corruption.

    A block is valid until the next one is asked for, as a piece is.
    """
    piece = spare = memoryview(b"")
    for size in sizes:
        piece = piece or memoryview(next(pieces, b""))
        if size <= len(piece):
            yield piece[:size]
            piece = piece[size:]
            continue
        if len(spare) < size:  # one block for all that span: new memory would cost a fault for each of its pages
            spare = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            piece = piece or memoryview(next(pieces, b""))
            if not piece:
                raise damaged(name, "is shorter than it must be")
            taken = piece[: size - filled]
            spare[filled : filled + len(taken)] = taken
            piece = piece[len(taken) :]
            filled += len(taken)
        yield spare[:size]


def frames_of(extents: Sequence[Extent]) -> Iterator[tuple[bytes, int]]:
    """The frames that a file of these extents lies in, as (pack, number); one may come twice."""
    for extent in extents:
        for frame, _, _ in _frames(extent.offset, extent.length):
            yield extent.pack, frame
