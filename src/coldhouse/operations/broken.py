"""Which packs and manifests were found missing or damaged: noted in the repository, so no backup builds on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from struct import Struct

import msgspec

from coldhouse.errors import Corruption, OldKey
from coldhouse.records import replace
from coldhouse.repository import Repository

KIND = "broken"
KEY = "objects"
_ROW = Struct("<16sB")  # id, how
_LOST = 1
_DAMAGED = 2
#: More than these would not fit into the note; a repository in that state needs repair, not backups.
_MOST = 900_000


class Broken(msgspec.Struct, frozen=True):
    """Ids of packs and manifests.

    ``lost``: missing or of another size, which a listing shows, as it shows when that is over. ``damaged``: that took
    reading, and so does finding them sound again.
    """

    lost: frozenset[bytes] = frozenset()
    damaged: frozenset[bytes] = frozenset()

    @property
    def ids(self) -> frozenset[bytes]:
        """All of them."""
        return self.lost | self.damaged

    def found(self, *, lost: Iterable[bytes] = (), damaged: Iterable[bytes] = ()) -> Broken:
        """The same, with more."""
        return Broken(self.lost.union(lost), self.damaged.union(damaged))

    def over(self, *, there: Collection[bytes] = (), sound: Collection[bytes] = ()) -> Broken:
        """The same without what is ``there`` again with its size, and without what was read and is ``sound``."""
        return Broken(self.lost.difference(there, sound), self.damaged.difference(sound))

    def among(self, needed: Collection[bytes]) -> Broken:
        """Only what snapshots still need."""
        return replace(self, lost=self.lost.intersection(needed), damaged=self.damaged.intersection(needed))


def read(repository: Repository) -> Broken:
    """What is known to be broken; nothing where the note is damaged, or the key at hand cannot read it."""
    if repository.write_only:
        return Broken()
    try:
        stored = repository.get_note(KIND, KEY) or b""
    except (Corruption, OldKey):
        return Broken()
    rows = list(_ROW.iter_unpack(stored[: len(stored) // _ROW.size * _ROW.size]))
    return Broken(
        frozenset(id for id, how in rows if how == _LOST), frozenset(id for id, how in rows if how == _DAMAGED)
    )


def write(repository: Repository, before: Broken, after: Broken) -> None:
    """Keep what is known, if it is something else than ``before``."""
    if after == before:
        return
    if not after.ids:
        repository.delete_note(KIND, KEY)
        return
    rows = [(id, _DAMAGED) for id in after.damaged] + [(id, _LOST) for id in after.lost - after.damaged]
    repository.put_note(KIND, KEY, b"".join(_ROW.pack(*row) for row in sorted(rows)[:_MOST]))
