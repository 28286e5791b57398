"""Writing packs from many threads at once, in bounded memory.

A pack is in one of these states; the lock guards every change:

    current     has free slots; the shared frame, if there is one, has its slot here
    draining    has no free slots, but streams still hold reserved ones
    pending     closed: waits for a frame that is being sealed just now, or for its upload, or is being uploaded
    stored      its buffer is free again

Only uploads free buffers, and they wait for nobody but the store. Whoever needs a buffer when none is free waits for
pending packs; if there are none, the draining ones are closed: what streams have reserved but not sealed is taken away
from them, and they reserve again when they go on. So no stream, however slow its sender, can hold up another for ever.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from mmap import mmap
from typing import TYPE_CHECKING

from msgspec import Struct

from coldhouse.errors import ColdhouseError
from coldhouse.model import Buffer, PackRef
from coldhouse.repository.crypto import Keyring
from coldhouse.repository.file_stream import FileStream, Hold, OpenPack, Shared
from coldhouse.repository.pack_buffer import FrameCodec, PackBuffer, buffer_size
from coldhouse.repository.pack_format import FRAME_SIZE, MAX_RUNS, VERIFIED
from coldhouse.spare_memory import own_memory
from coldhouse.storage.base import Storage

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

#: Frames that a stream reserves at a time, so that a large file lies in runs of 8 MiB: a quarter of a pack, because the
#: gateway reads four large bodies at a time. Each run is one request of a restore.
_RESERVE = 32
#: A small file is split over two shared frames only where more than this would be left unused.
_WORTH_SPLITTING = FRAME_SIZE // 8


class PackSettings(Struct, frozen=True):
    """How packs are written: memory is ``buffers`` times (``frames`` times 256 KiB, and 4 MiB).

    ``compression`` is auto, none or zstd:LEVEL; ``uploads`` packs are stored at a time; ``frames`` is what one holds.
    """

    compression: str = "auto"
    buffers: int = 3
    uploads: int = 2
    frames: int = 128

    def __post_init__(self) -> None:
        if self.buffers < 1 or self.uploads < 1 or not 1 <= self.frames <= 4096:
            raise ValueError(f"impossible settings: {self}")


class PackWriter:
    """Takes files and stores them in packs; any thread may use it. Also a context manager: leaving it closes it."""

    def __init__(self, storage: Storage, ring: Keyring, settings: PackSettings) -> None:
        self.stored_bytes = 0
        self.objects = 0
        self._storage = storage
        self._ring = ring
        self._settings = settings
        self._codec = FrameCodec(settings.compression)
        self._session = secrets.token_bytes(16)
        self._files = 0
        self._lock = threading.Condition()
        self._current: OpenPack | None = None
        self._shared: Shared | None = None
        self._draining: set[OpenPack] = set()
        self._pending: set[OpenPack] = set()
        self._free: list[mmap] = []
        self._allocated = 0
        self._frames: list[bytearray] = []  # plaintext buffers of shared frames, to be used again
        self._stored: dict[bytes, PackRef] = {}
        self._failure: BaseException | None = None
        self._uploads: ThreadPoolExecutor | None = None  # made with the first pack: often there is none

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --------------------------------------------------------------------------------------------------- for everyone

    def open_file(self, size: int, checksum: bytes | None) -> FileStream:
        """Begin a file of ``size`` bytes; ``checksum`` (16 bytes) if it is known before its bytes are.

        Raises:
            StorageError: a pack could not be stored; from then on every call says so.
        """
        if size < 0:
            raise ValueError(f"a file cannot have {size} bytes")
        with self._lock:
            self._check()
            self._files += 1
            return FileStream(self, self._files, size, checksum)

    def flush(self) -> None:
        """Return when everything written so far is stored durably; files may stay open. Raises the first failure."""
        with self._lock:
            self._check()
            if self._current is not None:
                self._retire(self._current)
            for pack in tuple(self._draining):
                self._revoke(pack)
            waiting = set(self._pending)
            while waiting & self._pending:
                self._check()
                self._lock.wait()
            self._check()
        self._storage.sync()

    def pack(self, id: bytes) -> PackRef:
        """The pack of this id, written by this writer and stored. Raises KeyError if it is none of those."""
        return self._stored[id]

    def packs(self) -> tuple[PackRef, ...]:
        """All packs that are stored."""
        with self._lock:
            return tuple(self._stored.values())

    def abort(self) -> None:
        """Drop what is not stored and end; what is being stored at this moment is waited for."""
        with self._lock:
            if self._failure is None:
                self._failure = ColdhouseError("The pack writer is closed.")
            self._lock.notify_all()
        if self._uploads is not None:
            self._uploads.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """End; what was not flushed is dropped. A second close does nothing."""
        self.abort()

    # ------------------------------------------------------------------------------------------------- for FileStream

    def seal_frame(self, stream: FileStream, plain: Buffer, frames_left: int) -> None:
        """Seal a full frame of a stream into one of its slots."""
        with self._lock:
            self._check()
            hold = stream.hold
            if hold is None or hold.next == hold.end or hold.pack.revoked:
                hold = stream.hold = self._reserve(stream, frames_left)
            pack, slot = hold.pack, hold.next
            hold.next += 1
            pack.reserved -= 1
            pack.sealing += 1
        with self._sealing(pack):
            pack.buffer.seal(slot, plain)
            with self._lock:
                stream.placed(pack, slot * FRAME_SIZE, FRAME_SIZE)

    def append(self, stream: FileStream, plain: memoryview) -> None:
        """Put a small file, or the tail of a large one, into the shared frame (or two)."""
        while plain:
            with self._lock:
                self._check()
                shared = self._shared or self._begin_shared()
                room = FRAME_SIZE - shared.fill
                take = min(room, len(plain)) if len(plain) <= room or room > _WORTH_SPLITTING else 0
                if take:
                    self._collect(stream, shared, plain[:take])
                full = shared.fill == FRAME_SIZE or not take
                if full and self._shared is shared:
                    self._shared = None
                    shared.pack.sealing += 1
                else:
                    full = False
            plain = plain[take:]
            if full:
                with self._sealing(shared.pack):
                    shared.pack.buffer.seal(shared.slot, memoryview(shared.plain)[: shared.fill])
                    self._frames.append(shared.plain)

    def list_runs(self, stream: FileStream, checksum: bytes, *, verified: bool) -> None:
        """Enter a finished file in the directories of its packs, as far as they are still open."""
        flags = VERIFIED if verified else 0
        with self._lock:
            self._check()
            for piece in stream.pieces:
                pack = piece.pack
                pack.streams.pop(stream, None)
                if not pack.listed:
                    pack.directory += stream.record(piece, checksum, flags)

    def drop(self, stream: FileStream) -> None:
        """Take back the slots that an aborted file holds, and leave it out of the directories."""
        with self._lock:
            for piece in stream.pieces:
                piece.pack.streams.pop(stream, None)
            hold, stream.hold = stream.hold, None
            if hold is None or hold.pack.revoked:
                return
            pack = hold.pack
            pack.streams.pop(stream, None)
            pack.reserved -= hold.end - hold.next
            if pack is self._current and pack.next == hold.end:
                pack.next = hold.next
            self._settle(pack)

    # --------------------------------------------------------------------------------- slots; the lock is held in all

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _reserve(self, stream: FileStream, wanted: int) -> Hold:
        pack = self._room()
        count = min(wanted, _RESERVE, self._settings.frames - pack.next)
        hold = Hold(pack, pack.next, pack.next + count)
        pack.next = hold.end
        pack.reserved += count
        pack.runs += 1
        pack.streams[stream] = None
        return hold

    def _begin_shared(self) -> Shared:
        while self._shared is None:
            pack = self._room()  # may wait, and another thread may begin a shared frame meanwhile
            if self._shared is None:
                plain = self._frames.pop() if self._frames else bytearray(FRAME_SIZE)
                self._shared = Shared(pack, pack.next, plain)
                pack.next += 1
        return self._shared

    def _collect(self, stream: FileStream, shared: Shared, plain: memoryview) -> None:
        pack = shared.pack
        shared.plain[shared.fill : shared.fill + len(plain)] = plain
        stream.placed(pack, shared.slot * FRAME_SIZE + shared.fill, len(plain))
        shared.fill += len(plain)
        pack.streams[stream] = None
        pack.runs += 1
        if pack.runs >= MAX_RUNS:
            self._retire(pack)

    def _room(self) -> OpenPack:
        """The current pack, with a free slot in it; waits for a buffer if need be."""
        while True:
            self._check()
            pack = self._current
            if pack is not None and pack.next < self._settings.frames and pack.runs < MAX_RUNS:
                return pack
            if pack is not None:
                self._retire(pack)
            elif self._free or self._allocated < self._settings.buffers:
                self._current = OpenPack(self._new_buffer())
                self._lock.notify_all()
            else:
                if not self._pending:
                    for draining in tuple(self._draining):
                        self._revoke(draining)
                self._lock.wait()

    def _new_buffer(self) -> PackBuffer:
        slots = self._settings.frames
        if self._free:
            memory = self._free.pop()
        else:
            memory = own_memory(buffer_size(slots))
            self._allocated += 1
        return PackBuffer(memory, slots, self._ring, self._codec)

    def _retire(self, pack: OpenPack) -> None:
        pack.retired = True
        pack.tail, self._shared = self._shared, None
        self._current = None
        self._draining.add(pack)
        self._settle(pack)

    def _revoke(self, pack: OpenPack) -> None:
        pack.revoked = True
        self._draining.discard(pack)
        self._pending.add(pack)
        self._settle(pack)

    def _settle(self, pack: OpenPack) -> None:
        """Hand a pack to its upload once nothing can come into it any more."""
        busy = pack.sealing or (pack.reserved and not pack.revoked)
        if not pack.retired or pack.queued or busy or self._failure is not None:
            return
        pack.queued = True
        self._draining.discard(pack)
        self._pending.add(pack)
        if self._uploads is None:
            from concurrent.futures import ThreadPoolExecutor

            self._uploads = ThreadPoolExecutor(self._settings.uploads, "pack-upload")
        future = self._uploads.submit(self._store, pack)
        future.add_done_callback(partial(self._uploaded, pack))

    # ------------------------------------------------------------------------------------- work; the lock is not held

    @contextmanager
    def _sealing(self, pack: OpenPack) -> Iterator[None]:
        """Count a frame out that was counted as being sealed; whatever goes wrong in between ends the writer."""
        sealed = False
        try:
            yield
            sealed = True
        finally:
            with self._lock:
                pack.sealing -= 1
                if not sealed and self._failure is None:
                    self._failure = ColdhouseError("A frame could not be sealed; see the first error.")
                self._settle(pack)
                self._lock.notify_all()

    def _store(self, pack: OpenPack) -> PackRef | None:
        """Complete a pack and store it; runs in an upload thread."""
        tail = pack.tail
        if tail is not None and tail.fill:
            pack.buffer.seal(tail.slot, memoryview(tail.plain)[: tail.fill])
        if pack.buffer.empty:
            return None
        with self._lock:
            pack.listed = True
            for stream in pack.streams:
                for piece in stream.pieces:
                    if piece.pack is pack:
                        pack.directory += stream.record(piece, stream.checksum, 0)
            pack.streams.clear()
        whole, ref = pack.buffer.finish(self._session, pack.directory)
        self._storage.create(pack.buffer.name, whole)
        return ref

    def _uploaded(self, pack: OpenPack, future: Future[PackRef | None]) -> None:
        cancelled = future.cancelled()
        error = None if cancelled else future.exception()
        ref = None if cancelled or error else future.result()
        with self._lock:
            if error is not None and self._failure is None:
                self._failure = error
            if ref is not None:
                self._stored[ref.id] = ref
                self.stored_bytes += ref.size
                self.objects += 1
            if pack.tail is not None:
                self._frames.append(pack.tail.plain)
                pack.tail = None
            self._pending.discard(pack)
            self._free.append(pack.buffer.memory)
            self._lock.notify_all()
