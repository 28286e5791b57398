"""What the actors of the collection's protocol do, and what must be true whatever becomes of them."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from random import Random
from unittest.mock import patch

import msgspec

from coldhouse.errors import ColdhouseError, NoSuchSnapshot, ObjectMissing
from coldhouse.model import Extent, FileEntry, PackRef, Part, PartState, Snapshot
from coldhouse.repository import Repository, draft, names
from coldhouse.repository.collection import Collection, Limits
from coldhouse.repository.crypto import Kind, seal
from coldhouse.repository.intents import Intent
from coldhouse.repository.manifests import ManifestWriter
from coldhouse.repository.marking import mark, read_root
from coldhouse.repository.pack_format import table_size
from coldhouse.repository.superseding import successions, supersede
from coldhouse.storage.base import Storage
from tests.repository.interleaving import Actor, How, Inline, Stage
from tests.repository.samples import checksum, entry, new_repository, root
from tests.support.memory_storage import MemoryStorage

PACK_SIZE = 100
NOTES = "unfinished"


class Seeded:
    """Stands for the module ``secrets``: the same seed makes the same ids, so that a play can be repeated."""

    def __init__(self, random: Random) -> None:
        self.token_bytes = random.randbytes
        self.randbits = random.getrandbits


@contextmanager
def tamed(random: Random) -> Iterator[None]:
    """Let repositories do everything in the thread that asks for it, and give every page an object of its own."""
    with (
        patch.object(names, "secrets", Seeded(random)),
        patch.object(concurrent.futures, "ThreadPoolExecutor", Inline),
        patch.object(ManifestWriter, "_open_pool", lambda _: Inline()),
        patch.object(draft, "MAX_INLINE", 0),
    ):
        yield


class Protocol:
    """Writers, readers, prunes, rewritings and forgettings over one store."""

    def __init__(self, random: Random, limits: Limits | None = None) -> None:
        memory = MemoryStorage()
        self._ring = new_repository(memory)._ring
        self.random = random
        self.stage = Stage(memory.objects, random)
        self.limits = limits or Limits()
        self.carried = 0.6  # how likely a backup carries a table of its parent
        self.adds = True  # whether a backup adds a table
        self.everything = False  # whether forgetting means all snapshots
        self._needs: dict[bytes, frozenset[tuple[str, int]]] = {}

    # --------------------------------------------------------------------------------------------------------- actors

    def begin(self, kind: str) -> Actor:
        """Let another actor come."""
        acts: dict[str, Callable[[Repository], None]] = {
            "backup": self._back_up,
            "late": self._back_up_without_an_intent,
            "recall": self._recall,
            "prune": lambda repository: prune(repository, self.limits),
            "forget": self._forget,
            "rewrite": self._rewrite,
            "read": self._read,
        }
        act = acts[kind]
        return self.stage.begin(kind, lambda storage: act(self._at(storage)))

    def _at(self, storage: Storage) -> Repository:
        return Repository(storage, self._ring)

    def _back_up(self, repository: Repository) -> None:
        wanted = root()
        with repository.intent("backup", [names.snapshot(wanted.id)]) as intent:
            parent = self._some(repository)
            with repository.draft(parent, intent) as made:
                self._fill(repository, made, parent, [])
                made.commit(replace(wanted, parent=parent.id if parent else ""))

    def _back_up_without_an_intent(self, repository: Repository) -> None:
        parent = self._some(repository)
        with repository.draft(parent) as made:
            self._fill(repository, made, parent, [])
            made.commit(root(parent))

    def _recall(self, repository: Repository) -> None:
        """A backup that takes over what others have noted, and notes what it has stored itself."""
        wanted = root()
        with repository.intent("backup", [names.snapshot(wanted.id)]) as intent:
            noted = [ref for _, data in repository.notes(NOTES) for ref in msgspec.msgpack.decode(data)["packs"]]
            packs = [PackRef(ref["id"], ref["size"], ref["table_size"]) for ref in noted]
            if packs:
                graves = repository.graves()
                packs = [ref for ref in packs if not graves.pack(ref.id) and not intent.condemned.pack(ref.id)]
            packs = [ref for ref in packs if is_there(repository, ref)]
            with repository.draft(None, intent) as made:
                fresh = self._store_pack(repository)
                repository.put_note(NOTES, f"{wanted.id} 0", msgspec.msgpack.encode({"packs": [fresh]}))
                self._fill(repository, made, None, [fresh, *packs])
                made.commit(wanted)
                repository.delete_note(NOTES, f"{wanted.id} 0")

    def _fill(
        self, repository: Repository, made: draft.SnapshotDraft, parent: Snapshot | None, packs: list[PackRef]
    ) -> None:
        """Carry some tables of the parent, and add one."""
        for each in repository.entries(parent) if parent is not None else ():
            if self.random.random() < self.carried:
                made.carry(each)
        if not self.adds:
            return
        packs = packs or [self._store_pack(repository)]
        known = {ref.id: ref for ref in packs}
        made.add(entry(f"t{names.new_object_id().hex()}"), [part_in(known)], known.__getitem__)

    def _store_pack(self, repository: Repository) -> PackRef:
        ref = PackRef(names.new_object_id(), PACK_SIZE, table_size(8))
        repository.storage.create(names.pack(ref.id), bytes(PACK_SIZE))
        return ref

    def _some(self, repository: Repository) -> Snapshot | None:
        ids = repository.snapshot_ids()
        try:
            return repository.snapshot(self.random.choice(ids)) if ids else None
        except NoSuchSnapshot:
            return None

    def _forget(self, repository: Repository) -> None:
        ids = repository.snapshot_ids()
        some = [id for id in ids if self.random.random() < 0.5] or ids[:1]
        repository.forget(ids if self.everything else some)

    def _rewrite(self, repository: Repository) -> None:
        """Write the packs of a snapshot anew, and put its next revision in its place."""
        ids = repository.snapshot_ids()
        if not ids:
            return
        id = self.random.choice(ids)
        subject = successions(repository.storage.list(names.SNAPSHOTS))[id]
        with repository.intent("prune", [subject.next]) as intent:
            snapshot = read_root(repository, subject.standing[0]) if subject.standing else None
            if snapshot is None:
                return
            with repository.draft(None, Unchecked(intent)) as made:
                for each in repository.entries(snapshot):
                    packs = {ref.id: ref for page in each.pages for ref in repository.page(page).packs.values()}
                    if any(map(intent.condemned.pack, packs)):
                        return
                    fresh = self._store_pack(repository)
                    made.add(each, [part_in({fresh.id: fresh})], {fresh.id: fresh}.__getitem__)
                catalog = made._parent_catalog().arrange(made._tables, made._write_catalog)
                made._manifests.flush()
                made._prove(catalog, intent, repository.graves())
            sealed = seal(
                self._ring,
                Kind.SNAPSHOT,
                names.snapshot(id),
                msgspec.msgpack.encode(replace(snapshot, catalog=catalog)),
            )
            supersede(repository.storage, intent, subject, sealed)

    def _read(self, repository: Repository) -> None:
        with repository.reading("restore"):
            snapshot = self._some(repository)
            for each in repository.entries(snapshot) if snapshot is not None else ():
                for page in each.pages:
                    repository.page(page)

    # ------------------------------------------------------------------------------------------------------ invariant

    def needs(self) -> dict[str, frozenset[tuple[str, int]]]:
        """What each snapshot object needs, by its name."""
        found = {}
        for objects in self._at(self.stage.storage).snapshot_objects().values():
            for name in objects:
                content = self.stage.storage.objects[name]
                if content not in self._needs:
                    self._needs[content] = self._read_needs(name)
                found[name] = self._needs[content]
        return found

    def _read_needs(self, name: str) -> frozenset[tuple[str, int]]:
        try:
            marks = mark(self._at(self.stage.storage), [name], threads=0)
        except ColdhouseError as error:
            raise AssertionError(f"{name}, just committed, is not whole: {error}\n{self.stage.story()}") from error
        packs = {(names.pack(ref.id), ref.size) for ref in marks.packs()}
        return frozenset(packs | {(names.manifest(id), size) for id, size in marks.manifests()})

    def check(self) -> None:
        """Everything that a committed snapshot needs is there."""
        objects = self.stage.storage.objects
        for name, needs in self.needs().items():
            for needed, size in needs:
                if len(objects.get(needed, b"")) != size:
                    raise AssertionError(f"{name} needs {needed}, which is gone\n{self.stage.story()}")

    # ----------------------------------------------------------------------------------------------------------- play

    def play(self, steps: int) -> None:
        """Let everything happen at random, and then let it become quiet."""
        with tamed(self.random):
            try:
                for _ in range(2):
                    self._finish(self.begin("backup"))
                current: Actor | None = None
                for _ in range(steps):
                    current = self._one_step(current)
                    self.check()
                self._calm_down()
            finally:
                self.stage.close()

    def _one_step(self, current: Actor | None) -> Actor | None:
        random, stage = self.random, self.stage
        if random.random() < 0.01:
            stage.let_time_pass(timedelta(hours=3))
        if random.random() < 0.03:
            stage.repeat_late()
        if current is None or current.finished or random.random() < 0.12:
            current = self._choose()
        chance = random.random()
        if chance < 0.005:
            stage.kill(current)
            return None
        stage.step(current, How.LOST if chance < 0.012 else How.LATE if chance < 0.018 else How.DONE)
        return current

    def _choose(self) -> Actor:
        actors = self.stage.actors
        if len(actors) < 2 or (len(actors) < 7 and self.random.random() < 0.3):
            kinds = ("backup", "backup", "late", "recall", "prune", "prune", "prune", "forget", "rewrite", "read")
            return self.begin(self.random.choice(kinds))
        return self.random.choice(actors)

    def _finish(self, actor: Actor) -> None:
        while not actor.finished:
            self.stage.step(actor)
            self.check()

    def _calm_down(self) -> None:
        """Whoever is at work ends or dies; after a prune in peace nothing is there that no snapshot needs."""
        for actor in list(self.stage.actors):
            if self.random.random() < 0.3:
                self.stage.kill(actor)
            else:
                self._finish(actor)
        for _ in range(5):
            self.stage.repeat_late()
            self.check()
        self.stage.let_time_pass(timedelta(days=20))
        before = self.needs()
        self._finish(self.begin("prune"))
        assert self.needs() == before, f"a prune changed a snapshot\n{self.stage.story()}"
        self._check_tidy(before)

    def _check_tidy(self, needs: dict[str, frozenset[tuple[str, int]]]) -> None:
        needed = {name for each in needs.values() for name, _ in each}
        objects = self.stage.storage.objects
        stored = {name for name in objects if name.startswith((names.PACKS, names.MANIFESTS))}
        assert stored == needed, f"left over: {sorted(stored - needed)}\n{self.stage.story()}"
        intents = [name for name in objects if name.startswith(names.INTENTS)]
        assert not intents, f"left over: {intents}\n{self.stage.story()}"
        pending = [name for name in objects if name.startswith(names.CONDEMNED) and objects[name] != names.FENCE]
        assert not pending, f"left over: {pending}\n{self.stage.story()}"


class Unchecked(Intent):
    """Stands for an intent in a draft that is not committed as such."""

    def __init__(self, intent: Intent) -> None:
        self.condemned = intent.condemned


def prune(repository: Repository, limits: Limits) -> None:
    Collection(repository, limits, threads=0).run()


def is_there(repository: Repository, ref: PackRef) -> bool:
    try:
        return repository.storage.size(names.pack(ref.id)) == ref.size
    except ObjectMissing:
        return False


def part_in(packs: dict[bytes, PackRef]) -> Part:
    """A part with a file in each of these packs."""
    files = tuple(FileEntry(f"f{at}", 10, checksum(id), (Extent(id, 0, 10),)) for at, id in enumerate(sorted(packs)))
    return Part(PartState("all", "all_1_1_0", checksum(b"".join(packs)), 1, 1), files)
