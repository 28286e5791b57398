"""Actors that share a store and are stopped before each call to it, so that a test decides who goes on and what fails.

Each actor is a thread, and only one runs at a time. A call can be carried out; or it is carried out and its answer is
lost; or it fails and is carried out at any later time; or the actor dies there. What changed the store once may do so
again at any later time. An actor that is not chosen is suspended, for as long as it takes.

The store's clock is wrong: it jumps, also backwards, and each object gets a time of its own that is hours off. Beside
it a true time passes, which nobody can see; by it what is too old to be carried out is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from random import Random
from typing import ParamSpec, TypeVar
from zlib import crc32

from coldhouse.errors import ColdhouseError, ObjectExists, StorageError
from coldhouse.model import Buffer
from coldhouse.storage.base import NO_LIMIT, Storage, StoredObject
from tests.support.memory_storage import MemoryStorage

P = ParamSpec("P")
T = TypeVar("T")

Act = Callable[[], None]

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
#: So long after its sender began a request may be carried out: 400 days (see FORMAT.md) less what the clock runs ahead.
REMEMBERED = timedelta(days=390)


class How(Enum):
    """What becomes of a call."""

    DONE = "done"
    LOST = "done, and its answer lost"
    LATE = "an error, and done later, or never"
    DEATH = "the actor dies before it; done later, or never"


class Died(BaseException):
    """The end of an actor."""


@dataclass(frozen=True, slots=True)
class Late:
    """A request that may be carried out (again): what it is, and when who sent it began, by the true time."""

    call: str
    act: Act
    begun: timedelta


class ClockedStorage(MemoryStorage):
    """A store with a clock of its own, which a test sets; the time of each object is up to ``skew`` off.

    ``passed`` is the true time since the beginning; ``changes`` counts what changed anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGINNING
        self.passed = timedelta(0)
        self.skew = timedelta(0)
        self.changes = 0
        self.times: dict[str, datetime] = {}

    def create(self, name: str, data: Buffer) -> None:
        super().create(name, data)
        self._written(name)

    def put(self, name: str, data: Buffer) -> None:
        super().put(name, data)
        self._written(name)

    def delete(self, names: Sequence[str]) -> None:
        super().delete(names)
        self.changes += 1

    def _written(self, name: str) -> None:
        share = crc32(f"{name} {self.changes}".encode()) / 2**31 - 1
        self.times[name] = self.now + share * self.skew
        self.changes += 1

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        for each in super().list(prefix, after=after):
            yield StoredObject(each.name, each.size, self.times.get(each.name, BEGINNING))


