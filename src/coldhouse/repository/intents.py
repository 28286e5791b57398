"""Intents: who works on the repository says so before he looks, so that a prune takes nothing away under him.

An intent is a row of small objects, its declarations. The first says what the owner is going to commit, later ones also
which condemned lists he has seen; every ten minutes another one says that he is still alive. FORMAT.md has the argument
why this suffices without any clock and without a lock.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing, StorageError
from coldhouse.model import Buffer
from coldhouse.records import replace
from coldhouse.repository import condemned, names
from coldhouse.repository.condemned import Condemned
from coldhouse.repository.crypto import content_digest
from coldhouse.storage.base import Storage

#: Seconds between two signs of life.
RENEWAL = 600.0
MAX_SIZE = 1 << 20
_VERSION = 1


class Declaration(Struct, frozen=True, kw_only=True):
    """What a declaration says: ``commits`` are names of objects, ``seen`` ids of condemned lists.

    ``reads`` are the snapshots that a reader needs, by id; none means that nobody knows which.
    """

    version: int = _VERSION
    kind: str
    commits: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


class NotADeclaration(Corruption):
    """What stands in the place of a declaration is whole, but nobody who keeps to the protocol says such a thing."""


def encode(declaration: Declaration) -> bytes:
    """A declaration as it is stored. Raises ValueError if it is larger than one may be."""
    line = msgspec.json.encode(declaration) + b"\n"
    stored = line + json.dumps(content_digest(line).hex()).encode() + b"\n"
    if len(stored) > MAX_SIZE:
        raise ValueError(f"an intent of {len(stored)} bytes is too large")
    return stored


def decode(name: str, stored: Buffer) -> Declaration:
    """Read a declaration; ``name`` is its object. Raises NotADeclaration, Corruption, also for one of a later version.

    Nothing proves who made it, and a prune acts for the dead: it must not be made to create anything but fences.
    """
    line, separator, rest = bytes(stored).partition(b"\n")
    try:
        found = msgspec.json.decode(line, type=Declaration)
        sound = msgspec.json.decode(rest, type=str) == content_digest(line + separator).hex()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _damaged(name) from error
    if not sound or found.version != _VERSION:
        raise _damaged(name)
    if any(names.revision_of(commit) is None for commit in found.commits):
        raise NotADeclaration(
            f"{name} announces what nobody commits: names that no snapshot has.",
            object_name=name,
            hint="No Coldhouse wrote it: look who may write below intents/. coldhouse prune does not heed it, and "
            "removes it when it is two hours old.",
        )
    return found


def read(storage: Storage, name: str) -> Declaration | None:
    """One declaration; None if it is gone. Raises Corruption."""
    try:
        stored = storage.get(name, limit=MAX_SIZE)
    except ObjectMissing:
        return None
    except Corruption as error:
        raise _damaged(name) from error
    return decode(name, stored)


class Intent:
    """What one owner is about to do; a context manager. ``condemned`` is what it must not refer to.

    Entering publishes it and then, if it commits anything, looks for condemned lists. Leaving takes it back, unless a
    commit was tried whose outcome is not known: then a prune must settle first whether its name is taken.
    """

    def __init__(
        self,
        storage: Storage,
        kind: str,
        commits: Iterable[str] = (),
        *,
        reads: Iterable[str] = (),
        renewal: float = RENEWAL,
    ) -> None:
        """``commits`` names all objects that will be created, ``reads`` snapshots by id; ``renewal`` in seconds."""
        self.id = names.new_object_id().hex()
        self.condemned = Condemned()
        self._storage = storage
        self._says = Declaration(kind=kind, commits=tuple(commits), reads=tuple(reads))
        self._renewal = renewal
        self._lock = threading.Lock()
        self._number = 0
        self._open_commits: set[str] = set()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def commits(self) -> tuple[str, ...]:
        """The names that it may create."""
        return self._says.commits

    def __enter__(self) -> Self:
        try:
            self._declare()
            if self._says.commits:
                self._look()
            self._begin_renewing()
        except Exception:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def create(self, name: str, data: Buffer) -> None:
        """Create one of the objects that were declared. Raises ObjectExists, StorageError."""
        if name not in self._says.commits:
            raise ValueError(f"{name} was not declared")
        self._open_commits.add(name)
        try:
            self._storage.create(name, data)
        except ObjectExists:
            self._open_commits.discard(name)
            raise
        self._open_commits.discard(name)

    def renew(self) -> None:
        """Give a sign of life. Raises StorageError."""
        with self._lock:
            if not self._ended.is_set():
                self._declare()

    def _declare(self) -> None:
        """Store the next declaration; a number that is taken is one whose answer was lost."""
        while True:
            number, self._number = self._number, self._number + 1
            try:
                self._storage.create(names.declaration(self.id, number), encode(self._says))
            except ObjectExists:
                continue
            return

    def _look(self) -> None:
        """Learn which objects are condemned, and say so: from then on these lists need not wait for this intent."""
        self.condemned = condemned.read_all(self._storage, names.CONDEMNED)
        if self.condemned:
            seen = tuple(each.id for each in self.condemned.lists)
            self._says = replace(self._says, seen=seen)
            self._declare()

    def _begin_renewing(self) -> None:
        self._thread = threading.Thread(target=self._keep_renewing, name="intent", daemon=True)
        self._thread.start()

    def _keep_renewing(self) -> None:
        while not self._ended.wait(self._renewal):
            with suppress(StorageError):  # the next one may get through; silence for hours means death
                self.renew()

    def _end(self) -> None:
        self._ended.set()
        with self._lock:  # a renewal that is under way has ended
            pass
        if self._thread is not None:
            self._thread.join()
        if self._open_commits:
            return
        with suppress(StorageError):  # a host that may not delete leaves it to a prune
            self._storage.delete([names.declaration(self.id, number) for number in range(self._number)])


@contextmanager
def reading(storage: Storage, kind: str, snapshots: Iterable[str] = ()) -> Iterator[bool]:
    """Hold the intent of a reader, if the store lets it (it says so): who may only read goes on without.

    ``snapshots`` are the ids of those that are read, if that is known: a prune waits only if one of them is forgotten.
    """
    with ExitStack() as stack:
        allowed = False
        with suppress(StorageError):
            stack.enter_context(Intent(storage, kind, reads=snapshots))
            allowed = True
        yield allowed


def _damaged(name: str) -> Corruption:
    return Corruption(
        f"{name} is damaged, or of a later version: it is no intent that can be read.",
        object_name=name,
        hint="If no backup is running that began when this object was written, delete it.",
    )
