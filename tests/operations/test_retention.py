from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldhouse.errors import UsageError
from coldhouse.model import Snapshot
from coldhouse.operations.calendar import PERIODS, Calendar, Duration
from coldhouse.operations.retention import UNLIMITED, GroupBy, Known, Policy, RetentionPlan, objections, plan
from coldhouse.records import replace
from tests.operations.histories import NOON, daily, days_of, snapshot

CALENDAR = Calendar(NOON, UTC)
BERLIN = ZoneInfo("Europe/Berlin")
NOTHING = Known()


def judge(
    snapshots: list[Snapshot], policy: Policy, known: Known = NOTHING, calendar: Calendar = CALENDAR
) -> RetentionPlan:
    return plan(snapshots, policy, known, calendar)


def kept(snapshots: list[Snapshot], policy: Policy, known: Known = NOTHING, calendar: Calendar = CALENDAR) -> list[str]:
    return days_of(judge(snapshots, policy, known, calendar).kept)


def reasons(found: RetentionPlan) -> dict[str, tuple[str, ...]]:
    return {f"{one.snapshot.started:%m-%d %H:%M}": one.reasons for group in found.groups for one in group.decisions}


def hours(*texts: str) -> list[Snapshot]:
    """One at each of these times (UTC)."""
    return [snapshot(datetime.fromisoformat(text).replace(tzinfo=UTC)) for text in texts]


# -------------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(last=2), ["11-22 12:00", "11-23 12:00"]),
        (Policy(every=(("daily", 2),)), ["11-22 12:00", "11-23 12:00"]),
        (Policy(every=(("weekly", 2),)), ["11-22 12:00", "11-23 12:00"]),  # the 23rd is a Monday
        (Policy(every=(("monthly", 2),)), ["10-31 12:00", "11-23 12:00"]),
        (Policy(every=(("weekly", 3),)), ["11-15 12:00", "11-22 12:00", "11-23 12:00"]),
        # There is one year only: the oldest snapshot stays, so that a history can grow.
        (Policy(every=(("yearly", 2),)), ["10-15 12:00", "11-23 12:00"]),
        (Policy(within=Duration(days=2)), ["11-21 12:00", "11-22 12:00", "11-23 12:00"]),
        (Policy(within_every=(("monthly", Duration(months=2)),)), ["10-31 12:00", "11-23 12:00"]),
        (
            Policy(last=1, every=(("weekly", 2), ("monthly", 2))),
            ["10-31 12:00", "11-22 12:00", "11-23 12:00"],
        ),
    ],
)
def test_rules_on_forty_days(policy: Policy, expected: list[str]) -> None:
    assert kept(daily(40), policy) == expected


def test_of_a_period_the_last_snapshot_stays() -> None:
    several = hours("2026-11-22T01:00", "2026-11-22T23:59", "2026-11-23T00:00", "2026-11-23T11:00")
    assert kept(several, Policy(every=(("daily", 2),))) == ["11-22 23:59", "11-23 11:00"]


def test_periods_without_snapshots_do_not_count() -> None:
    sparse = hours("2024-01-01T00:00", "2025-06-01T00:00", "2026-11-01T00:00", "2026-11-20T00:00")
    assert kept(sparse, Policy(every=(("daily", 3),))) == ["06-01 00:00", "11-01 00:00", "11-20 00:00"]


def test_every_reason_is_given() -> None:
    found = judge(daily(3), Policy(last=1, every=(("daily", 2), ("weekly", 1))))
    assert reasons(found) == {
        "11-23 12:00": ("last 1 of 1", "daily 2026-11-23", "weekly 2026-W48"),
        "11-22 12:00": ("daily 2026-11-22",),
        "11-21 12:00": ("no rule wants it",),
    }
    assert days_of(found.forgotten) == ["11-21 12:00"]


def test_within_counts_from_the_newest_snapshot_and_not_from_now() -> None:
    stopped_long_ago = daily(10, last=NOON - timedelta(days=400))
    assert len(kept(stopped_long_ago, Policy(within=Duration(days=3)))) == 4


def test_tags_are_kept_where_all_of_one_set_are_there() -> None:
    both = snapshot(NOON - timedelta(days=5), tags={"release": "7", "host": "a"})
    one = snapshot(NOON - timedelta(days=4), tags={"release": "7"})
    plain = snapshot(NOON)
    policy = Policy(last=1, tags=((("release", "7"), ("host", "a")),))
    assert kept([both, one, plain], policy) == ["11-18 12:00", "11-23 12:00"]


