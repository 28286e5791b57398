"""What can be said of the frames of a pack from its reference alone, before anything of it is read."""

from __future__ import annotations

from coldhouse.model import Extent, PackRef
from coldhouse.repository import names
from coldhouse.repository.crypto import HEADER_SIZE, TAG_SIZE, damaged
from coldhouse.repository.pack_format import (
    FOOTER_SIZE,
    FRAME_SIZE,
    LARGEST_DIRECTORY,
    MAX_FRAMES,
    SLOT_SIZE,
    frames_in,
)


def end_size(ref: PackRef) -> int:
    """The bytes that have to be read to open the pack."""
    return ref.table_size + FOOTER_SIZE


def frames(ref: PackRef) -> int:
    """How many frames it has."""
    return frames_in(ref.table_size)


def frame_mask(extent: Extent) -> int:
    """The frames that an extent lies in, as bits: bit n for frame n. Raises Corruption if no pack has so many."""
    if extent.length == 0:
        return 0
    first, last = extent.offset // FRAME_SIZE, (extent.offset + extent.length - 1) // FRAME_SIZE
    if last >= MAX_FRAMES:
        raise damaged(names.pack(extent.pack), "cannot have as many frames as the manifest says")
    return ((1 << (last - first + 1)) - 1) << first


def largest(ref: PackRef, number: int | None = None) -> int:
    """At most so many sealed bytes have this many of its frames, or all of them."""
    wanted = frames(ref) if number is None else number
    return max(0, min(wanted * SLOT_SIZE, ref.size - HEADER_SIZE - end_size(ref)))


def smallest(ref: PackRef, number: int) -> int:
    """At least so many sealed bytes have this many of its frames: what the others and the directory cannot have."""
    others = (frames(ref) - number) * SLOT_SIZE
    rest = ref.size - HEADER_SIZE - end_size(ref) - LARGEST_DIRECTORY - others
    return min(max(number * TAG_SIZE, rest), largest(ref, number))
