"""Where the files of a page lie, and nothing else of it: for walks over all pages of a repository.

The other columns of a page, also those that this version does not know, are passed over, and carried as they are
when a page is made anew because its contents lie elsewhere.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

import msgspec
from msgspec import Struct

from coldhouse.model import Extent, PackRef
from coldhouse.repository.crypto import damaged
from coldhouse.repository.pack_format import FRAME_SIZE, MAX_FRAMES, pack_column, unpack_column

#: No address in a pack is so high.
END_OF_PACK = MAX_FRAMES * FRAME_SIZE


class _Columns(Struct, frozen=True):
    pack_ids: bytes
    pack_sizes: bytes
    pack_tables: bytes
    file_extents: bytes
    extent_pack: bytes
    extent_offset: bytes
    extent_length: bytes


class PageExtents(Struct, frozen=True):
    """The packs of a page, and its extents as columns: the place of the pack, the address there, the length in bytes.

    ``files`` is how many extents each file has.
    """

    packs: tuple[PackRef, ...]
    pack: array[int]
    offset: array[int]
    length: array[int]
    files: array[int]


def read_extents(plain: bytes, name: str) -> PageExtents:
    """Read them from the plaintext of a page; ``name`` is the object it came from. Raises Corruption."""
    try:
        columns = msgspec.msgpack.decode(plain, type=_Columns)
        ids = [columns.pack_ids[at : at + 16] for at in range(0, len(columns.pack_ids), 16)]
        sizes = unpack_column("Q", columns.pack_sizes)
        tables = unpack_column("I", columns.pack_tables)
        found = PageExtents(
            tuple([PackRef(id, size, table) for id, size, table in zip(ids, sizes, tables, strict=True)]),
            unpack_column("I", columns.extent_pack),
            unpack_column("Q", columns.extent_offset),
            unpack_column("Q", columns.extent_length),
            unpack_column("I", columns.file_extents),
        )
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, "holds a page that cannot be read") from error
    if len(columns.pack_ids) % 16 or not _sound(found):
        raise damaged(name, "holds a page whose columns contradict each other")
    return found


def _sound(found: PageExtents) -> bool:
    count = len(found.pack)
    return (
        count == len(found.offset) == len(found.length) == sum(found.files)
        and max(found.pack, default=-1) < len(found.packs)
        and all(offset + length <= END_OF_PACK for offset, length in zip(found.offset, found.length, strict=True))
    )


def relocated(plain: bytes, name: str, move: Callable[[Extent], Sequence[Extent] | None], packs: Packs) -> bytes:
    """The plaintext of the same page where ``move`` says that extents lie elsewhere now (None: as before).

    ``packs`` finds the new packs. The bytes are those that ``encode_page`` would give. Raises Corruption.
    """
    old = read_extents(plain, name)
    refs = {ref.id: ref for ref in old.packs}
    extents: list[Extent] = []
    files = array("I")
    ends = [0, *accumulate(old.files)]
    ids = [ref.id for ref in old.packs]
    for start, end in pairwise(ends):
        before = len(extents)
        for at in range(start, end):
            extent = Extent(ids[old.pack[at]], old.offset[at], old.length[at])
            extents.extend(move(extent) or (extent,))
        files.append(len(extents) - before)
    places = {id: at for at, id in enumerate(dict.fromkeys(extent.pack for extent in extents))}
    used = [refs[id] if id in refs else packs(id) for id in places]
    return with_fields(
        plain,
        name,
        pack_ids=b"".join(places),
        pack_sizes=pack_column("Q", [ref.size for ref in used]),
        pack_tables=pack_column("I", [ref.table_size for ref in used]),
        file_extents=pack_column("I", files),
        extent_pack=pack_column("I", [places[extent.pack] for extent in extents]),
        extent_offset=pack_column("Q", [extent.offset for extent in extents]),
        extent_length=pack_column("Q", [extent.length for extent in extents]),
    )


Packs = Callable[[bytes], PackRef]


def with_fields(stored: bytes, name: str, **fields: object) -> bytes:
    """A record as it is stored, with other values for some of its fields; those not named here stay byte by byte.

    Raises Corruption.
    """
    try:
        record = msgspec.msgpack.decode(stored, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, "holds a record that cannot be read") from error
    encoded = {field: msgspec.Raw(msgspec.msgpack.encode(value)) for field, value in fields.items()}
    return msgspec.msgpack.encode(record | encoded)


def spans(found: PageExtents) -> Iterator[tuple[int, int, int]]:
    """Runs of a page's extents as (place of the pack, begin, end); neighbours in one pack are told as one."""
    if not found.pack:
        return
    last, begin, end = found.pack[0], found.offset[0], found.offset[0]
    for pack, offset, length in zip(found.pack, found.offset, found.length, strict=True):
        if pack == last and offset == end:
            end += length
            continue
        yield last, begin, end
        last, begin, end = pack, offset, offset + length
    yield last, begin, end
