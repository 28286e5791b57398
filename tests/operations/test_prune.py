"""Prune gives back what no snapshot needs, and nothing else, whatever happens on the way."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import timedelta

import pytest

from coldhouse.errors import PruneRefused, StorageError, StorageFull
from coldhouse.events import Event, Warned
from coldhouse.model import TableName
from coldhouse.operations import pin, proof, prune
from coldhouse.operations.proof import ProofRecord
from coldhouse.operations.prune import PruneOptions, PruneReport
from coldhouse.operations.restore_note import RestoreNote
from coldhouse.records import replace
from coldhouse.repository import names, open_repository
from coldhouse.repository.marking import mark
from tests.repository.samples import PASSPHRASE, new_repository
from tests.repository.test_rewriting import current, history, said
from tests.support.faulty import Call, Fault, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage
from tests.support.spoiling import spoiled

EVERYTHING = PruneOptions(max_unused=0)


class Died(BaseException):
    """The process is gone."""


class Kept:
    """A repository of which some snapshots were forgotten, and what the others say."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        repository = new_repository(self.storage)
        self.made = history(repository)
        repository.forget([self.made[0].id, self.made[2].id])
        self.says = {one.id: said(repository, one.id) for one in (self.made[1], self.made[3])}

    def again(self) -> MemoryStorage:
        """The same objects in another store."""
        storage = MemoryStorage()
        storage.objects.update(self.storage.objects)
        return storage


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


def clean(storage: MemoryStorage, kept: Kept) -> None:
    """Everything that snapshots need is there, and nothing else."""
    repository = open_repository(storage, PASSPHRASE)
    assert {id: said(repository, id) for id in repository.snapshot_ids()} == kept.says
    marks = mark(repository, current(repository))
    needed = {names.pack(ref.id): ref.size for ref in marks.packs()}
    needed |= {names.manifest(id): size for id, size in marks.manifests()}
    stored = {name: len(data) for name, data in storage.objects.items() if name.startswith(("packs/", "manifests/"))}
    assert stored == needed
    assert not [name for name in storage.objects if name.startswith("intents/")]
    assert {data for name, data in storage.objects.items() if name.startswith(("condemned/", "snapshots/"))} - {
        names.FENCE
    } == {storage.objects[name] for name in current(repository)}


def pruned(storage: MemoryStorage | FaultyStorage, options: PruneOptions = EVERYTHING) -> PruneReport:
    return prune.run(open_repository(storage, PASSPHRASE), options)


def test_a_dry_run_says_what_will_be_done_and_changes_nothing(kept: Kept) -> None:
    storage = kept.again()
    plan = prune.prepare(open_repository(storage, PASSPHRASE), EVERYTHING)
    assert storage.objects == kept.storage.objects
    assert plan.rewrite.packs and plan.rewrite.left == 0 and not plan.empty
    before = sum(map(len, storage.objects.values()))
    report = prune.run(open_repository(storage, PASSPHRASE), EVERYTHING, plan)
    assert report.rewritten.packs == len(plan.rewrite.packs)
    rewritten = sum(use.ref.size for use in plan.rewrite.packs)
    assert report.collected.deleted.bytes >= plan.survey.unneeded.bytes + rewritten
    assert report.collected.deleted.packs == plan.survey.unneeded.packs + len(plan.rewrite.packs)
    assert sum(map(len, storage.objects.values())) < before - plan.rewrite.freed // 2
    clean(storage, kept)
    assert prune.prepare(open_repository(storage, PASSPHRASE), EVERYTHING).empty


def test_nothing_is_written_anew_unless_there_is_much_unused(kept: Kept) -> None:
    storage = kept.again()
    report = pruned(storage, PruneOptions(max_unused=100))
    assert (report.rewritten.packs, report.collected.deleted.bytes > 0) == (0, True)
    assert {id: said(open_repository(storage, PASSPHRASE), id) for id in kept.says} == kept.says
    assert not pruned(storage, PruneOptions(max_unused=100)).collected.deleted.bytes


def test_notes_of_snapshots_that_are_gone_go_too(kept: Kept) -> None:
    storage = kept.again()
    repository = open_repository(storage, PASSPHRASE)
    gone, there = kept.made[0].id, kept.made[1].id
    for id in (gone, there):
        proof.write(repository, id, ProofRecord())
        repository.put_note(pin.KIND, id, b"")
    assert pruned(storage).notes == 2
    assert [key for key, _ in repository.notes(proof.KIND)] == [there]
    assert [key for key, _ in repository.notes(pin.KIND)] == [there]


def test_without_room_to_write_anew_the_rest_is_done(kept: Kept) -> None:
    storage = kept.again()
    faulty = FaultyStorage(storage, Fault(How.BEFORE, "create", "packs/*", StorageFull("There is no room left.")))
    told: list[Event] = []
    repository = open_repository(faulty, PASSPHRASE)
    report = prune.run(repository, EVERYTHING, None, told.append)
    assert (report.rewritten.packs, report.collected.deleted.bytes > 0) == (0, True)
    assert any(isinstance(each, Warned) and "no room" in each.text for each in told)
    pruned(storage)
    clean(storage, kept)


def test_a_snapshot_that_cannot_be_read_stops_it(kept: Kept) -> None:
    storage = kept.again()
    name = current(open_repository(storage, PASSPHRASE))[0]
    storage.objects[name] = spoiled(storage.objects[name])
    before = {name: data for name, data in storage.objects.items() if name.startswith(("packs/", "manifests/"))}
    with pytest.raises(PruneRefused) as caught:
        pruned(storage)
    assert name in caught.value.message
    assert before.items() <= storage.objects.items()


