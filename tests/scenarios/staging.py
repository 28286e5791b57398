"""What can be done with a repository, played from a beginning that is always the same: for tests that let it fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import (
    Corruption,
    RepositoryExists,
    RepositoryInUse,
    WrongPassphrase,
)
from coldhouse.operations import copy, forget, key, prune, verify
from coldhouse.records import replace
from coldhouse.repository import Repository, open_repository
from coldhouse.repository.condemned import is_closed
from coldhouse.repository.slots import Slot
from coldhouse.storage import Storage
from tests.scenarios.conftest import CHEAP
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Call, FaultyStorage, How
from tests.support.memory_storage import MemoryStorage

OTHER = "another passphrase"
NEW = "a new passphrase"
READS = frozenset({"get", "get_range", "list", "size", "free_space"})
#: What can go wrong with a call that reads, and with one that writes.
READING = (How.BEFORE, How.SHORT, How.FLIP)
WRITING = (How.BEFORE, How.AFTER, How.TWICE)


class Elsewhere(MemoryStorage):
    """Another place."""

    @property
    def url(self) -> str:
        return "memory:elsewhere"


@dataclass(frozen=True)
class Kind:
    """Calls that are alike."""

    verb: str
    name: str

    @classmethod
    def of(cls, call: Call) -> Kind:
        folders = call.name.split("/")[: 2 if call.name.startswith("notes/") else 1]
        return cls(call.verb, "/".join(folders) + ("/*" if "/" in call.name else ""))

    def ways(self) -> tuple[How, ...]:
        return READING if self.verb in READS else WRITING


@dataclass
class Stage:
    """A beginning: the store of the repository, and another place; the faults are in ``hit``."""

    main: FaultyStorage
    other: FaultyStorage
    hit: FaultyStorage
    elsewhere: bool


@dataclass
class Play:
    """A source, the objects of a repository with two snapshots of it, and what each of them must restore to.

    The source has changed since: ``now`` is what it holds.
    """

    world: World
    objects: dict[str, bytes]
    contents: dict[str, dict[str, str]]
    now: dict[str, str]
    elsewhere: dict[str, bytes]

    def stage(self, operation: Operation, main: Storage | None = None, other: Storage | None = None) -> Stage:
        """A new beginning: in two stores that hold nothing, in memory unless they are given."""
        main, other = main or MemoryStorage(), other or Elsewhere()
        for store, objects in ((main, self.objects), (other, self.elsewhere if operation.elsewhere else {})):
            for name, content in objects.items():
                store.create(name, content)
        stores = FaultyStorage(main), FaultyStorage(other)
        if operation.act is restore:
            self.world.query(f"DROP DATABASE IF EXISTS {self.world.db}_copy SYNC")
        return Stage(*stores, stores[operation.hits_other], operation.elsewhere)

    def at(self, repository: Repository) -> World:
        return replace(self.world, repository=repository)

    def check_restores(self, repository: Repository, snapshot: str, content: dict[str, str]) -> None:
        copied = f"{self.world.db}_copy"
        self.world.query(f"DROP DATABASE IF EXISTS {copied} SYNC")
        self.at(repository).restore(snapshot, renames=((self.world.db, copied),))
        assert self.world.content(db=copied) == content

    @property
    def ids(self) -> list[str]:
        return sorted(self.contents)

    def check_restores_all(self, stage: Stage) -> None:
        """Every snapshot brings back what the source held when it was taken."""
        repository = opened(stage.main.inner)
        for id in repository.snapshot_ids():
            self.check_restores(repository, id, self.contents.get(id, self.now))

    def check_nothing_left(self, stage: Stage, operation: Operation) -> None:
        """In neither place anything is left that no prune finds."""
        for store in (stage.main.inner, stage.other.inner):
            if any(True for _ in store.list("config")):
                apart = store is stage.other.inner and (operation.elsewhere or operation.act is init)
                check_nothing_left(store, OTHER if apart else PASSPHRASE)

    def check_committed(self, stage: Stage, operation: Operation) -> None:
        """What was committed before is there, and whatever is visible is whole."""
        repository = opened(stage.main.inner)
        lost = set(self.ids) - set(repository.snapshot_ids())
        assert lost <= ({self.ids[0]} if operation.act in (forget_first, prune_first) else set())
        check_sound(repository)


Act = Callable[[Play, Stage], None]


@dataclass(frozen=True)
class Operation:
    """What is done, and what must be true when it was done; ``elsewhere``: the other place holds a repository."""

    act: Act
    check: Act
    hits_other: bool = False
    elsewhere: bool = False


def opened(store: Storage, passphrase: str = PASSPHRASE) -> Repository:
    return open_repository(store, passphrase)


def back_up(play: Play, stage: Stage) -> None:
    assert play.at(opened(stage.main)).backup().complete


def check_backup(play: Play, stage: Stage) -> None:
    repository = opened(stage.main)
    check_sound(repository)
    newest = repository.snapshot(repository.snapshot_ids()[-1])
    assert newest.id not in play.ids
    assert newest.accounting.rows == sum(int(content.split("\t")[0]) for content in play.now.values())


def restore(play: Play, stage: Stage) -> None:
    db = play.world.db
    assert play.at(opened(stage.main)).restore(play.ids[-1], renames=((db, f"{db}_copy"),)).complete


def check_restore(play: Play, stage: Stage) -> None:
    assert play.world.content(db=f"{play.world.db}_copy") == play.contents[play.ids[-1]]


def forget_first(play: Play, stage: Stage) -> None:
    repository = opened(stage.main)
    if play.ids[0] in repository.snapshot_ids():  # a lost answer may have come after the deed
        forget.execute(repository, forget.prepare(repository, forget.ForgetOptions(names=(play.ids[0],))))


def check_forgotten(play: Play, stage: Stage) -> None:
    assert opened(stage.main.inner).snapshot_ids() == play.ids[1:]


def prune_first(play: Play, stage: Stage) -> None:
    """Give back all the space of a snapshot that was forgotten before."""
    opened(stage.main.inner).forget([play.ids[0]])
    prune.run(opened(stage.main), prune.PruneOptions(max_unused=0))


def check_pruned(play: Play, stage: Stage) -> None:
    """A listing that lacks some objects makes a prune that leaves them: the next one finds them."""
    repository = opened(stage.main.inner)
    assert repository.snapshot_ids() == play.ids[1:]
    check_sound(repository)
    options = prune.PruneOptions(max_unused=0)
    # Stands for the hours after which those count as dead who could not take back what they had announced.
    stage.main.inner.delete([stored.name for stored in stage.main.inner.list("intents/")])
    prune.run(repository, options)
    left = prune.prepare(repository, options)
    assert left.empty, left
    check_sound(repository)


#: In a store of the tests all objects have one time: who is not heard of since is dead.
AT_ONCE = timedelta(microseconds=-1)
#: What may stay for good: all of it is said in FORMAT.md. Packs and manifests are needed, or a prune would delete them.
KEPT = ("config", "keys/*", "rotations/*", "packs/*", "manifests/*", "snapshots/*", "condemned/*", "graves/*")
#: Notes that are no leftovers: what is known of snapshots and packs, and those of the tests themselves.
KEPT_NOTES = ("notes/proof/*", "notes/checked/*", "notes/pin/*", "notes/test/*")


def check_nothing_left(store: Storage, passphrase: str = PASSPHRASE) -> None:
    """What an operation left behind when it failed is gone after a prune, or a prune finds it, and nothing else is."""
    repository = opened(store, passphrase)
    options = prune.PruneOptions(max_unused=0, dead_after=AT_ONCE, keep_unfinished=AT_ONCE)
    for _ in range(2):  # a list that had to wait is closed by the next one
        prune.run(repository, options)
    plan = prune.prepare(repository, options)
    assert plan.empty, plan
    left = [stored for stored in store.list("") if not any(fnmatchcase(stored.name, kept) for kept in KEPT)]
    assert [stored.name for stored in left if not any(fnmatchcase(stored.name, kept) for kept in KEPT_NOTES)] == []
    assert [stored.name for stored in store.list("condemned/") if not is_closed(stored)] == []


def copy_alike(play: Play, stage: Stage) -> None:
    source = opened(stage.main)
    target = copy.open_target(source, stage.other, lambda: pytest.fail("it has the same keys"), init_like=True)
    report(copy.run(source, target, transfers=1))


def copy_anew(play: Play, stage: Stage) -> None:
    source = opened(stage.main)
    report(copy.run(source, copy.open_target(source, stage.other, lambda: OTHER), transfers=1))


def report(done: copy.CopyReport) -> None:
    """Damage that a copy meets is told of each snapshot and does not end the others."""
    if not done.complete:
        raise Corruption(f"not complete: {[one.note for one in done.snapshots]}")


def check_copy(play: Play, stage: Stage) -> None:
    target = opened(stage.other.inner, OTHER if stage.elsewhere else PASSPHRASE)
    assert target.snapshot_ids() == play.ids
    check_sound(target)
    assert {id: accounts(target, id) for id in play.ids} == {id: accounts(opened(stage.main), id) for id in play.ids}


def check_sound(repository: Repository) -> None:
    """Every byte of every snapshot that is visible has the checksum that ClickHouse gave it."""
    for found in verify.run(repository, verify.VerifyOptions(level="data")):
        assert found.ok, found.problems


def accounts(repository: Repository, id: str) -> tuple[int, ...]:
    held = repository.snapshot(id).accounting
    return held.data, held.tables, held.parts, held.files, held.rows


def add_key(play: Play, stage: Stage) -> None:
    if not opens(stage.main, NEW):  # a lost answer may have come after the deed
        opened(stage.main).slots.add(NEW, full=True, cost=CHEAP)


def check_key_added(play: Play, stage: Stage) -> None:
    assert opens(stage.main, NEW)
    assert opens(stage.main, PASSPHRASE)


def remove_key(play: Play, stage: Stage) -> None:
    repository = opened(stage.main)
    slots = key.list_keys(repository)
    look_again_if_damaged(slots)
    if any(slot.label == "second" for slot in slots):
        key.remove(repository, key.plan_removal(slots, ["second"], force=False))


def look_again_if_damaged(slots: Iterable[Slot]) -> None:
    """What a person does who is told of a damaged key: it may have been the answer that was."""
    for slot in slots:
        if slot.damaged:
            raise Corruption("A key is damaged.", object_name=f"keys/{slot.id}")


def check_key_removed(play: Play, stage: Stage) -> None:
    assert not opens(stage.main.inner, OTHER)
    assert opens(stage.main.inner, PASSPHRASE)


def rotate_keys(play: Play, stage: Stage) -> None:
    rotation = key.Rotation(opened(stage.main), PASSPHRASE, [OTHER])
    look_again_if_damaged(item.slot for item in rotation.plan)
    try:
        rotation.run()
    except RepositoryInUse as error:
        assert "--take-over" in error.hint
        key.Rotation(opened(stage.main), PASSPHRASE, [OTHER]).run(take_over=True)


def check_rotated(play: Play, stage: Stage) -> None:
    for passphrase in (PASSPHRASE, OTHER):
        repository = opened(stage.main.inner, passphrase)
        newest = max(slot.generation for slot in repository.slots.all())
        assert [slot.generation for slot in repository.slots.all() if slot.in_use] == [newest]
        assert newest > 1
        assert len(repository.slots.all()) == 2, "one key for each holder, however often it was interrupted"
        repository.put_note("test", "written after", b"by the newest generation")
    check_key_note(opened(stage.main.inner))


def check_key_note(repository: Repository) -> None:
    assert repository.get_note("test", "written after") == b"by the newest generation"


def init(play: Play, stage: Stage) -> None:
    with suppress(RepositoryExists):  # a lost answer may have come after the deed
        repositories.init(stage.other, OTHER, kdf=CHEAP)


def check_init(play: Play, stage: Stage) -> None:
    assert opened(stage.other.inner, OTHER).snapshot_ids() == []


def opens(store: Storage, passphrase: str) -> bool:
    try:
        opened(store, passphrase)
    except WrongPassphrase:
        return False
    return True


OPERATIONS = {
    "backup": Operation(back_up, check_backup),
    "restore": Operation(restore, check_restore),
    "forget": Operation(forget_first, check_forgotten),
    "prune": Operation(prune_first, check_pruned),
    "copy by objects, its source": Operation(copy_alike, check_copy),
    "copy by objects, its target": Operation(copy_alike, check_copy, hits_other=True),
    "copy anew, its source": Operation(copy_anew, check_copy, elsewhere=True),
    "copy anew, its target": Operation(copy_anew, check_copy, hits_other=True, elsewhere=True),
    "key add": Operation(add_key, check_key_added),
    "key remove": Operation(remove_key, check_key_removed),
    "key rotate": Operation(rotate_keys, check_rotated),
    "init": Operation(init, check_init, hits_other=True),
}
