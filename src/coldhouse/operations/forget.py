"""Forget snapshots: look, plan, and only then, as a second step that can be left out, delete what the plan says.

Only the snapshots' own objects go; what they alone needed is collected by ``prune``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, tzinfo

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, ForgetRefused, OldKey, UsageError
from coldhouse.model import Snapshot
from coldhouse.operations import choosing, copy, pin, proof, retention, snapshots
from coldhouse.operations.calendar import Calendar
from coldhouse.operations.retention import GroupBy, Known, Objection, Policy, RetentionPlan, Tags
from coldhouse.repository import Repository
from coldhouse.repository.names import note_folder


class ForgetOptions(Struct, frozen=True):
    """What to forget: the named snapshots (``names``), or what a ``policy`` does not keep.

    ``source`` (URL or identity) and ``tags`` say which snapshots the policy is about, others are not touched;
    ``zone`` is that of the calendar, None for this machine's; ``most_shrink`` is in percent.
    """

    policy: Policy = msgspec.field(default_factory=Policy)
    names: tuple[str, ...] = ()
    source: str = ""
    tags: Tags = ()
    group_by: tuple[GroupBy, ...] = retention.DEFAULT_GROUP_BY
    zone: tzinfo | None = None
    most_shrink: float = retention.MOST_SHRINK
    allow_shrunk: bool = False
    allow_last: bool = False


class ForgetPlan(Struct, frozen=True):
    """A plan and what speaks against it.

    Snapshots that are ``unreadable`` are neither judged nor forgotten, unless they were named (``unreadable_named``).
    ``staying`` are, for each source that loses some, the ids of those that it keeps.
    """

    retention: RetentionPlan
    objections: tuple[Objection, ...] = ()
    unreadable: tuple[str, ...] = ()
    unreadable_named: tuple[str, ...] = ()
    staying: tuple[frozenset[str], ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """What would be forgotten."""
        return (*(one.id for one in self.retention.forgotten), *self.unreadable_named)


class ForgetReport(Struct, frozen=True):
    """What was done: the plan, the ids that are gone, and those that were pinned in the meantime and stay."""

    plan: ForgetPlan
    forgotten: tuple[str, ...]
    spared: tuple[str, ...] = ()


def prepare(repository: Repository, options: ForgetOptions, *, now: datetime | None = None) -> ForgetPlan:
    """Read all snapshots and decide; nothing is changed.

    Raises UsageError for a policy that keeps nothing, or both a policy and names; NoSuchSnapshot; Corruption where a
    pin cannot be read; StorageError.
    """
    if options.names and not options.policy.empty:
        raise UsageError(
            "both snapshots and a policy are given; which one is meant is not clear",
            hint="name snapshots to forget these, or give --keep-... to keep some and forget the others",
        )
    calendar = Calendar(now or datetime.now(UTC), options.zone)
    everything, unreadable = _read_all(repository)
    known = _known(repository, everything)
    if options.names:
        chosen, unreadable_named = _named(repository, options.names, options.source, unreadable)
        made = retention.plan_chosen(chosen)
    else:
        unreadable_named = ()
        judged = snapshots.chosen(everything, options.source, options.tags)
        made = retention.plan(judged, options.policy, known, calendar, options.group_by)
    forgetting = frozenset(one.id for one in made.forgotten)
    against = retention.objections(everything, forgetting, known, calendar, most_shrink=options.most_shrink)
    allowed = {"shrunk": options.allow_shrunk, "last": options.allow_last, "pinned": False}
    return ForgetPlan(
        made,
        tuple(one for one in against if not allowed[one.kind]),
        unreadable,
        unreadable_named,
        _staying(everything, forgetting),
    )


def execute(repository: Repository, plan: ForgetPlan) -> ForgetReport:
    """Do what the plan says, as far as that is still right: between the two somebody may have thought it over.

    Raises ForgetRefused where something speaks against it, or where what the plan keeps is gone; then nothing was
    deleted. StorageError, after which some may be forgotten, and a repeat forgets the rest.
    """
    if plan.objections:
        raise ForgetRefused(
            f"nothing was forgotten: {'; '.join(one.text for one in plan.objections)}",
            hint="; ".join(dict.fromkeys(one.hint for one in plan.objections)),
        )
    pinned = pin.pins(repository)
    spared = tuple(one for one in plan.ids if one in pinned)
    going = tuple(one for one in plan.ids if one not in pinned)
    there = frozenset(repository.snapshot_ids())
    gone = [one.id for one in plan.retention.kept if one.id not in there]
    gone += [min(ids) for ids in plan.staying if not ids & there]
    if gone:
        raise ForgetRefused(
            f"nothing was forgotten: {gone[0]}, which the plan counts on to stay, has been forgotten meanwhile",
            hint="something else works on this repository; look at it, and run the command again",
        )
    if going:
        _take_back_copying(repository, going)
        repository.forget(going)
    return ForgetReport(plan, going, spared)


def _take_back_copying(repository: Repository, going: Sequence[str]) -> None:
    """A copy that did not come to say that it was done would bring back what is forgotten now."""
    if any(True for _ in repository.storage.list(note_folder(copy.KIND))):
        for snapshot_id in going:
            repository.delete_note(copy.KIND, snapshot_id)


def _read_all(repository: Repository) -> tuple[list[Snapshot], tuple[str, ...]]:
    """All snapshots, and the ids of those that are damaged."""
    found: list[Snapshot] = []
    unreadable: list[str] = []
    for snapshot_id, read in repository.each_snapshot(repository.snapshot_ids()):
        if isinstance(read, OldKey):
            raise read
        if isinstance(read, Corruption):
            unreadable.append(snapshot_id)
        else:
            found.append(read)
    return found, tuple(unreadable)


def _known(repository: Repository, everything: Iterable[Snapshot]) -> Known:
    pinned = {snapshot_id: each.reason for snapshot_id, each in pin.pins(repository).items()}
    drilled, damaged = set[str](), set[str]()
    for snapshot_id, record in proof.known_of(repository, (one.id for one in everything)).items():
        if record.damaged_at is not None:
            damaged.add(snapshot_id)
        elif any(each.level == "drill" and not each.partial for each in record.proofs):
            drilled.add(snapshot_id)
    return Known(pinned, frozenset(drilled), frozenset(damaged))


def _staying(everything: Sequence[Snapshot], forgetting: Collection[str]) -> tuple[frozenset[str], ...]:
    """For each source that loses snapshots, and not all, those that it keeps."""
    losing = {one.source.identity for one in everything if one.id in forgetting}
    by_source: dict[str, set[str]] = {}
    for one in everything:
        if one.source.identity in losing and one.id not in forgetting:
            by_source.setdefault(one.source.identity, set()).add(one.id)
    return tuple(frozenset(ids) for ids in by_source.values())


def _named(
    repository: Repository, names: Sequence[str], source: str, unreadable: Sequence[str]
) -> tuple[list[Snapshot], tuple[str, ...]]:
    """The snapshots of these names, each once, and the unreadable ones, which must be named in full."""
    chosen: dict[str, Snapshot] = {}
    broken: dict[str, None] = {}
    for name in names:
        if name in unreadable:
            broken[name] = None
            continue
        found = choosing.find(repository, name, source)
        chosen[found.id] = found
    return list(chosen.values()), tuple(broken)
