"""Many small files as one stream: what ClickHouse sends where BACKUP writes to a `.tar`.

A request for each file costs the server and the gateway more than a small file itself. In an archive the same files
come under the same names, one behind the other, in the parts of one multipart upload, `.backup` last. ClickHouse 26.7
and 26.9 write plain entries only: a header of 512 bytes, the content, zeros up to the next 512.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable
from typing import Protocol

from coldhouse.cityhash import FileHash
from coldhouse.gateway import s3
from coldhouse.gateway.document import DOCUMENT, too_large
from coldhouse.gateway.intake import UNCHECKED, FileSink, FileStream, Received, store
from coldhouse.gateway.request import SMALL_BODY
from coldhouse.model import Buffer, Extent

#: Bytes; ClickHouse is asked for parts of 16 MiB, and doubles them after 500.
MAX_PART = 64 << 20
_BLOCK = tarfile.BLOCKSIZE
_ZEROS = bytes(_BLOCK)
#: The header of a plain file as ClickHouse writes nearly all: a short name, less than 8 GiB, nothing that is unusual.
_OCTAL = rb"[0-7]{6}[0-7 ][ \0]"
_PLAIN_HEADER = re.compile(
    rb"([ -~]{1,100})\0*+(?:%b){3}([0-7]{11})[ \0][0-7]{11}[ \0]([0-7]{6})\0 0\0{100}"
    rb"ustar\x0000.{64}(?:%b|\0{8}){2}\0{167}" % (_OCTAL, _OCTAL),
    re.DOTALL,
)
#: Its checksum, which counts as spaces in the sum of all bytes.
_SUM = slice(148, 156)
_SPACES = sum(b" " * 8)

#: Is told of every file but the document: its name, where it lies, its content if that is small.
Record = Callable[[str, Received, bytes | None], None]


class UnknownArchive(s3.Refusal):
    """The stream is none that ClickHouse was seen to write; the same files can still be asked for one by one."""

    def __init__(self, what: str) -> None:
        super().__init__(403, "AccessDenied", f"The archive that was sent cannot be read: {what}.")


class _Large(Protocol):
    """A file of more than SMALL_BODY on its way in."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """All bytes have come."""

    def abort(self) -> None:
        """The rest will not come."""


class ArchiveSink:
    """A sink for the parts of an archive, in their order: a part that is whole, and as it was signed, is read on."""

    def __init__(self, sink: FileSink, max_document: int, record: Record) -> None:
        """``sink`` takes the files; a `.backup` document of more than ``max_document`` bytes is refused."""
        self._entries = _Entries(sink, max_document, record)
        self._reader = _Reader(self._entries)

    def open_file(self, size: int, checksum: bytes | None) -> FileStream:
        """Begin a part; it is held in memory until it is whole. Raises UnknownArchive if it is too large for that."""
        if size > MAX_PART:
            raise UnknownArchive(f"one of its parts has {size} bytes")
        return _Part(self._reader)

    def document(self) -> bytes:
        """The `.backup` document, when all parts have come. Raises UnknownArchive if they are not the whole of it."""
        self._reader.end()
        if self._entries.document is None:
            raise UnknownArchive("it lacks the list of its files")
        return self._entries.document

    def abort(self) -> None:
        """No further part will come."""
        self._reader.abort()


class _Part:
    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._chunks: list[bytes] = []

    def write(self, data: Buffer) -> None:
        self._chunks.append(bytes(data))  # a copy, unless it is bytes: the buffer is used again

    def finish(self, checksum: bytes, *, verified: bool) -> tuple[Extent, ...]:
        for chunk in self._chunks:
            self._reader.feed(memoryview(chunk))
        self._chunks.clear()
        return ()

    def abort(self) -> None:
        self._chunks.clear()


class _Entries:
    """What becomes of the files of an archive."""

    def __init__(self, sink: FileSink, max_document: int, record: Record) -> None:
        self.document: bytes | None = None
        self._sink = sink
        self._max_document = max_document
        self._record = record

    def whole(self, name: str, body: bytes) -> None:
        """Take a small file."""
        if name == DOCUMENT:
            self.document = body
        else:
            self._record(name, store(self._sink, UNCHECKED, body), body)

    def begin(self, name: str, size: int) -> _Large:
        """Take a large file in pieces."""
        if name != DOCUMENT:
            return _LargeFile(self._sink, size, lambda received: self._record(name, received, None))
        if size > self._max_document:
            raise too_large(self._max_document)
        return _LargeDocument(self)


class _LargeFile:
    def __init__(self, sink: FileSink, size: int, arrived: Callable[[Received], None]) -> None:
        self._stream = sink.open_file(size, None)
        self._size = size
        self._arrived = arrived
        self._hash = FileHash()

    def write(self, data: memoryview) -> None:
        self._hash.update(data)
        self._stream.write(data)

    def finish(self) -> None:
        checksum = self._hash.digest()
        self._arrived(Received(self._size, checksum, self._stream.finish(checksum, verified=True)))

    def abort(self) -> None:
        self._stream.abort()


class _LargeDocument:
    def __init__(self, entries: _Entries) -> None:
        self._entries = entries
        self._body = bytearray()

    def write(self, data: memoryview) -> None:
        self._body += data

    def finish(self) -> None:
        self._entries.document = bytes(self._body)

    def abort(self) -> None:
        self._body.clear()


class _Reader:
    """Cuts a tar stream into its files as it comes; used by one thread at a time."""

    def __init__(self, entries: _Entries) -> None:
        self._entries = entries
        self._header = bytearray()
        self._name = ""
        self._left = 0  # bytes of the present entry that have not come
        self._small = bytearray()  # the present entry, if it is small
        self._large: _Large | None = None
        self._padding = 0  # bytes after the present entry
        self._ended = False

    def feed(self, view: memoryview) -> None:
        """Take the next bytes of the stream. Raises UnknownArchive and what the sink raises."""
        while view:
            if self._left:
                view = self._content(view)
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            elif self._ended:
                return  # zeros, up to a multiple of what tapes took
            else:
                view = self._head(view)

    def end(self) -> None:
        """The stream has ended. Raises UnknownArchive unless it is whole."""
        if not self._ended:
            raise UnknownArchive("it breaks off")

    def abort(self) -> None:
        """Nothing more will come."""
        large, self._large = self._large, None
        if large is not None:
            large.abort()

    def _head(self, view: memoryview) -> memoryview:
        missing = _BLOCK - len(self._header)
        self._header += view[:missing]
        if len(self._header) == _BLOCK:
            header = bytes(self._header)
            self._header.clear()
            if header == _ZEROS:
                self._ended = True
            else:
                self._begin(header)
        return view[missing:]

    def _begin(self, header: bytes) -> None:
        name, size = _plain_entry(header) or _entry(header)
        self._name, self._left, self._padding = name, size, -size % _BLOCK
        if size > SMALL_BODY:
            self._large = self._entries.begin(name, size)
        elif not size:
            self._entries.whole(name, b"")

    def _content(self, view: memoryview) -> memoryview:
        taken = view[: self._left]
        self._left -= len(taken)
        if self._large is not None:
            self._large.write(taken)
        else:
            self._small += taken
        if not self._left:
            self._finish()
        return view[len(taken) :]

    def _finish(self) -> None:
        large, self._large = self._large, None
        if large is not None:
            large.finish()
            return
        body = bytes(self._small)
        self._small.clear()
        self._entries.whole(self._name, body)


def _plain_entry(header: bytes) -> tuple[str, int] | None:
    """What :func:`_entry` says, in a fifth of the time, of the headers that are usual; None of others."""
    found = _PLAIN_HEADER.fullmatch(header)
    if found is None:
        return None
    name, size, checksum = found.groups()
    if int(checksum, 8) != sum(header) - sum(header[_SUM]) + _SPACES:
        return None
    return name.decode(), int(size, 8)


def _entry(header: bytes) -> tuple[str, int]:
    """The name and the size of the file that comes next. Raises UnknownArchive."""
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise UnknownArchive(f"a header is none ({error})") from None
    if found.type != tarfile.REGTYPE or found.size < 0 or not found.name:
        raise UnknownArchive("it holds other things than plain files")
    return found.name, found.size
