"""Which snapshot is meant: an id, or the newest one of a source, now or at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from coldhouse.errors import Corruption, NoSuchSnapshot, OldKey
from coldhouse.model import Snapshot, SourceInfo
from coldhouse.operations import snapshots
from coldhouse.repository import Repository

LATEST = "latest"


def find(repository: Repository, name: str, source: str = "") -> Snapshot:
    """A snapshot by its id or a unique beginning of it; ``latest`` is the newest of ``source``, if one is named.

    A source is named by its URL or its identity. Raises NoSuchSnapshot, Corruption.
    """
    return newest(repository, source) if name == LATEST and source else repository.find(name)


def newest(repository: Repository, source: str = "", at: datetime | None = None) -> Snapshot:
    """The newest snapshot (of a source) that was complete at a time. Raises NoSuchSnapshot, Corruption."""
    return _chosen(_newest_first(repository, at), source, at, [])


def of_one_source(repository: Repository, name: str, at: datetime | None = None, source: str = "") -> Snapshot:
    """As :func:`find`, or (with ``at``) :func:`newest`, for what must not take one source's data for another's.

    Raises NoSuchSnapshot also where nothing but the time says of which source the snapshot should be.
    """
    if at is None and name != LATEST:
        return repository.find(name)
    walk = _newest_first(repository, at)
    seen: list[Snapshot] = []
    found = _chosen(walk, source, at, seen)
    seen += (each for each in walk if isinstance(each, Snapshot))
    sources = _sources(snapshots.chosen(reversed(seen), source))
    if len(sources) > 1:
        raise NoSuchSnapshot(
            f"the newest snapshot is of {found.source.url}, and there are those of {len(sources)} sources: "
            f"{_listed(sources)}",
            hint="say which with --source (its URL or its identity), or give a snapshot's id",
        )
    return found


def usual(repository: Repository, source: str) -> str:
    """The source whose newest snapshot is meant where nobody has chosen one: ``source``, which is usually backed up.

    Empty where there is nothing of it and all snapshots are of one other source: what was lost has another address.
    """
    seen: list[Snapshot] = []
    for each in _newest_first(repository):
        if isinstance(each, Snapshot):
            if snapshots.chosen((each,), source):
                return source
            seen.append(each)
    return source if len(_sources(seen)) > 1 else ""


def _chosen(
    walk: Iterator[Snapshot | Corruption | OldKey], source: str, at: datetime | None, seen: list[Snapshot]
) -> Snapshot:
    """The first that fits; a damaged one before it could be the one that is meant. What was passed goes to ``seen``."""
    for each in walk:
        if isinstance(each, Corruption | OldKey):
            raise each
        seen.append(each)
        if (at is None or each.finished <= at) and snapshots.chosen((each,), source):
            return each
    whose = f" of {source}" if source else ""
    when = f" was complete at {at.isoformat()}" if at else " is there"
    there = f"there are snapshots of {_listed(_sources(reversed(seen)))}; " if source else ""
    raise NoSuchSnapshot(
        f"no snapshot{whose}{when}", hint=f"{there}coldhouse snapshots lists all; give another --source, or an id"
    )


def _newest_first(repository: Repository, at: datetime | None = None) -> Iterator[Snapshot | Corruption | OldKey]:
    """All snapshots that are not forgotten meanwhile, and in place of those that cannot be read what is wrong.

    What was begun after ``at`` and cannot be read is left out: it is not the one that is meant.
    """
    for snapshot_id, begun in reversed(snapshots.known_times(repository)):
        try:
            yield repository.snapshot(snapshot_id)
        except NoSuchSnapshot:
            continue
        except (Corruption, OldKey) as error:
            if at is None or begun <= at:
                yield error


def _sources(found: Iterable[Snapshot]) -> list[SourceInfo]:
    """The last one seen of each source.

    A server that was moved keeps its identity, one that was made anew has the address and the host name of the old one.
    """
    groups: list[list[SourceInfo]] = []
    for source in dict.fromkeys(snapshot.source for snapshot in found):
        same = [group for group in groups if any(_is_same(source, other) for other in group)]
        groups = [group for group in groups if group not in same]
        groups.append([*(other for group in same for other in group), source])
    return [group[-1] for group in groups]


def _is_same(one: SourceInfo, other: SourceInfo) -> bool:
    return one.identity == other.identity or (one.url, one.host) == (other.url, other.host)


def _listed(sources: Iterable[SourceInfo]) -> str:
    return ", ".join(f"{source.url} (host {source.host}, identity {source.identity})" for source in sources) or "none"
