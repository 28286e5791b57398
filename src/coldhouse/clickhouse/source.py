"""A connection to a ClickHouse: a server over HTTP(S), or an embedded one (a chDB data directory).

The only module that touches clickhouse-connect, which speaks to both. What it raises is turned into our errors here,
with a hint and without any secret.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from types import TracebackType
from typing import Protocol, Self, cast, runtime_checkable
from urllib.parse import parse_qsl, unquote, urlsplit

from coldhouse.clickhouse import failures, sql
from coldhouse.errors import SourceUnreachable, UsageError
from coldhouse.model import SourceInfo
from coldhouse.records import replace

Row = tuple[object, ...]

CONNECT_SECONDS = 10
#: A server that answers neither data nor progress for so long is gone.
SILENCE_SECONDS = 300
_QUERY_SIZE = 1 << 30
_LOG_COMMENT = "coldhouse"
_PIECE = 1 << 18
#: System tables whose columns differ between versions, and matter here.
_ASKED_TABLES = ("system.backups", "system.parts", "system.tables")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a source is; ``url`` shows neither user nor password."""

    url: str
    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    options: tuple[tuple[str, str], ...] = ()
    silence: float = SILENCE_SECONDS

    @property
    def embedded(self) -> bool:
        """Whether the engine runs in this process."""
        return self.scheme == "chdb"


def parse_address(url: str) -> Address:
    """Read ``http(s)://user:password@host:port/?database=...``, or ``chdb:///directory``.

    Raises UsageError, which does not repeat the URL: there may be a password in it.
    """
    hint = "Use http://user:password@host:8123, https://user:password@host:8443 or chdb:///directory."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("The URL of the ClickHouse cannot be read.", hint=hint) from None
    options = tuple(parse_qsl(parts.query, keep_blank_values=True))
    if parts.scheme == "chdb":
        if parts.netloc or not parts.path.strip("/"):
            raise UsageError("A chdb URL needs three slashes and a directory.", hint=hint)
        path = os.path.realpath(unquote(parts.path))
        return Address(url=f"chdb://{path}", scheme="chdb", path=path, options=options)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("This is not the URL of a ClickHouse.", hint=hint)
    port = port or (8443 if parts.scheme == "https" else 8123)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(
        url=f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}",
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        path=parts.path.strip("/"),
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        options=options,
    )


