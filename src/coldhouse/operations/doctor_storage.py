"""What the doctor tries at a store: each right that Coldhouse uses, with a small object that is removed again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from coldhouse.errors import ColdhouseError, ObjectExists, StorageError, StorageRefused
from coldhouse.operations.doctor_findings import (
    Clock,
    Finding,
    Measure,
    Status,
    below,
    clock_finding,
    failed,
    skipped,
)
from coldhouse.repository import names
from coldhouse.storage import Storage, StoredObject

GIB = 1 << 30
#: So much must be free even where nothing is known of what backups need.
LEAST_FREE = GIB // 4
ENOUGH_FREE = 2 * GIB
#: Trials of a doctor that was killed are removed when they are so old; one that runs now is left alone.
DEAD = timedelta(hours=1)
#: A host that may not delete stores no more than one object in this time.
SPARING = timedelta(days=1)
#: Stores say times in whole seconds, and file systems by a clock that ticks a little late.
_GRAIN = timedelta(seconds=2)

_AFTER_CREATE = ("storage-read", "storage-list", "storage-put-if-absent", "storage-replace", "storage-delete")
CHECKS = ("storage-create", *_AFTER_CREATE, "storage-clock")


class _Trial(Struct, frozen=True):
    """An object that was stored to be tried, between two looks at our clock; ``reused``: it is of an earlier run."""

    name: str
    size: int
    between: tuple[datetime, datetime]
    reused: bool = False


def examine(storage: Storage, now: Clock, *, write_only: bool) -> Iterator[Finding]:
    """Try all rights; for a host with a ``write_only`` key it is right that it can neither replace nor delete."""
    try:
        earlier = list(storage.list(names.TRIALS))
    except ColdhouseError as error:
        yield failed("storage-list", error)
        yield from skipped((name for name in CHECKS if name != "storage-list"), "objects cannot be listed")
        return
    content = secrets.token_bytes(32)
    try:
        trial = _reused(earlier, now(), write_only=write_only) or _create(storage, content, now)
    except ColdhouseError as error:
        yield failed("storage-create", error)
        yield from skipped((*_AFTER_CREATE, "storage-clock"), "no object can be created")
        return
    yield Finding("storage-create", Status.OK, "this host can create objects")
    yield _attempt("storage-read", lambda: _read(storage, trial, content))
    yield from _list(storage, trial)
    yield _attempt("storage-put-if-absent", lambda: _put_if_absent(storage, trial))
    yield _replace(storage, trial, write_only=write_only)
    yield _delete(storage, trial, earlier, now(), write_only=write_only)


def free_space(storage: Storage, largest: int) -> Finding:
    """Whether the store has room; ``largest`` is what the largest of the last snapshots stored, in bytes."""
    free = storage.free_space()
    if free is None:
        return Finding("free-space", Status.SKIPPED, "a bucket does not say how much room it has")
    warning, critical = max(ENOUGH_FREE, 2 * largest), max(LEAST_FREE, largest)
    status = below(free, warning, critical)
    message = f"{free:,} bytes are free"
    if status is not Status.OK:
        message += f"; the largest of the last snapshots stored {largest:,} bytes" if largest else ""
    hint = "" if status is Status.OK else "make room there: forget and prune, or a larger disk"
    return Finding("free-space", status, message, hint, Measure("free", free, "B", warning, critical, least=True))


def _attempt(check: str, act: Callable[[], str]) -> Finding:
    try:
        return Finding(check, Status.OK, act())
    except ColdhouseError as error:
        return failed(check, error)


def _reused(earlier: list[StoredObject], now: datetime, *, write_only: bool) -> _Trial | None:
    """Where nothing can be deleted, each run must not leave another object: one of the same day proves enough."""
    if not write_only or not earlier:
        return None
    last = max(earlier, key=lambda stored: stored.modified)
    if now - last.modified > SPARING:
        return None
    return _Trial(last.name, last.size, (now, now), reused=True)


def _create(storage: Storage, content: bytes, now: Clock) -> _Trial:
    name = names.trial(secrets.token_bytes(16))
    before = now()
    storage.create(name, content)
    storage.sync()
    return _Trial(name, len(content), (before, now()))


def _read(storage: Storage, trial: _Trial, content: bytes) -> str:
    found = bytes(storage.get(trial.name))
    part = bytes(storage.get_range(trial.name, 8, 8))
    if part != found[8:16] or not (trial.reused or found == content):
        raise StorageError(
            "what is read is not what was stored a moment before", object_name=trial.name, hint="do not use this store"
        )
    return "this host can read objects, and parts of them"


def _list(storage: Storage, trial: _Trial) -> Iterator[Finding]:
    """That the object is listed, and what its time says of the store's clock."""
    try:
        found = [stored for stored in storage.list(names.TRIALS) if stored.name == trial.name]
    except ColdhouseError as error:
        yield failed("storage-list", error)
        yield from skipped(("storage-clock",), "objects cannot be listed")
        return
    if not found or found[0].size != trial.size:
        yield Finding(
            "storage-list",
            Status.CRITICAL,
            "an object that was just stored is not listed, or with another size",
            "a snapshot is only committed when a listing proves all that it needs: do not use this store",
        )
        yield from skipped(("storage-clock",), "objects are not listed")
        return
    yield Finding("storage-list", Status.OK, "this host can list objects")
    if trial.reused:
        yield from skipped(("storage-clock",), "nothing was stored in this run, because this host cannot delete it")
        return
    before, after = trial.between
    yield clock_finding("storage-clock", "the store's", found[0].modified, (before - _GRAIN, after + _GRAIN))


