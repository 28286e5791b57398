"""A store that fails on request, and that remembers every call: for the tests of everything above the storage room."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import TypeVar

from coldhouse.errors import Corruption, StorageError
from coldhouse.model import Buffer
from coldhouse.records import replace
from coldhouse.storage import Storage, StoredObject
from coldhouse.storage.base import NO_LIMIT

T = TypeVar("T")


class How(Enum):
    """What goes wrong."""

    BEFORE = "error before any effect"
    AFTER = "error after the call took effect (a lost answer)"
    TWICE = "the call takes effect twice (a repeated request); the second one's answer counts"
    SHORT = "fewer bytes are read than there are"
    FLIP = "one bit of what is read is different"
    DELAY = "the call takes longer"


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came: ``size`` bytes were to be written, or read by range; the name is a listing's prefix there."""

    verb: str
    name: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the calls of ``verb`` (or "*") for names like ``name`` (``*`` and ``?``).

    The first ``skip`` such calls are spared, the next ``times`` are hit. ``error`` is what BEFORE and AFTER raise: may
    be any exception, also one that plays the death of the process. ``seconds`` is for DELAY.
    """

    how: How
    verb: str = "*"
    name: str = "*"
    error: BaseException | None = None
    skip: int = 0
    times: int = 1
    seconds: float = 0.0

    def meets(self, call: Call) -> bool:
        """Whether it is about this call."""
        return self.verb in ("*", call.verb) and fnmatchcase(call.name, self.name)


class FaultyStorage(Storage):
    """Another store, with faults. ``watch`` is told of each call before it happens (to let others act in between).

    ``met`` are the calls that were hit. A call that fails counts like any other. One delete of many names is one call,
    named by the first of them.
    """

    def __init__(self, inner: Storage, *faults: Fault, watch: Callable[[Call], None] | None = None) -> None:
        self.inner = inner
        self.calls: list[Call] = []
        self.met: list[Call] = []
        self.watch = watch
        self._faults = list(faults)
        self._lock = threading.Lock()

    def inject(self, *faults: Fault) -> None:
        """Add faults; the first one that meets a call hits it."""
        with self._lock:
            self._faults.extend(faults)

    def heal(self) -> None:
        """Take away the faults that have not happened yet."""
        with self._lock:
            self._faults.clear()

    def forget_calls(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.calls.clear()

    def count(self, verb: str = "*", name: str = "*") -> int:
        """How many calls of a verb there were for names like this."""
        wanted = Fault(How.BEFORE, verb, name)
        with self._lock:
            return sum(wanted.meets(call) for call in self.calls)

    @property
    def url(self) -> str:
        """The inner store's."""
        return self.inner.url

    @property
    def readers(self) -> int:
        """The inner store's."""
        return self.inner.readers

    def get(self, name: str, *, limit: int = NO_LIMIT) -> Buffer:
        """Get, or SHORT: half of it, or FLIP."""
        return self._perform(Call("get", name), lambda: self.inner.get(name, limit=limit), _spoil)

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        """Get a range, or SHORT: Corruption, as a store with a truncated object has it, or FLIP."""

        def spoil(how: How, found: Buffer) -> Buffer:
            if how is How.SHORT:
                raise Corruption(f"{name} is truncated.", object_name=name)
            return _spoil(how, found)

        return self._perform(Call("get_range", name, length), lambda: self.inner.get_range(name, offset, length), spoil)

    def size(self, name: str) -> int:
        """Look at the size, or SHORT: half of it."""

        def spoil(how: How, size: int) -> int:
            return size // 2 if how is How.SHORT else size

        return self._perform(Call("size", name), lambda: self.inner.size(name), spoil)

    def create(self, name: str, data: Buffer) -> None:
        """Create."""
        self._perform(Call("create", name, memoryview(data).nbytes), lambda: self.inner.create(name, data))

    def put(self, name: str, data: Buffer) -> None:
        """Put."""
        self._perform(Call("put", name, memoryview(data).nbytes), lambda: self.inner.put(name, data))

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """List; the call counts when the first object is asked for. AFTER: the error comes at the end. SHORT: half."""
        fault = self._arrive(Call("list", prefix))
        if fault is not None and fault.how is How.SHORT:
            found = tuple(self.inner.list(prefix, after=after))
            yield from found[: len(found) // 2]
        else:
            yield from self.inner.list(prefix, after=after)
        if fault is not None and fault.how is How.AFTER:
            raise _error_of(fault, Call("list", prefix))

    def delete(self, names: Sequence[str]) -> None:
        """Delete."""
        self._perform(Call("delete", names[0] if names else "", len(names)), lambda: self.inner.delete(names))

    def sync(self) -> None:
        """Sync."""
        self._perform(Call("sync", ""), self.inner.sync)

    def free_space(self) -> int | None:
        """Ask for the free space."""
        return self._perform(Call("free_space", ""), self.inner.free_space)

    def remove_leftovers(self, older_than: float) -> int:
        """Remove what dead writers left."""
        return self._perform(Call("remove_leftovers", ""), lambda: self.inner.remove_leftovers(older_than))

    def close(self) -> None:
        """Close the inner store; never fails, and is not counted."""
        self.inner.close()

    def _perform(self, call: Call, act: Callable[[], T], spoil: Callable[[How, T], T] | None = None) -> T:
        fault = self._arrive(call)
        found = act()
        if fault is None:
            return found
        if fault.how is How.TWICE:
            return act()
        if fault.how is How.AFTER:
            raise _error_of(fault, call)
        return spoil(fault.how, found) if spoil is not None else found

    def _arrive(self, call: Call) -> Fault | None:
        """Count a call; raise or wait if that is its fault, else return the fault, if there is one."""
        with self._lock:
            self.calls.append(call)
            fault = self._next_fault(call)
        if self.watch is not None:
            self.watch(call)
        if fault is not None and fault.how is How.DELAY:
            time.sleep(fault.seconds)
        if fault is not None and fault.how is How.BEFORE:
            raise _error_of(fault, call)
        return fault

    def _next_fault(self, call: Call) -> Fault | None:
        for place, fault in enumerate(self._faults):
            if not fault.meets(call):
                continue
            if fault.skip:
                self._faults[place] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times > 1:
                self._faults[place] = replace(fault, times=fault.times - 1)
            else:
                del self._faults[place]
            self.met.append(call)
            return fault
        return None


def _error_of(fault: Fault, call: Call) -> BaseException:
    return fault.error or StorageError(f"A fault was injected into {call.verb} {call.name}.", object_name=call.name)


def _spoil(how: How, found: Buffer) -> Buffer:
    if how is How.SHORT:
        return bytes(memoryview(found)[: len(found) // 2])
    if how is How.FLIP and len(found):
        spoiled = bytearray(found)
        spoiled[len(spoiled) // 2] ^= 1
        return spoiled
    return found
