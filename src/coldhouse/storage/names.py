"""Which names an object may have: one that passes here cannot leave the folder or prefix that it is put under."""

from __future__ import annotations

import re

from coldhouse.errors import StorageError

_NAME = re.compile(r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]*")


def is_name(name: str) -> bool:
    """Whether this can be the name of an object: segments of ``[A-Za-z0-9._-]``, none of them ``.`` or ``..``."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return the name. Raises StorageError if no object can have it."""
    if not is_name(name):
        raise StorageError(
            f"{name!r} cannot be the name of an object in a repository.",
            hint="If the name was read from a repository, that repository is damaged.",
        )
    return name


def check_prefix(prefix: str) -> str:
    """Return the start of names to list. Raises StorageError if no name can start like this."""
    folders = prefix.split("/")[:-1]
    if _PREFIX.fullmatch(prefix) is None or any(folder in ("", ".", "..") for folder in folders):
        raise StorageError(f"{prefix!r} cannot be the start of the name of an object in a repository.")
    return prefix
