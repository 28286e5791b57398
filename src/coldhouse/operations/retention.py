"""Which snapshots to keep, and why: values in, a plan out; nothing is read or deleted here.

    snapshots + what is known of them + policy  ->  for each snapshot the reasons to keep it; without one it goes

Rules are asked group by group, each for itself; a snapshot that any rule wants is kept. Two things never fill a place
that a rule has to give, and so never push a sound snapshot out: one that is known to be damaged, and one whose time has
not come yet, because some clock was wrong. `objections` looks at a plan and says why it should not be carried out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from coldhouse.errors import UsageError
from coldhouse.model import Snapshot
from coldhouse.operations.calendar import Calendar, Duration, Period

GroupBy = Literal["source", "tables", "tags"]
GROUP_BY: tuple[GroupBy, ...] = ("source", "tables", "tags")
#: A nightly snapshot of everything and an hourly one of one table must not take each other's places.
DEFAULT_GROUP_BY: tuple[GroupBy, ...] = ("source", "tables")
_SOURCE: tuple[GroupBy, ...] = ("source",)

#: How much (percent) the newest snapshot may hold less than its predecessor before that looks like an accident.
MOST_SHRINK = 50.0

#: A count that no repository reaches.
UNLIMITED = 1 << 40

Tags = tuple[tuple[str, str], ...]


class Policy(Struct, frozen=True):
    """What to keep; each rule is off at 0, None or nothing.

    ``last`` snapshots; of each of the last N hours, days, ... that have any, the last one (``every``); all ``within`` a
    duration before the newest, or of each period within one the last (``within_every``); those with all of a set of
    ``tags``; the last ``verified`` ones, which passed a drill.
    """

    last: int = 0
    every: tuple[tuple[Period, int], ...] = ()
    within: Duration | None = None
    within_every: tuple[tuple[Period, Duration], ...] = ()
    tags: tuple[Tags, ...] = ()
    verified: int = 0

    @property
    def empty(self) -> bool:
        """Whether it keeps nothing at all."""
        counts = (self.last, self.verified, *(count for _, count in self.every))
        return not (any(counts) or self.within or self.within_every or self.tags)


class Known(Struct, frozen=True):
    """What is known of snapshots, by id: why some are pinned, which passed a drill, which are damaged."""

    pinned: Mapping[str, str] = msgspec.field(default_factory=dict)
    drilled: frozenset[str] = frozenset()
    damaged: frozenset[str] = frozenset()


class Decision(Struct, frozen=True):
    """What happens to a snapshot, and every reason for it."""

    snapshot: Snapshot
    kept: bool
    reasons: tuple[str, ...]


class Group(Struct, frozen=True):
    """Snapshots that are judged together, newest first; ``name`` is what they have in common, for people."""

    name: str
    decisions: tuple[Decision, ...]


class RetentionPlan(Struct, frozen=True):
    """What would happen; snapshots that no group has are not touched."""

    groups: tuple[Group, ...]

    @property
    def kept(self) -> tuple[Snapshot, ...]:
        """The snapshots that stay, of those that were looked at."""
        return tuple(one.snapshot for group in self.groups for one in group.decisions if one.kept)

    @property
    def forgotten(self) -> tuple[Snapshot, ...]:
        """The snapshots that go."""
        return tuple(one.snapshot for group in self.groups for one in group.decisions if not one.kept)


def plan(
    snapshots: Iterable[Snapshot],
    policy: Policy,
    known: Known,
    calendar: Calendar,
    group_by: Collection[GroupBy] = DEFAULT_GROUP_BY,
) -> RetentionPlan:
    """Decide by a policy. Raises UsageError for a policy that keeps nothing."""
    if policy.empty:
        raise UsageError(
            "no rule is given, or none but 0: such a policy keeps no snapshot at all",
            hint="say what to keep, for example --keep-last 7 --keep-weekly 8 --keep-monthly 24, or name snapshots",
        )
    groups = []
    for members in _grouped(snapshots, group_by):
        kept = _reasons(members, policy, known, calendar)
        decisions = (Decision(one, one.id in kept, tuple(kept.get(one.id, ("no rule wants it",)))) for one in members)
        groups.append(Group(_name(members[0], group_by), tuple(decisions)))
    return RetentionPlan(tuple(groups))


def plan_chosen(snapshots: Sequence[Snapshot]) -> RetentionPlan:
    """The plan to forget exactly these snapshots."""
    return RetentionPlan(
        tuple(
            Group(_name(members[0], _SOURCE), tuple(Decision(one, False, ("named",)) for one in members))
            for members in _grouped(snapshots, _SOURCE)
        )
    )


# ---------------------------------------------------------------------------------------------------------- the rules


def _reasons(
    members: Sequence[Snapshot], policy: Policy, known: Known, calendar: Calendar
) -> Mapping[str, Sequence[str]]:
    """Every reason to keep, by snapshot id; those without one are not in it."""
    present = [one for one in members if not calendar.is_future(one.started)]
    sound = [one for one in present if one.id not in known.damaged and not one.damaged]
    kept: dict[str, dict[str, None]] = {}  # a dict without values: a set that keeps the order
    for one in members:
        if one.id in known.pinned:
            why = known.pinned[one.id]
            kept.setdefault(one.id, {})[f"pinned: {why}" if why else "pinned"] = None
        if calendar.is_future(one.started):
            kept.setdefault(one.id, {})["its time is in the future: a clock was wrong, or this one is"] = None
    for id, reason in _by_rules(present, policy, known, calendar):
        kept.setdefault(id, {})[reason] = None
    if len(sound) < len(present):
        for id, reason in _by_rules(sound, policy, known, calendar):
            reasons = kept.setdefault(id, {})
            if reason not in reasons:
                reasons[f"{reason}, damaged ones not counted"] = None
    return {id: tuple(reasons) for id, reasons in kept.items()}


def _by_rules(
    newest_first: Sequence[Snapshot], policy: Policy, known: Known, calendar: Calendar
) -> Iterator[tuple[str, str]]:
    """(snapshot id, reason) for everything that a rule wants."""
    if not newest_first:
        return
    for number, one in enumerate(newest_first[: policy.last], 1):
        yield one.id, f"last {number} of {_number(policy.last)}"
    for period, count in policy.every:
        if count:
            yield from _one_of_each(newest_first, period, count, calendar)
    if policy.within:
        for one in _within(newest_first, policy.within, calendar):
            yield one.id, f"within {policy.within}"
    for period, duration in policy.within_every:
        for one, label in _last_of_each(_within(newest_first, duration, calendar), period, calendar):
            yield one.id, f"{period} within {duration}: {label}"
    for tags in policy.tags:
        named = ",".join(f"{key}={value}" for key, value in tags)
        yield from ((one.id, f"tag {named}") for one in newest_first if _has(one, tags))
    drilled = [one for one in newest_first if one.id in known.drilled]
    for number, one in enumerate(drilled[: policy.verified], 1):
        yield one.id, f"verified by a drill, {number} of {_number(policy.verified)}"


def _one_of_each(
    newest_first: Sequence[Snapshot], period: Period, count: int, calendar: Calendar
) -> Iterator[tuple[str, str]]:
    """The last snapshot of each of the last ``count`` periods that have any.

    While there are fewer, the oldest snapshot is kept, too: it is the one from which a longer history grows.
    """
    found = 0
    for one, label in _last_of_each(newest_first, period, calendar):
        if found == count:
            return
        found += 1
        yield one.id, f"{period} {label}"
    if found < count:
        yield newest_first[-1].id, f"{period}, the oldest"


def _within(newest_first: Sequence[Snapshot], duration: Duration, calendar: Calendar) -> list[Snapshot]:
    """Counted from the newest snapshot, not from now: when backups stop, what is there must not melt away."""
    limit = calendar.earlier(newest_first[0].started, duration)
    return [one for one in newest_first if one.started >= limit]


def _has(one: Snapshot, tags: Tags) -> bool:
    return all(one.tags.get(key) == value for key, value in tags)


def _last_of_each(
    newest_first: Sequence[Snapshot], period: Period, calendar: Calendar
) -> Iterator[tuple[Snapshot, str]]:
    seen = set[str]()
    for one in newest_first:
        label = calendar.period_of(period, one.started)
        if label not in seen:
            seen.add(label)
            yield one, label


# ------------------------------------------------------------------------------------------------------------- groups


def newest_first(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """In the order of time, whatever the order of names or of a listing."""
    return sorted(snapshots, key=lambda one: (one.started, one.id), reverse=True)


def _grouped(snapshots: Iterable[Snapshot], by: Collection[GroupBy]) -> list[list[Snapshot]]:
    """The groups in the order of their names, each newest first."""
    groups: dict[tuple[object, ...], list[Snapshot]] = {}
    for one in newest_first(snapshots):
        key = (
            one.source.identity if "source" in by else "",
            (frozenset(one.include), frozenset(one.exclude)) if "tables" in by else "",
            frozenset(one.tags.items()) if "tags" in by else "",
        )
        groups.setdefault(key, []).append(one)
    return sorted(groups.values(), key=lambda members: (_name(members[0], by), members[0].id))


def _name(one: Snapshot, by: Collection[GroupBy]) -> str:
    words = [one.source.url] if "source" in by else ["all sources"]
    if "tables" in by:
        words += [", ".join(one.include)] if one.include else []
        words += [f"without {', '.join(one.exclude)}"] if one.exclude else []
    if "tags" in by and one.tags:
        words += [" ".join(f"{key}={value}" for key, value in sorted(one.tags.items()))]
    return "; ".join(words)


def _number(count: int) -> str:
    return "all" if count >= UNLIMITED else str(count)


# --------------------------------------------------------------------------------------------------------- objections


class Objection(Struct, frozen=True):
    """Why a plan should not be carried out, and what to do about it."""

    kind: Literal["last", "shrunk", "pinned"]
    text: str
    hint: str


def objections(
    everything: Sequence[Snapshot],
    forgetting: Collection[str],
    known: Known,
    calendar: Calendar,
    *,
    most_shrink: float = MOST_SHRINK,
) -> Iterator[Objection]:
    """What speaks against forgetting the snapshots of these ids.

    ``everything`` are all snapshots of the repository, also those that were not looked at; ``most_shrink`` is in
    percent.
    """
    for one in everything:
        if one.id in forgetting and one.id in known.pinned:
            why = known.pinned[one.id]
            text = f"{one.id} is pinned{f': {why}' if why else ''}"
            yield Objection("pinned", text, f"coldhouse unpin {one.id} first, if it is no longer needed")
    for members in _grouped(everything, _SOURCE):
        if all(one.id in forgetting for one in members):
            yield Objection(
                "last",
                f"no snapshot of {members[0].source.url} would be left",
                "keep at least one; --allow-last if nothing of this source is needed any more",
            )
    for members in _grouped((one for one in everything if not calendar.is_future(one.started)), DEFAULT_GROUP_BY):
        left = [one for one in members if one.id not in forgetting]
        if left and len(left) < len(members):
            yield from _shrunk(left[0], members, most_shrink)


def _shrunk(newest: Snapshot, members: Sequence[Snapshot], most: float) -> Iterator[Objection]:
    """An objection if the newest snapshot that stays holds much less than the one before it."""
    older = members[members.index(newest) + 1 :]
    if not older:
        return
    before, after = older[0].accounting, newest.accounting
    fallen = [
        f"{name} fell from {was:,} to {now:,}"
        for name, was, now in (
            ("tables", before.tables, after.tables),
            ("rows", before.rows, after.rows),
            ("bytes", before.data, after.data),
        )
        if now < was * (1 - most / 100)
    ]
    if fallen:
        yield Objection(
            "shrunk",
            f"the newest snapshot of {newest.source.url}, {newest.id}, looks wrong beside the one before it, "
            f"{older[0].id}: {'; '.join(fallen)}",
            "look at the source before older snapshots go; --allow-shrunk if this is as it should be",
        )
