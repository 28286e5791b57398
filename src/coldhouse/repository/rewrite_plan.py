"""Which packs are worth being written anew: those with the largest share of bytes that nothing needs.

A first look counts marks alone and costs no request; it takes all frames for full and for equally compressed, and finds
about as much unused as there is, or more. Only packs that may have much of it are looked at in their frame tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from coldhouse.model import PackRef
from coldhouse.repository.marking import PIECE
from coldhouse.repository.pack_format import FRAME_SIZE, FrameTable, frames_in

_PIECES = FRAME_SIZE // PIECE


class PackUse(Struct, frozen=True):
    """A pack, and how many of its stored bytes nothing needs; ``measured`` tells whether its frame table was read."""

    ref: PackRef
    unused: int
    measured: bool

    @property
    def used(self) -> int:
        """Stored bytes that are needed, those of its tables included."""
        return self.ref.size - self.unused


class RewritePlan(Struct, frozen=True):
    """The packs to write anew. ``unused`` are bytes in all packs, ``left`` those that stay in the others."""

    packs: tuple[PackUse, ...]
    unused: int
    left: int

    @property
    def read(self) -> int:
        """About how many bytes will be read, and stored again."""
        return sum(use.used for use in self.packs)

    @property
    def freed(self) -> int:
        """How many bytes of space it gains."""
        return sum(use.unused for use in self.packs)


def estimate(ref: PackRef, frames: bytes) -> PackUse:
    """About the most that can be unused in a pack, from its marks (see ``Marks.frames_of``)."""
    pieces = _PIECES * frames_in(ref.table_size)
    used = sum(bits.bit_count() for bits in frames)
    share = max(0, pieces - used) / pieces if pieces else 0.0
    return PackUse(ref, int(ref.size * share), measured=False)


def measure(ref: PackRef, table: FrameTable, frames: bytes) -> PackUse:
    """What is unused in a pack, from its marks and its frame table."""
    unused = 0
    for number, (start, end), plain in zip(table.numbers, pairwise(table.starts), table.plain, strict=True):
        pieces = -(-plain // PIECE)
        used = (frames[number] & (1 << pieces) - 1).bit_count() if number < len(frames) else 0
        unused += (end - start) * (pieces - used) // pieces
    return PackUse(ref, unused, measured=True)


def worth_measuring(use: PackUse, max_unused: float) -> bool:
    """Whether a pack may have so much unused that it could be chosen; the others together stay within the bound."""
    return use.unused * 200 > use.ref.size * max_unused


def choose(uses: Sequence[PackUse], max_unused: float) -> RewritePlan:
    """Choose packs until the others' unused bytes are at most ``max_unused`` percent of all bytes that are left.

    Those with the largest unused share come first: they give most for what they cost. With 100 nothing is chosen.
    """
    unused = left = sum(use.unused for use in uses)
    stored = sum(use.ref.size for use in uses)
    chosen: list[PackUse] = []
    candidates = sorted(
        (use for use in uses if use.measured and use.unused), key=lambda use: (-use.unused / use.ref.size, use.ref.id)
    )
    for use in candidates:
        if left * 100 <= stored * max_unused:
            break
        chosen.append(use)
        left -= use.unused
        stored -= use.unused
    return RewritePlan(tuple(chosen), unused, left)
