"""Every kind of call to the store, of every operation, hit by every kind of fault.

An operation runs once in peace, and its calls are counted by kind (``create packs/*``, ``list snapshots/*``, ...). Then
it runs again and again from the same beginning, each time with one fault at one call. It may fail, with an error that
Coldhouse understands; afterwards every snapshot that is visible is whole to the last byte, those of before are all
there, and the same operation again does its work. In the normal suite the first and the last call of each kind are hit,
long one every call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import ColdhouseError, StorageError, StorageFull, StorageRefused
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.staging import (
    OPERATIONS,
    OTHER,
    READS,
    Kind,
    Operation,
    Play,
    Stage,
    back_up,
    copy_alike,
    copy_anew,
    remove_key,
    restore,
    rotate_keys,
)
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Call, Fault, How
from tests.support.fixtures_storage import use_environment
from tests.support.gcs_stub import BUCKET, GcsStub, Trouble
from tests.support.memory_storage import MemoryStorage

pytestmark = pytest.mark.timeout(600)

#: HTTP status (0: no answer) and code of what passes when it is repeated.
PASSING = ((503, "SlowDown"), (0, ""))
#: More than any operation here has calls.
ALL = 1_000_000
#: The others are met in the long suite.
OFTEN = ("backup", "forget", "copy by objects, its target", "key rotate")


@pytest.fixture(scope="module")
def play(embedded: Clickhouse) -> Iterator[Play]:
    store = MemoryStorage()
    repository = repositories.init(store, PASSPHRASE, kdf=CHEAP)
    repository.slots.add(OTHER, full=True, label="second", cost=CHEAP)
    world = World(*embedded, repository, "every_fault")
    world.drop()
    world.run(
        "CREATE DATABASE {db}",
        "CREATE TABLE {db}.t (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id",
        "SYSTEM STOP MERGES {db}.t",
        "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
        "INSERT INTO {db}.log SELECT number FROM numbers(100)",
    )
    contents = {}
    for _ in range(2):
        world.run("INSERT INTO {db}.t SELECT number, rand64() FROM numbers(100)")
        contents[world.backup().snapshot.id] = world.content()
    world.run("INSERT INTO {db}.t SELECT number, rand64() FROM numbers(100)")
    elsewhere = MemoryStorage()
    repositories.init(elsewhere, OTHER, kdf=CHEAP)
    yield Play(world, dict(store.objects), contents, world.content(), dict(elsewhere.objects))
    world.drop()
    world.query("DROP DATABASE IF EXISTS every_fault_copy SYNC")


def kinds_of(play: Play, operation: Operation) -> Counter[Kind]:
    """Which kinds of calls an operation makes, and how many of each."""
    stage = play.stage(operation)
    operation.act(play, stage)
    return Counter(Kind.of(call) for call in stage.hit.calls)


def lacks_something(operation: Operation, kind: Kind) -> bool:
    """Whether a listing that is too short is no failure, but something that the next run does.

    A copy of some snapshots lacks the others; a key that is not listed is neither removed nor renewed.
    """
    if operation.act in (copy_alike, copy_anew):
        return kind == Kind("list", "snapshots/*")
    return operation.act in (remove_key, rotate_keys) and kind == Kind("list", "keys/*")


def hit(play: Play, operation: Operation, kind: Kind, how: How, skip: int = 0) -> Stage:
    """Let one call fail and see what comes of it."""
    stage = play.stage(operation)
    stage.hit.inject(Fault(how, kind.verb, kind.name, skip=skip))
    failed = False
    try:
        operation.act(play, stage)
    except ColdhouseError:
        if not stage.hit.met:
            raise  # of something else
        failed = True
    stage.hit.heal()
    play.check_committed(stage, operation)
    if failed or (how is How.SHORT and lacks_something(operation, kind)):
        operation.act(play, stage)
    operation.check(play, stage)
    play.check_nothing_left(stage, operation)
    return stage


@pytest.mark.parametrize("how", [How.BEFORE, How.AFTER, How.TWICE, How.SHORT, How.FLIP], ids=lambda how: how.name)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_fault_at_a_call_of_each_kind(play: Play, name: str, how: How) -> None:
    operation = OPERATIONS[name]
    stage = None
    for kind in kinds_of(play, operation):
        if how in kind.ways():
            stage = hit(play, operation, kind, how)
            assert stage.hit.met, f"it makes no call {kind} any more"
    if stage is not None and (how is How.AFTER or operation.act in (back_up, restore)):
        play.check_restores_all(stage)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", [How.BEFORE, How.AFTER, How.TWICE, How.SHORT, How.FLIP], ids=lambda how: how.name)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_fault_at_every_call(play: Play, name: str, how: How) -> None:
    operation = OPERATIONS[name]
    for kind in kinds_of(play, operation):
        if how not in kind.ways():
            continue
        skip = 0
        while (stage := hit(play, operation, kind, how, skip)).hit.met:
            skip += 1
        assert skip
        play.check_restores_all(stage)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_store_that_is_slow_and_reads_twice(play: Play, name: str) -> None:
    """Nothing fails, so nothing is told."""
    operation = OPERATIONS[name]
    stage = play.stage(operation)
    stage.hit.inject(*(Fault(How.TWICE, verb, times=ALL) for verb in READS))
    stage.hit.inject(Fault(How.DELAY, times=ALL, seconds=0.01))
    operation.act(play, stage)
    stage.hit.heal()
    play.check_committed(stage, operation)
    operation.check(play, stage)


NO_MORE = pytest.mark.parametrize(
    "error", [StorageFull("It is full."), StorageRefused("It is read-only.")], ids=["full", "refused"]
)


@NO_MORE
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_store_that_takes_nothing_more(play: Play, name: str, error: StorageError) -> None:
    """From the first write of each kind on: the disk or the quota is full, or the right to write is taken away."""
    writes = writes_of(play, OPERATIONS[name], error)
    take_nothing_more(play, OPERATIONS[name], error, sorted(writes.index(kind) for kind in set(writes)))


@pytest.mark.long
@pytest.mark.timeout(3600)
@NO_MORE
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_store_that_takes_nothing_more_from_any_write_on(play: Play, name: str, error: StorageError) -> None:
    take_nothing_more(play, OPERATIONS[name], error, range(len(writes_of(play, OPERATIONS[name], error))))


def refused_by(error: StorageError) -> tuple[str, ...]:
    return ("create", "put") if isinstance(error, StorageFull) else ("create", "put", "delete")


def writes_of(play: Play, operation: Operation, error: StorageError) -> list[Kind]:
    """The calls of an operation, in their order, that such a store refuses."""
    calm = play.stage(operation)
    operation.act(play, calm)
    return [Kind.of(call) for call in calm.hit.calls if call.verb in refused_by(error)]


def take_nothing_more(play: Play, operation: Operation, error: StorageError, places: Iterable[int]) -> None:
    """Refuse every write from one of these on; the operation says so, nothing is lost, and a repeat succeeds."""
    for first in places:
        stage = play.stage(operation)
        refused: list[Kind] = []
        left = iter(range(first))

        def refuse(call: Call, left: Iterator[int] = left, refused: list[Kind] = refused) -> None:
            if call.verb in refused_by(error) and next(left, None) is None:
                refused.append(Kind.of(call))
                raise error

        stage.hit.watch = refuse
        failed = False
        try:
            operation.act(play, stage)
        except type(error):
            failed = True
        stage.hit.watch = None
        play.check_committed(stage, operation)
        assert refused
        spared = all(kind.name.startswith(("notes/", "intents/")) for kind in refused)
        assert failed or spared  # of which some are not worth a failure
        if failed:
            operation.act(play, stage)
        operation.check(play, stage)
        play.check_nothing_left(stage, operation)


@pytest.mark.parametrize("effect", [False, True], ids=["before any effect", "after it took effect"])
@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.long) for name in OPERATIONS]
)
def test_a_bucket_that_is_overloaded_or_breaks_off(
    play: Play, gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch, name: str, effect: bool
) -> None:
    """Each kind of request gets a 503 and then a connection that ends without answer: nobody notices."""
    use_environment(monkeypatch, gcs_stub.environment)
    operation, state = OPERATIONS[name], gcs_stub.state

    def bucket() -> Stage:
        return play.stage(operation, open_storage(gcs_stub.new_url()), open_storage(gcs_stub.new_url()))

    stage = bucket()
    state.requests.clear()
    operation.act(play, stage)
    hit = stage.hit.url.partition(f"{BUCKET}/")[2]
    kinds = {(method, key.removeprefix(hit).split("/")[1]) for method, key in state.requests if key.startswith(hit)}
    assert kinds
    stage = bucket()
    here = stage.hit.url.partition(f"{BUCKET}/")[2]
    for method, folder in sorted({*kinds, ("LIST", "")}):
        key = f"{here}/{folder}*" if folder else "*"
        state.troubles += [Trouble(method, status, code, effect=effect, key=key) for status, code in PASSING]
    operation.act(play, stage)
    state.troubles.clear()
    play.check_committed(stage, operation)
    operation.check(play, stage)
