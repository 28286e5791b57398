"""What the actors of the collection's protocol do.

Prunes, rewritings, copies, repairs and forgettings, and what a backup recalls, are the product's own code. Of a backup
its steps with the repository are played here as ``operations/backup.py`` takes them, since there is no server; so are
those of a reader.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from unittest.mock import patch

import msgspec

from coldhouse.cityhash import FileHash
from coldhouse.errors import NoSuchSnapshot
from coldhouse.model import FileEntry, PackRef, Part, PartState, Snapshot
from coldhouse.operations import checkpoint, copy, copy_anew, copy_objects, diagnosis, prune, repair
from coldhouse.operations.checkpoint import Checkpoint, Recalled, SavedFile
from coldhouse.records import replace
from coldhouse.repository import (
    Intent,
    PackSettings,
    Repository,
    draft,
    names,
    pack_writer,
    rebuilding,
    revising,
    rewriting,
)
from coldhouse.repository.collection import Collection, Limits
from coldhouse.repository.crypto import Keyring
from coldhouse.repository.manifests import ManifestWriter
from coldhouse.repository.marking import mark
from coldhouse.repository.pack_format import SLOT_SIZE
from coldhouse.repository.rewrite_plan import PackUse, RewritePlan
from coldhouse.storage.base import Storage
from tests.repository.interleaving import Inline
from tests.repository.samples import entry, root
from tests.support.memory_storage import MemoryStorage

#: Few contents, so that they collide; two of them do not share a piece of a frame, so that a pack can be half unused.
CONTENTS = tuple(bytes([number]) * 40_000 for number in range(4))
SOURCE = root().source.identity
_SMALL = PackSettings(compression="zstd:1", buffers=1, uploads=1, frames=1)


class Seeded:
    """Stands for the module ``secrets``: the same seed makes the same ids, so that a play can be repeated."""

    def __init__(self, random: Random) -> None:
        self.token_bytes = random.randbytes
        self.randbits = random.getrandbits

    def token_hex(self, size: int) -> str:
        """Random bytes as hex digits."""
        return self.token_bytes(size).hex()


@contextmanager
def tamed(random: Random) -> Iterator[None]:
    """Let repositories do everything in the thread that asks for it, and give every page an object of its own."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(names, "secrets", Seeded(random)))
        stack.enter_context(patch.object(concurrent.futures, "ThreadPoolExecutor", Inline))
        for module in (rewriting, copy_objects, copy_anew, diagnosis):
            stack.enter_context(patch.object(module, "ThreadPoolExecutor", Inline))
        for module in (rewriting, copy_objects):
            stack.enter_context(patch.object(module, "as_completed", iter))
        for module in (rewriting, copy_anew):
            stack.enter_context(patch.object(module, "PackSettings", lambda **_: _SMALL))
        stack.enter_context(patch.object(pack_writer, "buffer_size", lambda slots: slots * SLOT_SIZE + (1 << 16)))
        for module in (draft, revising, rebuilding):
            stack.enter_context(patch.object(module, "MAX_INLINE", 0))
        stack.enter_context(patch.object(ManifestWriter, "_open_pool", lambda _: Inline()))
        stack.enter_context(patch.object(Intent, "_begin_renewing", lambda _: None))
        yield


