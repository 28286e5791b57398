"""The collection's protocol played over one store, and what must be true whatever becomes of the actors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from unittest.mock import patch

from coldhouse.errors import ColdhouseError
from coldhouse.repository import Repository, keys, names
from coldhouse.repository.collection import FORGETTABLE, Limits
from coldhouse.repository.marking import mark, read_root
from tests.repository.interleaving import Actor, How, Stage
from tests.repository.protocol_actors import Cast, Seeded, checksum_of, tamed
from tests.repository.samples import new_repository
from tests.support.memory_storage import MemoryStorage

__all__ = ["Protocol", "tamed"]

_WRITERS = ("backup", "late", "late", "recall")
_OTHERS = ("rewrite", "rewrite", "prune", "copy", "repair", "read")
#: Before which calls an actor falls asleep: those between which the steps of the protocol lie.
SLEEPS: dict[str, tuple[str, ...]] = {
    "backup": ("list condemned", "create snapshots"),
    "late": ("create intents", "create snapshots"),
    "recall": ("put notes", "create snapshots"),
    "collect": ("create condemned", "list snapshots", "delete packs"),
    "prune": ("create condemned", "list snapshots", "delete packs"),
    "rewrite": ("create packs", "create snapshots", "put snapshots"),
}
#: The same, and every other one, for plays that are less eager.
ANY_SLEEP = (
    "list intents",
    "create intents",
    "list condemned",
    "create condemned",
    "size condemned",
    "put condemned",
    "list snapshots",
    "create snapshots",
    "put snapshots",
    "create graves",
    "list graves",
    "delete packs",
    "delete intents",
    "delete manifests",
    "size manifests",
    "create packs",
    "put notes",
)
_ACT = 200
_MANY_SNAPSHOTS = 3
_MANY_OBJECTS = 100


@dataclass(frozen=True, slots=True)
class Temper:
    """What an act of a play is like: each has few kinds of actors, and habits of its own, so that it goes deep."""

    kinds: tuple[str, ...]
    actors: int  # so many at a time, at most
    sleeps: float  # how likely a burst ends before a call that matters
    eager: bool  # whether these are the few that matter most
    hours: float  # how likely hours pass between two bursts
    late: float  # how likely something is carried out late between two bursts
    faults: float  # how likely a burst has faults
    skew: timedelta

    @classmethod
    def of(cls, random: Random) -> Temper:
        """Any one."""
        writers = random.choices(_WRITERS, k=random.randint(1, 2))
        others = random.choices(_OTHERS, k=random.choice((0, 1, 1, 2)))
        return cls(
            (*writers, *others, "collect", *(("forget",) * random.choice((0, 1, 1)))),
            random.choice((2, 3, 3, 4)),
            random.choice((0.3, 0.5, 0.7)),
            random.random() < 0.7,
            random.choice((0.0, 0.05, 0.2)),
            random.choice((0.0, 0.05, 0.3)),
            random.choice((0.0, 0.0, 0.2)),
            timedelta(hours=random.choice((0, 0, 0, 1, 6))),
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A snapshot object: what it needs by name, with sizes, and what is in it wherever that is stored."""

    needs: frozenset[tuple[str, int]]
    content: tuple[tuple[str, tuple[bytes, ...]], ...]


