"""A folder as a store: atomic (nobody sees half an object) and durable (after ``sync`` a power failure takes nothing).

An object is written to a temporary file in the folder where it belongs, synced to the disk, and only then given its
name: by ``link``, which fails if the name is taken, or by ``rename``, which replaces. The names themselves are entries
of folders; ``sync`` brings these to the disk, once for all objects written since the last time.

Folders are opened one inside the other without following symbolic links, so that nothing in a repository can lead out
of it. Temporary files are called ``.coldhouse~<hex>``: ``~`` is in no object's name, so listings cannot confuse them.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing, StorageError, StorageRefused
from coldhouse.model import Buffer
from coldhouse.spare_memory import SpareMemory
from coldhouse.storage.base import NO_LIMIT, PIECE, Storage, StoredObject, too_large
from coldhouse.storage.folder_walk import FOLDER, walk
from coldhouse.storage.names import check_name, check_prefix
from coldhouse.storage.os_errors import storage_error
from coldhouse.storage.system_calls import SystemCalls, write_all

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a FIFO must not make us wait
_TEMPORARY = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY_START = ".coldhouse~"
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP)


class LocalStorage(Storage):
    """The objects of one folder; it is made when the first object is stored.

    Files are readable by their owner only. One name cannot be another's folder (``a`` and ``a/b``).
    """

    def __init__(self, path: str | Path, *, calls: SystemCalls | None = None) -> None:
        self._path = os.path.abspath(path)
        self._calls = calls or SystemCalls()
        self._root = -1
        self._lock = threading.Lock()
        self._touched: set[tuple[str, ...]] = set()  # folders below the root with entries that may not be on the disk
        self._made_above: set[str] = set()  # folders above the root that have a new entry
        self._sync_lock = threading.Lock()
        self._memory = SpareMemory()

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return self._path

    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        """Return the whole object. Raises ObjectMissing, or Corruption if it has more than ``limit`` bytes."""
        with self._object(name) as (file, size):
            if size > limit:
                raise too_large(name, size, limit)
            return _read(file, 0, size)

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """Return exactly ``length`` bytes from ``offset``. Raises ObjectMissing, or Corruption if it is shorter."""
        if offset < 0 or length < 0:
            raise ValueError("offset and length of a range cannot be negative")
        with self._object(name) as opened:
            return self._range(name, opened, offset, length)

    def read_through(self, name: str, offset: int, length: int, *, piece: int = PIECE) -> Iterator[Buffer]:
        """Yield ``length`` bytes from ``offset`` in pieces of this size, all in the same memory.

        Raises ObjectMissing, Corruption.
        """
        with self._memory.lent(piece) as memory, self._object(name) as (file, size):
            for at in range(offset, offset + length, piece):
                view = memory[: offset + length - at]
                if _read_into(file, at, view) < len(view):
                    raise _truncated(name, size, offset, length)
                yield view

    def size(self, name: str) -> int:
        """Return the object's size in bytes. Raises ObjectMissing."""
        with self._object(name) as (_, size):
            return size

    def create(self, name: str, data: Buffer) -> None:
        """Store a new object, atomically. Raises ObjectExists if the name is taken, and then changes nothing."""
        with self._writing(name) as (folder, leaf):
            temporary = self._write_temporary(folder, data)
            try:
                self._link(temporary, leaf, folder, name)
            finally:
                with suppress(OSError):  # a leftover is harmless: it is not listed, and shares the object's bytes
                    os.unlink(temporary, dir_fd=folder)

    def put(self, name: str, data: Buffer) -> None:
        """Store an object, atomically replacing one of the same name."""
        with self._writing(name) as (folder, leaf):
            temporary = self._write_temporary(folder, data)
            try:
                self._calls.rename(temporary, leaf, folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects whose name starts with ``prefix`` and sorts after ``after``, in the order of names, lazily.

        The names of one folder at each level are held in memory.
        """
        folders = check_prefix(prefix).split("/")[:-1]
        try:
            folder = self._open_folder(folders, make=False)
        except OSError as error:
            if error.errno in _ABSENT:
                return
            raise self._error(error, "list", prefix) from error
        try:
            yield from walk(folder, "".join(f"{name}/" for name in folders), prefix, after)
        except OSError as error:
            raise self._error(error, "list", prefix) from error
        finally:
            os.close(folder)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; names that do not exist are no error."""
        for name in names:
            *folders, leaf = check_name(name).split("/")
            try:
                folder = self._open_folder(folders, make=False)
            except OSError as error:
                if error.errno in _ABSENT:
                    continue
                raise self._error(error, "delete", name) from error
            try:
                os.unlink(leaf, dir_fd=folder)
                self._touch(folders)
            except OSError as error:
                if error.errno not in (*_ABSENT, errno.EISDIR):
                    raise self._error(error, "delete", name) from error
            finally:
                os.close(folder)

    def sync(self) -> None:
        """Return only when all that was stored before survives a power failure."""
        # The lock is held to the end: a second caller must not return before the first has synced the second's folders.
        with self._sync_lock:
            with self._lock:
                touched, self._touched = self._touched, set()
                above, self._made_above = self._made_above, set()
            try:
                # Deepest first: an entry should not become durable before what it leads to.
                for folders in sorted(touched, key=len, reverse=True):
                    self._sync_folder(self._open_folder(folders, make=False))
                for path in sorted(above, key=len, reverse=True):
                    self._sync_folder(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            except OSError as error:
                with self._lock:
                    self._touched |= touched
                    self._made_above |= above
                raise self._error(error, "bring to the disk", "") from error

    def free_space(self) -> int | None:
        """Return the bytes that a user without privileges may still write, by statvfs (quotas are not counted)."""
        path = Path(self._path)
        while not path.exists() and path != path.parent:
            path = path.parent
        try:
            found = os.statvfs(path)
        except OSError as error:
            raise self._error(error, "measure", "") from error
        return found.f_bavail * found.f_frsize

    def remove_leftovers(self, older_than: float) -> int:
        """Remove temporary files of writers that died, ``older_than`` seconds old or more; return how many."""
        limit = time.time() - older_than
        removed = 0
        if not os.path.isdir(self._path):
            return 0
        for folder, _, names, handle in os.fwalk(self._path):
            for name in names:
                if name.startswith(_TEMPORARY_START):
                    removed += self._remove_if_old(name, handle, folder, limit)
        return removed

    def close(self) -> None:
        """Let go of the folder; the store is not used afterwards."""
        with self._lock:
            root, self._root = self._root, -1
        if root >= 0:
            os.close(root)

    def _remove_if_old(self, name: str, handle: int, folder: str, limit: float) -> bool:
        try:
            if os.stat(name, dir_fd=handle, follow_symlinks=False).st_mtime > limit:
                return False
            os.unlink(name, dir_fd=handle)
            return True
        except FileNotFoundError:  # its writer is alive, and was done with it
            return False
        except OSError as error:
            raise self._error(error, "delete", os.path.relpath(os.path.join(folder, name), self._path)) from error

    def _range(self, name: str, opened: tuple[int, int], offset: int, length: int) -> Buffer:
        file, size = opened
        # A length that was read from damaged bytes must not become an allocation of that size.
        found = _read(file, offset, length) if offset + length <= size else None
        if found is None or len(found) != length:
            raise _truncated(name, size, offset, length)
        return found

    @contextmanager
    def _object(self, name: str) -> Iterator[tuple[int, int]]:
        """Open an object for reading: its file and its size in bytes."""
        *folders, leaf = check_name(name).split("/")
        try:
            folder = self._open_folder(folders, make=False)
            try:
                file = os.open(leaf, _READ, dir_fd=folder)
            finally:
                os.close(folder)
            try:
                found = os.fstat(file)
                if not stat.S_ISREG(found.st_mode):
                    raise ObjectMissing(f"There is no object {name} in {self._path}.", object_name=name)
                yield file, found.st_size
            finally:
                os.close(file)
        except OSError as error:
            raise self._error(error, "read", name) from error

    @contextmanager
    def _writing(self, name: str) -> Iterator[tuple[int, str]]:
        """Open the folder that an object is written to, making it if need be; remember it for ``sync`` afterwards."""
        *folders, leaf = check_name(name).split("/")
        try:
            folder = self._open_folder(folders, make=True)
            try:
                yield folder, leaf
                self._touch(folders)  # after the entry is there: a sync in between would have forgotten the folder
            finally:
                os.close(folder)
        except OSError as error:
            raise self._error(error, "write", name) from error

    def _write_temporary(self, folder: int, data: Buffer) -> str:
        temporary = _TEMPORARY_START + secrets.token_hex(8)
        file = os.open(temporary, _TEMPORARY, 0o600, dir_fd=folder)
        try:
            os.fchmod(file, 0o600)  # whatever the umask is
            write_all(self._calls, file, data)
            self._calls.sync_data(file)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        finally:
            os.close(file)
        return temporary

    def _link(self, temporary: str, leaf: str, folder: int, name: str) -> None:
        try:
            self._calls.link(temporary, leaf, folder)
        except FileExistsError:
            # NFS: when the server's answer is lost, the repeated request finds the link that the first one made.
            if not _same_file(temporary, leaf, folder):
                raise ObjectExists(f"There is an object {name} in {self._path} already.", object_name=name) from None
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            raise StorageError(
                f"The file system of {self._path} cannot make hard links, which are how new objects are stored safely.",
                object_name=name,
                hint="Use a file system that has them (ext4, XFS, Btrfs, ZFS, NTFS, NFS), or a bucket.",
            ) from error

    def _open_root(self, make: bool) -> int:
        """A handle of the root, for the caller to close. The store keeps one: no disk can be swapped beneath it."""
        with self._lock:
            if self._root < 0:
                if make:
                    self._make_root()
                self._root = self._open_path()
            return os.dup(self._root)

    def _open_path(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotADirectoryError:
            raise StorageError(f"{self._path} is not a folder.", hint="Give the folder of a repository.") from None

    def _make_root(self) -> None:
        missing = Path(self._path)
        while not missing.exists():
            self._made_above.add(str(missing.parent))
            missing = missing.parent
        with suppress(FileExistsError):  # a file: opening it says so
            os.makedirs(self._path, mode=0o700, exist_ok=True)

    def _open_folder(self, folders: Sequence[str], *, make: bool) -> int:
        """Open a folder below the root, one step at a time. Raises OSError, or StorageRefused for a symbolic link."""
        handle = self._open_root(make)
        for folder in folders:
            try:
                below = _open_below(handle, folder, make)
            except NotADirectoryError:
                if not _is_link(handle, folder):
                    raise
                raise StorageRefused(
                    f"{'/'.join(folders)} in {self._path} is a symbolic link, which could lead out of the repository.",
                    hint="Move the whole repository folder, or bind-mount the other place here instead of linking it.",
                ) from None
            finally:
                os.close(handle)
            handle = below
        return handle

    def _touch(self, folders: Sequence[str]) -> None:
        # With all folders above it: another writer may have made one of them and not have synced its entry yet.
        with self._lock:
            self._touched.update(tuple(folders[:depth]) for depth in range(len(folders) + 1))

    def _sync_folder(self, handle: int) -> None:
        try:
            self._calls.sync_folder(handle)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:  # some network file systems have no such thing
                raise
        finally:
            os.close(handle)

    def _error(self, error: OSError, verb: str, name: str) -> StorageError:
        return storage_error(error, verb, name, self._path)


def _open_below(handle: int, folder: str, make: bool) -> int:
    try:
        return os.open(folder, FOLDER, dir_fd=handle)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another thread was faster
        os.mkdir(folder, 0o700, dir_fd=handle)
    return os.open(folder, FOLDER, dir_fd=handle)


def _is_link(handle: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _same_file(one: str, other: str, folder: int) -> bool:
    try:
        return os.path.samestat(
            os.stat(one, dir_fd=folder, follow_symlinks=False), os.stat(other, dir_fd=folder, follow_symlinks=False)
        )
    except OSError:
        return False


def _truncated(name: str, size: int, offset: int, length: int) -> Corruption:
    return Corruption(
        f"{name} is truncated: it has {size} bytes, and bytes {offset} to {offset + length} are needed.",
        object_name=name,
    )


def _read_into(file: int, offset: int, memory: memoryview) -> int:
    """Fill memory from a file; returns how much of it, which is less where the file ends."""
    filled = 0
    while filled < len(memory):
        count = os.preadv(file, [memory[filled:]], offset + filled)
        if not count:
            break
        filled += count
    return filled


def _read(file: int, offset: int, length: int) -> Buffer:
    """Read ``length`` bytes, or what there is of them. One read call gives at most 2 GiB."""
    found = os.pread(file, length, offset)
    if len(found) == length or not found:
        return found
    pieces = bytearray(found)
    while len(pieces) < length and found:
        found = os.pread(file, length - len(pieces), offset + len(pieces))
        pieces += found
    return pieces
