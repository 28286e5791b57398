"""A ClickHouse server for tests: the embedded engine in a child process, behind ClickHouse's HTTP interface."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


def post(url: str, sql: str, **settings: str) -> bytes:
    """Run any statement, as it is, in the server at ``url``; the answer as bytes, TabSeparated if it names no format.

    Raises AssertionError with ClickHouse's own text.
    """
    parts = urlsplit(url)
    credentials = f"{unquote(parts.username or 'default')}:{unquote(parts.password or '')}"
    address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", "", ""))
    request = urllib.request.Request(
        f"{address}?{urlencode({'default_format': 'TabSeparated'} | settings)}",
        data=sql.encode("utf-8", "surrogateescape"),
        headers={"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=900) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{sql[:200]}: {error.read().decode()}") from None


class EngineServer:
    """A server that can be stopped, killed and started again on the same directory and port.

    ``site`` is a folder with another chdb-core (``pip install --target``), ``config`` a server configuration file;
    ``denied`` are statements (``BACKUP``) for which the user lacks the grant, ``version`` is a version to pretend;
    ``timezone`` is that of its machine.
    """

    def __init__(
        self,
        directory: Path,
        *,
        user: str = "default",
        password: str = "",
        site: Path | None = None,
        config: Path | None = None,
        denied: tuple[str, ...] = (),
        version: str = "",
        timezone: str = "",
    ) -> None:
        self.directory = directory
        self.user = user
        self.password = password
        self.site = site
        self.config = config
        self.denied = denied
        self.version = version
        self.timezone = timezone
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL with user and password, as ``--source`` takes it."""
        if self.user == "default" and not self.password:
            return self.address
        return f"http://{quote(self.user, safe='')}:{quote(self.password, safe='')}@127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """The URL without user and password."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the child."""
        assert self._process is not None, "the engine does not run"
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it answers; the port of the first start is kept."""
        command = [sys.executable, "-m", "tests.support.engine_server", str(self.directory), str(self.port)]
        command += ["--user", self.user]
        command += ["--site", str(self.site)] if self.site else []
        command += ["--config", str(self.config)] if self.config else []
        command += [f"--deny={word}" for word in self.denied]
        command += [f"--version={self.version}"] if self.version else []
        self._process = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            env=os.environ
            | {"ENGINE_PASSWORD": self.password, "PYTHONWARNINGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
            | ({"TZ": self.timezone} if self.timezone else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = self._reported_port()
        return self

    def stop(self) -> None:
        """End it in good order, at least without a kill of the engine in the middle of a query."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same directory and port."""
        self._end(signal.SIGKILL)
        self.start()

    def query(self, sql: str, **settings: str) -> str:
        """Run any statement; the answer as TabSeparated text without the last newline."""
        return self.raw(sql, **settings).decode().rstrip("\n")

    def raw(self, sql: str, **settings: str) -> bytes:
        """Run any statement; the answer as bytes. Raises AssertionError with ClickHouse's own text."""
        return post(self.url, sql, **settings)

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _reported_port(self) -> int:
        process = self._process
        assert process is not None and process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            ready = selector.select(START_SECONDS)
        line = process.stdout.readline().split() if ready else []
        if len(line) != 2 or line[0] != b"ready":
            self.kill()
            raise AssertionError("the engine did not start; its own words are on standard error")
        return int(line[1])

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        process.wait(START_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
