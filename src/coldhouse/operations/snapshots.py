"""List the snapshots of a repository."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from coldhouse.errors import UsageError
from coldhouse.model import Snapshot
from coldhouse.operations import proof
from coldhouse.operations.proof import ProofRecord
from coldhouse.repository import Repository


def run(repository: Repository, *, source: str = "", tags: tuple[tuple[str, str], ...] = ()) -> list[Snapshot]:
    """Return the snapshots, oldest first; of one ``source`` (its URL, or its identity), with all of ``tags``.

    A user and password in the URL do not matter.
    """
    return chosen((repository.snapshot(snapshot_id) for snapshot_id in repository.snapshot_ids()), source, tags)


def known_times(repository: Repository) -> list[tuple[str, datetime]]:
    """The ids of all snapshots and when they were begun, oldest first: what a key that cannot read can list."""
    return [(id, datetime.strptime(id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)) for id in repository.snapshot_ids()]


def chosen(found: Iterable[Snapshot], source: str = "", tags: tuple[tuple[str, str], ...] = ()) -> list[Snapshot]:
    """Those of one ``source`` with all of ``tags``, in their order; nothing given means all."""
    wanted = {source, _bare(source)} if source else set[str]()
    return [
        snapshot
        for snapshot in found
        if (not source or wanted & {snapshot.source.url, snapshot.source.identity})
        and all(snapshot.tags.get(key) == value for key, value in tags)
    ]


def proofs(repository: Repository, found: Iterable[Snapshot]) -> dict[str, ProofRecord]:
    """When and how each snapshot was last verified, by its id."""
    return {snapshot.id: proof.known(repository, snapshot.id) for snapshot in found}


def _bare(source: str) -> str:
    """The URL as snapshots record it; what is no URL may be an identity."""
    from coldhouse.clickhouse import parse_address

    try:
        return parse_address(source).url
    except UsageError:
        return source
