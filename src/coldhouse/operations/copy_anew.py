"""Copy a snapshot into a repository with keys of its own: contents are opened, compared with the checksums that
ClickHouse gave them, and sealed anew; manifests are made anew around them.

What the target holds already is found as a backup finds it: in the pages of the snapshot there that is nearest to this
one, by size and checksum. What an interrupted copy stored is found by its notes (see checkpoint). Memory follows the
largest table's manifest, and the pack writer's buffers.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from coldhouse.cityhash import FileHash
from coldhouse.errors import Corruption, StorageError
from coldhouse.events import Listener, Phase, Progress
from coldhouse.model import Extent, FileEntry, PackRef, PageRef, Part, Snapshot, TableEntry, TableName
from coldhouse.operations import checkpoint
from coldhouse.operations.copy_objects import Tally
from coldhouse.operations.known_files import KnownFiles, KnownPage
from coldhouse.records import replace
from coldhouse.repository import Intent, PackReader, PackSettings, PackWriter, Page, Repository, SnapshotDraft

Piece = Part | PageRef
Key = tuple[int, bytes]

#: Files whose places wait in memory until the packs that they are in are closed, and pages are written.
_FILES = 20_000


@dataclass(slots=True)
class _Waiting:
    """Tables whose parts are sent, but may lie in packs that are not closed yet."""

    tables: list[tuple[TableEntry, list[Piece], tuple[PageRef, ...]]] = field(default_factory=list)
    files: int = 0


class AnewCopier:
    """Copies snapshots one after the other."""

    def __init__(
        self, source: Repository, target: Repository, threads: int, compression: str, listener: Listener
    ) -> None:
        self._source = source
        self._target = target
        self._threads = threads
        self._settings = PackSettings(compression=compression)
        self._listener = listener

    def copy(self, id: str, intent: Intent) -> Tally:
        """Copy one snapshot to the name that ``intent`` declares.

        Raises Corruption of the source's objects, StorageError, BackupFailed where that name was closed meanwhile.
        """
        snapshot = self._source.snapshot(id)
        origin = f"copy of {self._source.id}"
        parent = self._nearest(snapshot)
        recalled = checkpoint.recall(self._target, origin)
        with (
            self._source.pack_reader() as reader,
            self._target.pack_writer(self._settings) as writer,
            self._target.draft(parent, intent) as draft,
            ThreadPoolExecutor(self._threads, "copy") as pool,
        ):
            notes = _Notes(self._target, origin, writer)
            mover = _Mover(reader, writer, pool, self._listener, snapshot.accounting.data)
            tables = _Tables(self._source, self._target, parent, recalled, draft, mover, notes)
            try:
                self._listener(Phase("copying"))
                tables.copy(self._source.entries(snapshot))
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            cost = replace(snapshot.accounting, stored=writer.stored_bytes, objects=writer.objects)
            draft.commit(replace(snapshot, catalog=(), accounting=cost))
            notes.forget()
            checkpoint.forget_recalled(self._target, recalled)
            return Tally(writer.objects + draft.objects, writer.stored_bytes + draft.stored_bytes)

    def _nearest(self, snapshot: Snapshot) -> Snapshot | None:
        """The snapshot at the target that most likely holds the same: the parent, else the newest of the source."""
        ids = self._target.snapshot_ids()
        with _of_target(self._target):
            if snapshot.parent in ids:
                return self._target.snapshot(snapshot.parent)
            earlier = sorted((id for id in ids if id < snapshot.id), reverse=True)
            for id in (*earlier, *(id for id in ids if id > snapshot.id)):
                found = self._target.snapshot(id)
                if found.source.identity == snapshot.source.identity:
                    return found
        return None


class _Tables:
    """Brings the tables of one snapshot over."""

    def __init__(
        self,
        source: Repository,
        target: Repository,
        parent: Snapshot | None,
        recalled: checkpoint.Recalled,
        draft: SnapshotDraft,
        mover: _Mover,
        notes: _Notes,
    ) -> None:
        self._source = source
        self._target = target
        self._recalled = recalled
        self._draft = draft
        self._mover = mover
        self._notes = notes
        self._waiting = _Waiting()
        self._shared: dict[bytes, PackRef] = {}  # packs at the target that earlier snapshots refer to
        with _of_target(target):
            entries = list(target.entries(parent)) if parent is not None else []
        self._by_name = {entry.name: entry for entry in entries}
        self._by_uuid = {entry.uuid: entry for entry in entries if entry.name.table and entry.uuid.strip("0-")}

    def copy(self, entries: Iterable[TableEntry]) -> None:
        for entry in entries:
            earlier = self._by_name.get(entry.name) or self._by_uuid.get(entry.uuid)
            pages = earlier.pages if earlier is not None else ()
            if entry.files > _FILES:
                self._write_waiting()
                self._write(entry, self._stored_pieces(entry, pages), pages)
                continue
            if self._waiting.files + entry.files > _FILES:
                self._write_waiting()
            pieces = list(self._pieces(entry, pages))
            self._waiting.tables.append((entry, pieces, pages))
            self._waiting.files += entry.files
        self._write_waiting()
        self._mover.flush()

    def _write_waiting(self) -> None:
        self._mover.flush()
        self._notes.look(self._mover.take_stored())
        waiting, self._waiting = self._waiting, _Waiting()
        for entry, pieces, pages in waiting.tables:
            self._write(entry, pieces, pages)

    def _write(self, entry: TableEntry, pieces: Iterable[Piece], earlier: tuple[PageRef, ...]) -> None:
        pages = self._draft.write_pages(pieces, self._pack, earlier)
        self._draft.carry(replace(entry, pages=pages))

    def _stored_pieces(self, entry: TableEntry, earlier: tuple[PageRef, ...]) -> Iterator[Piece]:
        """The pieces of a large table; each is handed out when the packs that it lies in are closed."""
        ready: list[Piece] = []
        files = 0
        for piece in self._pieces(entry, earlier):
            ready.append(piece)
            files += 0 if isinstance(piece, PageRef) else len(piece.files)
            if files >= _FILES:
                self._mover.flush()
                self._notes.look(self._mover.take_stored())
                yield from ready
                ready, files = [], 0
        self._mover.flush()
        self._notes.look(self._mover.take_stored())
        yield from ready

    def _pieces(self, entry: TableEntry, earlier: tuple[PageRef, ...]) -> Iterator[Piece]:
        """The parts of a table as they lie at the target; where a page there holds the same, that page."""
        if not entry.pages:
            return
        with _of_target(self._target):
            known = KnownFiles((KnownPage(self._target.page(ref)) for ref in earlier), (), self._recalled)
        self._shared.update(known.packs)
        moved: dict[Key, tuple[Extent, ...]] = {}
        for ref in entry.pages:
            page = self._source.page(ref)
            same = self._same_page(ref, page, earlier)
            if same is not None:
                self._mover.passed(ref.bytes)
                yield same
            else:
                yield from self._mover.move(page, entry.name, known, moved)

    def _same_page(self, ref: PageRef, page: Page, earlier: tuple[PageRef, ...]) -> PageRef | None:
        """A page at the target with exactly these parts and files."""
        for candidate in earlier:
            if (candidate.digest, candidate.files, candidate.bytes) != (ref.digest, ref.files, ref.bytes):
                continue
            with _of_target(self._target):
                other = self._target.page(candidate)
            if _alike(page, other):
                return candidate
        return None

    def _pack(self, id: bytes) -> PackRef:
        shared = self._shared.get(id)
        return shared if shared is not None else self._mover.writer.pack(id)


class _Mover:
    """Moves file contents, a few at a time."""

    def __init__(
        self, reader: PackReader, writer: PackWriter, pool: ThreadPoolExecutor, listener: Listener, total: int
    ) -> None:
        self.writer = writer
        self._reader = reader
        self._pool = pool
        self._listener = listener
        self._total = total
        self._done = 0
        self._stored: list[checkpoint.SavedFile] = []

    def move(
        self, page: Page, table: TableName, known: KnownFiles, moved: dict[Key, tuple[Extent, ...]]
    ) -> Iterator[Part]:
        """The parts of a page with the places of their files at the target; ``moved`` is what this table has sent."""
        under_way: dict[Key, Future[tuple[Extent, ...]]] = {}
        places: list[tuple[Extent, ...] | Future[tuple[Extent, ...]]] = []
        parts = list(page.parts())
        for part in parts:
            for file in part.files:
                key = (file.size, file.checksum)
                identified = bool(file.checksum) and not file.damaged
                if not file.size:
                    places.append(())
                elif identified and key in known:
                    places.append(known.extents(key))
                elif identified and key in moved:
                    places.append(moved[key])
                elif identified and key in under_way:
                    places.append(under_way[key])
                else:
                    future = self._pool.submit(self._send, page, table, part, file)
                    places.append(future)
                    if identified:
                        under_way[key] = future
        at = iter(places)
        for part in parts:
            yield Part(part.state, tuple([replace(file, extents=_landed(next(at))) for file in part.files]))
            self.passed(sum(file.size for file in part.files))
        for key, future in under_way.items():
            moved[key] = future.result()
            self._stored.append(checkpoint.SavedFile(*key, moved[key]))

    def passed(self, size: int) -> None:
        """Count bytes of the snapshot that are at the target."""
        self._done += size
        self._listener(Progress(min(self._done, self._total), self._total))

    def flush(self) -> None:
        """Close the packs."""
        self.writer.flush()

    def take_stored(self) -> list[checkpoint.SavedFile]:
        """The files that were sent since this was last asked; after a flush they are stored."""
        stored, self._stored = self._stored, []
        return stored

    def _send(self, page: Page, table: TableName, part: Part, file: FileEntry) -> tuple[Extent, ...]:
        stream = self.writer.open_file(file.size, file.checksum or None)
        try:
            found = FileHash()
            for piece in self._reader.read(page.packs, file.extents, 0, file.size):
                found.update(piece)
                stream.write(piece)
            checksum = found.digest()
            if file.checksum and checksum != file.checksum and not file.damaged:
                raise Corruption(
                    f"{table} part {part.state.name}: {file.name} has not the checksum that ClickHouse gave it.",
                    hint="Run verify --level data on the repository that is copied.",
                )
            return stream.finish(checksum, verified=True)
        except BaseException:
            stream.abort()
            raise


class _Notes:
    """Notes what is stored, so that an interrupted copy is continued where it was."""

    def __init__(self, target: Repository, origin: str, writer: PackWriter) -> None:
        self._target = target
        self._origin = origin
        self._writer = writer
        self._session = secrets.token_hex(8)
        self._keys: list[str] = []
        self._noted = 0
        self._files: list[checkpoint.SavedFile] = []

    def look(self, stored: list[checkpoint.SavedFile]) -> None:
        """Take note of files that are stored, once enough came together."""
        self._files += stored
        if self._writer.stored_bytes - self._noted < checkpoint.EVERY_BYTES:
            return
        self._noted = self._writer.stored_bytes
        files, self._files = self._files, []
        for start in range(0, len(files), checkpoint.FILES_PER_NOTE):
            some = tuple(files[start : start + checkpoint.FILES_PER_NOTE])
            packs = {extent.pack: self._writer.pack(extent.pack) for file in some for extent in file.extents}
            note = checkpoint.Checkpoint(self._origin, tuple(packs.values()), some)
            key = f"{self._session} {len(self._keys)}"
            self._target.put_note(checkpoint.KIND, key, msgspec.msgpack.encode(note))
            self._keys.append(key)

    def forget(self) -> None:
        """Delete the notes: the snapshot is committed."""
        for key in self._keys:
            self._target.delete_note(checkpoint.KIND, key)


def _landed(place: tuple[Extent, ...] | Future[tuple[Extent, ...]]) -> tuple[Extent, ...]:
    return place.result() if isinstance(place, Future) else place


def _alike(page: Page, other: Page) -> bool:
    """Whether two pages hold the same parts and files, wherever their bytes lie; damaged files are never alike."""
    if page.has_damage or other.has_damage or not all(key[1] for key in page.file_keys() if key[0]):
        return False
    if list(page.states()) != list(other.states()) or list(page.file_keys()) != list(other.file_keys()):
        return False
    return all(mine == theirs for mine, theirs in zip(_names(page), _names(other), strict=True))


def _names(page: Page) -> Iterator[tuple[str, ...]]:
    for part in page.parts():
        yield tuple([file.name for file in part.files])


@contextmanager
def _of_target(target: Repository) -> Iterator[None]:
    """Damage met inside is the target's, and ends the copy; that of the source only fails a snapshot."""
    try:
        yield
    except Corruption as error:
        raise StorageError(
            f"At {target.url}: {error.message}",
            object_name=error.object_name,
            hint="Run coldhouse repair on that repository before anything else is copied to it.",
        ) from error
