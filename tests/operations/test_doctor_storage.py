"""The doctor tries every right that Coldhouse needs at a store, and leaves nothing there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldhouse.errors import StorageFull, StorageRefused
from coldhouse.model import Buffer
from coldhouse.operations import doctor_storage
from coldhouse.operations.doctor_findings import Finding, Status
from coldhouse.storage import Storage, names_of
from coldhouse.storage.local import LocalStorage
from tests.support.faulty import Fault, FaultyStorage, How

OK, WARNING, CRITICAL, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.SKIPPED
REFUSED = StorageRefused("the store refuses", hint="ask for the right")
GIB = 1 << 30


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LocalStorage]:
    storage = LocalStorage(tmp_path / "repository")
    yield storage
    storage.close()


@pytest.fixture
def storage(folder: LocalStorage) -> FaultyStorage:
    return FaultyStorage(folder)


def shifted(by: timedelta) -> Callable[[], datetime]:
    """This machine's clock, if it were wrong."""
    return lambda: datetime.now(UTC) + by


def examined(storage: Storage, *, write_only: bool = False, by: timedelta = timedelta()) -> dict[str, Finding]:
    found = list(doctor_storage.examine(storage, shifted(by), write_only=write_only))
    assert sorted(finding.check for finding in found) == sorted(doctor_storage.CHECKS), (
        "each check says something, once"
    )
    return {finding.check: finding for finding in found}


def wrong(findings: dict[str, Finding]) -> dict[str, Status]:
    return {check: finding.status for check, finding in findings.items() if finding.status is not OK}


def refused(verb: str, times: int = 9) -> Fault:
    return Fault(How.BEFORE, verb, "doctor/*", REFUSED, times=times)


def test_a_store_that_allows_everything_keeps_nothing_of_it(storage: FaultyStorage) -> None:
    assert wrong(examined(storage)) == {}
    assert names_of(storage.list("")) == []


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        (
            "create",
            {
                "storage-create": CRITICAL,
                "storage-read": SKIPPED,
                "storage-list": SKIPPED,
                "storage-put-if-absent": SKIPPED,
                "storage-replace": SKIPPED,
                "storage-delete": SKIPPED,
                "storage-clock": SKIPPED,
            },
        ),
        ("get_range", {"storage-read": CRITICAL}),
        ("get", {"storage-read": CRITICAL, "storage-replace": CRITICAL}),
        ("put", {"storage-replace": CRITICAL}),
        ("delete", {"storage-delete": WARNING}),
    ],
)
def test_a_right_that_is_missing_is_named(storage: FaultyStorage, verb: str, expected: dict[str, Status]) -> None:
    storage.inject(refused(verb))
    findings = examined(storage)
    assert wrong(findings) == expected
    for check, status in expected.items():
        if status is not SKIPPED:
            assert findings[check].message == "the store refuses"
            assert findings[check].hint.endswith("ask for the right")


def test_without_the_right_to_list_nothing_else_is_tried(storage: FaultyStorage) -> None:
    storage.inject(refused("list"))
    findings = examined(storage)
    assert findings.pop("storage-list").status is CRITICAL
    assert {finding.status for finding in findings.values()} == {SKIPPED}
    assert storage.count("create") == 0


def test_a_store_that_is_read_only(storage: FaultyStorage) -> None:
    storage.inject(refused("create"), refused("put"), refused("delete"))
    assert examined(storage)["storage-create"].status is CRITICAL


def test_a_store_that_is_full_says_so(storage: FaultyStorage) -> None:
    storage.inject(Fault(How.BEFORE, "create", "doctor/*", StorageFull("the quota is full", hint="make room")))
    found = examined(storage)["storage-create"]
    assert (found.status, found.message, found.hint) == (CRITICAL, "the quota is full", "make room")


def test_a_store_that_does_not_give_back_what_it_got(storage: FaultyStorage) -> None:
    storage.inject(Fault(How.FLIP, "get", "doctor/*"))
    found = examined(storage)["storage-read"]
    assert (found.status, found.hint) == (CRITICAL, "do not use this store")