def test_unlimited_keeps_every_period() -> None:
    assert len(kept(daily(40), Policy(every=(("daily", UNLIMITED),)))) == 40


def test_pinned_snapshots_stay_whatever_the_policy() -> None:
    history = daily(5)
    found = judge(history, Policy(last=1), Known(pinned={history[0].id: "before the move"}))
    assert reasons(found)["11-19 12:00"] == ("pinned: before the move",)
    assert days_of(found.kept) == ["11-19 12:00", "11-23 12:00"]


def test_the_last_that_passed_a_drill_stay() -> None:
    history = daily(10)
    known = Known(drilled=frozenset(one.id for one in history[:4]))
    assert kept(history, Policy(last=1, verified=2), known) == ["11-16 12:00", "11-17 12:00", "11-23 12:00"]


# --------------------------------------------------------------------------------------------------------- wrong times


def test_the_hour_that_comes_twice_when_clocks_are_set_back() -> None:
    night = [snapshot(datetime(2026, 10, 24, 22, 30, tzinfo=UTC) + timedelta(hours=hour)) for hour in range(6)]
    calendar = Calendar(NOON, BERLIN)
    assert len(kept(night, Policy(every=(("hourly", 6),)), calendar=calendar)) == 6
    # 22:30 to 03:30 UTC is 00:30 to 04:30 in Berlin, with 02:30 twice: one day.
    assert kept(night, Policy(every=(("daily", 1),)), calendar=calendar) == ["10-25 03:30"]


def test_a_day_of_23_hours_is_one_day() -> None:
    spring = [snapshot(datetime(2026, 3, 28, 20, 30, tzinfo=UTC) + timedelta(hours=hour)) for hour in range(28)]
    found = kept(spring, Policy(every=(("daily", 3),)), calendar=Calendar(NOON, BERLIN))
    assert found == ["03-28 22:30", "03-29 21:30", "03-29 23:30"]


def test_the_zone_decides_where_a_day_ends() -> None:
    two = hours("2026-11-22T22:30", "2026-11-22T23:30")
    assert len(kept(two, Policy(last=0, every=(("daily", 1),)))) == 1
    assert reasons(judge(two, Policy(every=(("daily", 2),)), calendar=Calendar(NOON, BERLIN))) == {
        "11-22 23:30": ("daily 2026-11-23",),
        "11-22 22:30": ("daily 2026-11-22",),
    }


def test_snapshots_from_the_future_take_nobodys_place() -> None:
    history = daily(5)
    ahead = [snapshot(NOON + timedelta(days=day)) for day in (2, 300)]
    found = judge(ahead + history, Policy(last=2, within=Duration(days=1), every=(("daily", 2),)))
    assert days_of(found.kept) == [*days_of(history[-2:]), *days_of(ahead)]
    assert "future" in reasons(found)["11-25 12:00"][0]


def test_where_this_clock_is_far_behind_nothing_is_forgotten() -> None:
    history = daily(30)
    assert len(kept(history, Policy(last=1), calendar=Calendar(datetime(1970, 1, 1, tzinfo=UTC), UTC))) == 30


def test_a_clock_that_went_back_loses_nothing_that_was_asked_for() -> None:
    # Taken in this order; between the second and the third the clock was set back by an hour and a half.
    night = hours("2026-11-22T10:00", "2026-11-22T11:00", "2026-11-22T09:30", "2026-11-22T10:30", "2026-11-22T11:30")
    assert kept(night, Policy(last=2)) == ["11-22 11:00", "11-22 11:30"]
    assert kept(night, Policy(every=(("hourly", 3),))) == ["11-22 09:30", "11-22 10:30", "11-22 11:30"]


# ------------------------------------------------------------------------------------------------------------- damage


def test_a_damaged_snapshot_does_not_push_a_sound_one_out() -> None:
    history = daily(5)
    known = Known(damaged=frozenset([history[-1].id]))
    found = judge(history, Policy(last=2), known)
    assert days_of(found.kept) == ["11-21 12:00", "11-22 12:00", "11-23 12:00"]
    assert reasons(found)["11-21 12:00"] == ("last 2 of 2, damaged ones not counted",)


def test_one_that_was_damaged_at_its_source_counts_as_damaged() -> None:
    history = [*daily(3), snapshot(NOON + timedelta(minutes=30), damaged=("shop.orders all_1_1_0",))]
    assert kept(history, Policy(every=(("daily", 1),))) == ["11-23 12:00", "11-23 12:30"]


# ------------------------------------------------------------------------------------------------------------- groups


def test_sources_are_judged_each_for_itself() -> None:
    assert len(kept([*daily(5), *daily(3, source="db2")], Policy(last=2))) == 4


