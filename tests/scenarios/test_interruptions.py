"""What is left when something ends in the middle: Coldhouse, the server, or the user's patience.

Nothing of a backup that did not end is ever visible, all that was there before restores, and the same command again
does its work, without doubling a row. The middle is met by a turnstile between the server and the gateway, which stops
when so many bytes have passed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.world import PASSPHRASE, World
from tests.support.command import Coldhouse, Done, Running
from tests.support.engine import EngineServer
from tests.support.ports import free_ports
from tests.support.turnstile import Turnstile

PATIENCE = 60
MEGABYTE = 1 << 20
#: Larger than a pack, so that something is stored already when it ends in the middle.
LARGE = 40 * MEGABYTE


@dataclass
class Play:
    """A world, and the command line that works on the same source and repository."""

    world: World
    coldhouse: Coldhouse

    @contextmanager
    def in_the_middle(self, *arguments: str, up: int = 0, down: int = 0) -> Iterator[tuple[Running, Turnstile]]:
        """A command whose traffic with the server stands still after so many bytes."""
        outer, inner = free_ports(2)
        with Turnstile(outer, inner) as turnstile:
            turnstile.stop_after(up=up or None, down=down or None)
            ways = ("--gateway-listen", f"127.0.0.1:{inner}", "--gateway-url", f"http://127.0.0.1:{outer}")
            running = self.coldhouse.start(*arguments, *ways)
            if not turnstile.reached.wait(PATIENCE):
                raise AssertionError(f"the middle was never reached: {running.kill()}")
            assert running.process.poll() is None
            yield running, turnstile

    def backup(self) -> tuple[str, ...]:
        return ("backup", "--table", f"{self.world.db}.*")

    def check_restores(self, snapshot: str, content: dict[str, str]) -> None:
        """A snapshot restores to this content, beside what is there."""
        self.world.restore(snapshot, renames=((self.world.db, f"{self.world.db}_copy"),))
        assert self.world.content(db=f"{self.world.db}_copy") == content
        self.world.run("DROP DATABASE {db}_copy SYNC")

    def ids(self) -> list[str]:
        return [snapshot.id for snapshot in self.world.snapshots()]


@contextmanager
def playing(engine: Clickhouse, folder: Path) -> Iterator[Play]:
    url, query = engine
    repo = folder / "repository"
    with repositories.init(open_storage(str(repo)), PASSPHRASE, kdf=CHEAP) as repository:
        world = World(url, query, repository, "play")
        environment = {
            "COLDHOUSE_REPO": str(repo),
            "COLDHOUSE_PASSWORD": PASSPHRASE,
            "COLDHOUSE_SOURCE": url,
            "COLDHOUSE_TARGET": url,
        }
        world.run("CREATE DATABASE {db}")
        yield Play(world, Coldhouse(folder, environment))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineServer]:
    """A server of the test's own, which it may kill."""
    with EngineServer(tmp_path / "engine", user="keeper", password="p@ss/word") as server:
        yield server


@pytest.fixture
def play(engine: EngineServer, tmp_path: Path) -> Iterator[Play]:
    """A small table, the command line and a repository."""
    with playing((engine.url, engine.query), tmp_path) as made:
        world = made.world
        world.run(
            "CREATE TABLE {db}.a (id UInt64, v String) ENGINE = MergeTree ORDER BY id",
            "INSERT INTO {db}.a SELECT number, toString(number) FROM numbers(1000)",
        )
        yield made


@dataclass
class Before:
    """What the first snapshot holds; then a large table and a Log table came, and the source holds ``content``."""

    first: str
    first_content: dict[str, str]
    content: dict[str, str]


@pytest.fixture
def before(play: Play) -> Before:
    world = play.world
    first_content, first = world.content(), world.backup().snapshot.id
    world.run(
        "CREATE TABLE {db}.large (id UInt64, v String CODEC(NONE)) ENGINE = MergeTree PARTITION BY id % 4 ORDER BY id",
        f"INSERT INTO {{db}}.large SELECT number, randomString(1000) FROM numbers({LARGE // 1000})",
        "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
        "INSERT INTO {db}.log SELECT number FROM numbers(1000)",
        "INSERT INTO {db}.a SELECT number + 1000, 'new' FROM numbers(10)",
    )
    return Before(first, first_content, world.content())


