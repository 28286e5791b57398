"""MessagePack as it comes from a store: whatever it holds, reading it ends in a record or in Corruption."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from coldhouse.model import Buffer
from coldhouse.repository.crypto import damaged

#: Elements that one array may have: some 60 MB of objects, where none is larger than its text.
MOST_ITEMS = 1 << 20

T = TypeVar("T")

#: What reading an impossible record may end in: besides msgspec's own errors, numbers that nothing can hold, records
#: whose checks of themselves fail, nesting without end.
IMPOSSIBLE = (msgspec.MsgspecError, ValueError, OverflowError, RecursionError)


def decode_record(stored: Buffer, type: type[T], name: str, what: str) -> T:
    """Read a record of a type; ``name`` is the object it came from and ``what`` it should be. Raises Corruption."""
    try:
        return msgspec.msgpack.decode(stored, type=type)
    except IMPOSSIBLE as error:
        raise damaged(name, f"holds {what} that cannot be read") from error


def check_length(array: msgspec.Raw, name: str) -> None:
    """Raise Corruption if an array, which nobody has decoded yet, has more elements than any writer makes."""
    head = bytes(memoryview(array)[:5])
    long = int.from_bytes(head[1:5], "big") if head[:1] == b"\xdd" else 0
    if long > MOST_ITEMS:
        raise damaged(name, f"claims {long:,} items, which is more than any writer makes")
