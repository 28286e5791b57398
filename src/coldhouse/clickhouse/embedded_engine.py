"""The embedded engine (chDB) as a server sees it: connections with settings of their own, results piece by piece."""

from __future__ import annotations

import os
import re
import select
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping
from typing import Protocol, cast

#: Pieces of these, one after the other, are a whole; other formats have a beginning or an end and go through a pipe.
STREAMED = frozenset(
    {
        "Native",
        "TabSeparated",
        "TSV",
        "TSVRaw",
        "TabSeparatedRaw",
        "CSV",
        "RowBinary",
        "JSONEachRow",
        "JSONCompactEachRow",
    }
)
SELECT = re.compile(rb"\s*(/\*.*?\*/\s*)?\(*\s*(SELECT|WITH)\b", re.IGNORECASE | re.DOTALL)
INSERT = re.compile(rb"\s*INSERT\s+INTO\b", re.IGNORECASE)
FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
PIECE = 1 << 18


class EngineError(Exception):
    """What the engine, or the face before it, refuses: ClickHouse's error number and text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def engine_error(error: RuntimeError) -> EngineError:
    """The same, read from what chDB raises."""
    text = str(error)
    found = re.search(r"Code: (\d+)\. DB::Exception", text)
    at = text.find("Code: ")
    return EngineError(int(found[1]) if found else 0, text[at:] if at > 0 else text)


class Answer(Protocol):
    """What chDB answers with: all of it, or a piece of a stream."""

    def bytes(self) -> bytes | None:
        """The bytes in the format asked for."""


class Connection(Protocol):
    """A connection of chDB."""

    def query(self, query: str, format: str) -> Answer:
        """Run a query to its end. Raises RuntimeError."""

    def send_query(self, query: str, format: str) -> Iterator[Answer]:
        """Run a query piece by piece. Raises RuntimeError, also between two pieces."""

    def close(self) -> None:
        """Give it back."""


class _Connect(Protocol):
    def __call__(self, connection_string: str) -> Connection: ...


class Engine:
    """The embedded engine with a connection for every request, so that no request sees another's settings.

    ``settings`` are applied to every connection, before those of the request.
    """

    def __init__(self, connection_string: str, settings: Mapping[str, str] | None = None) -> None:
        import chdb

        self._connect = cast("_Connect", chdb.connect)
        self._connection_string = connection_string
        self._settings = dict(settings or {})
        self._root = self.connection()  # as long as it lives, background work goes on between requests
        self._sessions: dict[str, Connection] = {}
        self._lock = threading.Lock()
        facts = self._root.query("SELECT version(), timezone(), hostName()", "TSV").bytes() or b""
        self.version, self.timezone, self.host = facts.decode().rstrip("\n").split("\t")

    def connection(self) -> Connection:
        """A new connection; close it after use."""
        connection = self._connect(self._connection_string)
        apply_settings(connection, self._settings)
        return connection

    def session(self, name: str) -> Connection:
        """The connection of a named session, which lives as long as the engine."""
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self.connection()
            return self._sessions[name]


def apply_settings(connection: Connection, settings: Mapping[str, str]) -> None:
    """SET each. Raises RuntimeError for one that the engine does not know."""
    for name, value in settings.items():
        if not re.fullmatch(r"\w+", name):
            raise RuntimeError(f"Code: 115. DB::Exception: Unknown setting {name!r}. (UNKNOWN_SETTING)")
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        connection.query(f"SET {name} = '{escaped}'", "TSV")


def answer_format(query: bytes, default: str) -> str:
    """The format that a query names itself, or else the default."""
    named = FORMAT.search(query)
    return named[1].decode() if named else default


def run(connection: Connection, query: bytes, default_format: str) -> Generator[bytes, None, None]:
    """The answer of any statement, in pieces where it may be large. Raises RuntimeError, also between two pieces."""
    text = query.decode("utf-8", "surrogateescape")
    if not SELECT.match(query):
        yield connection.query(text, default_format).bytes() or b""
    elif (format := answer_format(query, default_format)) in STREAMED:
        for piece in connection.send_query(text, default_format):
            yield piece.bytes() or b""
    else:
        named = FORMAT.search(query)
        yield from _through_pipe(connection, query[: named.start()] if named else query, format)


def insert(connection: Connection, statement: bytes, content: bytes) -> Generator[bytes, None, None]:
    """Run an INSERT with what it inserts; the answer is empty. Raises RuntimeError."""
    named = FORMAT.search(statement)
    format = named[1].decode() if named else "Values"
    head = statement[: named.start()] if named else statement
    with tempfile.NamedTemporaryFile(suffix=".data") as file:
        file.write(content)
        file.flush()
        connection.query(f"{head.decode()} FROM INFILE '{file.name}' FORMAT {format}", "TSV")
    yield b""


def _through_pipe(connection: Connection, query: bytes, format: str) -> Iterator[bytes]:
    """Let the engine write a result of any format into a named pipe, so that none is held in memory as a whole."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "result")
        os.mkfifo(path, 0o600)
        text = query.decode("utf-8", "surrogateescape").rstrip().rstrip(";")
        writing = _Writing(connection, f"{text}\nINTO OUTFILE '{path}' TRUNCATE FORMAT {format}")
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            writing.start()
            while writing.done not in (ready := _readable(reading, writing.done)):
                if piece := os.read(reading, PIECE):
                    yield piece
                elif ready == [reading]:  # written to its end, or not yet begun
                    _readable(writing.done, milliseconds=10)
            while piece := _rest(reading):
                yield piece
        finally:
            os.close(reading)  # a query that still writes now fails
            writing.join()
            writing.close()
    if writing.error is not None:
        raise writing.error


def _readable(*files: int, milliseconds: int | None = None) -> list[int]:
    """Wait until something can be read, or the other side closed; says where. Files of any number, unlike select()."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return [file for file, _ in poll.poll(milliseconds)]


def _rest(reading: int) -> bytes:
    try:
        return os.read(reading, PIECE)
    except BlockingIOError:
        return b""


class _Writing(threading.Thread):
    """Runs a query that writes into a pipe; ``done`` becomes readable when it has ended."""

    def __init__(self, connection: Connection, query: str) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self._query = query
        self.error: RuntimeError | None = None
        self.done, self._ended = os.pipe()

    def run(self) -> None:
        """Run it."""
        try:
            self._connection.query(self._query, "TSV")
        except RuntimeError as error:
            self.error = error
        finally:
            os.write(self._ended, b".")

    def close(self) -> None:
        """Give the descriptors back, after it has ended."""
        os.close(self.done)
        os.close(self._ended)
