"""A store that fails at any of its calls: what is committed stays restorable, nothing half is seen, the repeat works.

Each call of a backup and of a restore fails in turn: once before it has any effect, once after it had it, as when the
answer of a bucket is lost. The embedded engine alone plays here, because the store is all that differs. These take
minutes; test_every_fault.py has their siblings in the normal suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import ColdhouseError, StorageError
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Call, Fault, FaultyStorage, How

pytestmark = pytest.mark.long

#: A failure after a call that only reads is the same as one before it.
READS = frozenset({"get", "get_range", "list", "size", "free_space"})


def ways(call: Call) -> tuple[How, ...]:
    """In which ways a call can fail."""
    return (How.BEFORE,) if call.verb in READS else (How.BEFORE, How.AFTER)


@dataclass
class Faulty:
    """A world whose store fails on request; ``contents`` is what each committed snapshot must restore to."""

    world: World
    store: FaultyStorage
    contents: dict[str, dict[str, str]]

    def ids(self) -> list[str]:
        return [snapshot.id for snapshot in self.world.snapshots()]

    def change(self) -> dict[str, str]:
        """The source changes; returns what it holds now."""
        self.world.run("INSERT INTO {db}.t SELECT number, rand64() FROM numbers(100)")
        return self.world.content()

    def calls(self, act: Callable[[], object]) -> list[Call]:
        """Every call that the store gets while something is done, in their order."""
        self.store.forget_calls()
        act()
        return list(self.store.calls)

    def fail(self, call: int, how: How, act: Callable[[], object]) -> bool:
        """Do something while the store fails at a call; returns whether that was told as the store's failure."""
        self.store.inject(Fault(how, skip=call))
        try:
            act()
        except StorageError:
            return True
        finally:
            self.store.heal()
        return False

    def check_all(self) -> None:
        """Every snapshot that is visible restores to what the source held when it was taken."""
        assert self.ids() == sorted(self.contents)
        for snapshot, content in self.contents.items():
            self.world.drop()
            self.world.restore(snapshot)
            assert self.world.content() == content, snapshot


@pytest.fixture
def faulty(embedded: Clickhouse, tmp_path: Path) -> Iterator[Faulty]:
    store = FaultyStorage(open_storage(str(tmp_path / "repository")))
    with repositories.init(store, PASSPHRASE, kdf=CHEAP) as repository:
        world = World(*embedded, repository, "faults")
        world.drop()
        world.run(
            "CREATE DATABASE {db}",
            "CREATE TABLE {db}.t (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id",
            "SYSTEM STOP MERGES {db}.t",
            "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
            "INSERT INTO {db}.log SELECT number FROM numbers(100)",
        )
        made = Faulty(world, store, {})
        content = made.change()
        made.contents[world.backup().snapshot.id] = content
        yield made
        world.drop()


def test_a_backup_whose_store_fails_at_any_call(faulty: Faulty) -> None:
    world = faulty.world
    content = faulty.change()
    calls = faulty.calls(lambda: faulty.contents.setdefault(world.backup().snapshot.id, content))
    assert any(call.name.startswith("snapshots/") and call.verb == "create" for call in calls)
    told = 0
    for number, call in enumerate(calls):
        for how in ways(call):
            content = faulty.change()
            before = faulty.ids()
            failed = faulty.fail(number, how, world.backup)
            told += failed
            new = [snapshot for snapshot in faulty.ids() if snapshot not in before]
            if failed and new:
                assert (call.verb, how) in {("create", How.AFTER), ("sync", How.BEFORE), ("sync", How.AFTER)}, (
                    f"{call} failed, and still there is a new snapshot"
                )
            if not failed:
                assert len(new) == 1, f"{call} {how}: success was reported"
            faulty.contents |= dict.fromkeys(new, content)
            faulty.contents[world.backup().snapshot.id] = content
    assert told >= len(calls)
    for snapshot in sorted(faulty.contents)[:-8]:
        del faulty.contents[snapshot]
        faulty.store.inner.delete([f"snapshots/{snapshot}"])
    faulty.check_all()


def test_a_restore_whose_store_fails_at_any_call(faulty: Faulty) -> None:
    world = faulty.world
    content = world.content()
    world.drop()
    calls = faulty.calls(world.restore)
    assert any(call.name.startswith("packs/") for call in calls)
    for number, call in enumerate(calls):
        for how in ways(call):
            world.drop()
            failed = faulty.fail(number, how, world.restore)
            if failed:
                world.restore()
            assert world.content() == content, f"{call} {how}"
    faulty.check_all()


@pytest.mark.parametrize("how", [How.FLIP, How.SHORT])
def test_a_restore_whose_store_gives_wrong_bytes_at_any_call(faulty: Faulty, how: How) -> None:
    """It fails, or what was wrong did not matter; it never restores anything else than what was there."""
    world = faulty.world
    content = world.content()
    world.drop()
    calls = faulty.calls(world.restore)
    refused = 0
    for number in range(len(calls)):
        world.drop()
        faulty.store.inject(Fault(how, skip=number))
        try:
            world.restore()
        except ColdhouseError:
            refused += 1
            faulty.store.heal()
            world.drop()
            world.restore()
        finally:
            faulty.store.heal()
        assert world.content() == content, f"{calls[number]} {how}"
    assert refused
