"""Give back the space of what no snapshot needs: look, and only then, as a second step, write anew and delete.

Everything here may run beside backups, restores, copies and other prunes; see *Collection* in FORMAT.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, StorageFull
from coldhouse.events import Listener, Phase, Progress, Warned, silent
from coldhouse.operations import copy, pin, proof, restore_note
from coldhouse.repository import IMPOSSIBLE, Repository
from coldhouse.repository.collection import DEAD_AFTER, KEEP_UNFINISHED, Collected, Collection, Limits, Survey, Tally
from coldhouse.repository.owners import read_owners
from coldhouse.repository.rewrite_plan import RewritePlan
from coldhouse.repository.rewriting import RewriteSettings, Rewritten, plan_rewriting, rewrite

__all__ = ["MAX_UNUSED", "PruneOptions", "PrunePlan", "PruneReport", "Tally", "prepare", "run"]

#: How many percent of what is stored may be unused, before packs are written anew.
MAX_UNUSED = 10.0
#: Kinds of notes that belong to one snapshot, whose id is their key.
_BESIDE_SNAPSHOTS = (proof.KIND, pin.KIND)


class PruneOptions(Struct, frozen=True):
    """How to prune. ``max_unused``: percent; with 100 nothing is written anew. ``compression`` as for a backup.

    ``dead_after``: how long a writer may be silent and count as alive; ``keep_unfinished``: how long what killed
    backups stored, and what killed restores had begun, is kept for the next one.
    """

    max_unused: float = MAX_UNUSED
    dead_after: timedelta = DEAD_AFTER
    keep_unfinished: timedelta = KEEP_UNFINISHED
    compression: str = "auto"

    @property
    def limits(self) -> Limits:
        """What a collection must know of it."""
        return Limits(self.dead_after, self.keep_unfinished)


class PrunePlan(Struct, frozen=True):
    """What a prune would do now: what nothing needs, which packs it would write anew, and notes of what is gone."""

    survey: Survey
    rewrite: RewritePlan
    notes: tuple[tuple[str, str], ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        stored = self.survey.unneeded
        return not (stored.packs or stored.manifests or self.survey.pending or self.rewrite.packs or self.notes)


class PruneReport(Struct, frozen=True):
    """What a prune did. ``leftovers`` are files that killed writers left beside any object in a local folder."""

    rewritten: Rewritten
    collected: Collected
    notes: int
    leftovers: int
    seconds: float


def prepare(repository: Repository, options: PruneOptions, listener: Listener = silent) -> PrunePlan:
    """Look at everything and change nothing.

    Raises PruneRefused where it cannot be told what snapshots need, WriteOnlyKey, StorageError.
    """
    listener(Phase("looking for what no snapshot needs"))
    survey = Collection(repository, options.limits).survey()
    listener(Phase("looking for packs that are mostly unused"))
    rewriting = plan_rewriting(repository, survey.marks, options.max_unused)
    notes = (*_orphaned_notes(repository), *_given_up(repository, options.keep_unfinished))
    return PrunePlan(survey, rewriting, notes)


def run(
    repository: Repository, options: PruneOptions, plan: PrunePlan | None = None, listener: Listener = silent
) -> PruneReport:
    """Do what a plan says, and delete whatever nothing needs by then.

    Raises PruneRefused (nothing was deleted), WriteOnlyKey, StorageError; a repeat goes on where this one ended.
    """
    began = time.monotonic()
    plan = plan or prepare(repository, options, listener)
    rewritten = _rewrite(repository, plan.rewrite, options, listener)
    listener(Phase("deleting what no snapshot needs"))
    collected = Collection(repository, options.limits).run()
    still = frozenset(_given_up(repository, options.keep_unfinished))  # one may have been taken up meanwhile
    for kind, key in plan.notes:
        if kind != restore_note.KIND or (kind, key) in still:
            repository.delete_note(kind, key)
    leftovers = repository.storage.remove_leftovers(options.dead_after.total_seconds())
    return PruneReport(rewritten, collected, len(plan.notes), leftovers, time.monotonic() - began)


def _rewrite(repository: Repository, plan: RewritePlan, options: PruneOptions, listener: Listener) -> Rewritten:
    """Write packs anew; where there is no room for that, what is deleted afterwards may make some."""
    if plan.packs:
        listener(Phase("writing packs anew"))
    done = 0

    def moved(size: int) -> None:
        nonlocal done
        done += size
        listener(Progress(done, 0))

    try:
        found = rewrite(repository, plan, RewriteSettings(compression=options.compression), moved)
    except StorageFull as error:
        listener(Warned(f"there is no room to write packs anew; run prune again later: {error.message}"))
        return Rewritten()
    for name in found.damaged:
        listener(Warned(f"{name} is damaged, and stays as it is; coldhouse repair says more"))
    return found


def _orphaned_notes(repository: Repository) -> Iterator[tuple[str, str]]:
    """The notes of snapshots that are gone, as (kind, key); those of one that was set aside stay.

    Of a copy, which notes what it has begun, those of snapshots that are there.

    Notes are listed first: what is noted now belongs to a snapshot that is there now, or was before.
    """
    noted = [(kind, key) for kind in _BESIDE_SNAPSHOTS for key in _keys(repository, kind)]
    copying = _keys(repository, copy.KIND)
    known = {*repository.snapshot_ids(), *repository.snapshot_ids()}  # who is revised while he is listed is in one
    yield from ((copy.KIND, key) for key in copying if key in known)
    aside = (stored.name.rpartition("/")[2].partition(".")[0] for stored in repository.storage.list("quarantine/"))
    known.update(aside)
    yield from (each for each in noted if each[1] not in known)


def _given_up(repository: Repository, keep: timedelta) -> Iterator[tuple[str, str]]:
    """The notes of restores that began so long ago and are not at work; a repeat finds its tables there, and refuses.

    One that has begun to append stays: without its note a repeat would double rows.
    """
    noted = _begun(repository)
    owners = read_owners(repository.storage) if noted else []
    if any(owner.says is None or owner.says.kind == restore_note.KIND for owner in owners):
        return
    now = datetime.now(UTC)
    for key, note in noted:
        if now - note.started > keep and not (note.staged or note.appending):
            yield restore_note.KIND, key


def _begun(repository: Repository) -> list[tuple[str, restore_note.Note]]:
    try:
        notes = list(repository.notes(restore_note.KIND))
        return [(key, msgspec.msgpack.decode(data, type=restore_note.Note)) for key, data in notes]
    except (Corruption, *IMPOSSIBLE):
        return []


def _keys(repository: Repository, kind: str) -> list[str]:
    try:
        return [key for key, _ in repository.notes(kind)]
    except Corruption:  # it may be any snapshot's
        return []
