"""The ages of snapshot and proof, what is unfinished, what is damaged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from coldhouse import repository as repositories
from coldhouse.errors import Corruption
from coldhouse.events import silent
from coldhouse.model import Snapshot, TableName
from coldhouse.operations import doctor, doctor_repository, mount_note, pin, proof
from coldhouse.operations.doctor import Diagnosis, DoctorOptions
from coldhouse.operations.doctor_findings import Clock, Finding, Status
from coldhouse.operations.proof import Proof, ProofRecord
from coldhouse.operations.restore_note import RestoreNote
from coldhouse.records import replace
from coldhouse.repository import KeyFile, Repository, condemned, intents, names, new_key_file, open_repository
from coldhouse.repository.collection import Collection
from coldhouse.repository.intents import Declaration
from coldhouse.storage.local import LocalStorage
from tests.operations.histories import NOON, daily, snapshot
from tests.scenarios.conftest import CHEAP

DAY = timedelta(days=1)
#: What a backup may commit.
SNAPSHOT = "snapshots/20260517T120000Z-0123456789abcdef"
OK, WARNING, CRITICAL, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.SKIPPED


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "repository")


@pytest.fixture
def repository(storage: LocalStorage) -> Iterator[Repository]:
    with repositories.init(storage, "open sesame", kdf=CHEAP) as made:
        yield made


def fill(repository: Repository, *history: Snapshot) -> None:
    for one in history:
        with repository.draft(None) as draft:
            draft.commit(one)


def at(moment: datetime) -> Clock:
    return lambda: moment


def aged(repository: Repository, now: datetime, source: str = "") -> Finding:
    return doctor_repository.newest_snapshot(repository, source, timedelta(hours=26), at(now))


def proven(repository: Repository, now: datetime = NOON) -> Finding:
    return doctor_repository.last_proof(repository, 35 * DAY, at(now))


class TestAgeOfTheNewestSnapshot:
    @pytest.mark.parametrize(
        ("hours", "status"), [(0, OK), (26, OK), (27, WARNING), (52, WARNING), (53, CRITICAL), (24 * 400, CRITICAL)]
    )
    def test_it_is_a_warning_and_then_critical(self, repository: Repository, hours: int, status: Status) -> None:
        fill(repository, *daily(3))
        found = aged(repository, NOON + timedelta(hours=hours))
        assert found.status is status
        assert bool(found.hint) is (status is not OK)
        assert found.measure is not None
        assert (found.measure.value, found.measure.warning, found.measure.critical) == (hours * 3600, 93600, 187200)

    def test_that_of_another_source_does_not_count(self, repository: Repository) -> None:
        fill(repository, *daily(2, source="db1"), *daily(2, source="db2", last=NOON - 3 * DAY))
        assert aged(repository, NOON).status is OK
        assert aged(repository, NOON, "id of db1").status is OK
        assert aged(repository, NOON, "id of db2").status is CRITICAL
        assert aged(repository, NOON, "http://user:secret@db2:8123").status is CRITICAL
        none = aged(repository, NOON, "id of db3")
        assert (none.status, none.message) == (WARNING, "there is no snapshot of this source yet")

    def test_none_at_all(self, repository: Repository) -> None:
        found = aged(repository, NOON)
        assert (found.status, found.hint) == (WARNING, "coldhouse backup takes one")

    def test_one_from_the_future_shows_that_a_clock_was_wrong(self, repository: Repository) -> None:
        fill(repository, snapshot(NOON + timedelta(hours=2)))
        found = aged(repository, NOON)
        assert found.status is WARNING
        assert "2 hours in the future" in found.message


class TestAgeOfTheLastProof:
    def test_nothing_to_prove(self, repository: Repository) -> None:
        assert proven(repository).status is SKIPPED

    def test_never_proven(self, repository: Repository) -> None:
        (one,) = history = daily(1)
        fill(repository, *history)
        assert proven(repository).status is WARNING
        proof.write(repository, one.id, ProofRecord((Proof("structure", NOON),)))
        found = proven(repository)
        assert found.status is WARNING
        assert "ever proven" in found.message, "that everything is there proves no byte of it"
        assert "--level drill" in found.hint

    @pytest.mark.parametrize(("days", "status"), [(0, OK), (35, OK), (36, WARNING), (70, WARNING), (71, CRITICAL)])
    def test_any_snapshots_proof_counts(self, repository: Repository, days: int, status: Status) -> None:
        old, new = daily(2)
        fill(repository, old, new)
        proof.write(repository, old.id, ProofRecord((Proof("data", NOON), Proof("structure", NOON + 9 * DAY))))
        proof.write(repository, new.id, ProofRecord((Proof("drill", NOON - 300 * DAY),)))
        assert proven(repository, NOON + days * DAY).status is status

    def test_known_damage_is_critical_whatever_was_proven(self, repository: Repository) -> None:
        old, new = daily(2)
        fill(repository, old, new)
        proof.write(repository, new.id, ProofRecord((Proof("drill", NOON),)))
        proof.write(repository, old.id, ProofRecord().damaged("data", NOON))
        found = proven(repository)
        assert found.status is CRITICAL
        assert old.id in found.message
        repository.forget([old.id])
        assert proven(repository).status is OK, "the damage went with its snapshot"


class TestLeftovers:
    def left(self, repository: Repository, now: datetime | None = None) -> Finding:
        return doctor_repository.leftovers(repository, at(now or datetime.now(UTC)))

    def test_nothing(self, repository: Repository) -> None:
        found = self.left(repository)
        assert (found.status, found.message) == (OK, "nothing is left unfinished")

    def test_an_unfinished_restore_is_told(self, repository: Repository) -> None:
        RestoreNote(repository, "a restore").begin(frozenset({TableName("a", "b")}))
        found = self.left(repository, datetime.now(UTC) + 2 * DAY)
        assert found.status is OK
        assert "1 restore under way or interrupted, since 48 hours" in found.message

    def test_a_dead_mount_of_another_server(self, repository: Repository) -> None:
        living = mount_note.write(repository, mount_note.new_note("server 1", ("now",), "snapshot"))
        assert self.left(repository).status is OK
        mount_note.write(repository, replace(living, id="b", databases=("past",), host="gone"))
        assert self.left(repository).status is OK, "it was heard of just now"
        found = self.left(repository, datetime.now(UTC) + timedelta(minutes=6))
        assert found.status is WARNING
        assert "1 mount that died: past" in found.message
        assert "--source" in found.hint

    def test_what_a_prune_will_take_away_is_told(self, repository: Repository) -> None:
        declared = intents.encode(Declaration(kind="backup", commits=(SNAPSHOT,)))
        repository.storage.create(f"intents/{'0' * 32}/000000", declared)
        assert self.left(repository).message == "nothing is left unfinished", "it may be at work"
        found = self.left(repository, datetime.now(UTC) + timedelta(hours=3))
        assert found.status is OK
        assert "1 command" in found.message
        repository.storage.create(f"condemned/{'0' * 32}", b"a list")
        repository.storage.create("quarantine/packs/aa/a", b"a damaged pack")
        message = self.left(repository).message
        assert "a prune under way" in message
        assert "quarantine/" in message

    @pytest.mark.parametrize(
        ("stored", "words"),
        [(intents.encode(Declaration(kind="backup", commits=("rotations/2",))), "nobody commits"), (b"x", "damaged")],
    )
    def test_a_declaration_that_is_none_is_named(self, repository: Repository, stored: bytes, words: str) -> None:
        name = f"intents/{'0' * 32}/000000"
        repository.storage.create(name, stored)
        found = self.left(repository)
        assert found.status is WARNING
        assert name in found.message
        assert words in found.message
        assert found.hint

    def test_a_prune_that_ended_left_nothing_unfinished(self, repository: Repository) -> None:
        repository.storage.create("packs/aa/" + "aa" * 16, b"what nothing needs")
        Collection(repository).run()
        assert [condemned.is_closed(stored) for stored in repository.storage.list(names.CONDEMNED)] == [True]
        assert self.left(repository).message == "nothing is left unfinished"

    def test_a_damaged_pin_is_found(self, repository: Repository, tmp_path: Path) -> None:
        (one,) = history = daily(1)
        fill(repository, *history)
        pin.pin(repository, one.id, "the audit")
        (stored,) = (tmp_path / "repository" / "notes" / "pin").iterdir()
        stored.write_bytes(b"x" * stored.stat().st_size)
        with pytest.raises(Corruption):
            self.left(repository)
        assert statuses(examined(repository))["repository-leftovers"] is CRITICAL


def examined(repository: Repository, options: DoctorOptions | None = None) -> Diagnosis:
    return doctor.run(options or DoctorOptions(), lambda: repository, silent)


def statuses(diagnosis: Diagnosis) -> dict[str, Status]:
    return {finding.check: finding.status for finding in diagnosis.findings}


def roomy(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "free_space", lambda: 1 << 50)


def test_a_sound_repository(repository: Repository, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    roomy(storage, monkeypatch)
    one = snapshot(datetime.now(UTC))
    fill(repository, one)
    proof.write(repository, one.id, ProofRecord((Proof("drill", datetime.now(UTC)),)))
    diagnosis = examined(repository)
    assert diagnosis.status is OK
    assert set(statuses(diagnosis).values()) == {OK}
    assert "connection" not in statuses(diagnosis), "without --source only the repository is looked at"


def test_a_disk_that_is_nearly_full(
    repository: Repository, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(repository, snapshot(NOON, size=10 << 30))
    for free, status in ((30 << 30, OK), (15 << 30, WARNING), (5 << 30, CRITICAL)):
        monkeypatch.setattr(storage, "free_space", lambda free=free: free)
        assert statuses(examined(repository))["free-space"] is status


def test_a_damaged_key(repository: Repository, tmp_path: Path) -> None:
    repository.slots.add(new_key_file(), full=True, label="db1")
    found = doctor_repository.keys(repository)
    assert (found.status, found.message) == (OK, "2 keys, no damage to be seen")
    slot = min((tmp_path / "repository" / "keys").iterdir())
    slot.write_bytes(slot.read_bytes().replace(b'"version"', b'"versiox"'))
    assert doctor_repository.keys(repository).status is CRITICAL


def test_a_key_that_cannot_read_sees_what_it_may(
    repository: Repository, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy(storage, monkeypatch)
    file: KeyFile = new_key_file()
    repository.slots.add(file, full=False, label="db1")
    fill(repository, snapshot(datetime.now(UTC)))
    found = statuses(examined(open_repository(storage, file)))
    unseen = {check for check, status in found.items() if status is SKIPPED}
    assert unseen == {"proof-age", "repository-leftovers", "storage-replace"}
    assert {status for check, status in found.items() if check not in unseen} == {OK}


def test_a_repository_that_does_not_open_is_a_finding(tmp_path: Path) -> None:
    def opening() -> Repository:
        return open_repository(LocalStorage(tmp_path / "nothing"), "open sesame")

    diagnosis = doctor.run(DoctorOptions(), opening, silent)
    assert diagnosis.status is CRITICAL
    assert diagnosis.findings[0].check == "repository"
    assert "coldhouse init" in diagnosis.findings[0].hint
    assert {finding.status for finding in diagnosis.findings[1:]} == {SKIPPED}
    assert not (tmp_path / "nothing").exists(), "nothing is tried where no repository is"


def test_a_record_of_a_proof_that_is_damaged(repository: Repository) -> None:
    (one,) = history = daily(1)
    fill(repository, *history)
    repository.put_note(proof.KIND, one.id, msgspec.msgpack.encode({"proofs": 1}))
    assert statuses(examined(repository))["proof-age"] is CRITICAL
    assert proof.known_of(repository, [one.id]) == {}, "a listing shows it as never verified"
