"""When each pack was last read and found sound: kept in the repository, so that sampling reads the oldest first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from struct import Struct

from coldhouse.errors import Corruption
from coldhouse.operations.findings import Findings
from coldhouse.repository import Repository

KIND = "checked"
_ROW = Struct("<16sQ")  # pack, seconds since 1970 (UTC)
#: One note each, by the first digit of a pack's id: a note of 16 MiB then stands for 700,000 packs.
_SHARDS = "0123456789abcdef"


class Ledger:
    """The times of the last checks, by pack."""

    def __init__(self, repository: Repository, findings: Findings) -> None:
        """Reads it; a damaged note counts as none and becomes a finding."""
        self._repository = repository
        self._times: dict[bytes, int] = {}
        self._changed: set[str] = set()
        for shard in _SHARDS:
            try:
                stored = repository.get_note(KIND, shard) or b""
            except Corruption as error:
                findings.corrupt(error)
                self._changed.add(shard)
                continue
            whole = len(stored) // _ROW.size * _ROW.size
            self._times.update(_ROW.iter_unpack(stored[:whole]))

    def checked(self, pack: bytes) -> datetime | None:
        """When a pack was last found sound."""
        seconds = self._times.get(pack)
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

    def sound(self, pack: bytes, at: datetime) -> None:
        """Note that a pack is sound."""
        self._times[pack] = int(at.timestamp())
        self._changed.add(_shard(pack))

    def broken(self, pack: bytes) -> None:
        """Note that it is not: the next sample begins with it."""
        if self._times.pop(pack, None) is not None:
            self._changed.add(_shard(pack))

    def save(self, existing: Collection[bytes]) -> None:
        """Store what changed; packs that no longer exist are forgotten."""
        for shard in sorted(self._changed):
            rows = (
                _ROW.pack(pack, seconds)
                for pack, seconds in self._times.items()
                if pack in existing and _shard(pack) == shard
            )
            self._repository.put_note(KIND, shard, b"".join(rows))
        self._changed.clear()


def choose(
    sizes: Mapping[bytes, int], times: Mapping[bytes, datetime], *, percent: float, before: datetime | None
) -> set[bytes]:
    """The packs to read: those not checked since ``before`` (all, if None), the least recently checked first.

    As many as make up ``percent`` of the bytes of all packs, and at least one.
    """
    never = datetime.min.replace(tzinfo=UTC)
    due: Iterable[bytes] = sorted(sizes, key=lambda pack: (times.get(pack, never), pack))
    budget = sum(sizes.values()) * percent / 100
    chosen: set[bytes] = set()
    taken = 0
    for pack in due:
        if before is not None and times.get(pack, never) >= before:
            break
        if chosen and taken + sizes[pack] > budget:
            break
        chosen.add(pack)
        taken += sizes[pack]
    return chosen


def _shard(pack: bytes) -> str:
    return pack[:1].hex()[0]
