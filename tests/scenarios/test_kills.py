"""SIGKILL of Coldhouse and of the server at random moments: what is committed stays, and the repeat works.

After each kill every committed snapshot is verified (every few times to the last byte, or by a restore), and the same
command again must succeed and be right. The moments come from a die with a fixed seed, spread over the time from the
command's first look at the repository to its end, as long as that takes in peace here and now. What counts are kills
that come while it still runs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.operations import prune, verify
from coldhouse.records import replace
from coldhouse.repository import Repository, open_repository
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP
from tests.scenarios.world import PASSPHRASE, World
from tests.support.command import Coldhouse, Done, Running
from tests.support.engine import EngineServer

OTHER = "another passphrase"


@dataclass
class Play:
    """A server, a repository in a folder, a copy of it under other keys, and the command line.

    ``contents`` is what each committed snapshot must restore to; ``now`` is what the source holds.
    """

    engine: EngineServer
    world: World
    coldhouse: Coldhouse
    folder: Path
    dice: random.Random
    contents: dict[str, dict[str, str]] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=dict)
    in_time: int = 0
    lengths: dict[str, float] = field(default_factory=dict)

    @property
    def backup(self) -> tuple[str, ...]:
        return ("backup", "--table", f"{self.world.db}.*")

    def change(self) -> None:
        self.world.run("INSERT INTO {db}.t SELECT number, randomString(200) FROM numbers(2000)")
        self.now = self.world.content()

    def reopened(self, name: str = "repository", passphrase: str = PASSPHRASE) -> Repository:
        return open_repository(open_storage(str(self.folder / name)), passphrase)

    def ids(self) -> list[str]:
        with self.reopened() as repository:
            return repository.snapshot_ids()

    def note_committed(self) -> None:
        """A backup that was killed after its last step, or has ended: what it made holds what the source holds now."""
        for id in self.ids():
            self.contents.setdefault(id, self.now)

    def rounds(self, times: int) -> Iterator[int]:
        """Numbers of rounds, until so many kills have come in time; a bound on them is asserted."""
        wanted, bound = self.in_time + times, 3 * times + 5
        for number in range(bound):
            if self.in_time >= wanted:
                return
            yield number
        assert self.in_time >= wanted, f"{wanted - self.in_time} of {bound} kills are missing: too many came too late"

    def kill(self, *arguments: str, victim: Callable[[Running], None] | None = None, **variables: str) -> Done:
        """Run a command and kill it, or what it works with, at a moment of the die's choice while it is at work."""
        share = self.dice.random()
        running = self.coldhouse.start_signalling(*arguments, **variables)
        if running.at_work():
            self._wait(running, share * self.lengths.get(arguments[0], 0.3), arguments[0])
        self.in_time += running.process.poll() is None
        if victim is None:
            return running.kill()
        victim(running)
        return running.wait()

    def _wait(self, running: Running, seconds: float, verb: str) -> None:
        """Wait for so long, or until it ends: then it takes no longer than that."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            if running.process.poll() is not None:
                self.lengths[verb] = passed
                return
            time.sleep(0.002)

    def run(self, *arguments: str, **variables: str) -> Done:
        """Run a command in peace, and learn how long it is at work."""
        running = self.coldhouse.start_signalling(*arguments, **variables)
        running.at_work()
        began = time.monotonic()
        done = running.wait()
        self.lengths[arguments[0]] = time.monotonic() - began
        return done

    def repeat(self, *arguments: str, **variables: str) -> Done:
        """Run what was killed again: it must succeed."""
        done = self.run(*arguments, **variables)
        assert done.status == 0, done.err
        return done

    def check(self, *, thoroughly: bool, name: str = "repository", passphrase: str = PASSPHRASE) -> None:
        """Every visible snapshot is whole; where this is the repository, none that was committed is missing."""
        with self.reopened(name, passphrase) as repository:
            if name == "repository":
                assert repository.snapshot_ids() == sorted(self.contents)
            options = verify.VerifyOptions(level="data" if thoroughly else "structure")
            for found in verify.run(repository, options):
                assert found.ok, found.problems

    def check_restores(self, *ids: str, name: str = "repository", passphrase: str = PASSPHRASE) -> None:
        copied = f"{self.world.db}_copy"
        with self.reopened(name, passphrase) as repository:
            for id in ids:
                self.world.run(f"DROP DATABASE IF EXISTS {copied} SYNC")
                replace(self.world, repository=repository).restore(id, renames=((self.world.db, copied),))
                assert self.world.content(db=copied) == self.contents[id], id
        self.world.run(f"DROP DATABASE IF EXISTS {copied} SYNC")


@contextmanager
def playing(folder: Path, seed: int) -> Iterator[Play]:
    with (
        EngineServer(folder / "engine", user="keeper", password="p@ss/word") as engine,
        repositories.init(open_storage(str(folder / "repository")), PASSPHRASE, kdf=CHEAP) as repository,
    ):
        repositories.init(open_storage(str(folder / "elsewhere")), OTHER, kdf=CHEAP).close()
        world = World(engine.url, engine.query, repository, "play")
        environment = {
            "COLDHOUSE_REPO": str(folder / "repository"),
            "COLDHOUSE_PASSWORD": PASSPHRASE,
            "COLDHOUSE_TO_PASSWORD": OTHER,
            "COLDHOUSE_SOURCE": engine.url,
            "COLDHOUSE_TARGET": engine.url,
        }
        world.run(
            "CREATE DATABASE {db}",
            "CREATE TABLE {db}.t (id UInt64, v String CODEC(NONE)) ENGINE = MergeTree PARTITION BY id % 8 ORDER BY id",
            "CREATE TABLE {db}.log (id UInt64) ENGINE = Log",
            "INSERT INTO {db}.log SELECT number FROM numbers(1000)",
        )
        play = Play(engine, world, Coldhouse(folder, environment), folder, random.Random(seed))
        play.change()
        world.backup()
        play.note_committed()
        play.change()
        yield play


def kill_backups(play: Play, times: int) -> None:
    for number in play.rounds(times):
        play.kill(*play.backup)
        play.note_committed()
        play.check(thoroughly=number % 5 == 4)
        play.repeat(*play.backup)
        play.note_committed()
        play.check(thoroughly=False)
        if number % 5 == 0:
            play.check_restores(max(play.contents))
        if number % 3 == 0:
            play.change()


def kill_restores(play: Play, times: int) -> None:
    newest = max(play.contents)
    command = ("restore", newest, "--rename", f"{play.world.db}={play.world.db}_back")
    for number in play.rounds(times):
        play.world.run("DROP DATABASE IF EXISTS {db}_back SYNC")
        play.kill(*command)
        play.check(thoroughly=number % 10 == 9)
        done = play.run(*command)
        assert done.status == 0 or "already there" in done.err, done.err  # it had ended before the kill
        back = play.world.content(db=f"{play.world.db}_back")
        assert back == play.contents[newest]
    play.world.run("DROP DATABASE IF EXISTS {db}_back SYNC")


def kill_forgets(play: Play, times: int) -> None:
    """Some more snapshots each time, and all but three are forgotten."""
    command = ("forget", "--keep-last", "3", "--yes")
    for number in play.rounds(times):
        for _ in range(3):
            play.world.backup()
        play.note_committed()
        play.kill(*command)
        left = play.ids()
        assert set(sorted(play.contents)[-3:]) <= set(left)
        play.contents = {id: play.contents[id] for id in left}
        play.check(thoroughly=number % 5 == 4)
        play.repeat(*command)
        assert play.ids() == sorted(play.contents)[-3:]
        play.contents = {id: play.contents[id] for id in play.ids()}
        play.check(thoroughly=False)
    play.check_restores(*play.contents)


def kill_prunes(play: Play, times: int) -> None:
    """After a forget, so that there is something to delete and to write anew; who was killed counts as dead at once."""
    command = ("prune", "--yes", "--max-unused", "0")
    at_once = prune.PruneOptions(max_unused=0, dead_after=timedelta(0))
    with play.reopened() as repository:
        prune.run(repository, at_once)  # of those that other tests killed
    for number in play.rounds(times):
        for _ in range(2):
            play.change()
            play.world.backup()
            play.note_committed()
        play.repeat("forget", "--keep-last", "2", "--yes")
        play.contents = {id: play.contents[id] for id in play.ids()}
        play.kill(*command)
        play.check(thoroughly=number % 3 == 2)
        play.repeat(*command)
        play.check(thoroughly=False)
        with play.reopened() as repository:
            prune.run(repository, at_once)
            left = prune.prepare(repository, at_once).survey.unneeded
            assert not left.packs, left
            assert not left.manifests, left
        play.check(thoroughly=number % 3 == 2)
        if number % 5 == 0:
            play.check_restores(*play.contents)


def kill_copies(play: Play, times: int) -> None:
    """To a folder under other keys, and to one under the same."""
    for number in play.rounds(times):
        anew = number % 2 == 0
        place = "elsewhere" if anew else "alike"
        passphrase = OTHER if anew else PASSPHRASE
        command = ("copy", "--to", str(play.folder / place), *(() if anew else ("--init-like",)))
        play.world.backup()
        play.note_committed()
        play.kill(*command)
        play.check(thoroughly=False)
        if (play.folder / place / "config").exists():
            play.check(thoroughly=True, name=place, passphrase=passphrase)
        play.repeat(*command)
        with play.reopened(place, passphrase) as target:
            assert set(play.contents) <= set(target.snapshot_ids())
        play.check(thoroughly=number % 5 == 4, name=place, passphrase=passphrase)
        if number % 5 == 0:
            play.check_restores(max(play.contents), name=place, passphrase=passphrase)


def kill_rotations(play: Play, times: int) -> None:
    for number in play.rounds(times):
        play.kill("key", "rotate", "--yes")
        play.check(thoroughly=number % 5 == 4)
        done = play.run("key", "rotate", "--yes")
        if done.status == 11:  # the one that was killed had said that it makes a generation, and had not made it
            assert "--take-over" in done.err
            done = play.run("key", "rotate", "--yes", "--take-over")
        assert done.status == 0, done.err
        with play.reopened() as repository:
            assert len(repository.slots.all()) == 1, "one key for each holder, however often it was killed"
            replace(play.world, repository=repository).backup()
        play.note_committed()
        play.check(thoroughly=False)
    play.check_restores(max(play.contents))


def kill_servers(play: Play, times: int) -> None:
    """In the middle of a backup, and in the middle of a restore."""

    def victim(_: Running) -> None:
        play.engine.restart()

    for number in play.rounds(times):
        done = play.kill(*play.backup, victim=victim)
        assert done.status in (0, 1), done.err
        assert done.status == 0 or "hint:" in done.err
        play.note_committed()
        play.check(thoroughly=number % 5 == 4)
        assert play.world.content() == play.now
        play.repeat(*play.backup)
        play.note_committed()
        newest = max(play.contents)
        command = ("restore", newest, "--rename", f"{play.world.db}={play.world.db}_back")
        play.world.run("DROP DATABASE IF EXISTS {db}_back SYNC")
        done = play.kill(*command, victim=victim)
        assert done.status in (0, 1), done.err
        done = play.run(*command)
        assert done.status == 0 or "already there" in done.err, done.err
        assert play.world.content(db=f"{play.world.db}_back") == play.contents[newest]
    play.world.run("DROP DATABASE IF EXISTS {db}_back SYNC")


#: What is killed, and how often while it is at work: in the normal suite, and in the long one.
#: Every verb that changes a repository belongs here.
ROUNDS: dict[str, tuple[Callable[[Play, int], None], int, int]] = {
    "backup": (kill_backups, 2, 60),
    "restore": (kill_restores, 1, 45),
    "forget": (kill_forgets, 1, 30),
    "prune": (kill_prunes, 1, 30),
    "copy": (kill_copies, 2, 30),
    "key rotate": (kill_rotations, 1, 25),
    "the server": (kill_servers, 1, 10),
}


def test_the_long_suite_kills_often_enough() -> None:
    assert sum(many for _, _, many in ROUNDS.values()) >= 200


@pytest.mark.timeout(600)
def test_a_few_kills(tmp_path: Path) -> None:
    with playing(tmp_path, seed=1) as play:
        for kill, few, _ in ROUNDS.values():
            before = play.in_time
            kill(play, few)
            assert play.in_time - before >= few


@pytest.mark.long
@pytest.mark.parametrize("name", ROUNDS)
def test_many_kills(tmp_path: Path, name: str) -> None:
    kill, _, many = ROUNDS[name]
    with playing(tmp_path, seed=20261123) as play:
        kill(play, many)
        assert play.in_time >= many