@dataclass
class Cast:
    """Everybody who may come. ``elsewhere`` holds copies of some snapshots, of the same repository."""

    random: Random
    ring: Keyring
    limits: Limits
    elsewhere: MemoryStorage
    carried: float = 0.6  # how likely a backup carries a table of its parent
    adds: float = 0.7  # how likely a backup adds tables
    everything: bool = False  # whether forgetting means all snapshots
    forgotten: set[str] = field(default_factory=set)  # the ids that somebody began to forget

    def part_of(self, kind: str) -> Callable[[Storage], None]:
        """What somebody of this kind does."""
        act = {
            "backup": self._back_up,
            "late": self._back_up_without_an_intent,
            "recall": self._recall,
            "collect": self._collect,
            "prune": self._prune,
            "forget": self._forget,
            "rewrite": self._rewrite,
            "read": self._read,
            "copy": self._copy,
            "repair": self._repair,
        }[kind]
        return lambda storage: act(Repository(storage, self.ring))

    # -------------------------------------------------------------------------------------------------------- writers

    def _back_up(self, repository: Repository) -> None:
        wanted = root()
        with repository.intent("backup", [names.snapshot(wanted.id)]) as intent:
            parent = self._some(repository)
            with repository.draft(parent, intent) as made:
                self._carry(repository, made, parent)
                if self.random.random() < self.adds:
                    self._add(made, *self._store(repository))
                made.commit(replace(wanted, parent=parent.id if parent else ""))

    def _back_up_without_an_intent(self, repository: Repository) -> None:
        parent = self._some(repository)
        with repository.draft(parent) as made:
            self._carry(repository, made, parent)
            if self.random.random() < self.adds:
                self._add(made, *self._store(repository))
            made.commit(root(parent))

    def _recall(self, repository: Repository) -> None:
        """A backup that takes over what others have noted, and notes what it has stored itself."""
        wanted = root()
        with repository.intent("backup", [names.snapshot(wanted.id)]) as intent, repository.draft(None, intent) as made:
            recalled = checkpoint.recall(repository, SOURCE)
            files, packs = self._store(repository)
            saved = tuple(SavedFile(file.size, file.checksum, file.extents) for file in files)
            key = f"{wanted.id} 0"
            repository.put_note(
                checkpoint.KIND, key, msgspec.msgpack.encode(Checkpoint(SOURCE, tuple(packs.values()), saved))
            )
            self._add(made, [*files, *_files_of(recalled)], packs | {ref.id: ref for ref in recalled.packs})
            made.commit(wanted)
            repository.delete_note(checkpoint.KIND, key)
            checkpoint.forget_recalled(repository, recalled)

    def _carry(self, repository: Repository, made: draft.SnapshotDraft, parent: Snapshot | None) -> None:
        for each in repository.entries(parent) if parent is not None else ():
            if self.random.random() < self.carried:
                made.carry(each)

    def _add(self, made: draft.SnapshotDraft, files: Sequence[FileEntry], packs: dict[bytes, PackRef]) -> None:
        """Add a table for each file, so that some of a pack may be carried and the rest not."""
        for file in files:
            made.add(entry(f"t{names.new_object_id().hex()}"), [_part_with(file)], packs.__getitem__)

    def _store(self, repository: Repository) -> tuple[list[FileEntry], dict[bytes, PackRef]]:
        """Two files in a new pack."""
        entries = []
        with repository.pack_writer(_SMALL) as writer:
            for number, content in enumerate(self.random.sample(CONTENTS, 2)):
                stream = writer.open_file(len(content), None)
                stream.write(content)
                checksum = checksum_of(content)
                entries.append(FileEntry(f"f{number}", len(content), checksum, stream.finish(checksum, verified=True)))
            writer.flush()
            return entries, {ref.id: ref for ref in writer.packs()}

    def _copy(self, repository: Repository) -> None:
        """Bring snapshots back from elsewhere, also some that were forgotten here."""
        original = Repository(self.elsewhere, self.ring)
        ids = original.snapshot_ids()
        if ids:
            copy.run(original, repository, self.random.sample(ids, min(2, len(ids))), transfers=1)

    def _repair(self, repository: Repository) -> None:
        repair.run(repository, copy=self.elsewhere if self.random.random() < 0.5 else None, dry_run=False)

    def _rewrite(self, repository: Repository) -> None:
        """Write all packs of a snapshot anew."""
        id = self._some_id(repository)
        standing = repository.snapshot_objects().get(id, []) if id else []
        packs = mark(repository, standing[:1]).packs()
        plan = RewritePlan(tuple(PackUse(ref, 0, measured=True) for ref in packs), 0, 0)
        rewriting.rewrite(repository, plan, rewriting.RewriteSettings(compression="none"))

    # --------------------------------------------------------------------------------------------------------- others

    def _collect(self, repository: Repository) -> None:
        Collection(repository, self.limits).run()

    def _prune(self, repository: Repository) -> None:
        unused = self.random.choice((0.0, 100.0))
        prune.run(
            repository,
            prune.PruneOptions(unused, self.limits.dead_after, self.limits.keep_unfinished, compression="none"),
        )

    def _forget(self, repository: Repository) -> None:
        ids = repository.snapshot_ids()
        some = [id for id in ids if self.random.random() < 0.5] or ids[:1]
        chosen = ids if self.everything or self.random.random() < 0.5 else some
        self.forgotten.update(chosen)
        repository.forget(chosen)

    def _read(self, repository: Repository) -> None:
        with repository.reading("restore"):
            snapshot = self._some(repository)
            for each in repository.entries(snapshot) if snapshot is not None else ():
                for page in each.pages:
                    repository.page(page)

    def _some(self, repository: Repository) -> Snapshot | None:
        id = self._some_id(repository)
        try:
            return repository.snapshot(id) if id else None
        except NoSuchSnapshot:
            return None

    def _some_id(self, repository: Repository) -> str:
        ids = repository.snapshot_ids()
        return self.random.choice(ids) if ids else ""


def checksum_of(content: bytes) -> bytes:
    """As ClickHouse would give it: copies compare contents with it."""
    found = FileHash()
    found.update(content)
    return found.digest()


def _files_of(recalled: Recalled) -> list[FileEntry]:
    return [FileEntry("f", file.size, file.checksum, file.extents) for file in recalled.files]


def _part_with(file: FileEntry) -> Part:
    return Part(PartState("all", "all_1_1_0", file.checksum, 1, 1), (file,))
