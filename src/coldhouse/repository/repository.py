"""The repository as the rooms above see it: opening, and everything that an open one offers."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

from coldhouse.errors import (
    Corruption,
    NoRepository,
    NoSuchSnapshot,
    ObjectExists,
    ObjectMissing,
    OldKey,
    RepositoryExists,
)
from coldhouse.model import Buffer, ManifestRef, PackRef, PageRef, Part, Snapshot, TableEntry
from coldhouse.repository import condemned, intents, keys, names, notes, revisions
from coldhouse.repository.ahead import Ahead, reading_ahead
from coldhouse.repository.catalog import read_entries
from coldhouse.repository.condemned import Condemned
from coldhouse.repository.credentials import Credential
from coldhouse.repository.crypto import Keyring, Kind, damaged, unseal
from coldhouse.repository.draft import SnapshotDraft, read_page
from coldhouse.repository.intents import Intent
from coldhouse.repository.keys import KdfCost
from coldhouse.repository.manifests import read_manifest
from coldhouse.repository.opened_pack import check_pack, open_pack, read_directory
from coldhouse.repository.own_state import OwnState
from coldhouse.repository.pack_format import Run
from coldhouse.repository.pack_reader import (
    CACHE_BYTES,
    FETCH_BYTES,
    PackReader,
)
from coldhouse.repository.pack_writer import PackSettings, PackWriter
from coldhouse.repository.page import Page
from coldhouse.repository.records import decode_record
from coldhouse.repository.slots import Slots, unlock
from coldhouse.storage.base import Storage

#: So often a snapshot is looked for anew when what was found became a fence before it was read.
_LOOKS = 5


class Repository:
    """An open repository. Everything in it may be used from any thread."""

    def __init__(self, storage: Storage, ring: Keyring, slot: str = "", own: OwnState | None = None) -> None:
        """``slot`` is the id of the key slot that was opened; ``own`` is for a key that cannot read, see recalling."""
        self.id = ring.repository.hex()
        self.write_only = ring.newest.private is None
        self.slots = Slots(storage, ring, slot)
        self._slot = slot
        self._own = own
        self.storage = storage
        self.url = storage.url
        self._ring = ring

    @property
    def lacking(self) -> int:
        """The newest generation of the master key that others hold and this key does not; 0 if it holds the newest."""
        return self._ring.lacking

    @property
    def ring(self) -> Keyring:
        """All its keys, for what seals and opens objects of this repository."""
        return self._ring

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the storage; the repository is not used afterwards."""
        self.storage.close()

    def recalling(self, own: OwnState) -> Repository:
        """The same repository for a key that cannot read: it sees its own snapshots as ``own`` has them."""
        return Repository(self.storage, self._ring, self._slot, own)

    # ------------------------------------------------------------------------------------------------------ snapshots

    def readable_snapshot_ids(self) -> list[str]:
        """The ids of the snapshots that this key can read, oldest first; one that cannot reads what it has kept.

        What was kept says nothing of packs that were written anew: only a snapshot in its first revision counts.
        """
        there = self.snapshot_objects()
        if not self.write_only:
            return sorted(there)
        first = sorted(id for id, objects in there.items() if objects[0] == names.snapshot(id))
        return [id for id in first if self._own is not None and self._own.holds(id)]

    def snapshot_ids(self) -> list[str]:
        """The ids of all snapshots, oldest first."""
        return sorted(self.snapshot_objects())

    def snapshot_objects(self) -> dict[str, list[str]]:
        """The names of the objects of each snapshot, by its id: its revisions that are no fences, the current first."""
        return revisions.standing(self.storage.list(names.SNAPSHOTS))

    def snapshot(self, id: str) -> Snapshot:
        """One snapshot by its full id. Raises NoSuchSnapshot, WriteOnlyKey, OldKey, Corruption."""
        if not names.is_snapshot_id(id):
            raise _unknown(id)
        kept = self._own.snapshot(id) if self._own is not None else None
        if kept is not None:
            return kept
        name, stored = self._stored_snapshot(id)
        snapshot = decode_record(unseal(self._ring, Kind.SNAPSHOT, name, stored), Snapshot, name, "a snapshot")
        if snapshot.id != id or snapshot.started.tzinfo is None or snapshot.finished.tzinfo is None:
            raise damaged(name, "is another snapshot than its name says, or its times are without a zone")
        return snapshot

    def snapshots(self, ids: Iterable[str] | None = None) -> Iterator[Snapshot]:
        """The snapshots of these ids in their order, or all, oldest first; one that is removed meanwhile is left out.

        Raises OldKey, WriteOnlyKey, Corruption, StorageError.
        """
        for _, found in self.each_snapshot(self.snapshot_ids() if ids is None else ids):
            if not isinstance(found, Snapshot):
                raise found
            yield found

    def each_snapshot(self, ids: Iterable[str]) -> Iterator[tuple[str, Snapshot | OldKey | Corruption]]:
        """The snapshots of these ids in their order, several read at a time; one that is removed meanwhile is left out.

        In place of one that cannot be read stands what is wrong with it. Raises WriteOnlyKey, StorageError.
        """
        with self.reading_ahead() as ahead:
            for id, found in ahead.each(self._tried, ids):
                if found is not None:
                    yield id, found

    def _tried(self, id: str) -> tuple[str, Snapshot | OldKey | Corruption | None]:
        try:
            return id, self.snapshot(id)
        except NoSuchSnapshot:
            return id, None
        except (OldKey, Corruption) as error:
            return id, error

    def find(self, name: str) -> Snapshot:
        """The snapshot of this id, or of this unique beginning of an id or of its random tail, or the ``latest``.

        Raises:
            NoSuchSnapshot: there is none, or more than one.
            Corruption: it is damaged.
        """
        ids = self.snapshot_ids()
        if name == "latest" and ids:
            return self.snapshot(ids[-1])
        if name in ids:
            return self.snapshot(name)
        found = [id for id in ids if name and (id.startswith(name) or id.rpartition("-")[2].startswith(name))]
        if len(found) > 1:
            raise NoSuchSnapshot(
                f"{name!r} stands for {len(found)} snapshots: {', '.join(found[:5])}.", hint="Give more of the id."
            )
        if not found:
            raise _unknown(name)
        return self.snapshot(found[0])

    def forget(self, ids: Sequence[str]) -> None:
        """Put fences over snapshots, and do nothing else; what only they needed is left to a collection."""
        revisions.fence(self.storage, ids)

    def _stored_snapshot(self, id: str) -> tuple[str, Buffer]:
        """The object that counts for a snapshot: its name and content. Raises NoSuchSnapshot, Corruption."""
        name: str | None = names.snapshot(id)
        for _ in range(_LOOKS):
            stored = None if name is None else revisions.read_object(self.storage, name)
            if name is not None and stored is not None:
                return name, stored
            name = revisions.current(self.storage, id)
            if name is None:
                break
        raise _unknown(id)

    # ------------------------------------------------------------------------------------------------------ manifests

    def entries(self, snapshot: Snapshot) -> Iterator[TableEntry]:
        """The tables of a snapshot in the order of their names, read as they are asked for. Raises Corruption."""
        return read_entries(snapshot.catalog, self._read_catalog)

    def page(self, ref: PageRef) -> Page:
        """One manifest page. Raises Corruption."""
        return read_page(self.storage, self._ring, ref, self._own)

    def pages(self, refs: Iterable[PageRef]) -> Generator[tuple[PageRef, Page], None, None]:
        """These manifest pages in their order, several read at a time. Raises Corruption."""
        with self.reading_ahead() as ahead:
            yield from ahead.each(lambda ref: (ref, self.page(ref)), refs, waits=lambda ref: not ref.inline)

    def reading_ahead(self) -> AbstractContextManager[Ahead]:
        """Threads that read what is asked for next, as many as the store can make use of."""
        return reading_ahead(self.storage.readers)

    def parts(self, entry: TableEntry, partitions: Collection[str] | None = None) -> Iterator[Part]:
        """The parts of a table (of some partitions) by (partition, name); only pages that can hold them are read."""
        for ref in entry.pages:
            if partitions is None or any(ref.first <= partition <= ref.last for partition in partitions):
                yield from self.page(ref).parts(partitions)

    def draft(self, parent: Snapshot | None, intent: Intent | None = None) -> SnapshotDraft:
        """Begin a snapshot that shares what it can with ``parent``, which was read after ``intent`` was entered.

        Without one the commit makes its own: then a prune may take away, unseen, what the draft has stored so far.
        """
        return SnapshotDraft(self.storage, self._ring, parent, self._own, intent)

    def _read_catalog(self, ref: ManifestRef) -> bytes:
        return read_manifest(self.storage, self._ring, Kind.CATALOG, ref, self._own)

    # -------------------------------------------------------------------------------------------------------- intents

    def intent(self, kind: str, commits: Iterable[str] = ()) -> Intent:
        """Announce what is going to be committed, by the names of the objects; to be entered before anything is read.

        Entering it raises Corruption for a condemned list that cannot be read, and StorageError.
        """
        return Intent(self.storage, kind, commits)

    def reading(self, kind: str, snapshots: Iterable[str] = ()) -> AbstractContextManager[bool]:
        """Announce that snapshots are read (by their ids, if they are known); says whether the store allowed it."""
        return intents.reading(self.storage, kind, snapshots)

    def graves(self) -> Condemned:
        """The objects whose deletion was decided: nothing may refer to them any more. Raises Corruption."""
        return condemned.read_all(self.storage, names.GRAVES)

    # ---------------------------------------------------------------------------------------------------------- packs

    def pack_writer(self, settings: PackSettings | None = None) -> PackWriter:
        """Begin to store file contents. Raises UsageError for an unknown compression."""
        return PackWriter(self.storage, self._ring, settings or PackSettings())

    def pack_reader(
        self, *, cache_bytes: int = CACHE_BYTES, fetch_bytes: int = FETCH_BYTES, sweep_bytes: int = 0
    ) -> PackReader:
        """Begin to read file contents, with a cache of decrypted bytes and requests of at most ``fetch_bytes``.

        What it lends in ranges of at least ``sweep_bytes`` is read past the cache, a run by one request; 0: nothing is.
        """
        return PackReader(self.storage, self._ring, cache_bytes, fetch_bytes, sweep_bytes)

    def directory(self, pack: bytes) -> tuple[PackRef, tuple[Run, ...]]:
        """What a pack says of itself, without any manifest: its reference and its runs of files. Raises Corruption."""
        opened = open_pack(self.storage, self._ring, pack)
        return opened.ref, read_directory(self.storage, opened)

    def check_pack(self, pack: bytes, known: Collection[int] = ()) -> int:
        """Read and authenticate every byte of a pack; returns the bytes of plaintext in it. Raises Corruption.

        Frames whose numbers are ``known`` have been read before, and are not read again.
        """
        return check_pack(self.storage, open_pack(self.storage, self._ring, pack), known)

    # ---------------------------------------------------------------------------------------------------------- proof

    def stored_packs(self) -> Iterator[tuple[bytes, int]]:
        """Every pack in the store as (id, size in bytes), as the store lists them."""
        return self._listed(names.PACKS)

    def stored_manifests(self) -> Iterator[tuple[bytes, int]]:
        """Every manifest in the store as (id, size in bytes), as the store lists them."""
        return self._listed(names.MANIFESTS)

    def catalog(self, ref: ManifestRef) -> Iterator[TableEntry]:
        """The entries of one catalog object of a snapshot. Raises Corruption."""
        return read_entries([ref], self._read_catalog)

    def damaged_keys(self) -> Iterator[Corruption]:
        """What is wrong with key slots, as far as it shows without their passphrases; nothing if they are sound."""
        for slot in self.storage.list(names.KEYS):
            try:
                keys.check_slot(slot.name, self.storage.get(slot.name, limit=keys.MAX_SIZE))
            except Corruption as error:
                yield error
            except ObjectMissing:
                continue

    def _listed(self, prefix: str) -> Iterator[tuple[bytes, int]]:
        for stored in self.storage.list(prefix):
            id = names.id_of(stored.name)
            if id is not None:
                yield id, stored.size

    # ---------------------------------------------------------------------------------------------------------- notes

    def put_note(self, kind: str, key: str, data: bytes) -> None:
        """Store a small sealed record; ``kind`` is a short word of ``[a-z0-9-]``, and the store cannot read ``key``."""
        notes.put_note(self.storage, self._ring, kind, key, data)

    def get_note(self, kind: str, key: str) -> bytes | None:
        """Read a record; None if there is none. Raises Corruption."""
        return notes.get_note(self.storage, self._ring, kind, key)

    def get_notes(self, kind: str, keys: Iterable[str]) -> Iterator[tuple[str, bytes | OldKey | Corruption]]:
        """Those of these keys that have a record, in their order, each with it or with what is wrong with it."""
        return notes.get_notes(self.storage, self._ring, kind, keys)

    def delete_note(self, kind: str, key: str) -> None:
        """Remove a record, if it is there."""
        notes.delete_note(self.storage, self._ring, kind, key)

    def notes(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """All records of a kind as (key, data). Raises Corruption."""
        return notes.list_notes(self.storage, self._ring, kind)


def _unknown(name: str) -> NoSuchSnapshot:
    return NoSuchSnapshot(f"There is no snapshot {name!r}.", hint="List them with: coldhouse snapshots")


# ----------------------------------------------------------------------------------------------- creating and opening


def init(storage: Storage, passphrase: str, *, kdf: KdfCost | None = None) -> Repository:
    """Create a repository and open it; ``kdf`` is the price of a guess at the passphrase.

    Raises:
        RepositoryExists: there is one already, or objects of one.
        StorageError: the store failed.
    """
    if _config(storage) is not None:
        raise _exists(storage)
    if _has_remains(storage):
        raise RepositoryExists(
            f"{storage.url} holds the packs or snapshots of a repository whose config object is missing.",
            hint="Put the config object back, or choose another place.",
        )
    config = keys.new_config()
    master = keys.new_master()
    slot, stored = keys.new_slot(config, passphrase, [master], kdf or KdfCost())
    storage.create(names.key_slot(slot), stored)
    storage.sync()
    try:
        storage.create(names.CONFIG, encoded := keys.encode_config(config))
    except ObjectExists as error:
        if bytes(_config(storage) or b"") != encoded:  # else it is ours: the request was carried out twice
            storage.delete([names.key_slot(slot)])
            raise _exists(storage) from error
    storage.sync()
    return Repository(storage, keys.keyring_of(config, [master]), slot)


def open_repository(storage: Storage, credential: Credential) -> Repository:
    """Open a repository with a passphrase, or with another credential.

    Raises:
        NoRepository: there is none.
        WrongPassphrase: it opens no key slot.
        Corruption: config or key slots are damaged.
        UnsupportedFormat: it is of a later format.
    """
    stored = _config(storage)
    if stored is None:
        if _has_remains(storage):
            raise NoRepository(
                f"The config object of the repository at {storage.url} is missing; packs or snapshots are there.",
                hint="Put the object config back from a copy of this repository; a copy --init-like has the same one.",
            )
        raise NoRepository(f"There is no repository at {storage.url}.", hint="Create one with: coldhouse init")
    return Repository(storage, *unlock(storage, keys.decode_config(stored), credential))


def _config(storage: Storage) -> Buffer | None:
    try:
        return storage.get(names.CONFIG, limit=keys.MAX_SIZE)
    except ObjectMissing:
        return None


def _has_remains(storage: Storage) -> bool:
    return any(next(iter(storage.list(prefix)), None) for prefix in (names.PACKS, names.SNAPSHOTS))


def _exists(storage: Storage) -> RepositoryExists:
    return RepositoryExists(f"There is a repository at {storage.url} already.", hint="Use it, or choose another place.")
