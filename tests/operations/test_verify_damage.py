"""Whatever happens to an object, the level that promises to find it does; and a sound repository raises no alarm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldhouse.errors import ColdhouseError, Corruption, NoRepository, WrongPassphrase
from coldhouse.model import Snapshot
from coldhouse.operations import broken, prune, verify
from coldhouse.operations.proof import Level, ProofRecord, known
from coldhouse.operations.verify import Problem, VerifyOptions
from coldhouse.records import replace
from coldhouse.repository import PackSettings, id_of, open_repository, snapshot_name
from tests.operations.stored import Stored
from tests.repository.samples import PASSPHRASE, new_repository
from tests.repository.test_rewriting import history
from tests.support.memory_storage import MemoryStorage

STRUCTURE = VerifyOptions(level="structure")
DATA = VerifyOptions(level="data")


@pytest.fixture(scope="module")
def made() -> tuple[Stored, Snapshot, Snapshot]:
    stored = Stored()
    return stored, *stored.two_snapshots()


@pytest.fixture
def stored(made: tuple[Stored, Snapshot, Snapshot]) -> Iterator[Stored]:
    """The same store for every test: what one does to it is undone."""
    found = made[0]
    before = dict(found.storage.objects)
    yield found
    found.storage.objects = before


def problems(stored: Stored, options: VerifyOptions) -> list[Problem]:
    return [problem for report in stored.verify(options) for problem in report.problems]


# -------------------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("level", ["structure", "data"])
def test_a_sound_repository_raises_no_alarm(stored: Stored, level: Level) -> None:
    first, second = stored.verify(VerifyOptions(level=level))
    assert first.ok
    assert second.ok
    assert (first.checked.parts, second.checked.parts) == (11, 12)
    assert (first.checked.files, second.checked.files) == (161, 162)
    assert (first.checked.rows, second.checked.rows) == (1100, 1200)
    assert first.checked.objects == 1 + 1 + 1 + len(_packs_of(stored, first.snapshot))


def _packs_of(stored: Stored, id: str) -> set[bytes]:
    repository = stored.repository
    pages = [page for one in repository.entries(repository.snapshot(id)) for page in one.pages]
    return {pack for page in pages for pack in repository.page(page).packs}


def test_level_data_reads_every_file(stored: Stored) -> None:
    (report,) = stored.verify(VerifyOptions("latest", "data"))
    assert report.checked.bytes == stored.repository.find("latest").accounting.data


def test_an_empty_repository_has_nothing_to_verify() -> None:
    assert Stored().verify(DATA) == ()


def test_a_part_that_was_damaged_at_the_source_is_no_alarm() -> None:
    stored = Stored()
    stored.snapshot({"t": [stored.part("all", "all_1_1_0", [stored.file("data.bin", 5000)], damaged=True)]})
    (report,) = stored.verify(DATA)
    assert report.ok
    assert report.checked.files == 1


# ------------------------------------------------------------------------------------- one damage for each object class


def test_a_flipped_bit_in_a_pack_is_found_by_data_with_tables_and_parts(stored: Stored) -> None:
    for name in stored.names("packs/"):
        size = len(stored.storage.objects[name])
        stored.flip(name, 64 + (size - 64) // 3)
        assert problems(stored, STRUCTURE) == []
        found = [problem for problem in problems(stored, DATA) if problem.object == name]
        assert found
        assert all(problem.kind == "corrupt" and problem.table.startswith("shop.") for problem in found)
        assert all(problem.part for problem in found)
        stored.flip(name, 64 + (size - 64) // 3)


def test_a_damaged_part_is_not_counted_and_a_whole_run_is_not_called_partial(stored: Stored) -> None:
    stored.flip(stored.names("packs/")[0])
    (report,) = stored.verify(VerifyOptions("latest", "data"))
    damaged = {(problem.table, problem.part) for problem in report.problems}
    assert damaged
    assert report.checked.parts == 12 - len(damaged)
    assert report.checked.rows == 1200 - 100 * len(damaged)
    assert not report.partial


@pytest.mark.parametrize("at", [0, 20, 63], ids=["first", "id", "last"])
def test_a_flipped_bit_in_the_header_of_a_pack_is_found_though_no_file_lies_there(stored: Stored, at: int) -> None:
    name = stored.names("packs/")[0]
    stored.flip(name, at)
    assert {problem.object for problem in problems(stored, DATA)} == {name}


@pytest.mark.parametrize("folder", ["manifests/", "snapshots/", "keys/"])
def test_a_flipped_bit_elsewhere_is_found_by_structure(stored: Stored, folder: str) -> None:
    for name in stored.names(folder):
        stored.flip(name)
        assert name in {problem.object for problem in problems(stored, STRUCTURE)}
        stored.flip(name)


def test_a_flipped_bit_in_a_page_names_the_table(stored: Stored) -> None:
    orders = next(e for e in stored.repository.entries(stored.repository.find("latest")) if e.name.table == "orders")
    stored.flip(f"manifests/{orders.pages[0].ref.id[:1].hex()}/{orders.pages[0].ref.id.hex()}")
    (problem,) = problems(stored, VerifyOptions("latest"))
    assert (problem.kind, problem.table) == ("corrupt", "shop.orders")


@pytest.mark.parametrize(("folder", "options"), [("notes/proof/", STRUCTURE), ("notes/checked/", DATA)])
def test_a_damaged_record_is_told_and_written_anew(stored: Stored, folder: str, options: VerifyOptions) -> None:
    stored.verify(options)
    name = stored.names(folder)[0]
    stored.flip(name)
    assert name in {problem.object for problem in problems(stored, options)}
    assert problems(stored, options) == []


@pytest.mark.parametrize("folder", ["packs/", "manifests/", "snapshots/"])
def test_a_truncated_object_is_found_by_structure(stored: Stored, folder: str) -> None:
    for name in stored.names(folder):
        whole = stored.storage.objects[name]
        stored.storage.objects[name] = whole[:-1]
        assert name in {problem.object for problem in problems(stored, STRUCTURE)}
        stored.storage.objects[name] = whole


@pytest.mark.parametrize("folder", ["packs/", "manifests/"])
def test_a_missing_object_is_found_by_structure(stored: Stored, folder: str) -> None:
    for name in stored.names(folder):
        whole = stored.storage.objects.pop(name)
        found = [problem for problem in problems(stored, STRUCTURE) if problem.object == name]
        assert {problem.kind for problem in found} == {"missing"}
        if folder == "packs/":
            assert all(problem.table and problem.part for problem in found)
        stored.storage.objects[name] = whole


@pytest.mark.parametrize(("folder", "options"), [("packs/", DATA), ("snapshots/", STRUCTURE)])
def test_two_objects_in_each_others_place_are_found(stored: Stored, folder: str, options: VerifyOptions) -> None:
    one, other = stored.names(folder)[:2]
    swap(stored, one, other)
    assert {one, other} <= {problem.object for problem in problems(stored, options)}


def test_two_manifests_in_each_others_place_are_found(stored: Stored) -> None:
    """At least one: what only a damaged catalog refers to cannot be reached."""
    for one, other in combinations(stored.names("manifests/"), 2):
        swap(stored, one, other)
        assert {one, other} & {problem.object for problem in problems(stored, STRUCTURE)}
        swap(stored, one, other)


def swap(stored: Stored, one: str, other: str) -> None:
    objects = stored.storage.objects
    objects[one], objects[other] = objects[other], objects[one]


@pytest.mark.parametrize(
    ("folder", "options"), [("packs/", DATA), ("manifests/", STRUCTURE), ("snapshots/", STRUCTURE)]
)
def test_an_object_of_another_repository_is_found(stored: Stored, folder: str, options: VerifyOptions) -> None:
    """Another repository of the same passphrase and content, so that even sizes agree."""
    foreign = Stored()
    foreign.two_snapshots()
    name = stored.names(folder)[-1]
    size = len(stored.storage.objects[name])
    substitutes = [foreign.storage.objects[one] for one in foreign.names(folder)]
    same = next((one for one in substitutes if len(one) == size), substitutes[0])
    stored.storage.objects[name] = same
    assert name in {problem.object for problem in problems(stored, options)}


def test_an_old_copy_of_another_snapshot_put_back_is_found(stored: Stored) -> None:
    first, second = stored.names("snapshots/")
    stored.storage.objects[second] = stored.storage.objects[first]
    assert {problem.object for problem in problems(stored, STRUCTURE)} == {second}


def test_the_old_root_of_a_snapshot_put_back_is_found() -> None:
    """A prune has written its packs anew and deleted the old ones, which the old root refers to."""
    storage = MemoryStorage()
    repository = new_repository(storage)
    made = history(repository)
    repository.forget([one.id for one in made[:3]])
    name = snapshot_name(made[3].id)
    old = storage.objects[name]
    prune.run(repository, prune.PruneOptions(max_unused=0))

    def missing() -> set[str]:
        reports = verify.run(repository, STRUCTURE)
        return {each.object for report in reports for each in report.problems if each.kind == "missing"}

    assert not missing()
    storage.objects[name] = old
    assert missing()
    assert all(each.startswith(("packs/", "manifests/")) for each in missing())


@pytest.mark.parametrize(("folder", "error"), [("config", NoRepository), ("keys/", WrongPassphrase)])
def test_without_config_or_keys_nothing_is_verified(stored: Stored, folder: str, error: type[ColdhouseError]) -> None:
    for name in [name for name in stored.storage.objects if name.startswith(folder)]:
        del stored.storage.objects[name]
    with pytest.raises((error, Corruption)):
        open_repository(stored.storage, PASSPHRASE)


def test_a_file_that_is_not_what_clickhouse_wrote_is_found_by_data() -> None:
    """As if Coldhouse had stored, and sealed, the wrong bytes: authentic, and wrong."""
    stored = Stored()
    part = stored.part("all", "all_1_1_0", [stored.file("data.bin", 5000)], damaged=True)
    wrong = replace(part, files=tuple(replace(file, damaged=False) for file in part.files))
    stored.snapshot({"t": [wrong]})
    assert problems(stored, STRUCTURE) == []
    (problem,) = problems(stored, DATA)
    assert (problem.kind, problem.table, problem.part) == ("checksum", "shop.t", "all_1_1_0")
    assert "data.bin" in problem.message
    assert problems(stored, VerifyOptions(level="data", max_age=1)), "the pack is due again"


def test_a_root_that_says_something_else_than_its_tables_is_found() -> None:
    stored = Stored()
    stored.snapshot({"t": [stored.part("all", "all_1_1_0", [stored.file("data.bin", 10)])]}, lies=1)
    (problem,) = problems(stored, STRUCTURE)
    assert problem.kind == "inconsistent"


def two_that_share_a_pack() -> tuple[Stored, str]:
    """The newer snapshot needs the begin of a pack, the older all of it; returns the store and the pack's name."""
    stored = Stored(settings=PackSettings(compression="none", frames=8))
    both = stored.part("all", "all_1_1_0", [stored.file("a.bin", 100_000), stored.file("b.bin", 1_000_000)])
    older = stored.snapshot({"t": [both]})
    stored.snapshot({"t": [replace(both, files=both.files[:1])]}, older, hour=1)
    (name,) = stored.names("packs/")
    return stored, name


