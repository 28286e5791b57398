"""Write one table of a snapshot into a file, in any of ClickHouse's output formats."""

from __future__ import annotations

import errno
import gzip
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec
from msgspec import Struct

from coldhouse.clickhouse import sql
from coldhouse.errors import ColdhouseError, UsageError
from coldhouse.events import Listener, Phase, Progress, silent
from coldhouse.model import Buffer, TableName
from coldhouse.operations.sql import SqlOptions, SqlSession
from coldhouse.repository import Repository

#: ClickHouse's format for the ending of a file's name.
FORMATS = {
    ".parquet": "Parquet",
    ".csv": "CSVWithNames",
    ".tsv": "TSVWithNames",
    ".json": "JSON",
    ".jsonl": "JSONEachRow",
    ".ndjson": "JSONEachRow",
    ".native": "Native",
    ".arrow": "Arrow",
    ".orc": "ORC",
    ".avro": "Avro",
    ".xml": "XML",
    ".sql": "SQLInsert",
    ".md": "Markdown",
}


class ExportOptions(Struct, frozen=True):
    """What to export and where to; ``format`` is told by the ending of the name where it is empty."""

    snapshot: str
    table: TableName
    to: Path
    format: str = ""
    sql: SqlOptions = msgspec.field(default_factory=lambda: SqlOptions(""))


class ExportReport(Struct, frozen=True):
    """What was written: ``bytes`` is the size of the file; ``left_out`` are parts damaged at the source."""

    snapshot: str
    table: TableName
    file: Path
    format: str
    rows: int
    bytes: int
    seconds: float
    left_out: tuple[str, ...]


def run(repository: Repository, options: ExportOptions, listener: Listener = silent) -> ExportReport:
    """Export a table. The file appears whole or not at all, and replaces nothing.

    Raises UsageError (no such table, an ending that says nothing, a file that is there), NoSuchSnapshot, Corruption,
    SourceError, ColdhouseError (the file cannot be written).
    """
    clock = time.monotonic()
    chosen = options.format or format_of(options.to)
    if os.path.lexists(options.to):
        raise _there_already(options.to)
    asked = SqlOptions(options.snapshot, source=options.sql.source, cache=options.sql.cache, limits=options.sql.limits)
    with SqlSession(repository, asked, listener) as session:
        if options.table not in session.names():
            raise UsageError(
                f"there is no table {options.table} in the snapshot", hint="coldhouse show lists what it holds"
            )
        listener(Phase(f"exporting {options.table}"))
        query = sql.export_query(options.table)
        with closing(session.stream(query, chosen)) as pieces, new_file(options.to) as file:
            for piece in pieces:
                file.write(piece)
                listener(Progress(file.written, 0))
        rows = int(b"".join(session.stream(sql.count_rows_query(options.table))))
        return ExportReport(
            snapshot=session.snapshots[0].id,
            table=options.table,
            file=options.to,
            format=chosen,
            rows=rows,
            bytes=options.to.stat().st_size,
            seconds=time.monotonic() - clock,
            left_out=session.left_out,
        )


def format_of(path: Path) -> str:
    """The format that a file's name asks for, whether compressed or not. Raises UsageError if it asks for none."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in _COMPRESSION:
        endings.pop()
    if endings and endings[-1] in FORMATS:
        return FORMATS[endings[-1]]
    raise UsageError(
        f"{path.name} does not say in which format the table should be written",
        hint=f"end its name with one of {', '.join(FORMATS)} (and .gz or .zst), or give --format NAME",
    )


class _Compressor(Protocol):
    def write(self, data: Buffer, /) -> int: ...

    def close(self) -> None: ...


class NewFile:
    """A file that is being written, compressed if its name says so."""

    def __init__(self, raw: BinaryIO, ending: str) -> None:
        self._raw = raw
        self._way: _Compressor | None = _COMPRESSION[ending](raw) if ending in _COMPRESSION else None
        self.written = 0

    def write(self, data: bytes) -> None:
        """Write bytes."""
        (self._way or self._raw).write(data)
        self.written += len(data)

    def finish(self) -> None:
        """Bring everything to the disk."""
        if self._way is not None:
            self._way.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())


@contextmanager
def new_file(path: Path) -> Iterator[NewFile]:
    """A file that has its name only when it is complete; whatever goes wrong leaves nothing behind.

    Raises UsageError if something has the name already, ColdhouseError if it cannot be written.
    """
    begun = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(begun, "xb") as raw:
            file = NewFile(raw, path.suffix.lower())
            yield file
            file.finish()
        _give_name(begun, path)
    except OSError as error:
        raise ColdhouseError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        begun.unlink(missing_ok=True)


def _give_name(begun: Path, path: Path) -> None:
    """Name a finished file, unless something else got the name meanwhile."""
    try:
        os.link(begun, path)
    except FileExistsError:
        raise _there_already(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        if os.path.lexists(path):  # a file system without links
            raise _there_already(path) from None
        begun.rename(path)


def _gzip(raw: BinaryIO) -> _Compressor:
    return gzip.GzipFile(fileobj=raw, mode="wb", mtime=0)


def _zstd(raw: BinaryIO) -> _Compressor:
    import zstandard

    return zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False)


_COMPRESSION: dict[str, Callable[[BinaryIO], _Compressor]] = {".gz": _gzip, ".zst": _zstd}


def _there_already(path: Path) -> UsageError:
    return UsageError(f"{path} is there already", hint="choose another name; an export replaces nothing")
