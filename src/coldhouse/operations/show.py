"""Show what one snapshot holds."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from coldhouse.model import Snapshot, TableEntry
from coldhouse.operations import choosing, pin, proof
from coldhouse.operations.pin import Pin
from coldhouse.operations.proof import ProofRecord
from coldhouse.repository import Repository


class SnapshotDetail(Struct, frozen=True):
    """A snapshot and its tables (and databases: entries with an empty table name), in the order of their names.

    ``record`` is what verifications found, ``pin`` why it is kept for good.
    """

    snapshot: Snapshot
    tables: tuple[TableEntry, ...]
    record: ProofRecord = msgspec.field(default_factory=ProofRecord)
    pin: Pin | None = None

    @property
    def empty_databases(self) -> tuple[str, ...]:
        """The databases in the snapshot that hold no table."""
        filled = {entry.name.database for entry in self.tables if entry.name.table}
        return tuple(entry.name.database for entry in self.tables if entry.name.database not in filled)


def run(repository: Repository, name: str, *, source: str = "") -> SnapshotDetail:
    """Return a snapshot by its id, a unique prefix of it, or "latest" (of ``source``, if it is given).

    Raises NoSuchSnapshot, Corruption.
    """
    snapshot = choosing.find(repository, name, source)
    tables = tuple(repository.entries(snapshot))
    return SnapshotDetail(
        snapshot, tables, proof.known(repository, snapshot.id), pin.known_pins(repository).get(snapshot.id)
    )