@pytest.mark.parametrize("level", ["data", "data of the newer alone"])
def test_damage_in_a_part_of_a_pack_that_a_snapshot_does_not_need_is_a_remark(level: str) -> None:
    stored, name = two_that_share_a_pack()
    stored.flip(name)
    *before, newer = stored.verify(DATA if level == "data" else VerifyOptions("latest", "data"))
    assert [problem.object for report in before for problem in report.problems] == [name] * len(before)
    assert (newer.ok, newer.problems) == (True, ())
    assert newer.remarks == (f"a part of {name} that this snapshot does not need is damaged",)
    assert newer.damage_beside, "the run does not end as if nothing were wrong"
    assert _best(stored, newer.snapshot) == "data"
    assert id_of(name) in broken.read(stored.repository).ids, "the next backup does not build on it"


def test_damage_in_the_frame_that_both_snapshots_need_concerns_both() -> None:
    stored, name = two_that_share_a_pack()
    stored.flip(name, 1000)
    assert [report.ok for report in stored.verify(DATA)] == [False, False]


@pytest.mark.parametrize("at", [0, 30, -1], ids=["first", "inside", "middle"])
def test_a_damaged_config_is_found_before_anything_is_verified(stored: Stored, at: int) -> None:
    stored.flip("config", at)
    with pytest.raises(Corruption) as caught:
        open_repository(stored.storage, PASSPHRASE)
    assert (caught.value.object_name, caught.value.exit_status) == ("config", 20)