def test_a_listing_that_leaves_an_object_out(folder: LocalStorage) -> None:
    class Forgetful(FaultyStorage):
        def list(self, prefix: str, *, after: str = "") -> Iterator[object]:  # type: ignore[override]
            return iter(())

    findings = examined(Forgetful(folder))
    assert wrong(findings) == {"storage-list": CRITICAL, "storage-clock": SKIPPED}


def test_a_store_without_put_if_absent(folder: LocalStorage) -> None:
    class Careless(FaultyStorage):
        def create(self, name: str, data: Buffer) -> None:
            self.inner.put(name, data)

    findings = examined(Careless(folder))
    assert wrong(findings) == {"storage-put-if-absent": CRITICAL}
    assert "If-None-Match" in findings["storage-put-if-absent"].hint


class TestWriteOnlyHost:
    """A host that shall neither read, nor replace, nor delete."""

    def test_that_it_cannot_delete_is_right(self, storage: FaultyStorage) -> None:
        storage.inject(refused("delete"), refused("put"))
        findings = examined(storage, write_only=True)
        assert wrong(findings) == {"storage-replace": SKIPPED}
        assert "as it should be" in findings["storage-delete"].message

    def test_it_does_not_leave_an_object_each_time(self, storage: FaultyStorage) -> None:
        storage.inject(refused("delete", times=99))
        for _ in range(3):
            examined(storage, write_only=True)
        (left,) = names_of(storage.list(""))
        assert left.startswith("doctor/")
        assert storage.count("create", left) >= 3, "that the name is taken was tried each time"
        examined(storage, write_only=True, by=timedelta(hours=25))
        assert len(names_of(storage.list(""))) == 2, "a day later it is tried anew"

    def test_a_doctor_with_a_full_key_removes_what_it_left(self, storage: FaultyStorage) -> None:
        storage.inject(refused("delete"))
        examined(storage, write_only=True)
        storage.heal()
        examined(storage)
        assert len(names_of(storage.list(""))) == 1, "it may be of a doctor that runs just now"
        examined(storage, by=timedelta(minutes=61))
        assert names_of(storage.list("")) == []

    def test_that_it_can_delete_is_told(self, storage: FaultyStorage) -> None:
        found = examined(storage, write_only=True)["storage-delete"]
        assert found.status is OK
        assert "key policy" in found.message


@pytest.mark.parametrize(
    ("by", "status", "words"),
    [
        (timedelta(), OK, "agree"),
        (timedelta(seconds=-30), OK, "agree"),
        (timedelta(minutes=3), WARNING, "behind"),
        (timedelta(minutes=-3), WARNING, "ahead of"),
        (timedelta(minutes=20), CRITICAL, "behind"),
        (timedelta(hours=-5, minutes=-30), CRITICAL, "5 hours ahead of"),
    ],
)
def test_the_clock_of_the_store(folder: LocalStorage, by: timedelta, status: Status, words: str) -> None:
    found = examined(folder, by=by)["storage-clock"]
    assert found.status is status
    assert words in found.message
    assert found.measure is not None
    assert (found.measure.warning, found.measure.critical) == (60, 900)


@pytest.mark.parametrize(
    ("free", "largest", "status"),
    [
        (3 * GIB, 0, OK),
        (GIB, 0, WARNING),
        (GIB // 8, 0, CRITICAL),
        (100 * GIB, 60 * GIB, WARNING),
        (100 * GIB, 40 * GIB, OK),
        (50 * GIB, 60 * GIB, CRITICAL),
        (None, 60 * GIB, SKIPPED),
    ],
)
def test_free_space(
    folder: LocalStorage, monkeypatch: pytest.MonkeyPatch, free: int | None, largest: int, status: Status
) -> None:
    monkeypatch.setattr(folder, "free_space", lambda: free)
    assert doctor_storage.free_space(folder, largest).status is status
