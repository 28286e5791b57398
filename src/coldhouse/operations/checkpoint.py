"""What a backup has stored before it is finished, noted so that a backup after a crash need not send it again.

Every so many bytes a note in the repository says which files have arrived whole and lie in packs that are stored. The
next backup of the same source offers them to ClickHouse as known, which then does not send them; a finished backup
deletes the notes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, ObjectMissing, OldKey
from coldhouse.model import Extent, PackRef
from coldhouse.repository import IMPOSSIBLE, PackWriter, Repository, pack_name

if TYPE_CHECKING:
    from coldhouse.gateway import Arrived, IngestSession

KIND = "unfinished"
#: How many bytes may have to be sent again after a crash, at most about.
EVERY_BYTES = 256 * 1024 * 1024
#: Files in one note: some 5 MB of it.
FILES_PER_NOTE = 50_000


class SavedFile(Struct, frozen=True):
    """A file that is stored: its size, its checksum (16 bytes) and where it is."""

    size: int
    checksum: bytes
    extents: tuple[Extent, ...]


class Checkpoint(Struct, frozen=True):
    """One note: of which source, which files, in which packs."""

    source: str
    packs: tuple[PackRef, ...]
    files: tuple[SavedFile, ...]


class Recalled(Struct, frozen=True):
    """What unfinished backups of a source left: files whose packs are all still there, and those packs."""

    files: tuple[SavedFile, ...] = ()
    packs: tuple[PackRef, ...] = ()
    notes: tuple[str, ...] = ()


class CheckpointWriter:
    """Notes what one backup has stored so far; used by one thread."""

    def __init__(self, repository: Repository, source: str, backup: str, every: int) -> None:
        self._repository = repository
        self._source = source
        self._backup = backup
        self._every = every
        self._noted = 0
        self._keys: list[str] = []
        self._waiting: dict[str, Arrived] = {}
        self._seen = 0

    def look(self, session: IngestSession, writer: PackWriter) -> None:
        """Take note of what arrived since the last look, once enough of it is stored.

        Definitions are left out: a backup needs their text, not their place.
        """
        items = list(session.arrived.items())
        self._waiting.update((key, file) for key, file in items[self._seen :] if key not in session.kept)
        self._seen = len(items)
        if self._repository.write_only:
            return  # it could neither read its notes nor, where it may not delete, remove them
        if writer.stored_bytes - self._noted < self._every:
            return
        self._noted = writer.stored_bytes
        stored = {pack.id: pack for pack in writer.packs()}
        ready = {
            key: file
            for key, file in self._waiting.items()
            if file.extents and all(extent.pack in stored for extent in file.extents)
        }
        # A pack is in the store when its upload has ended; that its name survives a power failure needs this as well.
        self._repository.storage.sync()
        files = [SavedFile(file.size, file.checksum, file.extents) for file in ready.values()]
        for start in range(0, len(files), FILES_PER_NOTE):
            self._write(files[start : start + FILES_PER_NOTE], stored)
        for key in ready:
            del self._waiting[key]

    def end_statement(self, session: IngestSession, writer: PackWriter) -> None:
        """Look once more, now that all of it is stored; what arrives from here on belongs to another statement."""
        self.look(session, writer)
        self._waiting.clear()
        self._seen = 0

    def forget(self) -> None:
        """Delete the notes: the backup is committed."""
        for key in self._keys:
            self._repository.delete_note(KIND, key)
        self._keys.clear()

    def _write(self, files: list[SavedFile], stored: Mapping[bytes, PackRef]) -> None:
        used = {extent.pack: stored[extent.pack] for file in files for extent in file.extents}
        note = Checkpoint(self._source, tuple(used.values()), tuple(files))
        key = f"{self._backup} {len(self._keys)}"
        self._repository.put_note(KIND, key, msgspec.msgpack.encode(note))
        self._keys.append(key)


def recall(repository: Repository, source: str) -> Recalled:
    """What backups of this source have stored and never finished; packs that are gone by now take their files along.

    So do packs that a prune has decided to delete: nothing keeps what only a note refers to. Notes that cannot be read
    cost what they would have saved, and nothing else.
    """
    if repository.write_only:
        return Recalled()
    try:
        notes = [(key, note) for key, note in _notes(repository) if note.source == source]
        graves = repository.graves() if notes else None
    except (Corruption, OldKey):
        return Recalled()
    packs = {pack.id: pack for _, note in notes for pack in note.packs}
    kept = (pack for pack in packs.values() if graves is None or not graves.pack(pack.id))
    there = {pack.id: pack for pack in kept if _is_there(repository, pack)}
    files = {
        (file.size, file.checksum): file
        for _, note in notes
        for file in note.files
        if all(extent.pack in there for extent in file.extents)
    }
    return Recalled(tuple(files.values()), tuple(there.values()), tuple(key for key, _ in notes))


def forget_recalled(repository: Repository, recalled: Recalled) -> None:
    """Delete the notes of unfinished backups: what is needed of them is in a snapshot now."""
    for key in recalled.notes:
        repository.delete_note(KIND, key)


def _notes(repository: Repository) -> Iterator[tuple[str, Checkpoint]]:
    for key, data in repository.notes(KIND):
        try:
            yield key, msgspec.msgpack.decode(data, type=Checkpoint)
        except IMPOSSIBLE:
            continue


def _is_there(repository: Repository, pack: PackRef) -> bool:
    try:
        return repository.storage.size(pack_name(pack.id)) == pack.size
    except ObjectMissing:
        return False
