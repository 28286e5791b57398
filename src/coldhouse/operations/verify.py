"""Verify snapshots: that they are there, that their bytes are right, that they restore. The result is recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from coldhouse.errors import Corruption, NoSuchSnapshot, StorageFull, StorageRefused, UsageError
from coldhouse.events import Listener, Phase, silent
from coldhouse.model import Snapshot
from coldhouse.operations import broken, choosing, proof
from coldhouse.operations.broken import Broken
from coldhouse.operations.findings import Checked, Findings, Problem
from coldhouse.operations.ledger import Ledger, choose
from coldhouse.operations.proof import Level, Proof
from coldhouse.operations.verify_structure import StructureCheck
from coldhouse.repository import Repository, id_of

__all__ = ["Checked", "Problem", "VerifyOptions", "VerifyReport", "run"]

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What to verify and how.

    ``snapshot`` is an id, a unique prefix or "latest" (of ``source``, if it is given); empty for all. ``sample`` is a
    percentage: of the packs at level data, of partitions at level drill. ``max_age`` in days, level data: packs that
    were checked since are not read again. For drill: ``include`` and ``exclude`` choose tables, each of ``assertions``
    is a query that must return 1, ``memory`` (bytes), ``seconds`` and ``scratch`` (a folder) are what the scratch
    engine may use.
    """

    snapshot: str = ""
    level: Level = "structure"
    sample: float = 100.0
    max_age: float | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    assertions: tuple[str, ...] = ()
    memory: int = 2 * GIB
    seconds: float = 24 * 3600
    scratch: Path | None = None
    source: str = field(default="", repr=False)

    def check(self) -> None:
        """Raises UsageError for options that mean nothing together."""
        if not 0 < self.sample <= 100:
            raise UsageError("a sample is more than 0 and at most 100 percent", hint="for example --sample 10")
        if self.sample < 100 and self.level == "structure":
            raise UsageError("level structure reads no data of which there could be a sample", hint="add --level data")
        if self.max_age is not None and (self.level != "data" or self.max_age < 0):
            raise UsageError("an age in days belongs to level data", hint="add --level data")
        if (self.include or self.exclude or self.assertions) and self.level != "drill":
            raise UsageError("tables and assertions belong to level drill", hint="add --level drill")


