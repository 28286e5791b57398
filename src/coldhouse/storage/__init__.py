"""Bytes by name: a store is a folder or a bucket that knows nothing of what is kept in it.

*Object*: bytes under a name, written whole and never changed in place. *create* (put-if-absent): stores an object only
if its name is free, which is what makes a commit. *sync*: the promise that what was stored survives a power failure.

``base.py`` is the contract, ``local.py`` a folder, ``object.py`` a bucket (the only module that knows obstore).
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from coldhouse.errors import UsageError
from coldhouse.storage.base import Storage, StoredObject, names_of

__all__ = ["Storage", "StoredObject", "names_of", "open_storage"]

_BUCKETS = ("s3", "gs", "az")


def open_storage(url: str) -> Storage:
    """Open the store at a URL, without asking it anything yet.

    ``/path``, ``file:///path``, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``. A bucket's
    credentials and endpoint come from the standard environment variables (see :mod:`coldhouse.storage.object`).
    Raises UsageError if the URL means none of these.
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        if not url:
            raise UsageError("No repository was given.", hint="Give a folder, or a URL such as s3://bucket/prefix.")
        return _open_folder(url)
    if scheme == "file":
        return _open_folder(_path_of(url))
    if scheme in _BUCKETS:
        from coldhouse.storage.object import ObjectStorage

        return ObjectStorage(url)
    raise UsageError(
        f"{scheme}:// is not a kind of place where a repository can be.",
        hint="Use a folder (/path or file:///path), s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.",
    )


def _open_folder(path: str) -> Storage:
    from coldhouse.storage.local import LocalStorage

    return LocalStorage(path)


def _path_of(url: str) -> str:
    split = urlsplit(url)
    if split.netloc not in ("", "localhost") or not split.path.startswith("/") or split.query or split.fragment:
        raise UsageError(
            f"{url} is not a folder of this machine.",
            hint="A file URL has three slashes and an absolute path: file:///path (%3F for a question mark).",
        )
    return unquote(split.path)
