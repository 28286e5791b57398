"""A scratch ClickHouse: the embedded engine in a child process, bounded, thrown away at the end.

A process of its own because an engine has one data directory per process, because what a snapshot holds may make an
engine crash, and because only a process can be held to its limits.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from msgspec import Struct

from coldhouse.clickhouse.scratch_server import OUT_OF_MEMORY, OUT_OF_TIME, Order
from coldhouse.errors import SourceError

START_SECONDS = 60
STOP_SECONDS = 30
#: Longest word of the engine's standard error that an error repeats.
LAST_WORDS = 2000


class ScratchLimits(Struct, frozen=True):
    """What a scratch engine may use: ``memory`` in bytes for all queries together, ``seconds`` of life, ``threads``."""

    memory: int = 2 << 30
    seconds: float = 24 * 3600
    threads: int = 2

    def settings(self) -> dict[str, str]:
        """The settings of every query that keep it within these limits: what does not fit in memory goes to disk."""
        return {
            "max_threads": str(self.threads),
            "max_memory_usage": str(self.memory * 9 // 10),
            "max_bytes_before_external_group_by": str(self.memory // 3),
            "max_bytes_before_external_sort": str(self.memory // 3),
            "join_algorithm": "auto",
            "max_bytes_in_join": str(self.memory // 4),
        }


@dataclass(slots=True)
class _Running:
    process: subprocess.Popen[bytes]
    port: int = 0
    password: str = field(default="", repr=False)


class ScratchEngine:
    """An empty ClickHouse on loopback that nobody else can use, as a context manager.

    ``directory`` is where its own, new directory is made (default: the system's for temporary files); ``settings`` go
    to every query beside those of ``limits``; ``configuration`` is XML for inside the server's configuration file;
    ``timezone`` is one that this machine knows (default: its own). Its ``url`` is for ``open_source``. Whatever ends
    this process ends the engine and removes its directory.

    Raises SourceError if chDB is not installed or does not start.
    """

    def __init__(
        self,
        limits: ScratchLimits | None = None,
        *,
        directory: Path | None = None,
        settings: Mapping[str, str] | None = None,
        configuration: str = "",
        timezone: str = "",
    ) -> None:
        self.limits = limits or ScratchLimits()
        self._settings = self.limits.settings() | dict(settings or {})
        self._configuration = configuration
        self._timezone = timezone
        self._parent = directory
        self._root: Path | None = None
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """Its address with the password: not to be shown."""
        running = self._started()
        return f"http://default:{running.password}@127.0.0.1:{running.port}"

    @property
    def directory(self) -> Path:
        """Where everything it writes is."""
        if self._root is None:
            raise SourceError("the scratch engine does not run")
        return self._root

    @property
    def pid(self) -> int:
        """Its process."""
        return self._started().process.pid

    def start(self) -> Self:
        """Start it and wait until it answers."""
        require_engine()
        self._root = Path(tempfile.mkdtemp(prefix="coldhouse-scratch-", dir=self._parent))
        try:
            self._running = self._launch(self._root)
            self._running.port = self._reported_port(self._running.process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it and remove its directory; nothing in it is worth an orderly end."""
        running, self._running = self._running, None
        if running is not None:
            running.process.kill()
            running.process.wait(STOP_SECONDS)
            for pipe in (running.process.stdin, running.process.stdout):
                if pipe is not None:
                    pipe.close()
        root, self._root = self._root, None
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)

    def ended(self) -> SourceError | None:
        """Why it runs no more, or None while it runs: what a failed query alone cannot tell."""
        if self._running is None or (status := self._running.process.poll()) is None:
            return None
        if status == OUT_OF_TIME:
            return SourceError(f"the scratch engine was ended after {self.limits.seconds:,.0f} seconds, its time limit")
        if status == OUT_OF_MEMORY:
            return SourceError(
                f"the scratch engine was ended because it held more memory than {self.limits.memory / 2**20:,.0f} MiB"
            )
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        return SourceError(f"the scratch engine ended {how}. Its last words: {self._last_words() or 'none'}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _started(self) -> _Running:
        if self._running is None:
            raise SourceError("the scratch engine does not run")
        return self._running

    def _launch(self, root: Path) -> _Running:
        temporary = root / "tmp"
        temporary.mkdir()
        package = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
        environment = {"PYTHONPATH": path, "TMPDIR": str(temporary), "PYTHONWARNINGS": ""}
        if self._timezone:
            environment["TZ"] = self._timezone  # the embedded engine does not look for one in its configuration
        with open(root / "stderr", "wb") as words:
            process = subprocess.Popen(
                # -P: never a module of the directory in which the user happens to stand
                [sys.executable, "-P", "-m", "coldhouse.clickhouse.scratch_server"],
                cwd=root,
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                # Ctrl-C goes to the parent, which ends the engine when it is ready to
                start_new_session=True,
            )
        running = _Running(process, password=secrets.token_urlsafe(24))
        order = Order(
            str(root), running.password, self.limits.memory, self.limits.seconds, self._settings, self._configuration
        )
        if process.stdin is not None:
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            process.stdin.flush()
        return running

    def _reported_port(self, process: subprocess.Popen[bytes]) -> int:
        line: list[bytes] = []
        if process.stdout is not None:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                line = process.stdout.readline().split() if selector.select(START_SECONDS) else []
        if len(line) != 2 or line[0] != b"ready":
            raise SourceError(f"the scratch engine did not start: {self._last_words() or 'it said nothing'}")
        return int(line[1])

    def _last_words(self) -> str:
        if self._root is None:
            return ""
        try:
            text = (self._root / "stderr").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return text[-LAST_WORDS:].strip()


def require_engine() -> None:
    """Raises SourceError, with what to install, when there is no embedded engine."""
    if importlib.util.find_spec("chdb") is None:
        raise SourceError(
            "this needs an embedded ClickHouse (chDB), which is not installed",
            hint="pip install 'coldhouse[embedded]'",
        )
