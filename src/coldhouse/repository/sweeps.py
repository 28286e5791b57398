"""What of packs is read through, in long runs, each by one request of its own and past the cache."""

from __future__ import annotations

from coldhouse.model import Extent, FileEntry
from coldhouse.repository.pack_format import FRAME_SIZE
from coldhouse.repository.pack_sizes import frame_mask


def is_swept(length: int, run: int, sweep_bytes: int) -> bool:
    """Whether a run of bytes is read through: it is of a large range, and has a frame's length at least; 0: none is."""
    return 0 < sweep_bytes <= length and run >= FRAME_SIZE


class SweptFrames:
    """Frames that nobody asks for one by one, because every byte of them lies in a run that is read through.

    Small files lie between the runs of large ones. What a request for a small file brings along would mostly be theirs
    otherwise, and be read twice. Takes some hundred bytes of memory for each pack that has such frames.
    """

    def __init__(self, sweep_bytes: int) -> None:
        """``sweep_bytes`` as for the pack reader."""
        self._sweep_bytes = sweep_bytes
        self._packs: dict[bytes, int] = {}

    def add(self, file: FileEntry) -> None:
        """A file that will be read from beginning to end. Raises Corruption if no pack has so many frames."""
        for extent in file.extents:
            if not is_swept(file.size, extent.length, self._sweep_bytes):
                continue
            first, stop = -(-extent.offset // FRAME_SIZE), (extent.offset + extent.length) // FRAME_SIZE
            if first < stop:
                whole = Extent(extent.pack, first * FRAME_SIZE, (stop - first) * FRAME_SIZE)
                self._packs[extent.pack] = self.of(extent.pack) | frame_mask(whole)

    def of(self, pack: bytes) -> int:
        """Such frames of a pack, as bits: bit n for frame n."""
        return self._packs.get(pack, 0)
