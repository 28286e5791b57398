"""Bodies on their way from the connection into the sink: hashed and compared as they pass, in bounded memory."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from coldhouse.cityhash import FileHash
from coldhouse.gateway import s3, signature
from coldhouse.gateway.direct import DirectReader, Gone
from coldhouse.gateway.request import SMALL_BODY, Disconnected, Request
from coldhouse.gateway.workers import Workers, settle
from coldhouse.model import Buffer, Extent

#: Bytes that are collected from a connection before a thread is asked to take them; twice that is in memory per
#: request.
BATCH = 512 * 1024
#: Bytes that a thread reads at a time: those of a frame, which is then sealed where it lies.
BLOCK = 256 * 1024


class FileStream(Protocol):
    """One file on its way into the repository; used by one thread at a time."""

    def write(self, data: Buffer) -> None:
        """Take the next bytes; blocks while the store is slower than ClickHouse."""

    def finish(self, checksum: bytes, *, verified: bool) -> tuple[Extent, ...]:
        """End the file; ``verified`` says that ``checksum`` was computed from exactly these bytes."""

    def abort(self) -> None:
        """Drop the file."""


class FileSink(Protocol):
    """Where bodies go; a pack writer is one. Used from several threads."""

    def open_file(self, size: int, checksum: bytes | None) -> FileStream:
        """Begin a file of ``size`` bytes."""


class Digests(Struct, frozen=True):
    """What the client says of a body, and whether to compare: ``sha256`` in hex, empty if it is not to be compared."""

    sha256: bytes

    def check(self, found: str) -> None:
        """Raise Refusal (403) if the body is not what was signed."""
        if self.sha256 and found.encode() != self.sha256:
            raise s3.Refusal(403, "XAmzContentSHA256Mismatch", "The body is not the one that was signed.")


#: Of bytes that were checked already, as a part of something larger.
UNCHECKED = Digests(b"")


def body_digests(request: Request, *, trusted: bool) -> Digests:
    """Decide how a body is checked. Raises Refusal if the client sends it in a form that cannot be checked.

    Small bodies are always compared with the SHA-256 that was signed. Larger ones are not compared where nobody can
    change them on the way (``trusted``: from this machine): every file is checked by ClickHouse's own checksum later,
    and SHA-256 would cost 0.6 CPU seconds per GB. A body without SHA-256 is taken only over TLS or from this machine.
    """
    declared = request.header(b"x-amz-content-sha256")
    if len(declared) == 64:
        return Digests(declared if not trusted else b"")
    if declared == signature.UNSIGNED_PAYLOAD and (request.encrypted or request.from_loopback):
        return Digests(b"")
    if declared.startswith(b"STREAMING-"):
        raise s3.not_implemented("aws-chunked bodies")
    raise s3.denied()


class Received(Struct, frozen=True):
    """A body that is in the sink: its size, ClickHouse's checksum (empty for an empty body) and where it is."""

    size: int
    checksum: bytes
    extents: tuple[Extent, ...]


def store(sink: FileSink, digests: Digests, body: bytes) -> Received:
    """Put a whole small body into the sink; runs in a thread."""
    digests.check(hashlib.sha256(body).hexdigest() if digests.sha256 else "")
    if not body:
        return Received(0, b"", ())
    hashing = FileHash()
    hashing.update(body)
    checksum = hashing.digest()
    stream = sink.open_file(len(body), None)
    try:
        stream.write(body)
        return Received(len(body), checksum, stream.finish(checksum, verified=True))
    except BaseException:
        stream.abort()
        raise


class Intake:
    """A body that is taken batch by batch. Its methods run in threads, one after the other."""

    def __init__(self, sink: FileSink, size: int, digests: Digests, hashing: Callable[[Buffer], None] | None) -> None:
        """``hashing`` takes the bytes instead of a checksum of this body alone: for a part of a larger file."""
        self._sink = sink
        self._size = size
        self._digests = digests
        self._sha256 = hashlib.sha256()
        self._own_hash = FileHash()
        self._hash = hashing or self._own_hash.update
        self._whole = hashing is None
        self._stream: FileStream | None = None
        self._ended = False
        self._lock = threading.Lock()

    def take(self, batch: Sequence[Buffer]) -> None:
        """Take the next bytes, which the caller may overwrite afterwards. Raises what the sink raises."""
        with self._lock:
            if self._ended:
                return
            if self._stream is None:
                self._stream = self._sink.open_file(self._size, None)
            for chunk in batch:
                self._hash(chunk)
                if self._digests.sha256:
                    self._sha256.update(chunk)
                self._stream.write(chunk)

    def finish(self, batch: Sequence[Buffer]) -> Received:
        """Take the last bytes and end the file. Raises what the sink raises; Refusal if this is not what was signed."""
        self.take(batch)
        with self._lock:
            if self._stream is None or self._ended:
                raise Disconnected
            self._digests.check(self._sha256.hexdigest())
            checksum = self._own_hash.digest() if self._whole else bytes(16)
            extents = self._stream.finish(checksum, verified=self._whole)
            self._ended = True
            return Received(self._size, checksum, extents)

    def abort(self) -> None:
        """Drop what was taken, unless the file is ended; waits for a batch that is being taken."""
        with self._lock:
            if self._stream is not None and not self._ended:
                self._stream.abort()
            self._ended = True


