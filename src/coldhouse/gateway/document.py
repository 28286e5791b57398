"""The `.backup` document on its way in, where it comes as a multipart upload: collected in memory, bounded."""

from __future__ import annotations

from coldhouse.gateway import s3
from coldhouse.model import Buffer, Extent

DOCUMENT = ".backup"


class DocumentSink:
    """A sink that keeps what it takes, in the order in which the files end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._content = bytearray()

    def open_file(self, size: int, checksum: bytes | None) -> _DocumentStream:
        """Begin a part. Raises Refusal (403) if the document becomes too large."""
        if len(self._content) + size > self._limit:
            raise too_large(self._limit)
        return _DocumentStream(self._content)

    def document(self) -> bytes:
        """The document so far."""
        return bytes(self._content)


def too_large(limit: int) -> s3.Refusal:
    """A document that would take more memory than is given to it."""
    return s3.forbidden(f"The .backup document is larger than {limit} bytes; back up fewer tables at once.")


class _DocumentStream:
    def __init__(self, content: bytearray) -> None:
        self._content = content
        self._part = bytearray()

    def write(self, data: Buffer) -> None:
        self._part += data

    def finish(self, checksum: bytes, *, verified: bool) -> tuple[Extent, ...]:
        self._content += self._part
        return ()

    def abort(self) -> None:
        self._part.clear()
