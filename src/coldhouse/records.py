"""Records, that is frozen classes of fields: how one with other values is made from one.

Most are :class:`msgspec.Struct`: making such a class takes 16 us, a data class of the standard library 650, and there
were 125 in the start of each command; an object takes a sixth. What must not show a secret, or not compare a field, is
a data class. One function serves both: type checkers take each library's own for the other's records, which it refuses.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="msgspec.Struct | DataclassInstance")


def replace(record: R, **changes: object) -> R:
    """The same record with other values in some fields. Raises TypeError for a field that it does not have."""
    if isinstance(record, msgspec.Struct):
        return msgspec.structs.replace(record, **changes)
    return dataclasses.replace(record, **changes)