def _put_if_absent(storage: Storage, trial: _Trial) -> str:
    other = secrets.token_bytes(trial.size + 1)
    try:
        storage.create(trial.name, other)
    except ObjectExists:
        return "the store refuses to create a name that is taken"
    raise StorageError(
        "the store creates an object whose name is taken: put-if-absent does not work",
        object_name=trial.name,
        hint="two backups at once could destroy each other's commit; use a store that knows If-None-Match: *",
    )


def _replace(storage: Storage, trial: _Trial, *, write_only: bool) -> Finding:
    check = "storage-replace"
    if write_only:
        return Finding(check, Status.SKIPPED, "a key that can back up and not read replaces nothing")
    content = secrets.token_bytes(trial.size)
    try:
        storage.put(trial.name, content)
        if bytes(storage.get(trial.name)) != content:
            return Finding(check, Status.CRITICAL, "an object that was replaced still has its old content")
    except StorageRefused as error:
        hint = f"restore, verify, pin and forget keep notes that they replace. {error.hint}".rstrip()
        return Finding(check, Status.CRITICAL, error.message.rstrip("."), hint)
    except ColdhouseError as error:
        return failed(check, error)
    return Finding(check, Status.OK, "this host can replace objects")


def _delete(
    storage: Storage, trial: _Trial, earlier: list[StoredObject], now: datetime, *, write_only: bool
) -> Finding:
    """Remove the trial, and those of doctors that were killed."""
    check = "storage-delete"
    dead = [stored.name for stored in earlier if now - stored.modified > DEAD and stored.name != trial.name]
    try:
        storage.delete([trial.name, *dead])
        storage.sync()
        left = {stored.name for stored in storage.list(names.TRIALS)}
    except StorageRefused as error:
        if write_only:
            return Finding(check, Status.OK, f"this host cannot delete, as it should be; {trial.name} stays")
        hint = f"backups work; forget and prune will not, and {trial.name} stays. {error.hint}".rstrip()
        return Finding(check, Status.WARNING, error.message.rstrip("."), hint)
    except ColdhouseError as error:
        return failed(check, error)
    if trial.name in left:
        return Finding(
            check, Status.WARNING, "an object that was deleted is still listed", "forget and prune need that"
        )
    if write_only:
        return Finding(check, Status.OK, "this host can delete, which its key does not need: see coldhouse key policy")
    return Finding(check, Status.OK, "this host can delete objects")