class Inline(Executor):
    """Carries out at once what it is given, in the thread of the actor, so that every call can be stopped."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, act: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(act(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
        return future


class Actor:
    """One thread that works on the store until it has ended, failed or died."""

    def __init__(self, name: str, storage: ClockedStorage, act: Callable[[Storage], None], late: list[Late]) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self.refusal: ColdhouseError | None = None
        self.finished = False
        self.call = ""
        self.late = late
        self.begun = storage.passed
        self._how = How.DONE
        self._go = _closed_lock()
        self._arrived = _closed_lock()
        self._dead = False
        self._thread = threading.Thread(target=self._run, args=(act, Gate(storage, self)), daemon=True)
        self._thread.start()
        self._arrived.acquire()

    def step(self, how: How = How.DONE) -> None:
        """Let the call that it waits for come out like this, and everything up to the next one."""
        self._how = how
        self._go.release()
        self._arrived.acquire()
        if self.finished:
            self._thread.join()

    def die(self) -> None:
        """Let it never go on."""
        while not self.finished:
            self.step(How.DEATH)

    def pause(self, call: str) -> How:
        """Wait to be chosen; called by the thread itself."""
        if self._dead:
            raise Died
        self.call = call
        self._arrived.release()
        self._go.acquire()
        self._dead = self._how is How.DEATH
        return self._how

    def _run(self, act: Callable[[Storage], None], storage: Storage) -> None:
        try:
            act(storage)
        except ColdhouseError as error:
            self.refusal = error
        except Died:
            pass
        except BaseException as error:  # noqa: BLE001
            self.failure = error
        self.finished = True
        self._arrived.release()


class Gate(Storage):
    """The store as an actor sees it."""

    def __init__(self, inner: ClockedStorage, actor: Actor) -> None:
        self._inner = inner
        self._actor = actor

    @property
    def url(self) -> str:
        return "memory:"

    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        return self._read(f"get {name}", lambda: self._inner.get(name, limit=limit))

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        return self._read(f"get {name}", lambda: self._inner.get_range(name, offset, length))

    def size(self, name: str) -> int:
        return self._read(f"size {name}", lambda: self._inner.size(name))

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """List in two steps: some names are looked at in the first one, the others in the second one."""

        def look(first: bool) -> list[StoredObject]:
            return [each for each in self._inner.list(prefix, after=after) if crc32(each.name.encode()) % 2 == first]

        found = self._read(f"list {prefix}", lambda: look(first=True))
        found += self._read(f"go on to list {prefix}", lambda: look(first=False))
        yield from sorted(found, key=lambda each: each.name)

    def create(self, name: str, data: Buffer) -> None:
        self._write(f"create {name}", lambda: self._inner.create(name, data))

    def put(self, name: str, data: Buffer) -> None:
        self._write(f"put {name}", lambda: self._inner.put(name, data))

    def delete(self, names: Sequence[str]) -> None:
        if names:
            self._write(f"delete {names[0]}", lambda: self._inner.delete(names))

    def sync(self) -> None:
        pass

    def free_space(self) -> int | None:
        return None

    def close(self) -> None:
        pass

    def _read(self, call: str, act: Callable[[], T]) -> T:
        how = self._actor.pause(call)
        if how is How.DEATH:
            raise Died
        if how is not How.DONE:
            raise StorageError(f"{call}: no answer")
        return act()

    def _write(self, call: str, act: Callable[[], None]) -> None:
        how = self._actor.pause(call)
        self._actor.late.append(Late(call, act, self._actor.begun))
        if how is How.DEATH:
            raise Died
        if how is How.LATE:
            raise StorageError(f"{call}: failed")
        act()
        if how is How.LOST:
            raise StorageError(f"{call}: no answer")


class Stage:
    """The store, the actors at work, and what a generator of random numbers makes of them."""

    def __init__(self, objects: dict[str, bytes], random: Random) -> None:
        self.storage = ClockedStorage()
        self.storage.objects.update(objects)
        self.actors: list[Actor] = []
        self.history: list[str] = []
        self.random = random
        self._late: list[Late] = []
        self._begun = 0

    def begin(self, kind: str, act: Callable[[Storage], None]) -> Actor:
        """Add an actor, who stops before his first call."""
        self._begun += 1
        actor = Actor(f"{kind}{self._begun}", self.storage, act, self._late)
        self.actors.append(actor)
        return actor

    def step(self, actor: Actor, how: How = How.DONE) -> None:
        """Let one actor go on by one call."""
        self.history.append(f"{actor.name}: {actor.call}{'' if how is How.DONE else f' ({how.value})'}")
        self._tick(timedelta(seconds=1))
        actor.step(how)
        if actor.failure is not None:
            raise AssertionError(f"{actor.name} failed: {actor.failure!r}\n{self.story()}") from actor.failure
        if actor.finished:
            self.actors.remove(actor)

    def until(self, actor: Actor, call: str, occurrence: int = 1) -> None:
        """Let one actor go on alone until he is about to make a call that begins like this, for the n-th time."""
        while not actor.finished:
            occurrence -= actor.call.startswith(call)
            if not occurrence:
                return
            self.step(actor)
        raise AssertionError(f"{actor.name} has ended and did not {call}\n{self.story()}")

    def finish(self, actor: Actor) -> None:
        """Let one actor go on alone until his end."""
        while not actor.finished:
            self.step(actor)

    def kill(self, actor: Actor) -> None:
        """Let an actor die before the call that it waits for."""
        self.history.append(f"{actor.name}: dies before {actor.call}")
        actor.die()
        self.actors.remove(actor)

    def repeat_late(self) -> None:
        """Let something that was asked for at any time before be done now (again)."""
        if not self._late:
            return
        kinds = sorted({_kind(late.call) for late in self._late})
        kind = self.random.choice(kinds)
        late = self.random.choice([late for late in self._late if _kind(late.call) == kind])
        self.history.append(f"carried out late: {late.call}")
        with suppress(ObjectExists):
            late.act()

    def let_time_pass(self, time: timedelta) -> None:
        """Let time pass, also on the store's clock; what is too old by then is never carried out, and its sender ends.

        That is what FORMAT.md assumes of a store and of processes.
        """
        self.history.append(f"{time} pass")
        self._tick(time)
        oldest = self.storage.passed - REMEMBERED
        for actor in [actor for actor in self.actors if actor.begun < oldest]:
            self.kill(actor)  # before what is too old is forgotten: the request at which it dies is among that
        self._late[:] = [late for late in self._late if late.begun >= oldest]

    def set_clock(self, difference: timedelta) -> None:
        """Set the store's clock forward or back."""
        self.history.append(f"the store's clock is set by {difference / timedelta(hours=1):.1f} hours")
        self.storage.now += difference

    def _tick(self, time: timedelta) -> None:
        self.storage.now += time
        self.storage.passed += time

    def close(self) -> None:
        """End all threads."""
        for actor in list(self.actors):
            self.kill(actor)

    def story(self) -> str:
        """What happened so far."""
        return "\n".join(self.history)


def _kind(call: str) -> str:
    """A request without the names of objects: what it does, and in which folder."""
    return call.partition("/")[0]


def _closed_lock() -> threading.Lock:
    """A lock that one thread opens for another: much cheaper than a semaphore."""
    lock = threading.Lock()
    lock.acquire()
    return lock
