"""A pack in memory: frames are sealed straight into their slots, holes are closed at the end only if there are any."""

from __future__ import annotations

import threading
from collections.abc import Callable
from mmap import mmap

import zstandard

from coldhouse.errors import UsageError
from coldhouse.model import Buffer, PackRef
from coldhouse.repository import names
from coldhouse.repository.crypto import HEADER_SIZE, TAG_SIZE, Keyring, Kind, new_cipher
from coldhouse.repository.pack_format import (
    FOOTER_SIZE,
    MAX_RUNS,
    RAW,
    RUN,
    SLOT_SIZE,
    ZSTD,
    FrameRow,
    encode_footer,
    frame_aad,
    frame_nonce,
    seal_directory,
    seal_table,
    table_size,
)

#: Of 1,000 bytes, a compressed frame may keep at most so many; else it is stored raw.
_WORTH = 970


class FrameCodec:
    """The compression of frames; one compressor for each thread. ``setting`` is auto, none or zstd:LEVEL (1 to 22)."""

    def __init__(self, setting: str) -> None:
        self._level = _level(setting)
        self._local = threading.local()

    def encode(self, plain: Buffer) -> tuple[int, Buffer]:
        """Return the codec and the bytes to seal: compressed where that saves at least 3 %."""
        if self._level is None:
            return RAW, plain
        compress: Callable[[Buffer], bytes] | None = getattr(self._local, "compress", None)
        if compress is None:
            compress = self._local.compress = zstandard.ZstdCompressor(level=self._level).compress
        packed = compress(plain)
        return (ZSTD, packed) if len(packed) * 1000 <= len(plain) * _WORTH else (RAW, plain)


def _level(setting: str) -> int | None:
    if setting == "none":
        return None
    text = "zstd:1" if setting == "auto" else setting
    kind, _, level = text.partition(":")
    if kind != "zstd" or not level.isascii() or not level.isdigit() or not 1 <= int(level) <= 22:
        raise UsageError(
            f"{setting!r} is no compression.", hint="Use auto, none or zstd:LEVEL with a level of 1 to 22."
        )
    return int(level)


def buffer_size(slots: int) -> int:
    """The memory that a pack of so many frames needs at most, in bytes."""
    runs = 20 + MAX_RUNS * RUN.size
    directory = runs + runs // 200 + 1024  # more than zstd can make of it, sealed
    return HEADER_SIZE + slots * SLOT_SIZE + directory + table_size(slots) + FOOTER_SIZE


class PackBuffer:
    """One pack being filled; ``memory`` is of ``buffer_size(slots)`` bytes and belongs to it until the pack is stored.

    Slots may be sealed by several threads at once, each slot once; :meth:`finish` comes after all of them.
    """

    def __init__(self, memory: mmap, slots: int, ring: Keyring, codec: FrameCodec) -> None:
        self.id = names.new_object_id()
        self.name = names.pack(self.id)
        self.memory = memory
        self._view = memoryview(memory)
        self._codec = codec
        self._header, self._cipher = new_cipher(ring, Kind.PACK, self.name)
        self._frames: list[FrameRow | None] = [None] * slots

    @property
    def empty(self) -> bool:
        """Whether no frame was sealed."""
        return not any(self._frames)

    def seal(self, slot: int, plain: Buffer) -> None:
        """Seal the frame of this number, 1 byte to 256 KiB."""
        codec, packed = self._codec.encode(plain)
        nonce = frame_nonce(slot)
        length = len(packed) + TAG_SIZE
        start = HEADER_SIZE + slot * SLOT_SIZE
        aad = frame_aad(self.id, nonce, codec)
        self._cipher.encrypt_into(nonce, packed, aad, self._view[start : start + length])
        self._frames[slot] = FrameRow(slot, length, len(plain), codec)

    def finish(self, session: bytes, runs: Buffer) -> tuple[memoryview, PackRef]:
        """Close the holes, add directory, table and footer; return the whole object and its reference."""
        frames = [frame for frame in self._frames if frame is not None]
        view = self._view
        view[:HEADER_SIZE] = self._header
        end = self._close_holes(frames)
        directory = seal_directory(self._cipher, self._header, session, runs)
        table_length = table_size(len(frames))
        size = end + len(directory) + table_length + FOOTER_SIZE
        table = seal_table(self._cipher, self._header, size, len(directory), frames)
        footer = encode_footer(self._header, len(directory), table_length)
        for piece in (directory, table, footer):
            view[end : end + len(piece)] = piece
            end += len(piece)
        return view[:end], PackRef(self.id, end, table_length)

    def _close_holes(self, frames: list[FrameRow]) -> int:
        view = self._view
        end = HEADER_SIZE
        for frame in frames:
            start = HEADER_SIZE + frame.number * SLOT_SIZE
            if start != end:
                view[end : end + frame.sealed] = view[start : start + frame.sealed]
            end += frame.sealed
        return end
