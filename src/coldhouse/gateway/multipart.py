"""Multipart uploads: how ClickHouse sends what is too large for one PUT.

Each part goes into the sink as it arrives, but in the order of the part numbers, because the checksum of the file is
chained: a part that comes early waits, and as its body is not read meanwhile, it waits in ClickHouse and not in memory.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import Struct

from coldhouse.cityhash import FileHash
from coldhouse.gateway import s3
from coldhouse.gateway.archive import ArchiveSink
from coldhouse.gateway.intake import FileSink, Intake, Received, body_digests, stream_body
from coldhouse.gateway.request import Disconnected, Request
from coldhouse.gateway.workers import Workers
from coldhouse.model import Buffer, Extent

MAX_UPLOADS = 256
#: Seconds that a part waits for the one before it; then the client is asked to come again.
PATIENCE = 120.0
#: Seconds between two looks of a part that waits, whether there is still anything to wait for.
LOOK = 0.2


class ChainedHash:
    """The checksum of a file whose parts come one after the other, and may come again after they broke off half-way.

    FileHash cannot go back, so a repeated part is not hashed again as far as it was: but its beginning must be the
    same.
    """

    def __init__(self) -> None:
        self._file = FileHash()
        self._part = FileHash()
        self._seen = 0  # bytes of the present part that the file's hash has
        self._place = 0  # bytes of the present attempt
        self._digest = b""  # of those that the file's hash has

    def begin(self) -> None:
        """A part begins, or begins again."""
        self._part = FileHash()
        self._place = 0

    def end(self) -> None:
        """The part is complete."""
        self._seen = 0

    def update(self, chunk: Buffer) -> None:
        """Take the next bytes of the part. Raises Refusal (403) if a repeated part is not the same as before."""
        repeated = min(max(self._seen - self._place, 0), len(chunk))
        self._place += len(chunk)
        if not repeated:
            self._file.update(chunk)
            self._part.update(chunk)
            self._note()
            return
        view = memoryview(chunk)
        self._part.update(bytes(view[:repeated]))
        if self._place >= self._seen and self._part.digest() != self._digest:
            raise s3.forbidden("A part that was repeated is not the same as before.")
        rest = bytes(view[repeated:])
        if rest:
            self._file.update(rest)
            self._part.update(rest)
            self._note()

    def digest(self) -> bytes:
        """The checksum of all parts so far."""
        return self._file.digest()

    def _note(self) -> None:
        self._seen = self._place
        self._digest = self._part.digest()


class _Part(Struct, frozen=True):
    size: int
    sha256: bytes
    extents: tuple[Extent, ...]


class Upload:
    """One multipart upload; only the gateway's own thread uses it."""

    def __init__(self, key: str, sink: FileSink) -> None:
        self.id = secrets.token_hex(16)
        self.key = key
        self.sink = sink
        self._hash = ChainedHash()
        self._parts: list[_Part] = []
        self._turn = asyncio.Lock()
        self._moved = asyncio.Condition()
        self._dropped = False

    async def take(self, number: int, request: Request, workers: Workers, progress: Callable[[int], None]) -> bytes:
        """Take a part and return its tag. Raises Refusal, Disconnected and what the sink raises."""
        size = request.content_length()
        sha256 = request.header(b"x-amz-content-sha256")
        digests = body_digests(request, trusted=request.from_loopback)
        await self._wait_for(number, request, progress)
        async with self._turn:
            if self._dropped:
                raise _no_upload()
            if number <= len(self._parts):  # its answer was lost
                known = self._parts[number - 1]
                if (known.size, known.sha256) != (size, sha256):
                    raise s3.forbidden("A part that was repeated is not the same as before.")
                return s3.quoted(sha256.hex()[:32])
            self._hash.begin()
            intake = Intake(self.sink, size, digests, self._hash.update)
            received = await stream_body(request, workers, intake, progress)
            self._hash.end()
            self._parts.append(_Part(size, sha256, received.extents))
        async with self._moved:
            self._moved.notify_all()
        return s3.quoted(sha256.hex()[:32])

    def complete(self, numbers: Sequence[int]) -> Received:
        """The whole file. Raises Refusal (403) if ``numbers`` are not those of the parts that came."""
        if self._dropped or list(numbers) != list(range(1, len(self._parts) + 1)) or not numbers:
            raise s3.forbidden("The parts that are listed are not those that were sent.")
        size = sum(part.size for part in self._parts)
        extents = tuple(extent for part in self._parts for extent in part.extents)
        return Received(size, self._hash.digest() if size else b"", extents)

    async def drop(self) -> None:
        """Take no further parts."""
        self._dropped = True
        async with self._moved:
            self._moved.notify_all()

    async def _wait_for(self, number: int, request: Request, progress: Callable[[int], None]) -> None:
        """Wait until all parts before this one are there.

        The one before it may be refused or cut, and then never come: so it is looked now and then whether this one is
        still wanted. Raises Disconnected, Refusal, and what ``progress`` raises.
        """
        for _ in range(round(PATIENCE / LOOK)):
            progress(0)
            if request.closing:
                raise Disconnected
            try:
                async with asyncio.timeout(LOOK), self._moved:
                    await self._moved.wait_for(lambda: self._dropped or len(self._parts) >= number - 1)
                return
            except TimeoutError:
                continue
        raise s3.too_slow("The parts before this one have not arrived.")


class Uploads:
    """The multipart uploads of one session."""

    def __init__(self) -> None:
        self._open: dict[str, Upload] = {}
        self._completed: deque[tuple[str, str, str]] = deque(maxlen=MAX_UPLOADS)

    def create(self, key: str, sink: FileSink) -> Upload:
        """Begin an upload. Raises Refusal (503) if there are too many."""
        if len(self._open) >= MAX_UPLOADS:
            raise s3.too_slow("There are too many multipart uploads under way.")
        upload = Upload(key, sink)
        self._open[upload.id] = upload
        return upload

    def find(self, id: str, key: str) -> Upload:
        """The upload of this id and key. Raises Refusal (404)."""
        upload = self._open.get(id)
        if upload is None or upload.key != key:
            raise _no_upload()
        return upload

    def completed(self, id: str, key: str) -> str | None:
        """The tag of a file whose upload was completed a while ago: its answer may have been lost."""
        return next((etag for done_id, done_key, etag in self._completed if (done_id, done_key) == (id, key)), None)

    async def end(self, upload: Upload, etag: str) -> None:
        """An upload is complete."""
        self._completed.append((upload.id, upload.key, etag))
        await self.drop(upload)

    async def drop(self, upload: Upload) -> None:
        """Forget an upload."""
        self._open.pop(upload.id, None)
        await upload.drop()
        if isinstance(upload.sink, ArchiveSink):
            upload.sink.abort()


def part_number(text: str) -> int:
    """Read a part number. Raises Refusal (403)."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= s3.MAX_PARTS):
        raise s3.forbidden("A part number lies between 1 and 10,000.")
    return int(text)


def _no_upload() -> s3.Refusal:
    return s3.Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist.")
