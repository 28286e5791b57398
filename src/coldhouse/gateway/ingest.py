"""Taking in: what one BACKUP statement sends, and the last word on whether it may succeed.

The server's habits that are met here were measured on ClickHouse 26.7 and 26.9. The important ones: a PUT is repeated
when its answer was lost, or after a stall of 31 s while the first is still open; 403 and 507 make BACKUP fail at
once, 5xx make it repeat, 400 makes it try a multipart upload; after a failure, even of its last step, it deletes all
that it wrote.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType

from msgspec import Struct

from coldhouse.cityhash import file_hash
from coldhouse.errors import ColdhouseError
from coldhouse.gateway import s3
from coldhouse.gateway.archive import ArchiveSink, UnknownArchive
from coldhouse.gateway.document import DOCUMENT, DocumentSink
from coldhouse.gateway.intake import FileSink, FileStream, Received, read_checked, take_body
from coldhouse.gateway.multipart import Uploads, part_number
from coldhouse.gateway.objects import LAST_MODIFIED, InMemory, Served, send_object
from coldhouse.gateway.request import Request
from coldhouse.gateway.settings import ARCHIVE, Address
from coldhouse.gateway.workers import Workers
from coldhouse.model import Buffer, Extent

__all__ = ["Arrived", "ArrivedFiles", "FileSink", "FileStream", "IngestSession"]

DATA = "data/"
BASE_DOCUMENT = "base/.backup"
LOCK = ".lock"
MAX_LOCK = 4096  # bytes; ClickHouse writes a UUID, 36
MAX_SMALL_REQUEST = 4 * 1024 * 1024  # bytes of XML: 10,000 parts, or 1,000 keys to delete
MAX_DOCUMENT = 512 * 1024 * 1024  # bytes; one file takes 100 to 190
TOKEN = b"x-amz-meta-clickhouse-write-token"


class Arrived(Struct, frozen=True):
    """A file that ClickHouse sent: its size, the checksum of what came (16 bytes, or empty as the file), its place."""

    size: int
    checksum: bytes
    extents: tuple[Extent, ...]


#: What arrived, by key below ``data/``: ``data_file`` in the document.
ArrivedFiles = Mapping[str, Arrived]


class _Lock(Struct, frozen=True):
    content: bytes
    token: bytes
    etag: str


class IngestSession:
    """One BACKUP statement's other end. Everything public may be read from any thread while it runs.

    ``document`` is the `.backup` document once ``verify`` has let it pass, and nothing is taken in after that;
    ``arrived`` and ``kept`` are what came before it. ``received_bytes`` counts bodies, repeated ones too. ``error`` is
    the first failure of the sink or of a callback. ``cleanup_seen``: ClickHouse has asked to delete what it wrote
    (never obeyed). ``unknown_archive``: it sent an archive, of a kind that cannot be read.
    """

    def __init__(
        self,
        sink: FileSink,
        *,
        base: Callable[[], Buffer] | None,
        verify: Callable[[bytes, ArrivedFiles], str | None],
        keep: Callable[[bytes], bool],
        max_document: int = MAX_DOCUMENT,
    ) -> None:
        """Say where bodies go and who decides.

        Args:
            sink: where the bytes go; a PackWriter.
            base: gives the synthetic `.backup` under ``base/``; called once, in a thread; None if there is no base.
            verify: gets the document and what arrived, in a thread, and says why the backup must fail, or None.
            keep: says of a body of 1 MiB or less whether it is also to be kept in memory (definitions); in a thread.
            max_document: the largest `.backup` document that is taken, in bytes.
        """
        self.document: bytes | None = None
        self.kept: dict[str, bytes] = {}
        self.received_bytes = 0
        self.error: ColdhouseError | None = None
        self.cleanup_seen = False
        self.unknown_archive = False
        self.address: Address | None = None
        self._arrived: dict[str, Arrived] = {}
        self._sink = sink
        self._base = base
        self._base_document: Buffer | None = None
        self._verify = verify
        self._keep = keep
        self._max_document = max_document
        self._archive: s3.Listed | None = None
        self._lock: _Lock | None = None
        self._refusal = ""
        self._sealed = False
        self._uploads = Uploads()
        self._ended = False
        self._ending = threading.Event()
        self._counting = threading.Lock()
        self._loading = asyncio.Lock()
        self._judging = asyncio.Lock()

    @property
    def arrived(self) -> ArrivedFiles:
        """What arrived so far, as it is now: more comes in another thread, until ``document`` is there."""
        return MappingProxyType(self._arrived.copy())  # copied in one step, which a walk over it is not

    @property
    def arrived_files(self) -> int:
        """How many files arrived so far."""
        return len(self._arrived)

    def wait(self, seconds: float) -> bool:
        """Wait, but not on when ClickHouse takes its lock away or cleans up; says whether it did (once each time)."""
        ending = self._ending.wait(seconds)
        self._ending.clear()
        return ending

    def refuse(self, reason: str) -> None:
        """Make everything that ClickHouse still sends fail with ``reason``, so that BACKUP ends at once."""
        self._refusal = self._refusal or reason

    def fail(self, error: ColdhouseError) -> s3.Refusal:
        """Keep the first error for the operation to tell, and say how it is answered: BACKUP fails at once on 507."""
        self.error = self.error or error
        return _out_of_order(error)

    async def find(self, key: str, workers: Workers) -> s3.Listed | None:
        """What a listing says of a key."""
        key = _known_as(key)
        served = await self._readable(key, workers)
        if served is not None:
            return s3.Listed(served.size, served.etag)
        if key == DATA + ARCHIVE:
            return self._archive
        there = self._arrived.get(key.removeprefix(DATA)) if key.startswith(DATA) else None
        return None if there is None else s3.Listed(there.size, _etag(there))

    async def answer(self, request: Request, key: str, workers: Workers) -> s3.Reply | None:
        """Answer one request below the session's prefix. Raises Refusal, Disconnected, ColdhouseError."""
        key = _known_as(key)
        match request.method:
            case "GET" | "HEAD":
                return await self._give(request, key, workers)
            case "PUT":
                return await self._put(request, _data_key(key), workers)
            case "POST":
                return await self._post(request, _data_key(key), workers)
            case "DELETE":
                return await self._delete(request, _data_key(key))
        raise s3.denied()

    async def delete_objects(self, request: Request) -> s3.Reply:
        """Take note of DeleteObjects: a BACKUP that fails cleans up, even when all is stored (issue 112271)."""
        self.cleanup_seen = True
        self._ending.set()
        async for _ in request.chunks():
            pass
        return s3.deleted()

    async def _give(self, request: Request, key: str, workers: Workers) -> s3.Reply | None:
        """ClickHouse reads its lock, the base's document, and asks whether what it sent is there."""
        served = await self._readable(key, workers)
        if served is not None:
            token = self._lock.token if self._lock is not None and key == DATA + LOCK else b""
            return await send_object(request, served, workers, _ignore, ((TOKEN, token),) if token else ())
        found = await self.find(key, workers)
        if found is None:
            raise s3.absent()
        if request.method == "GET":
            raise s3.forbidden("What a BACKUP has sent cannot be read from here.")
        return s3.Reply(200, ((b"etag", s3.quoted(found.etag)), LAST_MODIFIED), length=found.size)

    async def _readable(self, key: str, workers: Workers) -> Served | None:
        if key == BASE_DOCUMENT and self._base is not None:
            async with self._loading:
                if self._base_document is None:
                    self._base_document = await workers.run(self._base)
            return InMemory(self._base_document, "base")
        if key == DATA + LOCK and self._lock is not None:
            return InMemory(self._lock.content, self._lock.etag)
        if key == DATA + DOCUMENT and self.document is not None:
            return InMemory(self.document, file_hash(self.document).hex())
        return None

    async def _put(self, request: Request, key: str, workers: Workers) -> s3.Reply:
        if request.header(b"x-amz-copy-source"):
            raise s3.not_implemented("CopyObject")
        self._admit(key)
        upload_id = request.query.get("uploadId")
        if upload_id is not None:
            upload = self._uploads.find(upload_id, key)
            number = part_number(request.query.get("partNumber", ""))
            with self._noticing():
                return s3.Reply(200, ((b"etag", await upload.take(number, request, workers, self._progress)),))
        if key == LOCK:
            return await self._put_lock(request, workers)
        if key == DOCUMENT:
            return await self._judge(await read_checked(request, workers, self._max_document), workers)
        received, kept = await take_body(request, workers, self._sink, self._progress, self._keep)
        return s3.Reply(200, ((b"etag", s3.quoted(self._record(key, received, kept))),))

    async def _put_lock(self, request: Request, workers: Workers) -> s3.Reply:
        content = await read_checked(request, workers, MAX_LOCK)
        lock = _Lock(content, request.header(TOKEN), file_hash(content).hex())
        there = self._lock
        once = request.header(b"if-none-match") == b"*"
        if there is not None and once and not (lock.token and lock == there):  # the same again: its answer was lost
            raise s3.Refusal(412, "PreconditionFailed", "Another BACKUP has its lock here.")
        self._lock = lock
        return s3.Reply(200, ((b"etag", s3.quoted(lock.etag)),))

    async def _post(self, request: Request, key: str, workers: Workers) -> s3.Reply:
        if "uploads" in request.query:
            self._admit(key)
            if key == LOCK:
                raise s3.denied()
            return s3.created_upload(request.bucket, request.key, self._uploads.create(key, self._sink_for(key)).id)
        if "uploadId" in request.query:
            body = await read_checked(request, workers, MAX_SMALL_REQUEST)
            etag = await self._complete(request.query["uploadId"], key, s3.parse_completion(body), workers)
            return s3.completed_upload(request.bucket, request.key, etag)
        raise s3.not_implemented("such POST")

    async def _complete(self, upload_id: str, key: str, numbers: Sequence[int], workers: Workers) -> str:
        etag = self._uploads.completed(upload_id, key)
        if etag is not None:
            return etag
        self._admit(key)
        upload = self._uploads.find(upload_id, key)
        received = upload.complete(numbers)
        if isinstance(upload.sink, DocumentSink | ArchiveSink):
            with self._noticing():
                document = upload.sink.document()
            await self._judge(document, workers)
            etag = "document"
            if key == ARCHIVE:
                self._archive = s3.Listed(received.size, etag)
        else:
            etag = self._record(key, received, None)
        await self._uploads.end(upload, etag)
        return etag

    def _sink_for(self, key: str) -> FileSink:
        if key == DOCUMENT:
            return DocumentSink(self._max_document)
        if key == ARCHIVE:
            return ArchiveSink(self._sink, self._max_document, self._record_entry)
        return self._sink

    def _record_entry(self, name: str, received: Received, body: bytes | None) -> None:
        """A file of an archive is in the sink; in a thread, one after the other."""
        self._record(name, received, body if body is not None and self._keep(body) else None)

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """Take note of an archive that cannot be read."""
        try:
            yield
        except UnknownArchive:
            self.unknown_archive = True
            raise

    async def _delete(self, request: Request, key: str) -> s3.Reply:
        """Delete nothing but the lock: that is how every BACKUP ends, and an error here would undo a good one."""
        upload_id = request.query.get("uploadId")
        if upload_id is not None:
            await self._uploads.drop(self._uploads.find(upload_id, key))
        elif key == LOCK:
            self._lock = None
            self._ended = True
            self._ending.set()
        else:
            self.cleanup_seen = True
        return s3.Reply(204)

    async def _judge(self, document: bytes, workers: Workers) -> s3.Reply:
        """Let the document pass or not; what arrives from here on is no part of the backup, but for the same again."""
        async with self._judging:
            if self.document is not None and self.document != document:
                raise s3.forbidden("The backup is complete already, with another document.")
            if self.document is None:
                self._sealed = True
                try:
                    reason = await workers.run(partial(self._verify, document, self.arrived))
                    if reason is not None:
                        raise s3.forbidden(reason)
                    self.document = document
                finally:
                    self._sealed = self.document is not None
            return s3.Reply(200, ((b"etag", s3.quoted("document")),))

    def _record(self, key: str, received: Received, kept: bytes | None) -> str:
        """A body is in the sink: from now on it has arrived. The same key again replaces what was there."""
        self._admit(key)
        self._arrived[key] = there = Arrived(received.size, received.checksum, received.extents)
        if kept is not None:
            self.kept[key] = kept
        else:
            self.kept.pop(key, None)
        return _etag(there)

    def _progress(self, size: int) -> None:
        with self._counting:
            self.received_bytes += size
        self._admit("")

    def _admit(self, key: str) -> None:
        """Raise Refusal where nothing may come in any more."""
        if self._refusal:
            raise s3.forbidden(self._refusal)
        if self.error is not None:
            raise _out_of_order(self.error)
        if self.cleanup_seen or self._ended or (self._sealed and key != DOCUMENT):
            raise s3.forbidden("This backup has ended; nothing more is taken in.")


def _known_as(key: str) -> str:
    """The lock of an archive has a name of its own, and is a lock like any other."""
    return DATA + LOCK if key == DATA + ARCHIVE + LOCK else key


def _data_key(key: str) -> str:
    """The key below ``data/``, the only place where anything can be changed. Raises Refusal (403)."""
    inner = key.removeprefix(DATA)
    if inner == key or not inner:
        raise s3.denied()
    return inner


def _etag(there: Arrived) -> str:
    return there.checksum.hex() or "empty"


def _out_of_order(error: ColdhouseError) -> s3.Refusal:
    return s3.Refusal(507, "InsufficientStorage", error.message)


def _ignore(_: int) -> None:
    """What is read from an ingest session is not counted."""