class VerifyReport(Struct, frozen=True):
    """What the verification of one snapshot found; ``more`` problems beyond those listed were only counted.

    ``partial``: it covered a sample, or some tables. ``remarks`` are no problems.
    ``damage_beside``: some pack is damaged, though nowhere that this snapshot needs.
    """

    snapshot: str
    level: Level
    checked: Checked
    problems: tuple[Problem, ...]
    more: int
    remarks: tuple[str, ...]
    seconds: float
    partial: bool
    damage_beside: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with the snapshot."""
        return not self.problems


def run(repository: Repository, options: VerifyOptions, listener: Listener = silent) -> tuple[VerifyReport, ...]:
    """Verify one or all snapshots, oldest first; returns a report for each, and records it beside the snapshot.

    Raises NoSuchSnapshot, UsageError, StorageError, and SourceError when a scratch engine does not start or last.
    Damage is no error but a problem in a report.
    """
    options.check()
    ids = _ids(repository, options.snapshot, options.source)
    with repository.reading("verify", ids):
        return _Verification(repository, options, ids, listener).run()


@dataclass(slots=True)
class _Subject:
    """A snapshot under verification; ``snapshot`` is None if its root cannot be read."""

    id: str
    findings: Findings
    seconds: float = 0.0
    snapshot: Snapshot | None = None
    proof: Proof | None = None

    @contextmanager
    def timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began


class _Verification:
    def __init__(self, repository: Repository, options: VerifyOptions, ids: Sequence[str], listener: Listener) -> None:
        self._repository = repository
        self._options = options
        self._listener = listener
        self._unrecorded = ""
        self._damaged: frozenset[bytes] = frozenset()
        self._sound: frozenset[bytes] = frozenset()
        self._subjects = [_Subject(id, Findings()) for id in ids]

    def run(self) -> tuple[VerifyReport, ...]:
        if not self._subjects:
            return ()
        self._listener(Phase("listing what is stored"))
        structure = StructureCheck(self._repository)
        before = broken.read(self._repository)
        for error in self._repository.damaged_keys():
            self._subjects[0].findings.corrupt(error)
        for subject in self._subjects:
            with subject.timed():
                self._listener(Phase(f"checking the structure of {subject.id}"))
                self._structure(structure, subject)
        self._subjects = [subject for subject in self._subjects if subject.proof is not None]
        if self._options.level == "data":
            self._data(structure)
        elif self._options.level == "drill":
            self._drill()
        self._note_broken(structure, before)
        return tuple(self._finished(subject) for subject in self._subjects)

    def _structure(self, structure: StructureCheck, subject: _Subject) -> None:
        """Check a snapshot; of all snapshots, one that is removed meanwhile is left out."""
        try:
            subject.snapshot = structure.run(subject.id, subject.findings)
        except NoSuchSnapshot:
            if self._options.snapshot:
                raise
            return
        subject.proof = Proof("structure", datetime.now(UTC))
        self._read_record(subject)

    def _data(self, structure: StructureCheck) -> None:
        from coldhouse.operations.verify_data import DataCheck

        options = self._options
        ledger = Ledger(self._repository, self._subjects[0].findings)
        there = {id: ref for id, ref in structure.packs.items() if structure.exists(id)}
        times = {id: at for id in there if (at := ledger.checked(id)) is not None}
        before = None if options.max_age is None else datetime.now(UTC) - timedelta(days=options.max_age)
        sizes = {id: ref.size for id, ref in there.items()}
        chosen = choose(sizes, times, percent=options.sample, before=before) if sizes else set()
        try:
            with DataCheck(self._repository, {id: there[id] for id in chosen}, ledger, self._listener) as data:
                for subject in self._subjects:
                    if subject.snapshot is not None:
                        with subject.timed():
                            self._listener(Phase(f"reading the data of {subject.id}"))
                            needed = data.run(subject.snapshot, subject.findings)
                            subject.proof = _data_proof(needed, chosen, ledger)
                self._damaged, self._sound = data.broken, data.sound
        finally:
            with self._recording():
                ledger.save(structure.stored)

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """What was found is told, also where the store is full or read-only and the record of it cannot be kept."""
        try:
            yield
        except (StorageFull, StorageRefused) as error:
            self._unrecorded = self._unrecorded or f"what was found is not recorded: {error.message}"
            for subject in self._subjects:
                subject.findings.remark(self._unrecorded)

    def _note_broken(self, structure: StructureCheck, before: Broken) -> None:
        """Let the next backup know what it must not build upon."""
        named = (problem.object for subject in self._subjects for problem in subject.findings.problems)
        ids = {id for name in named if name.startswith(("packs/", "manifests/")) and (id := id_of(name)) is not None}
        seen = before.over(there=[id for id in structure.packs if structure.exists(id)], sound=structure.read)
        seen = seen.over(sound=self._sound)
        lost, damaged = structure.broken.lost, structure.broken.damaged | self._damaged
        after = seen.found(lost=lost, damaged=damaged | (ids - lost))
        if not self._options.snapshot:
            after = after.among(structure.packs.keys() | structure.read | structure.broken.ids)
        with self._recording():
            broken.write(self._repository, before, after)

    def _drill(self) -> None:
        from coldhouse.operations.drill import Drill

        for subject in self._subjects:
            if subject.snapshot is not None:
                with subject.timed():
                    drill = Drill(self._repository, subject.snapshot, self._options, subject.findings, self._listener)
                    partial = drill.run()
                    subject.proof = Proof("drill", datetime.now(UTC), partial)

    def _read_record(self, subject: _Subject) -> None:
        """A record that cannot be read is told, and replaced at the end."""
        try:
            proof.read(self._repository, subject.id)
        except Corruption as error:
            subject.findings.corrupt(error)

    def _finished(self, subject: _Subject) -> VerifyReport:
        findings = subject.findings
        done = subject.proof or Proof("structure", datetime.now(UTC))
        known = proof.known(self._repository, subject.id)
        if findings.ok:
            record = known.proven(Proof("structure", done.at)).proven(done)
        elif all(problem.kind == "assertion" for problem in findings.problems):
            record = known.proven(Proof("structure", done.at))  # the answer was another, but nothing is damaged
        else:
            record = known.damaged(done.level, done.at)
        with self._recording():
            proof.write(self._repository, subject.id, record)
        return VerifyReport(
            snapshot=subject.id,
            level=self._options.level,
            checked=findings.checked,
            problems=tuple(findings.problems),
            more=findings.beyond,
            remarks=tuple(findings.remarks),
            seconds=subject.seconds,
            partial=done.partial,
            damage_beside=findings.beside,
        )


def _ids(repository: Repository, name: str, source: str) -> list[str]:
    """The full ids of what is to be verified, also of a snapshot that can no longer be read."""
    if not name:
        return repository.snapshot_ids()
    try:
        return [choosing.find(repository, name, source).id]
    except Corruption as error:
        return [id for id, objects in repository.snapshot_objects().items() if error.object_name in objects]


def _data_proof(needed: set[bytes], chosen: set[bytes], ledger: Ledger) -> Proof:
    """As old as the least recently checked pack; of a part only, as long as some pack was never checked."""
    now = datetime.now(UTC)
    times = {pack: ledger.checked(pack) for pack in needed}
    if any(at is None and pack not in chosen for pack, at in times.items()):
        return Proof("data", now, partial=True)
    return Proof("data", min((at for at in times.values() if at is not None), default=now))
