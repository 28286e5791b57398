"""The system calls by which an object in a folder becomes durable, and how large ones are written past the cache."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from coldhouse.model import Buffer

#: From this size on, in bytes, an object is written past the file system's cache.
LARGE = 1 << 20
#: Offsets, lengths and memory of such writes are multiples of this on any usual disk, in bytes.
BLOCK = 4096

_PAST_CACHE = os.O_DIRECT if sys.platform == "linux" else 0
_CANNOT = (errno.EINVAL, errno.EOPNOTSUPP)


class SystemCalls:
    """The system calls that durability depends on, in one place: a test can record their order and let them fail."""

    def write(self, file: int, data: Buffer) -> int:
        """Write some of the bytes; return how many."""
        return os.write(file, data)

    def pass_cache(self, file: int, on: bool) -> None:
        """Let what is written to a file from now on go past the file system's cache, or no longer."""
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        fcntl.fcntl(file, fcntl.F_SETFL, flags | _PAST_CACHE if on else flags & ~_PAST_CACHE)

    def sync_data(self, file: int) -> None:
        """Bring a file's contents to the disk."""
        if sys.platform == "darwin":  # has no fdatasync
            os.fsync(file)
        else:
            os.fdatasync(file)

    def sync_folder(self, folder: int) -> None:
        """Bring a folder's entries to the disk."""
        os.fsync(folder)

    def link(self, old: str, new: str, folder: int) -> None:
        """Give a file of an open folder a second name, unless that is taken."""
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)

    def rename(self, old: str, new: str, folder: int) -> None:
        """Rename a file of an open folder, replacing what has the new name."""
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)


def write_all(calls: SystemCalls, file: int, data: Buffer) -> None:
    """Write an object to its new file; the blocks of a large one go past the file system's cache where they can.

    Nobody reads a backup soon. In the cache it would take the place of what the database beside it reads, and the
    copy, into memory that has to be found first, costs more than encryption.
    """
    rest = memoryview(data).cast("B")
    if _PAST_CACHE and len(rest) >= LARGE:
        rest = rest[_write_past_cache(calls, file, rest[: len(rest) // BLOCK * BLOCK]) :]
    while rest:
        rest = rest[calls.write(file, rest) :]


def _write_past_cache(calls: SystemCalls, file: int, blocks: memoryview) -> int:
    """Write whole blocks and return how many bytes; fewer where the file system, or the data's address, forbids it."""
    done = 0
    try:
        calls.pass_cache(file, on=True)
        while done < len(blocks):
            done += calls.write(file, blocks[done:])
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    calls.pass_cache(file, on=False)
    return done
