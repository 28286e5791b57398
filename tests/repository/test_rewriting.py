"""Packs that are mostly unused are written anew: every snapshot says the same as before, from other packs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

import pytest

from coldhouse.model import PackRef, Part, PartState, Snapshot, TableName
from coldhouse.records import replace
from coldhouse.repository import PackSettings, Repository, names, snapshot_name
from coldhouse.repository.marking import mark
from coldhouse.repository.rewriting import RewriteSettings, Rewritten, plan_rewriting, rewrite
from tests.repository.samples import MOMENT, checksum, entry, new_repository, root, store
from tests.support.faulty import FaultyStorage
from tests.support.memory_storage import MemoryStorage

SMALL = PackSettings(frames=4, compression="none")


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@dataclass(frozen=True)
class Said:
    """All that a snapshot says of a table but for where its files lie, and their contents."""

    states: list[PartState]
    files: list[list[tuple[str, int, bytes, bool]]]
    contents: list[bytes]


def said(repository: Repository, id: str) -> dict[TableName, Said]:
    snapshot = repository.snapshot(id)
    found = {}
    with repository.pack_reader() as reader:
        for one in repository.entries(snapshot):
            parts, contents = [], []
            for ref in one.pages:
                page = repository.page(ref)
                for part in page.parts():
                    parts.append(part)
                    contents += [b"".join(reader.read(page.packs, file.extents, 0, file.size)) for file in part.files]
            files = [[(f.name, f.size, f.checksum, f.damaged) for f in part.files] for part in parts]
            found[one.name] = Said([part.state for part in parts], files, contents)
    return found


def parts_of(
    repository: Repository, seed: int, count: int, sizes: tuple[int, ...]
) -> tuple[list[Part], dict[bytes, PackRef]]:
    """Parts whose contents are stored, each with a few files."""
    chance = random.Random(seed)
    contents = [chance.randbytes(size) for _ in range(count) for size in sizes]
    files = store(repository, contents, SMALL)
    packs = {extent.pack: repository.directory(extent.pack)[0] for file in files for extent in file.extents}
    parts = []
    for at in range(count):
        some = tuple(files[at * len(sizes) : (at + 1) * len(sizes)])
        hash = checksum(b"%d %d" % (seed, at))
        parts.append(Part(PartState(f"{seed:05}", f"{seed:05}_{at:06}_{at:06}_0", hash, 10, 100), some))
    return parts, packs


def taken(
    repository: Repository, parts: list[Part], packs: dict[bytes, PackRef], parent: Snapshot | None, hour: int
) -> Snapshot:
    with repository.draft(parent) as draft:
        draft.add(entry("orders"), parts, packs.__getitem__)
        draft.add(entry("small"), parts[:1], packs.__getitem__)
        return draft.commit(root(parent, moment=MOMENT + timedelta(hours=hour)))


def history(repository: Repository, *, rounds: int = 4) -> list[Snapshot]:
    """Snapshots each of which keeps every third part of the earlier ones, and adds some."""
    parts: list[Part] = []
    packs: dict[bytes, PackRef] = {}
    made: list[Snapshot] = []
    for at in range(rounds):
        fresh, more = parts_of(repository, at, 6, (300, 40_000, 300_000, 5))
        packs |= more
        parts = [part for number, part in enumerate(parts) if number % 3 == 0] + fresh
        made.append(taken(repository, parts, packs, made[-1] if made else None, at))
    return made


def current(repository: Repository) -> list[str]:
    return [objects[0] for objects in repository.snapshot_objects().values()]


def rewritten(repository: Repository, settings: RewriteSettings | None = None) -> Rewritten:
    plan = plan_rewriting(repository, mark(repository, current(repository)), 0)
    return rewrite(repository, plan, settings or RewriteSettings())


def test_snapshots_say_the_same_from_packs_without_waste(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    made = history(repository)
    repository.forget([one.id for one in made[:2]])
    before = {one.id: said(repository, one.id) for one in made[2:]}
    plan = plan_rewriting(repository, mark(repository, current(repository)), 0)
    assert plan.packs and plan.left == 0

    done = rewritten(repository)

    assert done.packs == len(plan.packs) and done.snapshots == 2 and not done.damaged
    assert repository.snapshot_ids() == sorted(before)
    assert {id: said(repository, id) for id in before} == before
    for one in made[2:]:
        assert replace(repository.snapshot(one.id), catalog=()) == replace(one, catalog=())
        assert storage.objects[snapshot_name(one.id)] == names.FENCE
    marks = mark(repository, current(repository))
    assert not any(marks.has_pack(use.ref.id) for use in plan.packs)
    again = plan_rewriting(repository, marks, 0)
    assert (again.packs, again.unused) == ((), 0)
    # What lies in one pack as a whole is still listed there with its checksum.
    runs = [run for ref in marks.packs() for run in repository.directory(ref.id)[1]]
    checksums = {run.checksum for run in runs if run.verified}
    small = {file for one in before[made[3].id].values() for part in one.files for file in part if file[1] < 1000}
    assert {file[2] for file in small} <= checksums


def test_nothing_is_written_where_little_is_wasted(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    history(repository)
    before = dict(storage.objects)
    assert rewritten(repository) == Rewritten()
    assert storage.objects == before


@pytest.mark.parametrize("settings", [RewriteSettings(most_extents=5), RewriteSettings(most_bytes=1)])
def test_many_small_rounds_do_the_same(storage: MemoryStorage, settings: RewriteSettings) -> None:
    repository = new_repository(storage)
    made = history(repository)
    repository.forget([made[0].id, made[2].id])
    before = {one: said(repository, one) for one in (made[1].id, made[3].id)}
    done = rewritten(repository, settings)
    assert done.rounds > 1
    assert {id: said(repository, id) for id in before} == before
    assert not plan_rewriting(repository, mark(repository, current(repository)), 0).packs


def test_the_next_backup_shares_what_was_written_anew(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    made = history(repository)
    repository.forget([one.id for one in made[:3]])
    rewritten(repository)
    parent = repository.snapshot(made[3].id)
    packs_before = [name for name in storage.objects if name.startswith("packs/")]
    with repository.draft(parent) as draft:
        for one in repository.entries(parent):
            draft.carry(one)
        again = draft.commit(root(parent, moment=MOMENT + timedelta(hours=50)))
    assert draft.objects == 1
    assert said(repository, again.id) == said(repository, parent.id)
    assert [name for name in storage.objects if name.startswith("packs/")] == packs_before


def test_a_damaged_pack_stays_where_it_is_and_the_others_move(storage: MemoryStorage) -> None:
    repository = new_repository(storage)
    made = history(repository)
    repository.forget([one.id for one in made[:3]])
    plan = plan_rewriting(repository, mark(repository, current(repository)), 0)
    name = names.pack(plan.packs[0].ref.id)
    whole = storage.objects[name]
    storage.objects[name] = whole[:64] + bytes(len(whole) - 64 - 2000) + whole[-2000:]  # frames, not the tables
    done = rewrite(repository, plan)
    assert done.damaged == (name,)
    assert done.packs == len(plan.packs) - 1
    marks = mark(repository, current(repository))
    assert [use.ref.id for use in plan.packs if marks.has_pack(use.ref.id)] == [plan.packs[0].ref.id]
    storage.objects[name] = whole
    said(repository, made[3].id)


def test_a_snapshot_that_is_forgotten_meanwhile_stays_forgotten(storage: MemoryStorage) -> None:
    class Forgetting(FaultyStorage):
        def create(self, name: str, data: bytes | bytearray | memoryview) -> None:
            super().create(name, data)
            if name == f"{snapshot_name(made[3].id)}.1":
                other.forget([made[3].id])

    faulty = Forgetting(storage)
    repository = new_repository(storage)
    made = history(repository)
    repository.forget([one.id for one in made[:3]])
    from coldhouse.repository import open_repository
    from tests.repository.samples import PASSPHRASE

    other = open_repository(storage, PASSPHRASE)
    rewritten(open_repository(faulty, PASSPHRASE))
    assert repository.snapshot_ids() == []
    assert all(stored == names.FENCE for name, stored in storage.objects.items() if name.startswith("snapshots/"))
