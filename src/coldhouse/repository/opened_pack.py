"""A pack and its frame table: opened by what a manifest says of it or by its own end, and checked byte by byte."""

from __future__ import annotations

from collections.abc import Collection

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from coldhouse.errors import Corruption, ObjectMissing
from coldhouse.model import Buffer, PackRef
from coldhouse.repository import names
from coldhouse.repository.crypto import HEADER_SIZE, Keyring, Kind, damaged, missing, open_cipher
from coldhouse.repository.pack_format import (
    FOOTER_SIZE,
    FRAME_SIZE,
    MAX_FRAMES,
    FrameTable,
    Run,
    decode_footer,
    open_directory,
    open_frame,
    open_table,
)
from coldhouse.storage.base import Storage

#: More bytes than any pack can have.
_LARGEST = MAX_FRAMES * FRAME_SIZE * 2
#: Bytes that a check reads at a time.
_CHECK_BYTES = 8 << 20


class OpenedPack(Struct, frozen=True):
    """A pack whose frame table was read and authenticated."""

    ref: PackRef
    name: str
    header: bytes
    cipher: AESGCM
    table: FrameTable


class DamagedFrames(Corruption):
    """Frames of a pack are damaged, ``frames`` their numbers; the rest of it is sound."""

    def __init__(
        self, message: str, *, object_name: str = "", hint: str = "", frames: Collection[int] = frozenset()
    ) -> None:
        super().__init__(message, object_name=object_name, hint=hint)
        self.frames = frozenset(frames)


def check_sizes(ref: PackRef) -> None:
    """Raise Corruption if no pack can have the sizes that a manifest says of one: nothing of them is asked for then."""
    end = ref.table_size + FOOTER_SIZE
    if not FOOTER_SIZE < end <= ref.size - HEADER_SIZE or ref.table_size > 16 * MAX_FRAMES or ref.size > _LARGEST:
        raise damaged(names.pack(ref.id), "cannot have the sizes that the manifest says")


def fetch(storage: Storage, name: str, offset: int, length: int) -> Buffer:
    """Get a range of an object that must be there. Raises Corruption if it is not, or is too short."""
    try:
        stored = storage.get_range(name, offset, length)
    except ObjectMissing as error:
        raise missing(name) from error
    if len(stored) != length:
        raise damaged(name, "is shorter than it must be")
    return stored


def opened_pack(ring: Keyring, ref: PackRef, end: memoryview) -> OpenedPack:
    """Open a pack from its last bytes: sealed table and footer."""
    name = names.pack(ref.id)
    footer = decode_footer(end[-FOOTER_SIZE:], name)
    cipher = open_cipher(ring, Kind.PACK, name, footer.header)
    table = open_table(cipher, footer.header, end[:-FOOTER_SIZE], ref.size, name)
    if footer.table_size != ref.table_size or footer.directory_size != table.directory_size:
        raise damaged(name, "has a footer that contradicts its frame table")
    return OpenedPack(ref, name, footer.header, cipher, table)


def open_pack(storage: Storage, ring: Keyring, id: bytes) -> OpenedPack:
    """Open a pack of which nothing is known but its id: its own footer tells the rest. Raises Corruption."""
    name = names.pack(id)
    try:
        size = storage.size(name)
    except ObjectMissing as error:
        raise missing(name) from error
    if size < HEADER_SIZE + FOOTER_SIZE:
        raise damaged(name, "is too short to be a pack")
    footer = decode_footer(fetch(storage, name, size - FOOTER_SIZE, FOOTER_SIZE), name)
    end = footer.table_size + FOOTER_SIZE
    if HEADER_SIZE + footer.directory_size + end > size:
        raise damaged(name, "is shorter than its footer says")
    return opened_pack(ring, PackRef(id, size, footer.table_size), memoryview(fetch(storage, name, size - end, end)))


def read_directory(storage: Storage, opened: OpenedPack) -> tuple[Run, ...]:
    """Read the file directory of a pack. Raises Corruption."""
    table = opened.table
    sealed = fetch(storage, opened.name, table.starts[-1], table.directory_size)
    return open_directory(opened.cipher, opened.header, sealed, opened.name)


def check_pack(storage: Storage, opened: OpenedPack, known: Collection[int] = ()) -> int:
    """Read every byte of a pack and authenticate it; returns the bytes of plaintext in it.

    Frames whose numbers are ``known`` have been read and authenticated before, and are not read again. Raises
    DamagedFrames if nothing else of the pack is damaged, Corruption otherwise.
    """
    name, table = opened.name, opened.table
    if bytes(fetch(storage, name, 0, HEADER_SIZE)) != opened.header:
        raise damaged(name, "has a header that differs from the copy at its end")
    hit: dict[int, Corruption] = {}
    group: list[int] = []
    for index, number in enumerate(table.numbers):
        if number in known:
            hit |= _damaged_frames(storage, opened, group)
            group = []
            continue
        group.append(index)
        if table.starts[index + 1] - table.starts[group[0]] >= _CHECK_BYTES:
            hit |= _damaged_frames(storage, opened, group)
            group = []
    hit |= _damaged_frames(storage, opened, group)
    read_directory(storage, opened)
    if hit:
        first = next(iter(hit.values()))
        raise DamagedFrames(first.message, object_name=first.object_name, hint=first.hint, frames=hit)
    return sum(table.plain)


def _damaged_frames(storage: Storage, opened: OpenedPack, group: list[int]) -> dict[int, Corruption]:
    """What is wrong with frames that lie behind each other, by their numbers."""
    hit: dict[int, Corruption] = {}
    if not group:
        return hit
    starts = opened.table.starts
    first = starts[group[0]]
    sealed = memoryview(fetch(storage, opened.name, first, starts[group[-1] + 1] - first))
    for index in group:
        piece = sealed[starts[index] - first : starts[index + 1] - first]
        try:
            open_frame(opened.cipher, opened.ref.id, opened.table, index, piece, opened.name)
        except Corruption as error:
            hit[opened.table.numbers[index]] = error
    return hit
