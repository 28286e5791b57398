"""Prune beside everything else: what snapshots need stays, what nothing needs goes, and everything restores."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.operations import forget, prune, verify
from coldhouse.operations.forget import ForgetOptions
from coldhouse.operations.prune import PruneOptions, PruneReport
from coldhouse.operations.retention import Policy
from coldhouse.records import replace
from coldhouse.repository import Repository, open_repository
from coldhouse.storage import open_storage
from tests.repository.test_rewriting import history, said
from tests.scenarios.conftest import CHEAP, Clickhouse, play
from tests.scenarios.world import PASSPHRASE, World
from tests.support.command import Coldhouse
from tests.support.faulty import Call, Fault, FaultyStorage, How

EVERYTHING = PruneOptions(max_unused=0)
#: Nobody who is silent counts as alive: for what was killed in a test.
AT_ONCE = PruneOptions(max_unused=0, dead_after=timedelta(0))


def grow(world: World) -> None:
    """Three snapshots; merges between them leave packs of which little is needed.

    Each part that was merged away is several times as large as the pieces in which unused bytes are counted.
    """
    world.run(
        "CREATE TABLE {db}.t (id UInt64, day UInt8, text String) ENGINE = MergeTree PARTITION BY day ORDER BY id",
        "CREATE TABLE {db}.log (text String) ENGINE = Log",
    )
    for batch in range(3):
        world.run(
            f"INSERT INTO {{db}}.t SELECT number, number % 4, randomPrintableASCII(50) FROM numbers({batch}000, 16000)",
            f"INSERT INTO {{db}}.log VALUES ('batch {batch}')",
        )
        if batch:
            world.run(f"OPTIMIZE TABLE {{db}}.t PARTITION {batch} FINAL")
        world.backup()


def stored(repository: Repository) -> int:
    return sum(one.size for one in repository.storage.list("packs/"))


def keep_last(repository: Repository) -> None:
    forget.execute(repository, forget.prepare(repository, ForgetOptions(Policy(last=1))))


def pruned(repository: Repository, options: PruneOptions = EVERYTHING) -> PruneReport:
    return prune.run(repository, options)


def sound(repository: Repository) -> None:
    for found in verify.run(repository, verify.VerifyOptions(level="data")):
        assert found.ok, found.problems


def check_life_goes_on(world: World) -> None:
    """Forget, prune, restore, back up again; nothing is left over."""
    grow(world)
    before = world.content()
    size = stored(world.repository)
    keep_last(world.repository)
    report = pruned(world.repository)
    assert report.collected.deleted.packs and not report.collected.waiting.packs
    assert stored(world.repository) < size
    sound(world.repository)
    assert prune.prepare(world.repository, EVERYTHING).empty

    world.drop()
    assert world.restore().complete
    assert world.content() == before
    world.run("INSERT INTO {db}.t VALUES (1000000, 1, 'more')")
    again = world.backup().snapshot
    assert again.accounting.reused > 0
    sound(world.repository)


def test_forget_and_prune_give_back_space_and_everything_restores(world: World) -> None:
    check_life_goes_on(world)


def test_the_same_in_a_bucket(embedded: Clickhouse, s3_url: str) -> None:
    for world in play(embedded, s3_url):
        check_life_goes_on(world)


# ------------------------------------------------------------------------------------------------------ beside others


@pytest.fixture
def grown(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    for world in play(embedded, folder_url):
        grow(world)
        yield world


def watched(world: World, verb: str, name: str, act: Callable[[], None]) -> World:
    """The same world, in which something happens once, just before the first such call."""
    met = threading.Lock()

    def watch(call: Call) -> None:
        if Fault(How.BEFORE, verb, name).meets(call) and met.acquire(blocking=False):
            act()

    storage = FaultyStorage(open_storage(world.repository.url), watch=watch)
    return replace(world, repository=open_repository(storage, PASSPHRASE))


@pytest.mark.parametrize("name", ["packs/*", "manifests/*", "snapshots/*"])
def test_a_backup_goes_on_while_everything_before_it_is_forgotten_and_pruned(grown: World, name: str) -> None:
    reports: list[PruneReport] = []

    def meanwhile() -> None:
        with open_repository(open_storage(grown.repository.url), PASSPHRASE) as other:
            keep_last(other)
            reports.append(pruned(other))

    grown.run("INSERT INTO {db}.t SELECT number, 3, 'while it is pruned' FROM numbers(1000)")
    before = grown.content()
    made = watched(grown, "create", name, meanwhile).backup().snapshot
    assert len(reports) == 1
    assert made.id in grown.repository.snapshot_ids()
    grown.drop()
    assert grown.restore(made).complete
    assert grown.content() == before
    for _ in range(2):  # the first one closes the list that waited for the backup, whose packs are not touched before
        pruned(grown.repository)
    sound(grown.repository)
    assert prune.prepare(grown.repository, EVERYTHING).empty


def test_a_restore_goes_on_while_its_snapshot_is_forgotten_and_pruned(grown: World) -> None:
    before = grown.content()
    reports: list[PruneReport] = []
    last = grown.snapshots()[-1]

    def meanwhile() -> None:
        with open_repository(open_storage(grown.repository.url), PASSPHRASE) as other:
            forget.execute(other, forget.prepare(other, ForgetOptions(names=(last.id,))))
            reports.append(pruned(other))

    grown.drop()
    assert watched(grown, "get_range", "packs/*", meanwhile).restore(last).complete
    assert grown.content() == before
    assert [wait.kind for wait in reports[0].collected.waits] == ["restore"]
    assert last.id not in grown.repository.snapshot_ids()
    assert pruned(grown.repository).collected.deleted.packs
    sound(grown.repository)


# -------------------------------------------------------------------------------------------------------------- kills


def test_a_prune_that_is_killed_is_repeated(tmp_path: Path) -> None:
    original = tmp_path / "original"
    with repositories.init(open_storage(str(original)), PASSPHRASE, kdf=CHEAP) as repository:
        made = history(repository)
        repository.forget([made[0].id, made[2].id])
        says = {one.id: said(repository, one.id) for one in (made[1], made[3])}
    coldhouse = Coldhouse(tmp_path, {"COLDHOUSE_PASSWORD": PASSPHRASE})

    def arguments(folder: Path) -> tuple[str, ...]:
        return ("prune", "--yes", "--max-unused", "0", "--repo", str(folder))

    peaceful = tmp_path / "peaceful"
    shutil.copytree(original, peaceful)
    began = time.monotonic()
    done = coldhouse.run(*arguments(peaceful))
    assert done.status == 0, done.err
    length = time.monotonic() - began
    for number in range(4):
        folder = tmp_path / f"killed-{number}"
        shutil.copytree(original, folder)
        coldhouse.start(*arguments(folder)).kill_after(length * (0.5 + 0.15 * number))
        with open_repository(open_storage(str(folder)), PASSPHRASE) as repository:
            assert {id: said(repository, id) for id in repository.snapshot_ids()} == says
            time.sleep(0.1)  # so that what was killed was heard of before now
            pruned(repository, AT_ONCE)
            assert {id: said(repository, id) for id in repository.snapshot_ids()} == says
            left = prune.prepare(repository, EVERYTHING)
            assert left.empty, left
            assert not left.survey.owners
