"""What S3 says and hears beside the bytes themselves: replies, errors, small XML documents, ranges.

XML that comes in is read with expat, bounded in size, and refused as soon as it declares a document type: no entities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from xml.parsers import expat

from msgspec import Struct

MAX_MESSAGE = 2000
MAX_PARTS = 10_000
XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
XML_TYPE = (b"content-type", b"application/xml")

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_RANGE = re.compile(rb"bytes=(\d{0,18})-(\d{0,18})")

Header = tuple[bytes, bytes]


class Reply(Struct, frozen=True):
    """An answer whose body is at hand. A HEAD gives its ``length`` instead of a body."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    length: int | None = None


class Refusal(Exception):
    """An answer that is an S3 error: an HTTP status, S3's code for it, and a message that ClickHouse shows its user."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def reply(self) -> Reply:
        """The error as S3 writes it."""
        message = escape(_UNPRINTABLE.sub("?", self.message)[:MAX_MESSAGE])
        text = f"{XML_HEAD}<Error><Code>{self.code}</Code><Message>{message}</Message></Error>"
        return Reply(self.status, (XML_TYPE,), text.encode())


def denied() -> Refusal:
    """The one answer to everybody who may not ask: it tells nothing of what exists."""
    return Refusal(403, "AccessDenied", "Access Denied")


def forbidden(message: str) -> Refusal:
    """The answer to the right asker who may not do this now; ClickHouse does not repeat a request after it."""
    return Refusal(403, "AccessDenied", message)


def absent() -> Refusal:
    """No object has this key."""
    return Refusal(404, "NoSuchKey", "The specified key does not exist.")


def not_implemented(what: str) -> Refusal:
    """A call of S3 that no BACKUP or RESTORE needs."""
    return Refusal(501, "NotImplemented", f"Coldhouse's gateway has no {what}.")


def too_slow(message: str) -> Refusal:
    """The asker should come again a little later."""
    return Refusal(503, "SlowDown", message)


def quoted(etag: str) -> bytes:
    """An entity tag as it stands in a header."""
    return f'"{etag}"'.encode("ascii", "replace")


def matches(condition: bytes, etag: bytes) -> bool:
    """Whether an If-Match (or If-None-Match) header names this quoted entity tag."""
    wanted = [item.strip() for item in condition.split(b",")]
    return b"*" in wanted or etag in wanted or etag.strip(b'"') in wanted


class Span(Struct, frozen=True):
    """A range of an object, in bytes."""

    offset: int
    length: int


def parse_range(header: bytes, size: int) -> Span | None:
    """The range that is asked for; None for the whole object, also where the header is not one range of bytes.

    Raises Refusal (416) if the range lies outside of the object.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[0] == b"bytes=-":
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        span = Span(size - length, length)
    else:
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
        span = Span(int(first), end - int(first))
    if span.length <= 0:
        raise Refusal(416, "InvalidRange", "The requested range is not satisfiable.")
    return span


def created_upload(bucket: str, key: str, upload_id: str) -> Reply:
    """The answer to CreateMultipartUpload."""
    return _document(
        "InitiateMultipartUploadResult",
        f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key><UploadId>{escape(upload_id)}</UploadId>",
    )


def completed_upload(bucket: str, key: str, etag: str) -> Reply:
    """The answer to CompleteMultipartUpload."""
    return _document(
        "CompleteMultipartUploadResult",
        f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key><ETag>&quot;{escape(etag)}&quot;</ETag>",
    )


def deleted() -> Reply:
    """The answer to DeleteObjects: no errors."""
    return _document("DeleteResult", "")


class Listed(Struct, frozen=True):
    """An object in a listing."""

    size: int
    etag: str


def listing(bucket: str, prefix: str, found: Listed | None, *, version: int) -> Reply:
    """The answer to ListObjects (``version`` 1) or ListObjectsV2: the object whose key is the prefix itself, if any.

    ClickHouse servers before 26.7 ask so whether an object exists and how large it is.
    """
    count = f"<KeyCount>{0 if found is None else 1}</KeyCount>" if version == 2 else "<Marker></Marker>"
    content = ""
    if found is not None:
        content = (
            f"<Contents><Key>{escape(prefix)}</Key><LastModified>2000-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{escape(found.etag)}&quot;</ETag><Size>{found.size}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )
    return _document(
        "ListBucketResult",
        f"<Name>{escape(bucket)}</Name><Prefix>{escape(prefix)}</Prefix>{count}<MaxKeys>1</MaxKeys>"
        f"<IsTruncated>false</IsTruncated>{content}",
    )


def parse_completion(body: bytes) -> Sequence[int]:
    """The part numbers in a CompleteMultipartUpload document, in its order. Raises Refusal (400) if it is none."""
    reader = _CompletionReader()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(body, True)
        return [int(number) for number in reader.numbers]
    except (expat.ExpatError, ValueError, LookupError):  # LookupError: of an encoding that nobody knows
        raise malformed() from None


def malformed() -> Refusal:
    """A document that cannot be read."""
    return Refusal(400, "MalformedXML", "The XML that was sent is not well-formed or not what is expected here.")


class _CompletionReader:
    """Collects the text of the PartNumber elements."""

    def __init__(self) -> None:
        self.numbers: list[str] = []
        self._inside = False

    def doctype(self, *_: object) -> None:
        raise malformed()

    def start(self, name: str, _: object) -> None:
        self._inside = name.rpartition("}")[2] == "PartNumber"
        if self._inside:
            self.numbers.append("")
            if len(self.numbers) > MAX_PARTS:
                raise malformed()

    def end(self, _: str) -> None:
        self._inside = False

    def text(self, text: str) -> None:
        if self._inside and len(self.numbers[-1]) < 8:
            self.numbers[-1] += text[:8]


def _document(name: str, content: str) -> Reply:
    return Reply(200, (XML_TYPE,), f'{XML_HEAD}<{name} xmlns="{NAMESPACE}">{content}</{name}>'.encode())