class TestBackup:
    """Ended in the middle of a backup."""

    MIDDLE = LARGE * 9 // 10

    def check_nothing_happened(self, play: Play, before: Before) -> None:
        assert play.ids() == [before.first]
        play.check_restores(before.first, before.first_content)

    def check_the_repeat(self, play: Play, before: Before) -> None:
        done = play.coldhouse.run(*play.backup())
        assert done.status == 0, done.err
        assert len(play.ids()) == 2
        play.check_restores("latest", before.content)
        play.check_restores(before.first, before.first_content)
        assert play.world.content() == before.content

    def test_coldhouse_is_killed(self, play: Play, before: Before) -> None:
        with play.in_the_middle(*play.backup(), up=self.MIDDLE) as (running, _):
            assert running.kill().status == -9
        self.check_nothing_happened(play, before)
        self.check_the_repeat(play, before)

    def test_the_server_is_killed(self, play: Play, before: Before, engine: EngineServer) -> None:
        with play.in_the_middle(*play.backup(), up=self.MIDDLE) as (running, turnstile):
            engine.restart()
            turnstile.open()
            done = running.wait()
        assert done.status == 1
        assert "restarted meanwhile" in done.err
        assert before.first not in done.out
        self.check_nothing_happened(play, before)
        self.check_the_repeat(play, before)

    def test_the_user_presses_ctrl_c(self, play: Play, before: Before, engine: EngineServer) -> None:
        with play.in_the_middle(*play.backup(), up=self.MIDDLE) as (running, turnstile):
            running.interrupt()
            wait_until(lambda: not running_statements(engine) or cancelled_statements(engine))
            turnstile.open()
            done = running.wait()
        check_interrupted(done)
        assert running_statements(engine) == []
        self.check_nothing_happened(play, before)
        self.check_the_repeat(play, before)

    def test_a_second_backup_runs_while_a_killed_one_still_hangs_in_the_server(
        self, play: Play, before: Before, engine: EngineServer
    ) -> None:
        with play.in_the_middle(*play.backup(), up=self.MIDDLE) as (running, _):
            running.kill()
            assert len(running_statements(engine)) == 1
            self.check_the_repeat(play, before)


class TestRestore:
    """Ended in the middle of a restore."""

    MIDDLE = LARGE // 2

    @pytest.fixture
    def lost(self, play: Play, before: Before) -> Before:
        """The database is lost after a second snapshot."""
        play.world.backup()
        play.world.drop()
        return before

    def check_the_repeat(self, play: Play, lost: Before, *options: str) -> None:
        done = play.coldhouse.run("restore", "latest", *options)
        assert done.status == 0, done.err
        assert play.world.content() == lost.content
        assert len(play.ids()) == 2

    def test_coldhouse_is_killed(self, play: Play, lost: Before) -> None:
        with play.in_the_middle("restore", "latest", down=self.MIDDLE) as (running, _):
            assert running.kill().status == -9
        self.check_the_repeat(play, lost)
        play.check_restores(lost.first, lost.first_content)

    def test_the_server_is_killed(self, play: Play, lost: Before, engine: EngineServer) -> None:
        with play.in_the_middle("restore", "latest", down=self.MIDDLE) as (running, turnstile):
            engine.restart()
            turnstile.open()
            done = running.wait()
        assert done.status == 1
        assert "restarted meanwhile" in done.err
        self.check_the_repeat(play, lost)

    def test_the_user_presses_ctrl_c(self, play: Play, lost: Before, engine: EngineServer) -> None:
        with play.in_the_middle("restore", "latest", down=self.MIDDLE) as (running, turnstile):
            running.interrupt()
            wait_until(lambda: not running_statements(engine) or cancelled_statements(engine))
            turnstile.open()
            done = running.wait()
        check_interrupted(done)
        assert running_statements(engine) == []
        self.check_the_repeat(play, lost)

    @pytest.mark.parametrize("existing", ["append", "replace"])
    def test_coldhouse_is_killed_while_it_joins_what_is_there(self, play: Play, lost: Before, existing: str) -> None:
        """Append and replace restore beside the table first: until that is whole the table is as it was."""
        world = play.world
        world.restore()
        world.run("ALTER TABLE {db}.large UPDATE v = 'later' WHERE 1 SETTINGS mutations_sync = 2")
        there = world.content_of("large")
        command = ("restore", "latest", "--table", f"{world.db}.large", "--existing", existing)
        with play.in_the_middle(*command, down=self.MIDDLE) as (running, _):
            assert running.kill().status == -9
        assert world.content_of("large") == there
        done = play.coldhouse.run(*command)
        assert done.status == 0, done.err
        if existing == "replace":
            assert world.content() == lost.content
        else:
            rows = LARGE // 1000
            assert world.ask("SELECT count(), countIf(v = 'later'), uniqExact(id) FROM {db}.large") == (
                f"{2 * rows}\t{rows}\t{rows}"
            )
            assert sorted(world.tables()) == sorted(lost.content)


