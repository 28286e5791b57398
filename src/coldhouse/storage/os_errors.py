"""What an operating system's error means for a repository in a folder."""

from __future__ import annotations

import errno
import os

from coldhouse.errors import ObjectMissing, StorageError, StorageFull, StorageRefused

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def storage_error(error: OSError, verb: str, name: str, path: str) -> StorageError:
    """Translate: ``verb`` is what we wanted to do with the object ``name`` (or "" for the folder) below ``path``."""
    what = f"{name} in {path}" if name else path
    reason = os.strerror(error.errno) if error.errno else str(error)
    if verb == "read" and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ObjectMissing(f"There is no object {what}.", object_name=name)
    if error.errno in _FULL:
        return StorageFull(
            f"Cannot {verb} {what}: the disk or the quota is full.",
            object_name=name,
            hint="Free space there or raise the quota, then repeat; nothing that was stored is lost.",
        )
    if error.errno == errno.EROFS:
        return StorageRefused(
            f"Cannot {verb} {what}: the file system is read-only.",
            object_name=name,
            hint="Mount it writable. If it turned read-only by itself, the disk has errors: look at the system's log.",
        )
    if error.errno in _REFUSED:
        return StorageRefused(
            f"Cannot {verb} {what}: {reason}.",
            object_name=name,
            hint="Run as the user who owns the repository's folder, or give this user the rights to it.",
        )
    if error.errno == errno.ELOOP:
        return StorageRefused(
            f"Cannot {verb} {what}: it is a symbolic link, which could lead out of the repository.",
            object_name=name,
            hint="Replace the link by the file itself.",
        )
    if error.errno == errno.EIO:
        return StorageError(
            f"Cannot {verb} {what}: the disk reported an error.",
            object_name=name,
            hint="The disk or the connection to it may be failing: look at the system's log.",
        )
    return StorageError(f"Cannot {verb} {what}: {reason}.", object_name=name)