class Protocol:
    """Writers, readers, prunes, rewritings, copies, repairs and forgettings over one store."""

    def __init__(self, random: Random, limits: Limits | None = None) -> None:
        memory = MemoryStorage()
        elsewhere = MemoryStorage()
        with patch.object(keys, "secrets", Seeded(random)):
            self._ring = new_repository(memory).ring
        elsewhere.objects.update(memory.objects)
        self.random = random
        self._temper = Temper.of(random)
        self.stage = Stage(memory.objects, random)
        self.cast = Cast(random, self._ring, limits or Limits(), elsewhere)
        self._held: dict[bytes, Held] = {}
        self._committed: dict[str, Held] = {}  # by id, as it was when it was first seen
        self._checked = -1

    def begin(self, kind: str) -> Actor:
        """Let another actor come."""
        return self.stage.begin(kind, self.cast.part_of(kind))

    # ------------------------------------------------------------------------------------------------------ invariant

    def held(self) -> dict[str, Held]:
        """What each snapshot object holds, by its name."""
        found = {}
        for objects in Repository(self.stage.storage, self._ring).snapshot_objects().values():
            for name in objects:
                content = self.stage.storage.objects[name]
                if content not in self._held:
                    self._held[content] = self._read(name)
                found[name] = self._held[content]
        return found

    def _read(self, name: str) -> Held:
        repository = Repository(self.stage.storage, self._ring)
        try:
            marks = mark(repository, [name], threads=0)
            snapshot = read_root(repository, name)
            assert snapshot is not None
            entries = list(repository.entries(snapshot))
        except ColdhouseError as error:
            raise AssertionError(f"{name}, just committed, is not whole: {error}\n{self.stage.story()}") from error
        packs = {(names.pack(ref.id), ref.size) for ref in marks.packs()}
        needs = frozenset(packs | {(names.manifest(id), size) for id, size in marks.manifests()})
        return Held(needs, tuple((str(one.name), tuple(page.digest for page in one.pages)) for one in entries))

    def check(self) -> None:
        """Whatever was committed and not forgotten stands, as it was, and everything that it needs is there."""
        storage = self.stage.storage
        if storage.changes == self._checked:
            return
        self._checked = storage.changes
        held = self.held()
        for name, one in held.items():
            for needed, size in one.needs:
                if len(storage.objects.get(needed, b"")) != size:
                    raise AssertionError(f"{name} needs {needed}, which is gone\n{self.stage.story()}")
            first = self._committed.setdefault(_id(name), one)
            if first is one:
                self._take_elsewhere(name, one)
            if one.content != first.content:
                raise AssertionError(f"{name} is not what it was\n{self.stage.story()}")
        lost = self._committed.keys() - self.cast.forgotten - set(map(_id, held))
        if lost:
            raise AssertionError(f"{min(lost)} has vanished, and nobody forgot it\n{self.stage.story()}")

    def _take_elsewhere(self, name: str, one: Held) -> None:
        """Have a copy of some snapshots in another store, before anything can become of them."""
        there = self.cast.elsewhere.objects
        first = names.snapshot(_id(name))
        if first not in there and self.random.random() < 0.3:
            for each in (*(needed for needed, _ in one.needs), name):
                there[first if each == name else each] = self.stage.storage.objects[each]

    # ----------------------------------------------------------------------------------------------------------- play

    def play(self, steps: int) -> None:
        """Let everything happen at random, and then let it become quiet."""
        with tamed(self.random):
            try:
                for _ in range(2):
                    self._finish(self.begin("backup"))
                end = len(self.stage.history) + steps
                while len(self.stage.history) < end:
                    self._act(min(end, len(self.stage.history) + _ACT))
                self._calm_down()
            finally:
                self.stage.close()

    def _act(self, end: int) -> None:
        self._temper = Temper.of(self.random)
        self.stage.storage.skew = self._temper.skew
        self.cast.carried = self.random.choice((0.6, 1.0, 1.0))
        while len(self.stage.history) < end:
            self._pause()
            self._burst(self._choose())

    def _pause(self) -> None:
        """Between the bursts time passes, the clock is wrong, and the store remembers what it was asked to do."""
        stage, random, temper = self.stage, self.random, self._temper
        if random.random() < temper.hours:
            stage.let_time_pass(timedelta(hours=3))
        if random.random() < temper.hours / 10:
            stage.let_time_pass(timedelta(days=random.choice((15, 200, 500))))
        if random.random() < temper.hours / 5:
            stage.set_clock(timedelta(hours=random.uniform(-12, 6)))
        if random.random() < temper.late:
            stage.repeat_late()
        self.check()

    def _choose(self) -> Actor:
        random, actors = self.random, self.stage.actors
        if not actors or (len(actors) < self._temper.actors and random.random() < 0.6):
            if len(self.stage.storage.objects) > _MANY_OBJECTS or len(self.held()) > _MANY_SNAPSHOTS:
                return self.begin(random.choice(("forget", "collect")))
            return self.begin(random.choice(self._temper.kinds))
        return random.choice(actors)

    def _burst(self, actor: Actor) -> None:
        """Let one actor go on alone for a while: to his end, for a few calls, or until just before a certain one."""
        random = self.random
        sleep = self._sleep(actor)
        calls = random.randint(1, 8) if random.random() < 0.05 else 10_000
        faulty = random.random() < self._temper.faults
        often = random.choice((1, 1, 1, 2))
        while not actor.finished and calls:
            self.stage.step(actor, self._fault() if faulty else How.DONE)
            self.check()
            calls -= 1
            if sleep and actor.call.startswith(sleep):
                often -= 1
                if not often:
                    break
        if not actor.finished and random.random() < 0.02:
            self.stage.kill(actor)

    def _sleep(self, actor: Actor) -> str:
        """Before which call to suspend an actor; empty: none."""
        kind = actor.name.rstrip("0123456789")
        if kind == "forget" or self.random.random() >= self._temper.sleeps:
            return ""
        return self.random.choice(SLEEPS.get(kind, ANY_SLEEP) if self._temper.eager else ANY_SLEEP)

    def _fault(self) -> How:
        chance = self.random.random()
        return How.LOST if chance < 0.03 else How.LATE if chance < 0.06 else How.DONE

    def _finish(self, actor: Actor) -> None:
        while not actor.finished:
            self.stage.step(actor)
            self.check()

    def _calm_down(self) -> None:
        """Whoever is at work ends or dies; after a prune in peace nothing is there that no snapshot needs."""
        for actor in list(self.stage.actors):
            if self.random.random() < 0.3:
                self.stage.kill(actor)
            else:
                self._finish(actor)
        for _ in range(5):
            self.stage.repeat_late()
            self.check()
        self.stage.storage.now += timedelta(days=60)  # however often the clock was set back
        self.stage.let_time_pass(timedelta(days=20))
        before = {id: one.content for id, one in self._standing().items()}
        self._finish(self.begin("prune"))
        self._finish(self.begin("collect"))
        after = {id: one.content for id, one in self._standing().items()}
        assert after == before, f"a prune changed a snapshot\n{self.stage.story()}"
        self._check_tidy()
        self._check_contents()
        self.stage.let_time_pass(FORGETTABLE + timedelta(days=1))
        self._finish(self.begin("collect"))
        self._check_forgotten()

    def _standing(self) -> dict[str, Held]:
        return {_id(name): one for name, one in self.held().items()}

    def _check_tidy(self) -> None:
        needed = {name for each in self.held().values() for name, _ in each.needs}
        self._check_none("unneeded", lambda name, _: name.startswith((names.PACKS, names.MANIFESTS)), needed)
        self._check_none("intents", lambda name, _: name.startswith(names.INTENTS))
        self._check_none("pending", lambda name, data: name.startswith(names.CONDEMNED) and data != names.FENCE)

    def _check_contents(self) -> None:
        """Every file is where the snapshots say, also after it was moved."""
        repository = Repository(self.stage.storage, self._ring)
        with repository.pack_reader() as reader:
            for snapshot in repository.snapshots():
                for page in (ref for each in repository.entries(snapshot) for ref in each.pages):
                    read = repository.page(page)
                    for file in (file for part in read.parts() for file in part.files):
                        content = b"".join(map(bytes, reader.read(read.packs, file.extents, 0, file.size)))
                        assert checksum_of(content) == file.checksum, snapshot.id

    def _check_forgotten(self) -> None:
        """After 400 days in which no request can be under way nothing is left of what was forgotten and deleted."""
        standing = {name.partition(".")[0] for name in self.held()}
        self._check_none("graves and lists", lambda name, _: name.startswith((names.GRAVES, names.CONDEMNED)))
        self._check_none(
            "fences", lambda name, _: name.startswith(names.SNAPSHOTS) and name.partition(".")[0] not in standing
        )

    def _check_none(self, what: str, is_one: Callable[[str, bytes], bool], but: set[str] | None = None) -> None:
        found = {name for name, data in self.stage.storage.objects.items() if is_one(name, data)} - (but or set())
        assert not found, f"{what} left over: {sorted(found)}\n{self.stage.story()}"


def _id(name: str) -> str:
    return name.removeprefix(names.SNAPSHOTS).partition(".")[0]