def test_a_source_is_known_by_its_identity_and_not_by_its_address() -> None:
    history = daily(4)
    moved = [replace(one, source=replace(one.source, url="http://elsewhere:8123")) for one in history[2:]]
    assert len(kept([*history[:2], *moved], Policy(last=2))) == 2


def test_a_snapshot_of_one_table_does_not_take_the_place_of_one_of_everything() -> None:
    everything = daily(3)
    hourly = [snapshot(NOON + timedelta(minutes=minute), include=("shop.orders",)) for minute in range(5)]
    found = judge([*everything, *hourly], Policy(last=1))
    assert days_of(found.kept) == ["11-23 12:00", "11-23 12:04"]
    assert [group.name for group in found.groups] == ["http://db1:8123", "http://db1:8123; shop.orders"]


@pytest.mark.parametrize(
    ("by", "groups"), [((), 1), (("source",), 2), (("tags",), 2), (("source", "tags"), 3), (("source", "tables"), 2)]
)
def test_group_by(by: tuple[GroupBy, ...], groups: int) -> None:
    mixed = [snapshot(NOON), snapshot(NOON, source="db2"), snapshot(NOON + timedelta(minutes=1), tags={"a": "b"})]
    found = plan(mixed, Policy(last=1), NOTHING, CALENDAR, by)
    assert len(found.groups) == len(found.kept) == groups


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("policy", [Policy(), Policy(every=(("daily", 0),)), Policy(last=0, verified=0)])
def test_a_policy_that_keeps_nothing_is_refused(policy: Policy) -> None:
    with pytest.raises(UsageError, match="keeps no snapshot"):
        judge(daily(3), policy)


def test_the_last_snapshot_of_a_source_is_not_to_be_forgotten() -> None:
    found = judge([*daily(2), *daily(2, source="db2")], Policy(tags=((("keep", "me"),),)))
    everything = [*found.kept, *found.forgotten]
    gone = {one.id for one in found.forgotten}
    said = list(objections(everything, gone, NOTHING, CALENDAR))
    assert [(one.kind, one.text) for one in said] == [
        ("last", "no snapshot of http://db1:8123 would be left"),
        ("last", "no snapshot of http://db2:8123 would be left"),
    ]


def test_another_snapshot_of_the_source_that_was_not_judged_is_enough() -> None:
    history = daily(2)
    assert not list(objections(history, {history[0].id}, NOTHING, CALENDAR))


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"rows": 499}, "rows fell from 1,000 to 499"),
        ({"rows": 500}, ""),
        ({"size": 49_999}, "bytes fell from 100,000 to 49,999"),
        ({"tables": 4}, "tables fell from 10 to 4"),
        ({"tables": 0, "rows": 0}, "tables fell from 10 to 0; rows fell from 1,000 to 0"),
        ({"rows": 100_000}, ""),
    ],
)
def test_a_newest_snapshot_that_holds_much_less(change: dict[str, int], wrong: str) -> None:
    rows, size, tables = change.get("rows", 1000), change.get("size", 100_000), change.get("tables", 10)
    history = [*daily(3), snapshot(NOON + timedelta(minutes=1), rows=rows, size=size, tables=tables)]
    said = list(objections(history, {history[0].id}, NOTHING, CALENDAR))
    assert len(said) == (1 if wrong else 0)
    if said:
        assert said[0].kind == "shrunk"
        assert said[0].text.endswith(f", {history[2].id}: {wrong}")
        assert not list(objections(history, {history[0].id}, NOTHING, CALENDAR, most_shrink=100))
        assert not list(objections(history, set(), NOTHING, CALENDAR))  # nothing goes: nothing to object


def test_the_wrong_one_itself_may_be_forgotten() -> None:
    history = [*daily(3), snapshot(NOON + timedelta(minutes=1), rows=1)]
    assert not list(objections(history, {history[-1].id}, NOTHING, CALENDAR))


def test_a_snapshot_of_one_table_is_not_compared_with_one_of_everything() -> None:
    history = [*daily(3), snapshot(NOON + timedelta(minutes=1), rows=1, size=1, tables=1, include=("shop.orders",))]
    assert not list(objections(history, {history[0].id}, NOTHING, CALENDAR))


def test_a_pinned_snapshot_is_not_to_be_forgotten_by_name() -> None:
    history = daily(2)
    said = list(objections(history, {history[0].id}, Known(pinned={history[0].id: "audit"}), CALENDAR))
    assert [(one.kind, one.text) for one in said] == [("pinned", f"{history[0].id} is pinned: audit")]