class TestTheEmbeddedEngine:
    """With chdb:/// the engine dies with the command."""

    def test_a_killed_backup_and_a_killed_restore_are_repeated(self, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "target"
        with EngineServer(source) as engine:
            engine.query("CREATE DATABASE play")
            engine.query("CREATE TABLE play.t (id UInt64, v String CODEC(NONE)) ENGINE = MergeTree ORDER BY id")
            engine.query(f"INSERT INTO play.t SELECT number, randomString(1000) FROM numbers({LARGE // 1000})")
            before = engine.query("SELECT count(), sum(cityHash64(*)) FROM play.t")
        environment = {"COLDHOUSE_REPO": str(tmp_path / "repository"), "COLDHOUSE_PASSWORD": PASSPHRASE}
        with repositories.init(open_storage(environment["COLDHOUSE_REPO"]), PASSPHRASE, kdf=CHEAP) as repository:
            world = World("", str, repository, "play")
            play = Play(world, Coldhouse(tmp_path, environment))
            backing = ("backup", "--source", f"chdb://{source}")
            with play.in_the_middle(*backing, up=LARGE // 2) as (running, _):
                running.kill()
            assert play.ids() == []
            assert play.coldhouse.run(*backing).status == 0
            restoring = ("restore", "latest", "--target", f"chdb://{target}")
            with play.in_the_middle(*restoring, down=LARGE // 2) as (running, _):
                running.kill()
            done = play.coldhouse.run(*restoring)
            assert done.status == 0, done.err
        with EngineServer(target) as engine:
            assert engine.query("SELECT count(), sum(cityHash64(*)) FROM play.t") == before

    def test_ctrl_c_reaches_the_command_and_not_only_the_engine(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        with EngineServer(source) as engine:
            engine.query("CREATE DATABASE play")
            engine.query("CREATE TABLE play.t (id UInt64, v String CODEC(NONE)) ENGINE = MergeTree ORDER BY id")
            engine.query(f"INSERT INTO play.t SELECT number, randomString(1000) FROM numbers({LARGE // 1000})")
        environment = {"COLDHOUSE_REPO": str(tmp_path / "repository"), "COLDHOUSE_PASSWORD": PASSPHRASE}
        with repositories.init(open_storage(environment["COLDHOUSE_REPO"]), PASSPHRASE, kdf=CHEAP) as repository:
            play = Play(World("", str, repository, "play"), Coldhouse(tmp_path, environment))
            backing = ("backup", "--source", f"chdb://{source}")
            with play.in_the_middle(*backing, up=LARGE // 2) as (running, turnstile):
                running.interrupt()
                turnstile.close()
                done = running.wait()
            check_interrupted(done)
            assert play.ids() == []
            assert play.coldhouse.run(*backing).status == 0


def check_interrupted(done: Done) -> None:
    assert done.status == 130, done.err
    assert "error: interrupted" in done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def running_statements(engine: EngineServer) -> list[str]:
    return engine.query(
        "SELECT query_id FROM system.backups WHERE status IN ('CREATING_BACKUP', 'RESTORING')"
    ).splitlines()


def cancelled_statements(engine: EngineServer) -> list[str]:
    return engine.query("SELECT query_id FROM system.processes WHERE is_cancelled").splitlines()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


@pytest.mark.long
def test_whenever_coldhouse_is_killed_the_repeat_does_its_work(play: Play, before: Before) -> None:
    """Forty random moments of backup and of restore."""
    dice = random.Random(20261123)
    world = play.world
    for _ in range(20):
        known = play.ids()
        play.coldhouse.start(*play.backup()).kill_after(dice.uniform(0.0, 3.0))
        assert set(known) <= set(play.ids())
        for snapshot in play.ids()[-2:]:
            play.check_restores(snapshot, before.first_content if snapshot == before.first else before.content)
    assert play.coldhouse.run(*play.backup()).status == 0
    newest = play.ids()[-1]
    for _ in range(20):
        world.drop()
        play.coldhouse.start("restore", newest).kill_after(dice.uniform(0.0, 3.0))
        done = play.coldhouse.run("restore", newest, "--existing", "fail")
        assert done.status == 0 or "already there" in done.err, done.err
        assert world.content() == before.content