# ------------------------------------------------------------------------------------------------- whatever goes wrong


def count_of_calls(kept: Kept) -> int:
    faulty = FaultyStorage(kept.again())
    pruned(faulty)
    return len(faulty.calls)


@pytest.mark.parametrize("how", ["before", "after", "death"])
@pytest.mark.parametrize("part", range(4))
def test_after_a_fault_at_any_call_nothing_is_lost_and_a_repeat_succeeds(kept: Kept, how: str, part: int) -> None:
    """Every seventh call, so that four parts and three kinds together meet calls of every kind."""
    error: BaseException = Died() if how == "death" else StorageError("injected")
    for at in range(part * 7 + len(how) % 5, count_of_calls(kept), 28):
        storage = kept.again()
        faulty = FaultyStorage(storage, Fault(How.AFTER if how == "after" else How.BEFORE, error=error, skip=at))
        with suppress(StorageError, Died):
            pruned(faulty)
        repository = open_repository(storage, PASSPHRASE)
        assert {id: said(repository, id) for id in repository.snapshot_ids()} == kept.says
        for name in [name for name in storage.objects if name.startswith("intents/")]:
            del storage.objects[name]  # stands for the hours after which they count as dead
        pruned(storage)
        clean(storage, kept)


def test_whenever_a_prune_is_killed_the_next_one_finishes_it(kept: Kept) -> None:
    """Also where a snapshot has two revisions by then, which need what it will not need when one is left."""
    writes = ("create", "put", "delete")
    faulty = FaultyStorage(kept.again())
    pruned(faulty)
    for at, call in enumerate([call for call in faulty.calls if call.verb in writes]):
        storage = kept.again()

        def die(call: Call, left: list[int] = [at]) -> None:  # noqa: B006 - counted down
            if call.verb in writes:
                left[0] -= 1
                if left[0] < 0:
                    raise Died

        with suppress(Died):
            pruned(FaultyStorage(storage, watch=die))
        for name in [name for name in storage.objects if name.startswith("intents/")]:
            del storage.objects[name]  # stands for the hours after which they count as dead
        pruned(storage)
        clean(storage, kept)
        assert prune.prepare(open_repository(storage, PASSPHRASE), EVERYTHING).empty, f"killed before {call}"


@pytest.mark.parametrize("name", ["packs/*", "manifests/*", "condemned/*", "graves/*", "snapshots/*"])
@pytest.mark.parametrize("verb", ["create", "delete", "put"])
def test_two_prunes_at_once(kept: Kept, name: str, verb: str) -> None:
    """The second one runs from its beginning to its end while the first one is about to make a call."""
    storage = kept.again()
    met = threading.Event()

    def watch(call: Call) -> None:
        if Fault(How.BEFORE, verb, name).meets(call) and not met.is_set():
            met.set()
            pruned(storage)

    prune.run(open_repository(FaultyStorage(storage, watch=watch), PASSPHRASE), EVERYTHING)
    repository = open_repository(storage, PASSPHRASE)
    assert {id: said(repository, id) for id in repository.snapshot_ids()} == kept.says
    pruned(storage)
    clean(storage, kept)


def test_a_snapshot_that_is_read_keeps_what_it_needs_until_that_ends(kept: Kept) -> None:
    storage = kept.again()
    repository = open_repository(storage, PASSPHRASE)
    id = kept.made[3].id
    packs = {name for name in storage.objects if name.startswith("packs/")}
    with repository.reading("restore", [id]):
        snapshot = repository.snapshot(id)  # its first revision; the prune makes another
        report = pruned(storage)
        assert report.rewritten.packs
        assert [one.kind for one in report.collected.waits] == ["restore"]
        assert packs <= storage.objects.keys()
        with repository.pack_reader() as reader:
            for entry in repository.entries(snapshot):
                for ref in entry.pages:
                    page = repository.page(ref)
                    for part in page.parts():
                        for file in part.files:
                            assert sum(map(len, reader.read(page.packs, file.extents, 0, file.size))) == file.size
    pruned(storage)
    clean(storage, kept)


def test_limits_are_those_of_the_options() -> None:
    options = PruneOptions(dead_after=timedelta(hours=5), keep_unfinished=timedelta(days=3))
    assert (options.limits.dead_after, options.limits.keep_unfinished) == (timedelta(hours=5), timedelta(days=3))


def test_what_a_restore_noted_goes_when_nobody_came_to_finish_it(kept: Kept) -> None:
    repository = open_repository(kept.again(), PASSPHRASE)
    begun, appending = RestoreNote(repository, "begun"), RestoreNote(repository, "appending")
    for note in (begun, appending):
        note.begin(frozenset({TableName("a", "b")}))
    appending.add_appending(TableName("a", "log"), 7)
    assert prune.prepare(repository, prune.PruneOptions()).notes == (), "a repeat may still need it"
    at_once = prune.PruneOptions(keep_unfinished=timedelta())
    with repository.reading("restore", [kept.made[1].id]):
        assert prune.prepare(repository, at_once).notes == (), "one is at work"
        plan = replace(prune.prepare(repository, at_once), notes=(("restore", "begun"),))
        prune.run(repository, at_once, plan)
        assert len(list(repository.notes("restore"))) == 2, "it was taken up since the plan was made"
    assert prune.prepare(repository, at_once).notes == (("restore", "begun"),)
    prune.run(repository, at_once)
    assert [key for key, _ in repository.notes("restore")] == ["appending"], "without it a repeat would double rows"
