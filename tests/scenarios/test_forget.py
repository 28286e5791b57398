"""Snapshots are forgotten by name or by a policy; what stays restores, and nothing goes that should stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import Corruption, ForgetRefused, NoSuchSnapshot, StorageError, UsageError
from coldhouse.model import Snapshot
from coldhouse.operations import forget, pin, proof
from coldhouse.operations.forget import ForgetOptions
from coldhouse.operations.proof import Proof
from coldhouse.operations.retention import Policy
from coldhouse.repository import Repository
from tests.operations.histories import NOON, daily, snapshot
from tests.scenarios.conftest import CHEAP
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Fault, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage
from tests.support.spoiling import spoiled

LAST_TWO = ForgetOptions(Policy(last=2))


@pytest.fixture
def storage() -> FaultyStorage:
    return FaultyStorage(MemoryStorage())


@pytest.fixture
def repository(storage: FaultyStorage) -> Iterator[Repository]:
    with repositories.init(storage, PASSPHRASE, kdf=CHEAP) as made:
        yield made


def fill(repository: Repository, history: list[Snapshot]) -> list[Snapshot]:
    """Commit snapshots of nothing, of given times and sizes."""
    for one in history:
        with repository.draft(None) as draft:
            draft.commit(one)
    return [repository.snapshot(one.id) for one in history]


def forgotten(repository: Repository, options: ForgetOptions) -> tuple[str, ...]:
    return forget.execute(repository, forget.prepare(repository, options, now=NOON)).forgotten


# ---------------------------------------------------------------------------------------------------------- real data


def test_what_stays_restores_after_everything_before_it_is_forgotten(world: World) -> None:
    world.run("CREATE TABLE {db}.t (id UInt64, text String) ENGINE = MergeTree ORDER BY id")
    for batch in range(4):
        world.run(f"INSERT INTO {{db}}.t SELECT number + {batch}000, toString(number) FROM numbers(1000)")
        world.backup()
    before = world.content()
    ids = [one.id for one in world.snapshots()]

    plan = forget.prepare(world.repository, ForgetOptions(Policy(last=1)))
    assert [one.id for one in world.snapshots()] == ids  # planning changes nothing
    forget.execute(world.repository, plan)

    assert [one.id for one in world.snapshots()] == ids[-1:]
    world.drop()
    world.restore()
    assert world.content() == before
    world.run("INSERT INTO {db}.t VALUES (99999, 'after')")
    assert world.backup().snapshot.accounting.reused > 0


# ------------------------------------------------------------------------------------------------------------ policies


def test_a_policy_forgets_what_it_does_not_keep(repository: Repository, storage: FaultyStorage) -> None:
    history = fill(repository, daily(5))
    packs_and_manifests = {each.name for each in storage.list("") if not each.name.startswith("snapshots/")}
    assert set(forgotten(repository, LAST_TWO)) == {one.id for one in history[:3]}
    assert repository.snapshot_ids() == [one.id for one in history[3:]]
    # Only the snapshots' own objects are gone.
    assert {each.name for each in storage.list("") if not each.name.startswith("snapshots/")} == packs_and_manifests
    assert forgotten(repository, LAST_TWO) == ()


def test_only_the_source_and_the_tags_that_were_asked_for(repository: Repository) -> None:
    here, there = daily(4), daily(4, source="db2")
    tagged = [snapshot(NOON - timedelta(minutes=minute), tags={"kind": "test"}) for minute in (1, 2, 3)]
    fill(repository, [*here, *there, *tagged])
    gone = forgotten(repository, ForgetOptions(Policy(last=1), source="http://user:secret@db2:8123"))
    assert set(gone) == {one.id for one in there[:3]}
    gone = forgotten(repository, ForgetOptions(Policy(last=1), tags=(("kind", "test"),)))
    assert set(gone) == {one.id for one in tagged[1:]}
    assert len(repository.snapshot_ids()) == 6


def test_pins_and_drills_protect(repository: Repository) -> None:
    history = fill(repository, daily(6))
    pin.pin(repository, history[0].id, "the audit")
    for one in history[1:4]:
        proof.write(repository, one.id, proof.read(repository, one.id).proven(Proof("drill", NOON)))
    proof.write(repository, history[3].id, proof.read(repository, history[3].id).damaged("data", NOON))
    proof.write(repository, history[4].id, proof.read(repository, history[4].id).proven(Proof("drill", NOON, True)))
    gone = forgotten(repository, ForgetOptions(Policy(last=1, verified=1)))
    # 3 is damaged since, 4 was proven in part only: the last that passed is 2.
    assert set(gone) == {history[number].id for number in (1, 3, 4)}
    pin.unpin(repository, history[0].id)
    assert forgotten(repository, ForgetOptions(Policy(last=1, verified=1))) == (history[0].id,)


# ------------------------------------------------------------------------------------------------------------ by name


def test_snapshots_by_name(repository: Repository) -> None:
    history = fill(repository, daily(4))
    names = (history[1].id, history[2].id[:9], history[1].id.rpartition("-")[2])
    assert set(forgotten(repository, ForgetOptions(names=names))) == {history[1].id, history[2].id}
    with pytest.raises(NoSuchSnapshot):
        forgotten(repository, ForgetOptions(names=(history[0].id, history[1].id)))
    assert len(repository.snapshot_ids()) == 2


def test_names_and_a_policy_are_refused(repository: Repository) -> None:
    with pytest.raises(UsageError, match="not clear"):
        forgotten(repository, ForgetOptions(Policy(last=1), names=("latest",)))


def test_a_policy_that_keeps_nothing_is_refused(repository: Repository) -> None:
    fill(repository, daily(2))
    with pytest.raises(UsageError, match="keeps no snapshot"):
        forgotten(repository, ForgetOptions())


# ----------------------------------------------------------------------------------------------------------- refusals


def refused(repository: Repository, options: ForgetOptions, match: str) -> None:
    before = repository.snapshot_ids()
    with pytest.raises(ForgetRefused, match=match):
        forgotten(repository, options)
    assert repository.snapshot_ids() == before


def test_the_last_snapshot_of_a_source(repository: Repository) -> None:
    history = fill(repository, [*daily(2), *daily(1, source="db2")])
    refused(repository, ForgetOptions(names=(history[2].id,)), "no snapshot of http://db2:8123 would be left")
    refused(repository, ForgetOptions(Policy(tags=((("no", "such"),),))), "would be left")
    assert forgotten(repository, ForgetOptions(names=(history[2].id,), allow_last=True)) == (history[2].id,)


def test_a_pinned_one_by_name(repository: Repository) -> None:
    history = fill(repository, daily(3))
    pin.pin(repository, history[0].id, "the audit")
    refused(repository, ForgetOptions(names=(history[0].id,), allow_last=True, allow_shrunk=True), "pinned: the audit")


def test_a_newest_snapshot_that_looks_wrong(repository: Repository) -> None:
    history = fill(repository, [*daily(4), snapshot(NOON + timedelta(minutes=5), rows=3)])
    refused(repository, LAST_TWO, "rows fell from 1,000 to 3")
    refused(repository, ForgetOptions(names=(history[0].id,)), "looks wrong")
    assert forgotten(repository, ForgetOptions(names=(history[4].id,))) == (history[4].id,)
    assert len(forgotten(repository, LAST_TWO)) == 2
    fill(repository, [snapshot(NOON + timedelta(minutes=6), rows=3)])
    assert len(forgotten(repository, ForgetOptions(Policy(last=1), allow_shrunk=True))) == 2


# --------------------------------------------------------------------------------------- between the plan and the deed


def test_what_was_pinned_while_somebody_read_the_plan_stays(repository: Repository) -> None:
    history = fill(repository, daily(4))
    plan = forget.prepare(repository, LAST_TWO, now=NOON)
    pin.pin(repository, history[0].id)
    report = forget.execute(repository, plan)
    assert (report.forgotten, report.spared) == ((history[1].id,), (history[0].id,))


def test_two_at_once_with_opposite_policies_do_not_forget_everything(repository: Repository) -> None:
    history = fill(repository, daily(2))
    one = forget.prepare(repository, ForgetOptions(names=(history[0].id,)), now=NOON)
    other = forget.prepare(repository, ForgetOptions(names=(history[1].id,)), now=NOON)
    forget.execute(repository, one)
    with pytest.raises(ForgetRefused, match="forgotten meanwhile"):
        forget.execute(repository, other)
    assert repository.snapshot_ids() == [history[1].id]


def test_a_backup_that_ends_meanwhile_is_not_touched(repository: Repository) -> None:
    fill(repository, daily(4))
    plan = forget.prepare(repository, LAST_TWO, now=NOON)
    new = fill(repository, [snapshot(NOON + timedelta(minutes=1))])[0]
    forget.execute(repository, plan)
    assert new.id in repository.snapshot_ids()
    assert len(repository.snapshot_ids()) == 3


# --------------------------------------------------------------------------------------------------------- bad storage


@pytest.mark.parametrize("how", [How.BEFORE, How.AFTER, How.TWICE])
def test_a_fence_that_fails_is_repeated_by_the_next_run(
    repository: Repository, storage: FaultyStorage, how: How
) -> None:
    history = fill(repository, daily(5))
    storage.inject(Fault(how, "put", "snapshots/*", StorageError("no answer") if how is not How.TWICE else None))
    if how is How.TWICE:
        forgotten(repository, LAST_TWO)
    else:
        with pytest.raises(StorageError, match="no answer"):
            forgotten(repository, LAST_TWO)
        forgotten(repository, LAST_TWO)
    assert repository.snapshot_ids() == [one.id for one in history[3:]]


def test_one_that_cannot_be_read_is_left_alone_unless_it_is_named(
    repository: Repository, storage: FaultyStorage
) -> None:
    history = fill(repository, daily(5))
    name = f"snapshots/{history[1].id}"
    storage.put(name, spoiled(storage.get(name)))
    plan = forget.prepare(repository, LAST_TWO, now=NOON)
    assert plan.unreadable == (history[1].id,)
    assert set(forget.execute(repository, plan).forgotten) == {history[0].id, history[2].id}
    assert forgotten(repository, ForgetOptions(names=(history[1].id,))) == (history[1].id,)


def test_a_pin_that_cannot_be_read_stops_everything(repository: Repository, storage: FaultyStorage) -> None:
    history = fill(repository, daily(5))
    pin.pin(repository, history[0].id)
    name = next(each.name for each in storage.list("notes/pin/"))
    storage.put(name, b"nonsense")
    with pytest.raises(Corruption):
        forget.prepare(repository, LAST_TWO, now=NOON)
    assert pin.known_pins(repository) == {}  # a listing goes on
    pin.pin(repository, history[0].id, "again")
    assert [each.reason for each in pin.pins(repository).values()] == ["again"]
    assert len(forgotten(repository, LAST_TWO)) == 2


def test_pins_are_replaced_and_taken_away(repository: Repository) -> None:
    history = fill(repository, daily(2))
    assert pin.pin(repository, "latest", "one").before is None
    change = pin.pin(repository, history[1].id, "two")
    assert change.before is not None
    assert (change.before.reason, change.now and change.now.reason) == ("one", "two")
    assert abs(pin.pins(repository)[history[1].id].at - datetime.now(UTC)) < timedelta(minutes=1)
    assert pin.unpin(repository, "latest").before is not None
    assert pin.unpin(repository, "latest").before is None
    assert pin.pins(repository) == {}
    with pytest.raises(NoSuchSnapshot):
        pin.pin(repository, "nothing")
