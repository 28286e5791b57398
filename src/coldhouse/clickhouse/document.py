"""The ``.backup`` document: the XML in which ClickHouse lists what a backup holds (clickhouse-facts 1, 2, 3).

Read as it comes from a server, which may be an impostor: no document types or entities, nothing unbounded. Written in
two forms: a base, which says "these contents are here already", and a backup to restore from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from io import BytesIO
from typing import BinaryIO
from xml.parsers import expat

from msgspec import Struct

from coldhouse.errors import Corruption
from coldhouse.model import Buffer

#: Any UUID and time will do for documents of ours; a server only compares them with themselves.
OUR_UUID = "c01d0000-c01d-4000-8000-c01dc01dc01d"
_OUR_TIME = "2000-01-01 00:00:00"
_CHUNK = 1 << 16
_LONGEST_TEXT = 1 << 14
_LONGEST_SILENCE = 1 << 20
_LARGEST = (1 << 63) - 1


class DocumentHeader(Struct, frozen=True):
    """What stands before the list of files."""

    version: int
    uuid: str
    timestamp: str
    base_uuid: str = ""
    data_file_names: str = ""


class DocumentFile(Struct, frozen=True):
    """A file of the backup: its name in it, its size in bytes, its checksum (16 bytes; empty for an empty file).

    ``data_file`` is the name of the object with its bytes. With ``use_base`` its first ``base_size`` bytes, which have
    ``base_checksum``, are in the base, all of them if that is the size.
    """

    name: str
    size: int
    checksum: bytes
    data_file: str
    use_base: bool = False
    base_size: int = 0
    base_checksum: bytes = b""
    encrypted_by_disk: bool = False


class RestoreFile(Struct, frozen=True):
    """A file to restore: its name in the backup, size in bytes, checksum (16 bytes), and the object with its bytes."""

    name: str
    size: int
    checksum: bytes
    data_file: str


def parse(data: Buffer | BinaryIO) -> tuple[DocumentHeader, Iterator[DocumentFile]]:
    """The header, and the files as they are read.

    Raises Corruption when it is no such document; from the iterator too, so nothing is proven before its end.
    """
    stream = BytesIO(data) if isinstance(data, bytes | bytearray | memoryview) else data
    reading = _Reading(stream)
    return reading.header(), reading.files()


def write_base(contents: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """A base that holds the given (size in bytes, checksum of 16 bytes), in pieces of about 64 KiB.

    Their names cannot be real ones: under the name of a growing Log file ClickHouse would send only its tail, and
    under others' names it has lost rows (ClickHouse issue 112403).
    """
    yield from _joined(_base_texts(contents))


def write_restore(files: Iterable[RestoreFile | DocumentFile]) -> Iterator[bytes]:
    """A complete backup of the given files, in pieces of about 64 KiB."""
    yield from _joined(_restore_texts(files))


def _base_texts(contents: Iterable[tuple[int, bytes]]) -> Iterator[str]:
    yield _opening()
    for number, (size, checksum) in enumerate(contents):
        if size:
            yield f"<file><name>zz/{number}</name><size>{size}</size><checksum>{checksum.hex()}</checksum></file>"
    yield _CLOSING


def _restore_texts(files: Iterable[RestoreFile | DocumentFile]) -> Iterator[str]:
    yield _opening()
    for file in files:
        about = f"<name>{_text(file.name)}</name><size>{file.size}</size>"
        if file.size:
            about += f"<checksum>{file.checksum.hex()}</checksum><data_file>{_text(file.data_file)}</data_file>"
        yield f"<file>{about}</file>"
    yield _CLOSING


def _opening() -> str:
    return (
        f"<config><version>1</version><deduplicate_files>1</deduplicate_files><timestamp>{_OUR_TIME}</timestamp>"
        f"<uuid>{OUR_UUID}</uuid><contents>"
    )


_CLOSING = "</contents></config>"


def _joined(texts: Iterable[str]) -> Iterator[bytes]:
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(text)
        if length >= _CHUNK:
            yield "".join(waiting).encode()
            waiting, length = [], 0
    yield "".join(waiting).encode()


def _text(text: str) -> str:
    if not _SPECIAL.search(text):
        return text
    if _IMPOSSIBLE.search(text):
        raise Corruption(f"The name {text!r} cannot stand in a .backup document.")
    return escape(text, quote=False).replace("\t", "&#9;").replace("\n", "&#10;").replace("\r", "&#13;")


#: A file as ClickHouse writes nearly all of them: nothing to unescape, and all of it here or all of it in the base.
_PLAIN_TEXT = rb"([ -%'-;=?-~]{1,4096})"
_PLAIN_FILE = re.compile(
    rb"<file><name>%b</name><size>(?:0</size>|([1-9][0-9]{0,17})</size><checksum>([0-9a-f]{32})</checksum>"
    rb"(?:<data_file>%b</data_file>|<use_base>true</use_base>))</file>" % (_PLAIN_TEXT, _PLAIN_TEXT)
)
_CONTENTS, _FILE_END = b"<contents>", b"</file>"

_SPECIAL = re.compile(r"[&<>\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_IMPOSSIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class _Reading:
    """Expat fed piece by piece; finished files wait in ``_ready`` for whoever iterates.

    Where expat stands exactly between two files, plain ones are read past it, by one pattern: what it would make of
    them is known, and its two dozen calls for each file take five times as long.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._depth = 0
        self._text = ""
        self._config: dict[str, str] = {}
        self._file: dict[str, str] = {}
        self._ready: list[DocumentFile] = []
        self._contents = False
        self._ended = False
        self._silence = 0  # bytes since the last event
        self._waiting = b""  # what neither expat nor the pattern has read
        self._fed = 0  # bytes that expat was given
        self._between = 0  # of those, the bytes up to where a file may begin, as far as is known
        self._parser = expat.ParserCreate(encoding="utf-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse

    def header(self) -> DocumentHeader:
        while not self._contents and self._feed():
            pass
        if not self._contents:
            raise _broken("it has no list of contents")
        config = self._config
        for needed in ("version", "uuid", "timestamp"):
            if not config.get(needed):
                raise _broken(f"its header has no {needed}")
        return DocumentHeader(
            version=_number(config["version"]),
            uuid=config["uuid"],
            timestamp=config["timestamp"],
            base_uuid=config.get("base_backup_uuid", ""),
            data_file_names=config.get("data_file_name_generator", ""),
        )

    def files(self) -> Iterator[DocumentFile]:
        more = True
        while more or self._ready:
            ready, self._ready = self._ready, []
            yield from ready
            more = more and self._feed()

    def _feed(self) -> bool:
        """Whether there may be more."""
        if self._ended:
            return False
        piece = self._stream.read(_CHUNK)
        self._ended = not piece
        data, self._waiting = self._waiting + piece, b""
        at = 0
        while not self._ended:
            if self._between == self._fed:
                at = self._read_plain(data, at)
            mark = _FILE_END if self._contents else _CONTENTS
            found = data.find(mark, at)
            if found < 0:
                break
            end = found + len(mark)
            self._parse(data[at:end])
            at = end
        if self._between == self._fed and len(data) - at < _CHUNK and not self._ended:
            self._waiting = data[at:]
        else:
            self._parse(data[at:])
        return not self._ended

    def _read_plain(self, data: bytes, at: int) -> int:
        """Where the first file begins, from ``at`` on, that is not plain, or not here to its end."""
        while found := _PLAIN_FILE.match(data, at):
            at = found.end()
            name, size, checksum, place = found.groups()
            self._ready.append(_plain_file(name.decode(), size, checksum, place))
        return at

    def _parse(self, piece: bytes) -> None:
        self._silence += len(piece)
        self._fed += len(piece)
        try:
            self._parser.Parse(piece, self._ended)
        except expat.ExpatError as error:
            raise _broken(f"it is not XML ({error})") from None
        except (ValueError, LookupError) as error:  # expat's own checks of encoding and length
            raise _broken(f"it is not XML ({error})") from None
        if self._silence > _LONGEST_SILENCE:  # expat keeps what has not come to an end
            raise _broken("it has a tag, an attribute or a comment that is too long")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        depth = self._depth = self._depth + 1
        self._silence = 0
        self._text = ""
        if depth == 4:
            return
        if depth > 4 or (depth == 1 and tag != "config") or (depth == 3 and not self._contents):
            raise _broken(f"it has an unexpected element <{tag}>")
        if depth == 3:
            self._file = {}
        elif tag == "contents":
            self._contents = True
            self._between = self._parser.CurrentByteIndex + len(_CONTENTS)

    def _end(self, tag: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        self._silence = 0
        if depth == 4:
            self._keep(self._file, tag)
        elif depth == 3:
            self._ready.append(_file(self._file))
            if tag == "file":
                self._between = self._parser.CurrentByteIndex + len(_FILE_END)
        elif depth == 2 and tag != "contents":
            self._keep(self._config, tag)

    def _keep(self, fields: dict[str, str], tag: str) -> None:
        if len(fields) >= 64:
            raise _broken("it has too many elements in one place")
        if tag in fields:
            raise _broken(f"it has <{tag}> twice in one place")
        fields[tag] = self._text

    def _characters(self, text: str) -> None:
        if len(self._text) + len(text) > _LONGEST_TEXT:
            raise _broken("it has a text that is too long")
        self._text += text
        self._silence = 0

    def _refuse(self, *_: object) -> None:
        raise _broken("it declares a document type or an entity, which ClickHouse never does")


def _plain_file(name: str, size: bytes | None, checksum: bytes | None, place: bytes | None) -> DocumentFile:
    """What :func:`_file` makes of the same fields; without a size it is empty, without a place in the base."""
    if size is None or checksum is None:
        return DocumentFile(name, 0, b"", name)
    count, value = int(size), bytes.fromhex(checksum.decode())
    if place is None:
        return DocumentFile(name, count, value, name, use_base=True, base_size=count, base_checksum=value)
    return DocumentFile(name, count, value, place.decode())


def _file(fields: dict[str, str]) -> DocumentFile:
    if not fields.get("name"):
        raise _broken("it lists a file without name")
    name = fields["name"]
    size = _number(fields.get("size", ""))
    checksum = _checksum(fields.get("checksum", ""))
    if size and not checksum:
        raise _broken(f"it has no checksum for {name!r}")
    use_base = _flag(fields.get("use_base", ""))
    base_size = _number(fields["base_size"]) if "base_size" in fields else (size if use_base else 0)
    if base_size > size:
        raise _broken(f"{name!r} is smaller than the part of it that is in the base")
    return DocumentFile(
        name=name,
        size=size,
        checksum=checksum,
        data_file=fields.get("data_file", "") or name,
        use_base=use_base,
        base_size=base_size,
        base_checksum=_checksum(fields["base_checksum"])
        if "base_checksum" in fields
        else (checksum if use_base else b""),
        encrypted_by_disk=_flag(fields.get("encrypted_by_disk", "")),
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST):
        raise _broken(f"{text[:40]!r} is not a number")
    return int(text)


def _checksum(text: str) -> bytes:
    if not text:
        return b""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 16 or len(text) != 32:
        raise _broken(f"{text[:40]!r} is not a checksum")
    return value


def _flag(text: str) -> bool:
    return text.lower() in ("true", "1")


def _broken(why: str) -> Corruption:
    return Corruption(
        f"The .backup document cannot be trusted: {why}.", hint="Run the backup again; if this stays, report it."
    )