# ------------------------------------------------------------------------------------------------------------ property


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pick=st.integers(0, 10**9), at=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_always_found_by_data(
    made: tuple[Stored, Snapshot, Snapshot], pick: int, at: int, bit: int
) -> None:
    stored = made[0]
    before = dict(stored.storage.objects)
    names = [name for folder in ("packs/", "manifests/", "snapshots/", "keys/") for name in stored.names(folder)]
    name = names[pick % len(names)]
    try:
        stored.flip(name, at % len(before[name]), bit)
        assert name in {problem.object for problem in problems(stored, DATA)}
    finally:
        stored.storage.objects = before


# -------------------------------------------------------------------------------------------------------------- record


def test_the_result_stands_beside_the_snapshot(stored: Stored) -> None:
    latest = stored.repository.find("latest").id
    assert known(stored.repository, latest) == ProofRecord()
    stored.verify(VerifyOptions("latest"))
    assert _best(stored, latest) == "structure"
    stored.verify(VerifyOptions("latest", "data"))
    assert _best(stored, latest) == "data"
    stored.verify(VerifyOptions("latest"))
    assert _best(stored, latest) == "data", "the stronger proof is the one to show"


def test_damage_voids_what_was_proven_until_the_level_that_found_it_finds_it_no_more(stored: Stored) -> None:
    latest = stored.repository.find("latest").id
    stored.verify(DATA)
    name = stored.names("packs/")[0]
    stored.flip(name)
    stored.verify(DATA)
    assert known(stored.repository, latest).damaged_at is not None
    stored.verify(STRUCTURE)
    assert known(stored.repository, latest).best is None, "structure cannot say that the pack is whole again"
    stored.flip(name)
    stored.verify(DATA)
    assert _best(stored, latest) == "data"


def _best(stored: Stored, id: str) -> str:
    best = known(stored.repository, id).best
    return best.level if best else ""


def test_a_snapshot_that_cannot_be_read_is_verified_by_its_id(stored: Stored) -> None:
    latest = stored.repository.find("latest").id
    stored.flip(f"snapshots/{latest}")
    for name in (latest, "latest"):
        (report,) = stored.verify(VerifyOptions(name, "data"))
        assert (report.snapshot, report.ok) == (latest, False)