# ---------------------------------------------------------------------------------------------------------- properties

times = st.datetimes(datetime(2024, 1, 1), datetime(2026, 11, 23), timezones=st.just(UTC))
histories = st.lists(times, min_size=1, max_size=40).map(
    lambda moments: [snapshot(moment, id=f"s{number}") for number, moment in enumerate(moments)]
)
counts = st.integers(0, 8)
durations = st.builds(Duration, st.integers(0, 1), st.integers(0, 12), st.integers(1, 60), st.integers(0, 48))
policies = st.builds(
    Policy,
    last=counts,
    every=st.lists(st.tuples(st.sampled_from(PERIODS), counts), max_size=3).map(tuple),
    within=st.none() | durations,
    within_every=st.lists(st.tuples(st.sampled_from(PERIODS), durations), max_size=2).map(tuple),
    verified=counts,
).filter(lambda policy: not policy.empty)
zones = st.sampled_from([ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia")])


def knowing(data: st.DataObject, history: list[Snapshot]) -> Known:
    ids = st.sets(st.sampled_from([one.id for one in history]))
    return Known(dict.fromkeys(data.draw(ids), "why"), frozenset(data.draw(ids)), frozenset(data.draw(ids)))


def ids_of(found: RetentionPlan) -> dict[str, tuple[bool, tuple[str, ...]]]:
    return {one.snapshot.id: (one.kept, one.reasons) for group in found.groups for one in group.decisions}


@given(histories, policies, zones, st.data(), st.randoms(use_true_random=False))
def test_neither_the_order_of_snapshots_nor_the_zones_of_their_times_matter(
    history: list[Snapshot], policy: Policy, zone: ZoneInfo, data: st.DataObject, dice: random.Random
) -> None:
    known, calendar = knowing(data, history), Calendar(NOON, zone)
    other = [
        replace(one, started=one.started.astimezone(timezone(timedelta(hours=dice.randint(-12, 12)))))
        for one in history
    ]
    dice.shuffle(other)
    assert ids_of(plan(other, policy, known, calendar)) == ids_of(plan(history, policy, known, calendar))


@given(histories, policies, zones, st.data())
def test_never_fewer_than_asked(history: list[Snapshot], policy: Policy, zone: ZoneInfo, data: st.DataObject) -> None:
    known, calendar = knowing(data, history), Calendar(NOON, zone)
    left = {one.id: one for one in plan(history, policy, known, calendar).kept}
    sound = [one for one in history if one.id not in known.damaged]
    for all_of_them in (history, sound):
        ours = [one for one in all_of_them if one.id in left]
        assert len(ours) >= min(policy.last, len(all_of_them))
        for period, count in policy.every:
            there = {calendar.period_of(period, one.started) for one in all_of_them}
            stay = {calendar.period_of(period, one.started) for one in ours}
            assert len(stay) >= min(count, len(there))
        drilled = [one for one in all_of_them if one.id in known.drilled]
        assert len([one for one in drilled if one.id in left]) >= min(policy.verified, len(drilled))
        if policy.within and all_of_them:
            limit = calendar.earlier(max(one.started for one in all_of_them), policy.within)
            assert all(one.id in left for one in all_of_them if one.started >= limit)
    assert known.pinned.keys() <= left.keys()


@given(histories, policies, zones, st.data())
def test_more_rules_never_keep_less_and_a_second_time_forgets_nothing_more(
    history: list[Snapshot], policy: Policy, zone: ZoneInfo, data: st.DataObject
) -> None:
    known, calendar = knowing(data, history), Calendar(NOON, zone)
    first = {one.id for one in plan(history, policy, known, calendar).kept}
    more = replace(policy, last=policy.last + 1, every=(*policy.every, ("weekly", 2)))
    assert first <= {one.id for one in plan(history, more, known, calendar).kept}
    again = plan([one for one in history if one.id in first], policy, known, calendar)
    assert not again.forgotten


@given(histories, policies, st.data())
def test_snapshots_from_the_future_change_nothing_for_the_others(
    history: list[Snapshot], policy: Policy, data: st.DataObject
) -> None:
    known = knowing(data, history)
    ahead = [snapshot(NOON + timedelta(days=day), id=f"ahead{day}") for day in (1, 40, 4000)]
    alone = ids_of(plan(history, policy, known, CALENDAR))
    together = ids_of(plan([*history, *ahead], policy, known, CALENDAR))
    assert {id: each for id, each in together.items() if id in alone} == alone
    assert all(together[one.id][0] for one in ahead)
