"""List the snapshots of a repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from coldhouse.errors import Corruption, OldKey, UsageError
from coldhouse.events import Listener, Warned, silent
from coldhouse.model import Snapshot
from coldhouse.operations import proof
from coldhouse.operations.proof import ProofRecord
from coldhouse.repository import Repository


def run(
    repository: Repository,
    *,
    source: str = "",
    tags: tuple[tuple[str, str], ...] = (),
    listener: Listener = silent,
) -> list[Snapshot]:
    """Return the snapshots, oldest first; of one ``source`` (its URL, or its identity), with all of ``tags``.

    A user and password in the URL do not matter. What is newer than the key at hand is left out, and told.
    """
    return chosen(_readable(repository, listener), source, tags)


def _readable(repository: Repository, listener: Listener) -> Iterator[Snapshot]:
    newer = 0
    for _, found in repository.each_snapshot(repository.snapshot_ids()):
        if isinstance(found, OldKey):
            newer += 1
        elif isinstance(found, Corruption):
            raise found
        else:
            yield found
    if newer:
        which = "1 snapshot is not listed: it is" if newer == 1 else f"{newer} snapshots are not listed: they are"
        listener(
            Warned(
                f"{which} sealed under generation {repository.lacking} of the master key, and the key at hand is from "
                "before a rotation; use a newer one, or have one made (coldhouse key add)"
            )
        )


def known_times(repository: Repository) -> list[tuple[str, datetime]]:
    """The ids of all snapshots and when they were begun, oldest first: what a key that cannot read can list."""
    return [(id, datetime.fromisoformat(id[:16])) for id in repository.snapshot_ids()]


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
    """When and how snapshots were last verified, by id; those of which nothing is known are left out."""
    return proof.known_of(repository, (snapshot.id for snapshot in found))


def _bare(source: str) -> str:
    """The URL as snapshots record it; what is no URL may be an identity."""
    from coldhouse.clickhouse import parse_address

    try:
        return parse_address(source).url
    except UsageError:
        return source
