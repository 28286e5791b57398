"""Damage of every kind: found, named, set aside without being deleted, and healed from a copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldhouse.errors import Corruption, StorageError, UsageError
from coldhouse.operations import copy, repair, verify
from coldhouse.records import replace
from coldhouse.repository import Repository, manifest_name, open_repository, snapshot_name
from coldhouse.repository.names import FENCE
from coldhouse.storage import Storage, open_storage
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.damage import flip, packs
from tests.scenarios.test_copy import apart
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Fault, FaultyStorage, How

MAKE = (
    "CREATE TABLE {db}.t (id UInt64, p UInt8, text String CODEC(NONE)) ENGINE = MergeTree PARTITION BY p ORDER BY id",
    "CREATE TABLE {db}.other (id UInt64) ENGINE = MergeTree ORDER BY id",
    "INSERT INTO {db}.other SELECT number FROM numbers(1000)",
)
FILL = "INSERT INTO {db}.t SELECT number, %s, randomString(200) FROM numbers(4000)"


@dataclass(frozen=True)
class Original:
    """A repository in a folder that every test gets a duplicate of, and what its newest snapshot holds."""

    world: World
    content: dict[str, str]


@pytest.fixture(scope="module")
def original(embedded: Clickhouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Original]:
    """Two snapshots: forty small partitions (their page is an object), then one more partition in a pack of its own."""
    for world in play(embedded, str(tmp_path_factory.mktemp("original") / "repository")):
        world.run(*MAKE, FILL % "number % 40")
        world.backup()
        world.run(FILL % "50")
        world.backup()
        yield Original(world, world.content())


@pytest.fixture
def filled(original: Original, folder_url: str) -> Iterator[World]:
    """A duplicate to damage."""
    shutil.copytree(original.world.repository.url, folder_url, copy_function=shutil.copy2)
    with open_repository(open_storage(folder_url), PASSPHRASE) as repository:
        yield replace(original.world, repository=repository)


@pytest.fixture
def elsewhere(original: Original, tmp_path: Path) -> Storage:
    """A copy of both snapshots, object by object."""
    storage = open_storage(str(tmp_path / "copy"))
    target = copy.open_target(original.world.repository, storage, lambda: "", init_like=True)
    assert copy.run(original.world.repository, target).complete
    return storage


def damaged_object(world: World, kind: str) -> Path:
    """Damage or lose an object of the newest snapshot, in one of the ways in which it happens."""
    folder = Path(world.repository.url)
    snapshot = world.snapshots()[-1]
    path = {
        "flipped pack": lambda: packs(folder)[-1],
        "missing pack": lambda: packs(folder)[-1],
        "truncated pack": lambda: packs(folder)[-1],
        "missing page": lambda: folder / manifest_name(world.entry("t").pages[0].ref.id),
        "flipped page": lambda: folder / manifest_name(world.entry("t").pages[0].ref.id),
        "missing catalog": lambda: folder / manifest_name(snapshot.catalog[0].id),
        "flipped snapshot": lambda: folder / snapshot_name(snapshot.id),
    }[kind]()
    if kind.startswith("missing"):
        path.unlink()
    elif kind.startswith("truncated"):
        path.write_bytes(path.read_bytes()[:-1])
    else:
        flip(path)
    return path


KINDS = (
    "flipped pack",
    "missing pack",
    "truncated pack",
    "missing page",
    "flipped page",
    "missing catalog",
    "flipped snapshot",
)


def everything(folder: str) -> dict[str, bytes]:
    """All files but notes, where what is broken is noted."""
    root = Path(folder)
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("notes/")}


def clean(repository: Repository) -> bool:
    """Whether verify, which reads every byte, finds nothing."""
    return all(report.ok for report in verify.run(repository, verify.VerifyOptions(level="data")))


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_names_the_object_and_changes_nothing(filled: World, kind: str) -> None:
    second = filled.snapshots()[-1].id
    path = damaged_object(filled, kind)
    name = str(path.relative_to(filled.repository.url))
    before = everything(filled.repository.url)

    report = repair.run(filled.repository, data=True)

    assert [one.object for one in report.treatments] == [name]
    assert second in {hurt.snapshot for hurt in report.hurt}
    assert {hurt.object for hurt in report.hurt} == {name}
    assert not report.sound
    assert not report.healed
    assert everything(filled.repository.url) == before
    if "pack" in kind:
        assert [(hurt.table, hurt.part.partition("_")[0]) for hurt in report.hurt] == [(f"{filled.db}.t", "50")]


@pytest.mark.parametrize("kind", KINDS)
def test_from_a_copy_everything_is_healed(original: Original, filled: World, elsewhere: Storage, kind: str) -> None:
    before = everything(filled.repository.url)
    path = damaged_object(filled, kind)
    name = str(path.relative_to(filled.repository.url))
    broken = path.read_bytes() if path.exists() else None
    assert not clean(filled.repository)

    report = repair.run(filled.repository, data=True, copy=elsewhere, dry_run=False)

    assert [(one.object, one.action) for one in report.treatments] == [(name, "replaced")]
    assert report.healed
    after = everything(filled.repository.url)
    assert after.pop(f"quarantine/{name}.1", None) == broken
    if "snapshot" in kind:  # the sound one is the next revision
        assert after[name] == FENCE
        after[name] = after.pop(f"{name}.1")
    assert {one: stored for one, stored in after.items() if not one.startswith("notes/")} == {
        one: stored for one, stored in before.items() if not one.startswith("notes/")
    }
    assert clean(filled.repository)
    filled.drop()
    assert filled.restore().complete
    assert filled.content() == original.content


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_does_not_call_lost_what_the_copy_has(filled: World, elsewhere: Storage, kind: str) -> None:
    path = damaged_object(filled, kind)
    report = repair.run(filled.repository, data=True, copy=elsewhere)
    assert [one.action for one in report.treatments] == ["replaced"]
    assert report.hurt == ()
    assert {hurt.object for hurt in report.curable} == {str(path.relative_to(filled.repository.url))}
    assert not report.healed


def test_the_error_of_a_restore_says_how_one_object_is_taken_from_the_copy(
    original: Original, filled: World, elsewhere: Storage
) -> None:
    """The restore fails, repair fetches the one object, and the same restore goes on to its end."""
    path = damaged_object(filled, "missing pack")
    kept = {other: other.stat().st_mtime_ns for other in packs(Path(filled.repository.url))}
    filled.drop()
    with pytest.raises(Corruption, match=path.name) as caught:
        filled.restore()
    assert "repair" in caught.value.hint
    assert "--from URL" in caught.value.hint
    report = repair.run_from(filled.repository, elsewhere.url, dry_run=False)
    assert [(one.object.rpartition("/")[2], one.action) for one in report.treatments] == [(path.name, "replaced")]
    assert {other: other.stat().st_mtime_ns for other in kept} == kept  # nothing else was fetched
    filled.restore()
    assert filled.content() == original.content


@pytest.mark.parametrize("kind", ["truncated pack", "flipped page", "flipped snapshot"])
def test_what_cannot_be_read_at_all_is_set_aside_and_never_deleted(filled: World, kind: str) -> None:
    path = damaged_object(filled, kind)
    broken, name = path.read_bytes(), str(path.relative_to(filled.repository.url))

    report = repair.run(filled.repository, data=True, dry_run=False)

    assert [(one.object, one.action) for one in report.treatments] == [(name, "set aside")]
    assert path.read_bytes() == FENCE if "snapshot" in kind else not path.exists()
    assert Path(filled.repository.url, f"quarantine/{name}.1").read_bytes() == broken


def test_a_damaged_snapshot_no_longer_stands_in_the_way_of_the_others(filled: World) -> None:
    first, second = filled.repository.snapshot_ids()
    damaged_object(filled, "flipped snapshot")
    with pytest.raises(Corruption):
        filled.snapshots()
    report = repair.run(filled.repository, dry_run=False)
    assert [one.id for one in filled.snapshots()] == [first]
    assert [treatment.object for treatment in report.treatments] == [snapshot_name(second)]
    assert not report.healed
    assert [hurt.snapshot for hurt in report.hurt] == [second]
    filled.drop()
    assert filled.restore().complete


def test_a_pack_that_can_be_read_in_part_stays_for_what_can_be_restored(filled: World) -> None:
    path = packs(Path(filled.repository.url))[0]
    flip(path, 0.3)
    report = repair.run(filled.repository, data=True, dry_run=False)
    assert [one.action for one in report.treatments] == ["kept"]
    assert path.exists()
    hurt = {(hurt.table, hurt.part) for hurt in report.hurt}
    filled.drop()
    left_out = filled.restore(skip_damaged=True).left_out
    assert {f"{table} part {part}" for table, part in hurt} == {text.partition(" (")[0] for text in left_out}


def test_without_data_only_what_is_missing_or_of_another_size_is_found(filled: World) -> None:
    damaged_object(filled, "flipped pack")
    assert repair.run(filled.repository).sound
    damaged_object(filled, "truncated pack")
    assert not repair.run(filled.repository).sound


def test_without_data_what_a_verification_found_is_looked_at_again(
    original: Original, filled: World, elsewhere: Storage
) -> None:
    path = damaged_object(filled, "flipped pack")
    sound = next(pack for pack in packs(Path(original.world.repository.url)) if pack.name == path.name).read_bytes()
    broken = path.read_bytes()
    assert not clean(filled.repository)
    name = str(path.relative_to(filled.repository.url))
    report = repair.run(filled.repository)
    assert [one.object for one in report.treatments] == [name]
    assert [(hurt.table, hurt.part.partition("_")[0]) for hurt in report.hurt] == [(f"{filled.db}.t", "50")]

    path.write_bytes(sound)
    assert repair.run(filled.repository).sound, "what was found then need not be so any more"

    path.write_bytes(broken)
    assert repair.run(filled.repository, copy=elsewhere, dry_run=False).healed
    assert clean(filled.repository)


def test_a_sound_repository_stays_as_it_is(filled: World, elsewhere: Storage) -> None:
    before = everything(filled.repository.url)
    report = repair.run(filled.repository, data=True, copy=elsewhere, dry_run=False)
    assert (report.sound, report.healed, report.snapshots) == (True, True, 2)
    assert everything(filled.repository.url) == before


def test_damage_in_the_copy_is_not_taken_over(filled: World, elsewhere: Storage) -> None:
    damaged_object(filled, "missing pack")
    for pack in packs(Path(elsewhere.url)):
        flip(pack)
    before = packs(Path(filled.repository.url))
    report = repair.run(filled.repository, data=True, copy=elsewhere, dry_run=False)
    assert [one.action for one in report.treatments] == ["kept"]
    assert not report.healed
    assert packs(Path(filled.repository.url)) == before
    hurt = {(hurt.table, hurt.part.partition("_")[0]) for hurt in report.hurt}
    assert hurt == {(f"{filled.db}.t", "50")}, "though files of it that are as short as its columns lie elsewhere too"


def test_another_repository_is_no_copy(filled: World, tmp_path: Path) -> None:
    other = open_storage(str(tmp_path / "other"))
    apart(FaultyStorage(other))
    with pytest.raises(UsageError, match="another repository"):
        repair.run(filled.repository, copy=other)


@pytest.mark.parametrize("verb", ["create", "put", "sync", "get", "list"])
def test_an_interrupted_repair_is_repeated(original: Original, filled: World, elsewhere: Storage, verb: str) -> None:
    damaged_object(filled, "truncated pack")
    store = FaultyStorage(open_storage(filled.repository.url))
    with open_repository(store, PASSPHRASE) as repository:
        for how in (How.BEFORE, How.AFTER):
            store.inject(Fault(how, verb, {"create": "quarantine/*", "get": "packs/*"}.get(verb, "*")))
            with pytest.raises(StorageError, match="injected"):
                repair.run(repository, copy=elsewhere, dry_run=False)
            store.heal()
        assert repair.run(repository, copy=elsewhere, dry_run=False).healed
    filled.drop()
    filled.restore()
    assert filled.content() == original.content
