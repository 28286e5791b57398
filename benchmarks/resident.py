"""Coldhouse as a library in a process that keeps running, as ClickHouse itself does.

``python -m benchmarks.resident PLACE SOURCE TABLES`` opens the repository once, and takes a backup for every line that
it reads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bars import COLDHOUSE
from benchmarks.processes import CommandFailed, Server
from tests.support.engine import CHECKOUT

_READY, _DONE = "ready\n", "done\n"


class Resident:
    """The process and its two pipes."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], home: Path) -> None:
        """Start it and wait until the repository is open. Raises CommandFailed."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.resident", *arguments],
            cwd=home,
            env={**environment, "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'src'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._expect(_READY)

    @property
    def server(self) -> Server:
        """The process as one that is measured while it works."""
        return Server(COLDHOUSE, self._process.pid)

    def backup(self) -> None:
        """Take one backup. Raises CommandFailed."""
        assert self._process.stdin is not None
        self._process.stdin.write("backup\n")
        self._process.stdin.flush()
        self._expect(_DONE)

    def close(self) -> None:
        """Let it end."""
        self._process.communicate(timeout=60)

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != word:
            self._process.kill()
            raise CommandFailed("the library ended; what it said is above")


def serve(place: str, passphrase: str, source: str, tables: str) -> None:
    """Answer each line of stdin with a backup."""
    import coldhouse
    from coldhouse.operations import backup

    options = coldhouse.BackupOptions(source=source, include=(tables,), compression="none")
    with backup.prepare(options):
        pass  # all is imported now; each backup connects by itself
    with coldhouse.open_repository(place, passphrase) as repository:
        _say(_READY)
        for _ in sys.stdin:
            coldhouse.backup(repository, options)
            _say(_DONE)


def _say(word: str) -> None:
    sys.stdout.write(word)
    sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1], os.environ["COLDHOUSE_PASSWORD"], sys.argv[2], sys.argv[3])
