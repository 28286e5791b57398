"""A file on its way into packs, and the state of the packs that it is on its way into."""

from __future__ import annotations

from typing import Protocol

from coldhouse.model import Buffer, Extent
from coldhouse.repository.pack_buffer import PackBuffer
from coldhouse.repository.pack_format import FRAME_SIZE, RUN, UNKNOWN


class Shared:
    """The frame that small files and the tails of large ones are collected in, as plaintext."""

    __slots__ = ("fill", "pack", "plain", "slot")

    def __init__(self, pack: OpenPack, slot: int, plain: bytearray) -> None:
        self.pack = pack
        self.slot = slot
        self.plain = plain
        self.fill = 0


class OpenPack:
    """A pack that is not yet stored; every field is guarded by the writer's lock."""

    __slots__ = (
        "buffer",
        "directory",
        "listed",
        "next",
        "queued",
        "reserved",
        "retired",
        "revoked",
        "runs",
        "sealing",
        "streams",
        "tail",
    )

    def __init__(self, buffer: PackBuffer) -> None:
        self.buffer = buffer
        self.next = 0  # the first slot that was given to nobody
        self.reserved = 0  # slots that streams hold and have not begun to seal
        self.sealing = 0  # slots being sealed at this moment
        self.retired = False  # takes no more reservations
        self.revoked = False  # reserved slots are no longer valid
        self.tail: Shared | None = None  # the shared frame, not full when the pack retired
        self.streams: dict[FileStream, None] = {}  # unfinished files with bytes here
        self.directory = bytearray()  # RUN records of finished files
        self.runs = 0
        self.listed = False  # the directory is closed
        self.queued = False  # given to the uploads


class Piece:
    """A run of a file in a pack; grows while its frames are neighbours."""

    __slots__ = ("length", "offset", "pack", "start")

    def __init__(self, pack: OpenPack, offset: int, start: int, length: int) -> None:
        self.pack = pack
        self.offset = offset
        self.start = start
        self.length = length


class Hold:
    """Slots ``next`` to ``end`` of a pack, reserved by a stream; worthless once the pack is revoked."""

    __slots__ = ("end", "next", "pack")

    def __init__(self, pack: OpenPack, first: int, end: int) -> None:
        self.pack = pack
        self.next = first
        self.end = end


class Sink(Protocol):
    """The pack writer, as a stream sees it."""

    def seal_frame(self, stream: FileStream, plain: Buffer, frames_left: int) -> None:
        """Seal a full frame."""

    def append(self, stream: FileStream, plain: memoryview) -> None:
        """Put a small file, or the tail of a large one, into a shared frame."""

    def list_runs(self, stream: FileStream, checksum: bytes, *, verified: bool) -> None:
        """Enter a finished file in the directories of its packs."""

    def drop(self, stream: FileStream) -> None:
        """Take back what an aborted file holds."""


class FileStream:
    """One file on its way into packs; used by one thread at a time. Write its bytes, then finish or abort it."""

    __slots__ = (
        "_block",
        "_left",
        "_staged",
        "_staging",
        "_writer",
        "checksum",
        "hold",
        "number",
        "pieces",
        "size",
    )

    def __init__(self, writer: Sink, number: int, size: int, checksum: bytes | None) -> None:
        self.size = size
        self.number = number
        self.checksum = checksum
        self.pieces: list[Piece] = []
        self._writer = writer
        self._left = size  # bytes that were not placed yet
        self._block = min(size, FRAME_SIZE)  # bytes of the next frame, or of the tail
        self._staging: bytearray | None = None
        self._staged = 0
        self.hold: Hold | None = None

    def write(self, data: Buffer) -> None:
        """Take the next bytes; waits while all buffers are busy.

        Raises:
            ValueError: more bytes than were announced, or the stream has ended.
            StorageError: a pack could not be stored.
        """
        view = data if isinstance(data, memoryview) else memoryview(data)
        if view.format != "B":
            view = view.cast("B")
        if self._staged + len(view) > self._left:
            raise ValueError(f"a file of {self.size} bytes gets more")
        while view:
            if not self._staged and len(view) >= self._block:
                view, block = view[self._block :], view[: self._block]
                self._place(block)
            else:
                view = self._stage(view)

    def finish(self, checksum: bytes, *, verified: bool) -> tuple[Extent, ...]:
        """End the file and return where it lies; ``verified``: its bytes were seen to have this checksum.

        Raises:
            ValueError: not all bytes have come.
            StorageError: a pack could not be stored.
        """
        if self._left:
            raise ValueError(f"a file of {self.size} bytes ends {self._left - self._staged} bytes early")
        self._staging = None
        if not self.pieces:
            return ()
        self._writer.list_runs(self, checksum, verified=verified)
        extents = tuple([Extent(piece.pack.buffer.id, piece.offset, piece.length) for piece in self.pieces])
        self.pieces = []
        return extents

    def abort(self) -> None:
        """Drop the file: what of it is sealed already stays in its packs, unused."""
        self._left = self._block = self._staged = 0
        self._staging = None
        self._writer.drop(self)
        self.pieces = []

    def _stage(self, view: memoryview) -> memoryview:
        """Copy bytes of a block that comes in pieces; returns those that are left over."""
        if self._staging is None:
            self._staging = bytearray(self._block)
        take = min(len(view), self._block - self._staged)
        self._staging[self._staged : self._staged + take] = view[:take]
        self._staged += take
        if self._staged == self._block:
            self._staged = 0
            self._place(memoryview(self._staging)[: self._block])
        return view[take:]

    def _place(self, block: memoryview) -> None:
        if len(block) == FRAME_SIZE:
            self._writer.seal_frame(self, block, self._left // FRAME_SIZE)
        else:
            self._writer.append(self, block)

    # --------------------------------------------------------------------------- for the writer, which holds its lock

    def placed(self, pack: OpenPack, offset: int, length: int) -> None:
        """Note where the next bytes of the file went."""
        start = self.size - self._left
        last = self.pieces[-1] if self.pieces else None
        if last is not None and last.pack is pack and last.offset + last.length == offset:
            last.length += length
        else:
            self.pieces.append(Piece(pack, offset, start, length))
        self._left -= length
        self._block = min(self._left, FRAME_SIZE)

    def record(self, piece: Piece, checksum: bytes | None, flags: int) -> bytes:
        """The directory record of a piece."""
        known, more = (checksum, flags) if checksum else (bytes(16), flags | UNKNOWN)
        return RUN.pack(self.number, known, self.size, piece.start, piece.offset, piece.length, more)
