"""Reading a little every day: the ledger remembers what was read when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from coldhouse.errors import UsageError
from coldhouse.model import Buffer
from coldhouse.operations.findings import Findings
from coldhouse.operations.ledger import Ledger, choose
from coldhouse.operations.proof import known
from coldhouse.operations.verify import VerifyOptions
from tests.operations.stored import Stored
from tests.support.memory_storage import MemoryStorage

NOW = datetime(2026, 11, 23, tzinfo=UTC)
A, B, C, D = (letter.encode() * 16 for letter in "abcd")
SIZES = {A: 100, B: 100, C: 100, D: 100}


class CountingStorage(MemoryStorage):
    """Remembers which packs were read beyond their frame tables."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def get_range(self, name: str, offset: int, length: int) -> Buffer:
        if name.startswith("packs/") and offset < len(self.objects[name]) // 2:
            self.read.add(name)
        return super().get_range(name, offset, length)

    def taken(self) -> set[str]:
        taken, self.read = self.read, set()
        return taken


@pytest.fixture
def stored() -> Iterator[Stored]:
    stored = Stored(storage=CountingStorage())
    parts = [stored.part(f"p{at}", f"p{at}_1_1_0", [stored.file("data.bin", 50_000)]) for at in range(10)]
    stored.snapshot({"t": parts})
    yield stored


def taken(stored: Stored) -> set[str]:
    assert isinstance(stored.storage, CountingStorage)
    return stored.storage.taken()


def test_the_least_recently_checked_are_chosen_first() -> None:
    times = {A: NOW, B: NOW - timedelta(days=2), C: NOW - timedelta(days=1)}
    assert choose(SIZES, times, percent=25, before=None) == {D}
    assert choose(SIZES, times, percent=50, before=None) == {D, B}
    assert choose(SIZES, times, percent=75, before=None) == {D, B, C}
    assert choose(SIZES, times, percent=100, before=None) == {A, B, C, D}


def test_at_least_one_is_chosen() -> None:
    assert len(choose(SIZES, {}, percent=0.1, before=None)) == 1


def test_an_age_leaves_out_what_was_checked_since() -> None:
    times = {A: NOW, B: NOW - timedelta(days=20), C: NOW - timedelta(days=40), D: NOW - timedelta(days=50)}
    before = NOW - timedelta(days=30)
    assert choose(SIZES, times, percent=100, before=before) == {C, D}
    assert choose(SIZES, times, percent=25, before=before) == {D}
    assert choose(SIZES, dict.fromkeys(SIZES, NOW), percent=100, before=before) == set()


def test_samples_go_round_until_everything_was_read(stored: Stored) -> None:
    packs = set(stored.names("packs/"))
    latest = stored.repository.find("latest").id
    seen: set[str] = set()
    for turn in range(5):
        (report,) = stored.verify(VerifyOptions(level="data", sample=20))
        read = taken(stored)
        assert report.ok
        assert len(read) == 2
        assert report.partial == (turn < 4)
        assert not seen & read, "it reads again what was read before the rest"
        seen |= read
    assert seen == packs
    best = known(stored.repository, latest).best
    assert best is not None
    assert (best.level, best.partial) == ("data", False)


def test_nothing_is_read_again_before_its_time(stored: Stored) -> None:
    stored.verify(VerifyOptions(level="data"))
    assert taken(stored) == set(stored.names("packs/"))
    (report,) = stored.verify(VerifyOptions(level="data", max_age=7))
    assert taken(stored) == set()
    assert report.ok
    assert not report.partial
    stored.verify(VerifyOptions(level="data", max_age=0))
    assert taken(stored) == set(stored.names("packs/"))


def test_a_damaged_pack_is_due_again_at_once(stored: Stored) -> None:
    stored.verify(VerifyOptions(level="data"))
    name = stored.names("packs/")[4]
    stored.flip(name)
    stored.verify(VerifyOptions(level="data"))
    taken(stored)
    (report,) = stored.verify(VerifyOptions(level="data", sample=5))
    assert taken(stored) == {name}
    assert [problem.object for problem in report.problems] == [name]


def test_a_proof_by_samples_is_as_old_as_its_oldest_sample(stored: Stored) -> None:
    stored.verify(VerifyOptions(level="data"))
    pack = bytes.fromhex(stored.names("packs/")[0][-32:])
    ledger = Ledger(stored.repository, Findings())
    ledger.sound(pack, NOW - timedelta(days=100))
    ledger.save({bytes.fromhex(name[-32:]) for name in stored.names("packs/")})
    stored.verify(VerifyOptions(level="data", max_age=365))
    best = known(stored.repository, stored.repository.find("latest").id).best
    assert best is not None
    assert best.at == NOW - timedelta(days=100)


def test_the_ledger_forgets_packs_that_are_gone(stored: Stored) -> None:
    stored.verify(VerifyOptions(level="data"))
    gone = bytes.fromhex(stored.names("packs/")[0][-32:])
    ledger = Ledger(stored.repository, Findings())
    assert ledger.checked(gone) is not None
    ledger.sound(gone, NOW)
    ledger.save(set())
    assert Ledger(stored.repository, Findings()).checked(gone) is None


@pytest.mark.parametrize(
    "options",
    [
        VerifyOptions(level="data", sample=0),
        VerifyOptions(level="data", sample=101),
        VerifyOptions(level="structure", sample=10),
        VerifyOptions(level="structure", max_age=3),
        VerifyOptions(level="drill", max_age=3),
        VerifyOptions(level="data", assertions=("SELECT 1",)),
        VerifyOptions(level="data", include=("a.b",)),
    ],
)
def test_options_that_mean_nothing_together_are_refused(stored: Stored, options: VerifyOptions) -> None:
    with pytest.raises(UsageError):
        stored.verify(options)
