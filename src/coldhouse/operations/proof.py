"""The record, beside a snapshot, of when and how it was last verified."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, OldKey
from coldhouse.repository import IMPOSSIBLE, Repository

KIND = "proof"

Level = Literal["structure", "data", "drill"]
LEVELS: tuple[Level, ...] = ("structure", "data", "drill")


class Proof(Struct, frozen=True):
    """A verification that found nothing wrong; ``partial``: of a sample or of some tables only."""

    level: Level
    at: datetime
    partial: bool = False

    @property
    def strength(self) -> tuple[int, bool, datetime]:
        """The stronger proof is the greater one."""
        return LEVELS.index(self.level), not self.partial, self.at


class ProofRecord(Struct, frozen=True):
    """What is known of a snapshot: the last proof of each level, and when which levels last found damage."""

    proofs: tuple[Proof, ...] = ()
    damaged_at: datetime | None = None
    damaged_levels: tuple[Level, ...] = ()

    @property
    def best(self) -> Proof | None:
        """The strongest proof; None if there is none, or if damage was found that is not known to be gone."""
        if self.damaged_levels:
            return None
        return max(self.proofs, key=lambda proof: proof.strength, default=None)

    def proven(self, proof: Proof) -> ProofRecord:
        """The record after a verification found nothing; each level includes ``structure``.

        Damage is gone when the level that found it finds it no more, with nothing left out.
        """
        kept = tuple(one for one in self.proofs if (one.level, one.partial) != (proof.level, proof.partial))
        seen = () if proof.partial else ("structure", proof.level)
        levels = tuple(level for level in self.damaged_levels if level not in seen)
        return ProofRecord((*kept, proof), self.damaged_at if levels else None, levels)

    def damaged(self, level: Level, at: datetime) -> ProofRecord:
        """The record after a verification found damage: what was proven before counts no more."""
        return ProofRecord((), at, tuple(dict.fromkeys((*self.damaged_levels, level))))


def read(repository: Repository, snapshot_id: str) -> ProofRecord:
    """What is known of a snapshot. Raises Corruption if the record is damaged."""
    stored = repository.get_note(KIND, snapshot_id)
    return ProofRecord() if stored is None else decoded(snapshot_id, stored)


def decoded(snapshot_id: str, stored: bytes) -> ProofRecord:
    """The record that a note holds. Raises Corruption if it is damaged."""
    try:
        return msgspec.msgpack.decode(stored, type=ProofRecord)
    except IMPOSSIBLE as error:
        raise Corruption(
            f"The record of the verification of {snapshot_id} cannot be read.", hint="Verify the snapshot again."
        ) from error


def known(repository: Repository, snapshot_id: str) -> ProofRecord:
    """The same for a listing, where a record that cannot be read means that nothing is known; ``verify`` reports it."""
    try:
        return read(repository, snapshot_id)
    except (Corruption, OldKey):
        return ProofRecord()


def known_of(repository: Repository, snapshot_ids: Iterable[str]) -> dict[str, ProofRecord]:
    """The same for many snapshots, by id; those of which nothing is known are left out."""
    found: dict[str, ProofRecord] = {}
    for snapshot_id, stored in repository.get_notes(KIND, snapshot_ids):
        with suppress(Corruption):
            if isinstance(stored, bytes):
                found[snapshot_id] = decoded(snapshot_id, stored)
    return found


def write(repository: Repository, snapshot_id: str, record: ProofRecord) -> None:
    """Keep what is known of a snapshot."""
    repository.put_note(KIND, snapshot_id, msgspec.msgpack.encode(record))