class Source:
    """An open ClickHouse. Safe for several threads; each stream of rows is read by one."""

    def __init__(self, address: Address) -> None:
        """Connects; use ``open_source``."""
        self._address = address
        self._idle: list[_Client] = []
        self._lock = threading.Lock()
        self._closed = False
        self._columns: dict[str, frozenset[str]] = {}
        self._guard = failures.Guard(address.url, address.user, (address.password,) if address.password else ())
        with self._guard.translated():
            self._idle.append(_connect(address))
        facts = self.fetch(sql.SERVER_FACTS_QUERY)[0]
        self.version_text, self.host, self.timezone, server_id, self.user = map(str, facts)
        # Whom the server takes us for: a GRANT to another name would change nothing.
        self._guard = replace(self._guard, user=self.user)
        self.version = tuple(int(number) for number in re.findall(r"\d+", self.version_text)[:4])
        self.identity = server_id if server_id.strip("0-") else self._directory()

    @property
    def url(self) -> str:
        """The address without user and password."""
        return self._address.url

    @property
    def is_embedded(self) -> bool:
        """Whether the engine runs in this process."""
        return self._address.embedded

    @property
    def data_path(self) -> str | None:
        """The data directory on this machine, if it is known to be on this machine."""
        return self._address.path if self.is_embedded else None

    def info(self) -> SourceInfo:
        """What a snapshot records about its source."""
        return SourceInfo(self.url, self.identity, self.host, self.version_text, self.timezone)

    def rows(self, query: str) -> Iterator[Row]:
        """The rows of a query, block by block as they come; close the iterator to stop early.

        Raises SourceError and its kinds.
        """
        with self._client() as client, client.query_row_block_stream(query, settings=self._settings()) as blocks:
            for block in blocks:
                yield from block

    def fetch(self, query: str) -> list[Row]:
        """All rows of a query whose result is small; also of SHOW, which the embedded engine does not stream."""
        with self._client() as client:
            return [tuple(row) for row in client.query(query, settings=self._settings()).result_rows]

    def stream(self, query: str, format: str) -> Generator[bytes, None, None]:
        """The answer of a query in one of ClickHouse's output formats, piece by piece; close it to stop early.

        Raises SourceError and its kinds, also after the first pieces.
        """
        # The client collects the whole answer of an embedded engine first if there are settings to take back after it.
        settings = {} if self.is_embedded else self._settings()
        with self._client() as client, closing(client.raw_stream(query, fmt=format, settings=settings)) as answer:
            yield from failures.checked(_pieces(answer), failures.exception_tag(answer), self._guard)

    def value(self, query: str) -> object:
        """The only value of a query."""
        return self.fetch(query)[0][0]

    def command(self, statement: str | sql.Statement, settings: Mapping[str, str] | None = None) -> None:
        """Run a statement that returns nothing of interest. Never repeated when its answer is lost."""
        if isinstance(statement, str):
            statement = sql.Statement(statement)
        with self._client(statement.secrets, again=not self.is_embedded) as client:
            client.command(statement.text, settings=self._settings() | dict(settings or {}))

    def columns(self, table: str) -> frozenset[str]:
        """The columns that a system table has in this version, e.g. of ``system.parts``."""
        if table not in self._columns:
            asked = sorted({table, *_ASKED_TABLES})  # in one query what will be asked sooner or later
            where = (sql.equals("database", "system"), sql.one_of("table", [name.split(".")[1] for name in asked]))
            found = self.fetch(sql.select(("table", "name"), "system.columns", where))
            for name in asked:
                self._columns[name] = frozenset(str(row[1]) for row in found if f"system.{row[0]}" == name)
        return self._columns[table]

    def settings_known(self, names: Sequence[str]) -> frozenset[str]:
        """Those of the names that system.settings lists; settings of BACKUP alone are not listed there."""
        found = self.fetch(sql.select(("name",), "system.settings", (sql.one_of("name", names),)))
        return frozenset(str(row[0]) for row in found)

    def close(self) -> None:
        """Give the connections back; the embedded engine stops when its last one is closed."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _directory(self) -> str:
        """The embedded engine has no id (all zeros): its directory is what it is known by."""
        path = self.value(sql.select(("path",), "system.disks", (sql.equals("name", "default"),)))
        return f"chdb:{str(path).rstrip('/')}"

    def _settings(self) -> dict[str, str]:
        return {
            "log_comment": _LOG_COMMENT,
            "max_query_size": str(_QUERY_SIZE),
            "query_id": f"coldhouse-{uuid.uuid4()}",
        }

    @contextmanager
    def _client(self, secrets: tuple[str, ...] = (), *, again: bool = False) -> Generator[_Client, None, None]:
        """A connection of one's own.

        One that failed is thrown away: the embedded engine puts what a failed query had begun to say before the
        answer of the next (seen with chdb-core 26.9). With ``again`` one whose statement the server refused is kept: a
        new one costs three queries.
        """
        with self._lock:
            if self._closed:
                raise UsageError(f"The connection to {self.url} is closed.")
            client = self._idle.pop() if self._idle else None
        with self._guard.translated(secrets):
            if client is None:
                client = _connect(self._address)
            try:
                yield client
            except BaseException as error:
                if again and failures.is_refusal(error):
                    self._give_back(client)
                else:
                    client.close()
                raise
        self._give_back(client)

    def _give_back(self, client: _Client) -> None:
        with self._lock:
            kept = not self._closed
            if kept:
                self._idle.append(client)
        if not kept:
            client.close()


def open_source(url: str, *, create: bool = True, silence: float = SILENCE_SECONDS) -> Source:
    """Connect to a ClickHouse; an embedded one whose directory is not there is begun anew, unless not ``create``.

    A server that says nothing for ``silence`` seconds is taken to be gone.

    Raises UsageError (URL), SourceUnreachable, SourceRefused (credentials).
    """
    address = parse_address(url)
    if address.embedded and not create and not os.path.isdir(address.path):
        raise SourceUnreachable(
            f"There is no embedded ClickHouse at {address.url}: the directory does not exist.",
            hint="Check the path: chdb:/// and the data directory from the root.",
        )
    return Source(replace(address, silence=silence))


def load_client() -> None:
    """Import the client library now; it takes a tenth of a second."""
    import_module("clickhouse_connect")


class _Result(Protocol):
    @property
    def result_rows(self) -> Sequence[Sequence[object]]: ...


class _Client(Protocol):
    """What is used of clickhouse_connect's client."""

    def query_row_block_stream(
        self, query: str, *, settings: Mapping[str, str]
    ) -> AbstractContextManager[Iterator[Sequence[Row]]]: ...

    def query(self, query: str, *, settings: Mapping[str, str]) -> _Result: ...

    def command(self, cmd: str, *, settings: Mapping[str, str]) -> object: ...

    def raw_stream(self, query: str, *, fmt: str, settings: Mapping[str, str]) -> _Stream: ...

    def close(self) -> None: ...


class _Stream(Protocol):
    """What is used of a file."""

    def read(self, amount: int, /) -> bytes | None: ...

    def close(self) -> None: ...


@runtime_checkable
class _Response(Protocol):
    """What is used of urllib3's response: what has come before a connection is cut gets out, other than by ``read``."""

    def stream(self, amt: int, decode_content: bool) -> Iterator[bytes]: ...


class _Connect(Protocol):
    def __call__(self, **options: object) -> _Client: ...


def _pieces(answer: _Stream) -> Iterator[bytes]:
    if isinstance(answer, _Response):
        yield from answer.stream(_PIECE, True)
    else:
        while piece := answer.read(_PIECE):
            yield piece


def _connect(address: Address) -> _Client:
    import clickhouse_connect

    # What it logs it also raises; without a handler Python would print it.
    log = logging.getLogger("clickhouse_connect")
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    connect = cast(_Connect, clickhouse_connect.get_client)
    if address.embedded:
        return connect(interface="chdb", path=address.path, chdb_options=dict(address.options) or None)
    options = dict(address.options)
    verify = options.pop("verify", "true").lower() not in ("false", "0", "no")
    return connect(
        interface=address.scheme,
        host=address.host,
        port=address.port,
        proxy_path=address.path,
        username=address.user,
        password=address.password,
        database=options.pop("database", "default"),
        ca_cert=options.pop("ca_cert", None),
        verify=verify,
        settings=options,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=address.silence,
        autogenerate_session_id=False,
        query_retries=2,
        client_name="coldhouse",
    )
