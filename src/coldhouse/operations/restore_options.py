"""What a restore is asked for, and what it tells afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from coldhouse.errors import ColdhouseError
from coldhouse.gateway import GatewaySettings
from coldhouse.model import Mutation, Snapshot, TableEntry, TableName
from coldhouse.operations.restore_plan import Existing, TableOutcome
from coldhouse.storage.counted import Requests

if TYPE_CHECKING:  # of a dry run alone
    from coldhouse.operations.restore_estimate import RestoreEstimate


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What to restore and where to; ``target`` is a URL and may hold a password.

    Either ``snapshot`` (an id, a unique prefix, "latest") or ``at`` (the newest snapshot not later than it) is given;
    ``source`` (a URL, or an identity) is whose "latest", or whose at that time: without it, the repository must hold
    snapshots of one source only.
    ``skip_damaged``: what the repository cannot give back any more is left out instead of ending the restore.
    """

    target: str = field(repr=False)
    snapshot: str = ""
    at: datetime | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    partitions: tuple[tuple[TableName, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    schema_only: bool = False
    existing: Existing = "fail"
    dry_run: bool = False
    resubmit_mutations: bool = False
    skip_damaged: bool = False
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    source: str = field(default="", repr=False)


class Rehearsal(Struct, frozen=True):
    """How to restore into an engine that is thrown away afterwards, to see whether it works.

    ``prepare`` makes of an entry what such an engine can have; a table (or function) that ``failed`` does not end the
    rest; nothing is noted for a repeat, and row counts must be exact.
    """

    prepare: Callable[[TableEntry], TableEntry]
    failed: Callable[[str, ColdhouseError], None]


class RestoreReport(Struct, frozen=True):
    """What a restore did, or with ``dry_run`` would do; ``left_out`` names what was damaged, at the source or since.

    ``served`` are bytes that ClickHouse was sent, ``requests`` those to the store since the repository was opened (None
    where it does not count). Of a dry run there is an ``estimate`` instead, whose requests are all of it; those up to
    the plan were counted.
    """

    snapshot: Snapshot
    tables: tuple[TableOutcome, ...]
    warnings: tuple[str, ...]
    mutations: tuple[tuple[TableName, Mutation], ...]
    left_out: tuple[str, ...]
    seconds: float
    dry_run: bool
    served: int = 0
    requests: Requests | None = None
    estimate: RestoreEstimate | None = None

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for is back."""
        return not self.left_out
