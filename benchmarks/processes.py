"""Running commands and watching servers: wall time, CPU seconds, peak memory, by what the kernel counts (Linux)."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import ProcessUse, Run

_TICK = os.sysconf("SC_CLK_TCK")


class CommandFailed(Exception):
    """A command that is measured ended with an error."""


@dataclass(frozen=True, slots=True)
class Server:
    """A process that answers while others are measured."""

    name: str
    pid: int

    def cpu(self) -> float:
        """CPU seconds that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def forget_peak(self) -> None:
        """Let its peak of memory begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Its peak of memory in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0


def run_command(name: str, command: Sequence[str], environment: Mapping[str, str], home: Path) -> ProcessUse:
    """Run a command to its end and say what it used. Raises CommandFailed with what it printed."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")[-4000:]
            raise CommandFailed(f"{' '.join(command)} ended with {process.returncode}:\n{text}")
    return ProcessUse(name, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def measured(work: Callable[[], ProcessUse | None], servers: Sequence[Server]) -> Run:
    """Time a piece of work; ``servers`` are counted as far as they worked meanwhile."""
    for server in servers:
        server.forget_peak()
    before = [server.cpu() for server in servers]
    begun = time.perf_counter()
    own = work()
    seconds = time.perf_counter() - begun
    uses = [
        ProcessUse(server.name, server.cpu() - earlier, server.peak())
        for server, earlier in zip(servers, before, strict=True)
    ]
    return Run(seconds, ((own,) if own is not None else ()) + tuple(uses))
