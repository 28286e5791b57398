"""Look for everything that can be wrong before it is needed, and say what to do about each thing.

Nothing is changed but for this: small objects below ``doctor/`` are stored and removed, and what dead mounts left in
the server is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from msgspec import Struct

from coldhouse.clickhouse import Source, open_source, traces
from coldhouse.clickhouse.traces import RunningOperation
from coldhouse.errors import ColdhouseError, SourceError, UsageError
from coldhouse.events import Listener, Phase, silent
from coldhouse.gateway import GatewaySettings
from coldhouse.operations import doctor_repository, doctor_source, doctor_storage
from coldhouse.operations.doctor_findings import Clock, Finding, Status, failed, skipped, tried, utc_now, worst
from coldhouse.repository import Repository

#: A server that says nothing for so many seconds is gone: who monitors does not wait as long as a backup does.
SILENCE = 60.0

Opening = Callable[[], AbstractContextManager[Repository]]

_SOURCE_CHECKS = ("version", "grants", "source-clock", "gateway", "server-leftovers", "mounts")
_REPOSITORY_CHECKS = (
    *("keys", *doctor_storage.CHECKS, "free-space"),
    *("snapshot-age", "proof-age", "repository-leftovers"),
)


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What to look at; ``source`` is a URL, may hold a password, and may be empty.

    The newest snapshot, and the last proof, are a warning beyond ``max_age`` and ``max_proof_age``, and critical beyond
    twice that.
    """

    source: str = field(default="", repr=False)
    max_age: timedelta = timedelta(hours=26)
    max_proof_age: timedelta = timedelta(days=35)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)


class Diagnosis(Struct, frozen=True):
    """All findings in the order in which things were looked at, and how long that took (seconds)."""

    findings: tuple[Finding, ...]
    seconds: float

    @property
    def status(self) -> Status:
        """The worst of all."""
        return worst(self.findings)


def run(
    options: DoctorOptions, opening: Opening | None, listener: Listener = silent, *, now: Clock = utc_now
) -> Diagnosis:
    """Look at a source, at a repository (``opening`` opens it), or at both. Raises UsageError if neither is given."""
    if not options.source and opening is None:
        raise UsageError("what to look at? Neither a source nor a repository is given", hint="give --source, --repo")
    began = time.monotonic()
    with ExitStack() as stack:
        source, findings = _connect(options, stack, listener)
        repository, opened = _open(opening, stack, listener)
        if source is not None:
            listener(Phase("looking at the source"))
            findings += _source(source, repository, options, now)
        findings += opened
        if repository is not None:
            listener(Phase("looking at the repository"))
            findings += _repository(repository, source, options, now)
    return Diagnosis(tuple(findings), time.monotonic() - began)


def _connect(options: DoctorOptions, stack: ExitStack, listener: Listener) -> tuple[Source | None, list[Finding]]:
    if not options.source:
        return None, []
    listener(Phase("connecting to the source"))
    try:
        source = stack.enter_context(open_source(options.source, create=False, silence=SILENCE))
    except ColdhouseError as error:
        return None, [failed("connection", error), *skipped(_SOURCE_CHECKS, "there is no connection")]
    return source, [doctor_source.connection(source)]


def _open(opening: Opening | None, stack: ExitStack, listener: Listener) -> tuple[Repository | None, list[Finding]]:
    if opening is None:
        return None, []
    listener(Phase("opening the repository"))
    try:
        repository = stack.enter_context(opening())
    except ColdhouseError as error:
        return None, [failed("repository", error), *skipped(_REPOSITORY_CHECKS, "the repository is not open")]
    return repository, [tried("repository", lambda: doctor_repository.opened(repository))]


def _source(source: Source, repository: Repository | None, options: DoctorOptions, now: Clock) -> Iterator[Finding]:
    version = tried("version", partial(doctor_source.version, source))
    yield version
    if version.status is not Status.OK:
        yield from skipped(_SOURCE_CHECKS[1:], "this version is too old")
        return
    running = _running(source)
    yield tried("grants", partial(doctor_source.grants, source))
    yield tried("source-clock", partial(doctor_source.clock, source, now))
    yield tried("gateway", partial(doctor_source.gateway, source, options.gateway, running))
    yield tried("server-leftovers", partial(doctor_source.leftovers, source, running))
    yield tried("mounts", partial(doctor_source.mounts, source, repository))


def _running(source: Source) -> tuple[RunningOperation, ...]:
    """What runs now; a user who may not look at system.backups is told that by the check of grants."""
    try:
        return traces.running_operations(source)
    except SourceError:
        return ()


def _repository(repository: Repository, source: Source | None, options: DoctorOptions, now: Clock) -> Iterator[Finding]:
    yield tried("keys", partial(doctor_repository.keys, repository))
    yield from doctor_storage.examine(repository.storage, now, write_only=repository.write_only)
    yield tried("free-space", partial(_free_space, repository))
    whose, identified = (source.identity, True) if source is not None else (options.source, not options.source)
    newest = partial(doctor_repository.newest_snapshot, repository, whose, options.max_age, now, identified=identified)
    yield tried("snapshot-age", newest)
    yield tried("proof-age", partial(doctor_repository.last_proof, repository, options.max_proof_age, now))
    yield tried("repository-leftovers", partial(doctor_repository.leftovers, repository, now))
    if source is not None:
        yield tried("same-disk", partial(doctor_repository.place, repository, source))


def _free_space(repository: Repository) -> Finding:
    return doctor_storage.free_space(repository.storage, doctor_repository.largest_of_the_last(repository))
