"""Copies in other places: only what is missing is sent, and what comes back from a copy is what was backed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import NoRepository, RepositoryExists, StorageError, StorageFull, UsageError, WrongPassphrase
from coldhouse.events import Event, Progress
from coldhouse.operations import copy, forget, prune, verify
from coldhouse.records import replace
from coldhouse.repository import Repository, open_repository
from coldhouse.repository.names import FENCE
from coldhouse.storage import Storage, open_storage
from tests.scenarios.conftest import CHEAP, Clickhouse, play
from tests.scenarios.damage import flip, packs
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Fault, FaultyStorage, How

OTHER = "another passphrase"
MAKE = """
CREATE TABLE {db}.t (id UInt64, day Date, text String CODEC(NONE)) ENGINE = MergeTree PARTITION BY toYYYYMM(day)
ORDER BY id
"""
FILL = "INSERT INTO {db}.t SELECT number, '2026-01-01', hex(cityHash64(number, %d)) FROM numbers(20000)"


@pytest.fixture
def world(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    """One ClickHouse is enough: a copy never speaks to it."""
    yield from play(embedded, folder_url)


@pytest.fixture
def filled(world: World) -> World:
    """Two snapshots of a table with parts, a Log, a view, and a function of time: the second adds a partition."""
    world.run(
        MAKE,
        FILL % 1,
        "CREATE TABLE {db}.log (a String) ENGINE = Log",
        "INSERT INTO {db}.log SELECT toString(number) FROM numbers(100)",
        "CREATE VIEW {db}.v AS SELECT count() AS n FROM {db}.t",
    )
    world.backup()
    world.run((FILL % 2).replace("2026-01-01", "2026-02-01"))
    world.backup()
    return world


@pytest.fixture
def other_store(tmp_path: Path) -> FaultyStorage:
    """An empty folder elsewhere; every call is counted."""
    return FaultyStorage(open_storage(str(tmp_path / "elsewhere")))


def alike(world: World, storage: Storage) -> Repository:
    """Another store of the same repository."""
    return copy.open_target(world.repository, storage, _never_asked, init_like=True)


def apart(storage: Storage) -> Repository:
    """A repository with keys of its own."""
    return repositories.init(storage, OTHER, kdf=CHEAP)


def _never_asked() -> str:
    raise AssertionError("its keys are those of the original: nobody need ask for a passphrase")


def objects(storage: Storage, prefix: str = "") -> dict[str, bytes]:
    return {stored.name: bytes(storage.get(stored.name)) for stored in storage.list(prefix)}


def content_from(world: World, repository: Repository, snapshot: str) -> dict[str, str]:
    """What a snapshot brings back from a repository."""
    world.drop()
    assert replace(world, repository=repository).restore(snapshot).complete
    return world.content()


# ------------------------------------------------------------------------------------------------------- by objects


def test_a_copy_holds_the_same_objects_and_restores_the_same_rows(filled: World, other_store: FaultyStorage) -> None:
    before = filled.content()
    target = alike(filled, other_store)

    report = copy.run(filled.repository, target)

    assert (report.method, report.complete) == ("objects", True)
    assert [one.status for one in report.snapshots] == ["copied", "copied"]
    assert objects(other_store) == {
        name: stored for name, stored in objects(filled.repository.storage).items() if not name.startswith("notes/")
    }
    reopened = open_repository(other_store, PASSPHRASE)
    assert content_from(filled, reopened, "latest") == before


def test_a_copy_goes_to_a_bucket(filled: World, s3_url: str) -> None:
    before = filled.content()
    target = alike(filled, open_storage(s3_url))
    assert copy.run(filled.repository, target).complete
    with open_repository(open_storage(s3_url), PASSPHRASE) as reopened:
        assert content_from(filled, reopened, "latest") == before
    target.close()


def test_only_what_is_missing_is_sent(filled: World, other_store: FaultyStorage) -> None:
    first, second = filled.snapshots()
    target = alike(filled, other_store)
    copy.run(filled.repository, target, [first.id])
    before = set(objects(filled.repository.storage)) - set(objects(other_store))
    missing = {name for name in before if not name.startswith("notes/")}
    other_store.forget_calls()

    report = copy.run(filled.repository, target)

    sent = [name for call in other_store.calls if call.verb == "create" and "intents/" not in (name := call.name)]
    assert sorted(sent) == sorted(missing)
    assert [one.status for one in report.snapshots] == ["there", "copied"]
    assert (report.objects, report.snapshots[1].objects) == (len(missing), len(missing))
    assert report.bytes == sum(len(other_store.inner.get(name)) for name in missing)
    assert sent[-1] == f"snapshots/{second.id}"


def test_a_second_copy_of_the_same_sends_and_reads_nothing(filled: World, other_store: FaultyStorage) -> None:
    target = alike(filled, other_store)
    copy.run(filled.repository, target)
    other_store.forget_calls()
    report = copy.run(filled.repository, target)
    assert report.objects == 0
    assert {call.verb for call in other_store.calls} <= {"list"}


@pytest.mark.parametrize("name", ["packs/*", "manifests/*", "snapshots/*"])
@pytest.mark.parametrize("how", [How.BEFORE, How.AFTER])
def test_an_interrupted_copy_shows_no_snapshot_and_is_continued(
    filled: World, other_store: FaultyStorage, name: str, how: How
) -> None:
    target = alike(filled, other_store)
    other_store.inject(Fault(how, "create", name, error=StorageFull("There is no room left.")))

    with pytest.raises(StorageFull):
        copy.run(filled.repository, target)
    committed = target.snapshot_ids()
    assert len(committed) <= (1 if (name, how) == ("snapshots/*", How.AFTER) else 0)
    there = {stored for stored in objects(other_store) if stored.startswith(("packs/", "manifests/"))}
    other_store.forget_calls()

    assert copy.run(filled.repository, target).complete
    again = Counter(call.name for call in other_store.calls if call.verb == "create")
    assert not there & set(again)
    assert objects(other_store, "packs/") == objects(filled.repository.storage, "packs/")
    assert target.snapshot_ids() == filled.repository.snapshot_ids()


def test_order_of_writes_keeps_the_snapshot_last(filled: World, other_store: FaultyStorage) -> None:
    target = alike(filled, other_store)
    other_store.forget_calls()
    copy.run(filled.repository, target, ["latest"])
    calls = [call for call in other_store.calls if call.verb in ("create", "sync") and "intents/" not in call.name]
    order = [call.name.partition("/")[0] for call in calls]
    order = order[order.index("packs") : len(order) - order[::-1].index("snapshots") + 1]  # notes are synced around it
    kinds = list(dict.fromkeys(order))
    assert kinds == ["packs", "", "manifests", "snapshots"]
    assert order[-2:] == ["snapshots", ""]


def test_a_damaged_pack_is_not_copied_and_fails_only_the_snapshots_that_need_it(
    filled: World, other_store: FaultyStorage, folder_url: str
) -> None:
    flip(packs(Path(folder_url))[-1])  # of the second snapshot only
    target = alike(filled, other_store)

    report = copy.run(filled.repository, target)

    assert [one.status for one in report.snapshots] == ["copied", "failed"]
    assert not report.complete
    assert "packs/" in report.snapshots[1].note
    assert target.snapshot_ids() == filled.repository.snapshot_ids()[:1]


def test_what_did_not_arrive_whole_is_found_before_the_snapshot_appears(
    filled: World, other_store: FaultyStorage
) -> None:
    target = alike(filled, other_store)
    other_store.inject(Fault(How.SHORT, "size", "packs/*"))
    with pytest.raises(StorageError, match="instead of"):
        copy.run(filled.repository, target, ["latest"])
    other_store.inject(Fault(How.FLIP, "get_range", "manifests/*"))
    for stored in list(other_store.list("manifests/")):
        other_store.delete([stored.name])
    with pytest.raises(StorageError, match="did not arrive"):
        copy.run(filled.repository, alike(filled, other_store), ["latest"])
    assert target.snapshot_ids() == []


# ------------------------------------------------------------------------------------------------------ sealed anew


def test_a_repository_with_other_keys_gets_the_same_snapshots(filled: World, other_store: FaultyStorage) -> None:
    before = filled.content()
    target = apart(other_store)

    report = copy.run(filled.repository, target)

    assert (report.method, report.complete) == ("anew", True)
    assert target.snapshot_ids() == filled.repository.snapshot_ids()
    ours, theirs = filled.snapshots()[-1], target.snapshot(target.snapshot_ids()[-1])
    assert replace(theirs.accounting, stored=0, objects=0) == replace(ours.accounting, stored=0, objects=0)
    assert not set(objects(filled.repository.storage, "packs/")) & set(objects(other_store, "packs/"))
    with pytest.raises(WrongPassphrase):
        open_repository(other_store, PASSPHRASE)
    assert content_from(filled, open_repository(other_store, OTHER), "latest") == before


def test_sealed_anew_each_content_is_sent_once_and_unchanged_pages_are_shared(
    filled: World, other_store: FaultyStorage
) -> None:
    first, second = filled.snapshots()
    target = apart(other_store)
    copy.run(filled.repository, target, [first.id])
    copied = copy.run(filled.repository, target).snapshots[1]
    assert copied.status == "copied"
    # What the second backup had new went over, and nothing else: as many objects, of about the same sizes.
    assert copied.objects == second.accounting.objects
    assert copied.bytes == pytest.approx(second.accounting.stored, rel=0.02)
    filled.backup()
    third = copy.run(filled.repository, target).snapshots[2]
    assert third.status == "copied"
    assert third.objects <= 2  # nothing changed: the snapshot, and at most a catalog
    assert third.bytes < 5_000


def test_sealed_anew_an_interrupted_copy_is_continued(
    filled: World, other_store: FaultyStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = filled.content()
    monkeypatch.setattr("coldhouse.operations.checkpoint.EVERY_BYTES", 1)
    target = apart(other_store)
    other_store.inject(Fault(How.BEFORE, "create", "snapshots/*"))
    with pytest.raises(StorageError, match="injected"):
        copy.run(filled.repository, target, ["latest"])
    assert target.snapshot_ids() == []
    sent = set(objects(other_store, "packs/"))

    report = copy.run(filled.repository, target, ["latest"])

    assert report.complete
    assert set(objects(other_store, "packs/")) == sent  # nothing was sent twice
    assert list(other_store.list("notes/unfinished/")) == []
    assert content_from(filled, target, "latest") == before


def test_sealed_anew_damage_at_the_source_is_never_sealed_in(
    filled: World, other_store: FaultyStorage, folder_url: str
) -> None:
    flip(packs(Path(folder_url))[-1])
    target = apart(other_store)
    report = copy.run(filled.repository, target)
    assert [one.status for one in report.snapshots] == ["copied", "failed"]
    assert target.snapshot_ids() == filled.repository.snapshot_ids()[:1]


# ------------------------------------------------------------------------------------------------- where it goes to


def test_a_target_must_be_there_and_be_another_place(filled: World, other_store: FaultyStorage, tmp_path: Path) -> None:
    with pytest.raises(NoRepository):
        copy.open_target(filled.repository, other_store, _never_asked)
    with pytest.raises(UsageError):
        copy.open_target(filled.repository, open_storage(filled.repository.url), _never_asked)
    apart(other_store)
    with pytest.raises(RepositoryExists):
        copy.open_target(filled.repository, other_store, _never_asked, init_like=True)
    with pytest.raises(WrongPassphrase):
        copy.open_target(filled.repository, other_store, lambda: PASSPHRASE)


def test_progress_ends_at_what_was_to_be_sent(filled: World, other_store: FaultyStorage) -> None:
    told: list[Event] = []
    copy.run(filled.repository, alike(filled, other_store), ["latest"], listener=told.append)
    steps = [event for event in told if isinstance(event, Progress)]
    assert steps[-1].done == steps[-1].total == sum(stored.size for stored in other_store.list("packs/"))


def test_keys_that_are_added_later_open_the_copy_as_well(filled: World, other_store: FaultyStorage) -> None:
    target = alike(filled, other_store)
    copy.run(filled.repository, target)
    with pytest.raises(WrongPassphrase):
        open_repository(other_store, "a second passphrase")

    filled.repository.slots.add("a second passphrase", full=True, cost=CHEAP)
    filled.repository.storage.create("rotations/2", b"")
    copy.run(filled.repository, target)

    assert open_repository(other_store, "a second passphrase").snapshot_ids() == filled.repository.snapshot_ids()
    assert other_store.size("rotations/2") == 0


# ------------------------------------------------------------------------------------- where something was forgotten


def test_what_was_forgotten_there_comes_back_only_by_its_name(filled: World, other_store: FaultyStorage) -> None:
    before = filled.content()
    first, second = (one.id for one in filled.snapshots())
    target = alike(filled, other_store)
    copy.run(filled.repository, target)
    target.forget([second])

    report = copy.run(filled.repository, target)
    assert [one.status for one in report.snapshots] == ["there", "forgotten"]
    assert report.complete and report.objects == 0
    assert target.snapshot_ids() == [first]

    again = copy.run(filled.repository, target, [second])
    assert [(one.status, one.objects) for one in again.snapshots] == [("copied", 1)]
    assert target.snapshot_ids() == [first, second]
    assert content_from(filled, open_repository(other_store, PASSPHRASE), second) == before


def test_what_was_pruned_there_never_comes_back_under_its_names(filled: World, other_store: FaultyStorage) -> None:
    before = filled.content()
    second = filled.snapshots()[-1].id
    target = alike(filled, other_store)
    copy.run(filled.repository, target)
    there = set(objects(other_store))
    target.forget([second])
    prune.run(target, prune.PruneOptions(max_unused=100))
    gone = there - set(objects(other_store))
    assert any(name.startswith("packs/") for name in gone)

    assert copy.run(filled.repository, target, [second]).complete

    assert not gone & set(objects(other_store))
    reopened = open_repository(other_store, PASSPHRASE)
    assert all(found.ok for found in verify.run(reopened, verify.VerifyOptions(level="data")))
    assert content_from(filled, reopened, second) == before


def test_a_copy_that_was_taken_for_dead_is_made_again(filled: World, other_store: FaultyStorage) -> None:
    before = filled.content()
    second = filled.snapshots()[-1].id
    target = alike(filled, other_store)
    other_store.inject(Fault(How.BEFORE, "create", f"snapshots/{second}", StorageFull("There is no room left.")))
    with pytest.raises(StorageFull):
        copy.run(filled.repository, target)
    other_store.create(f"snapshots/{second}", FENCE)  # as a prune does it, hours later

    report = copy.run(filled.repository, target)

    assert [one.status for one in report.snapshots] == ["there", "copied"]
    assert content_from(filled, open_repository(other_store, PASSPHRASE), second) == before
    assert not list(target.notes(copy.KIND))


@pytest.mark.parametrize("repeated", [True, False], ids=["after a repeat", "at once"])
def test_what_was_forgotten_after_a_lost_answer_does_not_come_back(
    filled: World, other_store: FaultyStorage, repeated: bool
) -> None:
    """The copy was done and did not know it: what it noted as begun is none of the next one's business."""
    first, second = (snapshot.id for snapshot in filled.snapshots())
    target = alike(filled, other_store)
    other_store.inject(Fault(How.AFTER, "create", f"snapshots/{second}"))
    with pytest.raises(StorageError, match="injected"):
        copy.run(filled.repository, target)
    assert target.snapshot_ids() == [first, second]
    if repeated:
        assert [one.status for one in copy.run(filled.repository, target).snapshots] == ["there", "there"]
        assert not list(target.notes(copy.KIND))
        target.forget([second])
    else:
        forget.execute(target, forget.prepare(target, forget.ForgetOptions(names=(second,))))

    report = copy.run(filled.repository, target)

    assert [one.status for one in report.snapshots] == ["there", "forgotten"]
    assert target.snapshot_ids() == [first]


def test_a_prune_takes_away_what_a_copy_noted_and_did(filled: World, other_store: FaultyStorage) -> None:
    target = alike(filled, other_store)
    first, second = (snapshot.id for snapshot in filled.snapshots())
    copy.run(filled.repository, target, [first])
    for id in (first, second):
        target.put_note(copy.KIND, id, b"")
    plan = prune.prepare(target, prune.PruneOptions())
    assert plan.notes == ((copy.KIND, first),)
    prune.run(target, prune.PruneOptions())
    assert [id for id, _ in target.notes(copy.KIND)] == [second], "that one is still to be copied"


def test_that_it_was_forgotten_there_is_known_as_long_as_its_fence_stands(
    filled: World, other_store: FaultyStorage
) -> None:
    first, second = (snapshot.id for snapshot in filled.snapshots())
    target = alike(filled, other_store)
    copy.run(filled.repository, target)
    target.forget([second])
    assert bytes(other_store.get(f"snapshots/{second}")) == FENCE
    other_store.delete([f"snapshots/{second}"])  # as a prune does it after 400 days
    assert [one.status for one in copy.run(filled.repository, target).snapshots] == ["there", "copied"]
    assert target.snapshot_ids() == [first, second]
