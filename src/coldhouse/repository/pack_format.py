"""The layout of a pack: header, frames, file directory, frame table, footer. All numbers little-endian.

0                     header (64)
64                    frames, in the order of their numbers, each sealed by itself
...                   file directory, sealed: which run of which file lies where
size - 80 - table     frame table, sealed: number, sealed length, plain length and codec of each frame
size - 80             footer (80): a copy of the header, the lengths of directory and table, end mark
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from struct import Struct

import msgspec
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from coldhouse.model import Buffer
from coldhouse.repository.crypto import HEADER_SIZE, MIB, TAG_SIZE, damaged, decompress, decrypt, decrypt_into

FRAME_SIZE = 262144
SLOT_SIZE = FRAME_SIZE + TAG_SIZE
MAX_FRAMES = 65536
MAX_RUNS = 65536
END_MARK = b"COLDEND\n"

RAW = 0
ZSTD = 1

_TABLE_HEAD = Struct("<QII")  # size of the pack, sealed length of the directory, number of frames
_FRAME_ROW = 13  # bytes of a frame in the table
_DIRECTORY_HEAD = Struct("<16sI")  # session, number of runs
RUN = Struct("<I16sQQQQB")  # file, checksum, size, start, offset, length, flags
_FOOTER = Struct(f"<{HEADER_SIZE}sII8s")
FOOTER_SIZE = _FOOTER.size

VERIFIED = 1  # flag of a run: the whole file had arrived and had this checksum
UNKNOWN = 2  # flag of a run: the checksum is not known

_TABLE_NONCE = b"\xff" * 12
_DIRECTORY_NONCE = b"\xff" * 11 + b"\xfe"
_MAX_DIRECTORY = _DIRECTORY_HEAD.size + MAX_RUNS * RUN.size
#: More than the sealed directory of any pack has, in bytes.
LARGEST_DIRECTORY = _MAX_DIRECTORY + MIB
_MAX_TABLE = _TABLE_HEAD.size + MAX_FRAMES * _FRAME_ROW + TAG_SIZE


class Run(msgspec.Struct, frozen=True):
    """A piece of a file in a pack, from the pack's own directory; all lengths in bytes.

    ``session`` and ``file`` name the file as its writer saw it, so that its pieces in several packs can be put
    together. ``checksum`` (empty if it was not known) and ``size`` are the whole file's; the piece begins at ``start``
    in the file and at ``offset`` in the pack. ``verified``: the whole file had arrived, and had this checksum, before
    the pack was stored.
    """

    session: bytes
    file: int
    checksum: bytes
    size: int
    start: int
    offset: int
    length: int
    verified: bool


class FrameTable(msgspec.Struct, frozen=True):
    """The frames of a pack in stored order; ``starts`` has one more element: where the directory begins."""

    numbers: array[int]
    starts: array[int]
    plain: array[int]
    codecs: bytes
    directory_size: int

    def __len__(self) -> int:
        return len(self.numbers)

    def index(self, number: int) -> int | None:
        """The place of a frame in stored order, or None if there is no such frame."""
        index = bisect_left(self.numbers, number)
        return index if index < len(self.numbers) and self.numbers[index] == number else None


class Footer(msgspec.Struct, frozen=True):
    """The end of a pack: a copy of its header, and the sealed lengths of directory and table in bytes."""

    header: bytes
    directory_size: int
    table_size: int


# ------------------------------------------------------------------------------------------------------------- frames


def frame_nonce(number: int) -> bytes:
    """The nonce of a frame."""
    return number.to_bytes(12, "big")


def frame_aad(pack: bytes, nonce: bytes, codec: int) -> bytes:
    """What a frame is bound to besides its key and nonce."""
    return pack + nonce + bytes((codec,))


def open_frame(cipher: AESGCM, pack: bytes, table: FrameTable, index: int, sealed: Buffer, name: str) -> bytes:
    """The plaintext of the frame at a place of the table. Raises Corruption."""
    codec = table.codecs[index]
    nonce = frame_nonce(table.numbers[index])
    plain = decrypt(cipher, nonce, sealed, frame_aad(pack, nonce, codec), name)
    if codec == ZSTD:
        plain = decompress(plain, FRAME_SIZE, name)
    if len(plain) != table.plain[index]:
        raise damaged(name, "holds a frame of another length than its table says")
    return plain


def open_frame_into(
    cipher: AESGCM, pack: bytes, table: FrameTable, index: int, sealed: Buffer, room: memoryview, name: str
) -> int:
    """Put the plaintext of a frame at the beginning of ``room``, which takes any; returns its length in bytes.

    Raises Corruption; what stands in ``room`` then is nothing.
    """
    codec, length = table.codecs[index], table.plain[index]
    if codec != RAW:
        room[:length] = open_frame(cipher, pack, table, index, sealed, name)
        return length
    nonce = frame_nonce(table.numbers[index])
    decrypt_into(cipher, nonce, sealed, frame_aad(pack, nonce, codec), room[:length], name)
    return length


# -------------------------------------------------------------------------------------------------------------- table


def table_size(frames: int) -> int:
    """The sealed size of a frame table, in bytes."""
    return _TABLE_HEAD.size + frames * _FRAME_ROW + TAG_SIZE


def frames_in(table_size: int) -> int:
    """How many frames a pack has, from the sealed size of its frame table in bytes."""
    return max(0, table_size - _TABLE_HEAD.size - TAG_SIZE) // _FRAME_ROW


def seal_table(cipher: AESGCM, header: bytes, pack_size: int, directory_size: int, frames: Sequence[FrameRow]) -> bytes:
    """The sealed frame table."""
    plain = b"".join(
        (
            _TABLE_HEAD.pack(pack_size, directory_size, len(frames)),
            pack_column("I", (frame.number for frame in frames)),
            pack_column("I", (frame.sealed for frame in frames)),
            pack_column("I", (frame.plain for frame in frames)),
            bytes(frame.codec for frame in frames),
        )
    )
    return cipher.encrypt(_TABLE_NONCE, plain, header + b"table")


class FrameRow(msgspec.Struct, frozen=True):
    """A frame as its table lists it: number, sealed and plain length in bytes, codec."""

    number: int
    sealed: int
    plain: int
    codec: int


def open_table(cipher: AESGCM, header: bytes, sealed: Buffer, pack_size: int, name: str) -> FrameTable:
    """Read a sealed frame table and check it against the size of its pack. Raises Corruption."""
    plain = memoryview(decrypt(cipher, _TABLE_NONCE, sealed, header + b"table", name))
    if len(plain) < _TABLE_HEAD.size:
        raise damaged(name, "has a frame table that is too short")
    size, directory_size, count = _TABLE_HEAD.unpack_from(plain)
    if count > MAX_FRAMES or len(plain) != _TABLE_HEAD.size + count * _FRAME_ROW:
        raise damaged(name, "has a frame table of another length than it says")
    columns = [
        unpack_column("I", plain[_TABLE_HEAD.size + at * count * 4 : _TABLE_HEAD.size + (at + 1) * count * 4])
        for at in range(3)
    ]
    numbers, lengths, plains = columns
    codecs = bytes(plain[_TABLE_HEAD.size + 12 * count :])
    starts = array("Q", accumulate(lengths, initial=HEADER_SIZE))
    if size != pack_size or starts[-1] + directory_size + len(sealed) + FOOTER_SIZE != size:
        raise damaged(name, "has another size than its frame table says")
    if not _sound(numbers, lengths, plains, codecs):
        raise damaged(name, "has a frame table that contradicts itself")
    return FrameTable(numbers, starts, plains, codecs, directory_size)


def _sound(numbers: array[int], lengths: array[int], plains: array[int], codecs: bytes) -> bool:
    ascending = all(one < other for one, other in pairwise(numbers))
    return ascending and all(
        0 < plain <= FRAME_SIZE
        and (length == plain + TAG_SIZE if codec == RAW else codec == ZSTD and TAG_SIZE < length < plain + TAG_SIZE)
        for length, plain, codec in zip(lengths, plains, codecs, strict=True)
    )


# ---------------------------------------------------------------------------------------------------------- directory


def seal_directory(cipher: AESGCM, header: bytes, session: bytes, runs: Buffer) -> bytes:
    """The sealed file directory, from packed RUN records."""
    plain = _DIRECTORY_HEAD.pack(session, len(runs) // RUN.size) + bytes(runs)
    packed = zstandard.ZstdCompressor(level=1).compress(plain)
    return cipher.encrypt(_DIRECTORY_NONCE, packed, header + b"directory")


def open_directory(cipher: AESGCM, header: bytes, sealed: Buffer, name: str) -> tuple[Run, ...]:
    """Read a sealed file directory. Raises Corruption."""
    packed = decrypt(cipher, _DIRECTORY_NONCE, sealed, header + b"directory", name)
    plain = memoryview(decompress(packed, _MAX_DIRECTORY, name))
    if len(plain) < _DIRECTORY_HEAD.size:
        raise damaged(name, "has a file directory that is too short")
    session, count = _DIRECTORY_HEAD.unpack_from(plain)
    if len(plain) != _DIRECTORY_HEAD.size + count * RUN.size:
        raise damaged(name, "has a file directory of another length than it says")
    return tuple(_runs(session, plain[_DIRECTORY_HEAD.size :]))


def _runs(session: bytes, records: memoryview) -> Iterator[Run]:
    for file, checksum, size, start, offset, length, flags in RUN.iter_unpack(records):
        known = b"" if flags & UNKNOWN else checksum
        yield Run(session, file, known, size, start, offset, length, bool(flags & VERIFIED))


# ------------------------------------------------------------------------------------------------------------- footer


def encode_footer(header: bytes, directory_size: int, table_size: int) -> bytes:
    """The last 80 bytes of a pack."""
    return _FOOTER.pack(header, directory_size, table_size, END_MARK)


def decode_footer(stored: Buffer, name: str) -> Footer:
    """Read the last 80 bytes of a pack, of which only the bounds are checked here. Raises Corruption."""
    header, directory_size, table_size, mark = _FOOTER.unpack(stored)
    if mark != END_MARK:
        raise damaged(name, "does not end like a pack")
    if table_size > _MAX_TABLE or directory_size > LARGEST_DIRECTORY:
        raise damaged(name, "claims an impossible directory or frame table")
    return Footer(header, directory_size, table_size)


# ------------------------------------------------------------------------------------------------------------ columns


def pack_column(code: str, numbers: Iterator[int] | Sequence[int]) -> bytes:
    """Numbers as one little-endian column; ``code`` is I for 32 bits, Q for 64."""
    column = array(code, numbers)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def unpack_column(code: str, stored: Buffer) -> array[int]:
    """Read a column; the length of ``stored`` must be a multiple of the width, else ValueError."""
    column: array[int] = array(code)
    column.frombytes(stored)
    if sys.byteorder == "big":
        column.byteswap()
    return column