async def stream_body(request: Request, workers: Workers, intake: Intake, progress: Callable[[int], None]) -> Received:
    """Move a body from the connection into an intake; one thread does it all where it can read by itself.

    ``progress`` is told, in any thread, how many bytes came, and may raise to give up. Raises Disconnected and what the
    sink raises.
    """
    async with workers.bodies:  # not longer than something comes: whom a client keeps waiting holds up nobody else
        if request.given_up:
            raise Disconnected
        reader = request.hold()
        if reader is not None:
            reading = _Reading(reader, intake, progress, request.content_length())
            received = await _read_directly(request, workers, reading)
            if received is not None:
                return received
    return await _take_batches(request, workers, intake, progress)


class _Reading:
    """A thread that moves a body, until the client stalls."""

    def __init__(self, reader: DirectReader, intake: Intake, progress: Callable[[int], None], size: int) -> None:
        self.passed = 0
        self.intake = intake
        self._reader = reader
        self._progress = progress
        self._left = size

    def run(self, arrived: Sequence[bytes]) -> Received | None:
        """Move what has arrived and then the rest; None if it does not come. Raises what a body's taking raises."""
        try:
            first = sum(map(len, arrived))
            self._left -= first
            self._progress(first)
            self.intake.take(arrived)
            buffer = memoryview(bytearray(min(BLOCK, self._left)))
            size = BLOCK - first % BLOCK
            while self._left:
                view = buffer[: min(size, self._left)]
                count = self._reader.fill(view)
                self.passed += count
                self._left -= count
                self._progress(count)
                self.intake.take([view[:count]])
                if count < len(view):
                    return None
                size = BLOCK
            return self.intake.finish([])
        except Gone:
            raise Disconnected from None
        finally:
            self._reader.close()


async def _read_directly(request: Request, workers: Workers, reading: _Reading) -> Received | None:
    done = False
    try:
        future = workers.start(partial(reading.run, request.arrived()))
        try:
            received = await future
            done = True
            return received
        finally:
            await settle(future)
            request.passed(reading.passed)
    finally:
        if not done:
            await workers.run(reading.intake.abort)


async def _take_batches(
    request: Request, workers: Workers, intake: Intake, progress: Callable[[int], None]
) -> Received:
    """One batch is taken by a thread while the next one arrives."""
    taking: asyncio.Future[None] | None = None
    batch: list[bytes] = []
    held = 0
    done = False
    try:
        async for chunk in request.chunks():
            batch.append(chunk)
            held += len(chunk)
            if held >= BATCH:
                progress(held)
                if taking is not None:
                    await taking
                taking = workers.start(partial(intake.take, batch))
                batch, held = [], 0
        progress(held)
        if taking is not None:
            await taking
        received = await workers.run(partial(intake.finish, batch))
        done = True
        return received
    finally:
        if not done:
            if taking is not None:
                await settle(taking)
            await workers.run(intake.abort)


async def take_body(
    request: Request,
    workers: Workers,
    sink: FileSink,
    progress: Callable[[int], None],
    keep: Callable[[bytes], bool],
) -> tuple[Received, bytes | None]:
    """Take the body of a PUT; returns it as well if it is small (1 MiB or less) and ``keep`` says so."""
    size = request.content_length()
    if size > SMALL_BODY:
        intake = Intake(sink, size, body_digests(request, trusted=request.from_loopback), None)
        return await stream_body(request, workers, intake, progress), None
    digests = body_digests(request, trusted=False)
    body = await request.read(size)
    progress(size)
    received, kept = await workers.run(lambda: (store(sink, digests, body), keep(body)))
    return received, body if kept else None


async def read_checked(request: Request, workers: Workers, limit: int) -> bytes:
    """Return a whole body that is not for the sink. Raises Refusal if it is not what was signed, or too large."""
    digests = body_digests(request, trusted=False)
    body = await request.read(limit)
    if len(body) > SMALL_BODY:
        found = await workers.run(lambda: hashlib.sha256(body).hexdigest())
    else:
        found = hashlib.sha256(body).hexdigest()
    digests.check(found)
    return body
