"""Build hook: compile ClickHouse's CityHash128 to a plain shared library that Python loads by ctypes.

The library uses nothing of Python, so one wheel serves every version; without a compiler or without the source the
wheel is a pure one and hashing falls back to a slower path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("src/coldhouse/_cityhash.c")
LIBRARY = Path("src/coldhouse/_cityhash.so")


class CityHashHook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or not self._compile():
            return
        build_data["artifacts"].append(LIBRARY.as_posix())
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"

    def clean(self, versions: list[str]) -> None:
        (Path(self.root) / LIBRARY).unlink(missing_ok=True)

    def _compile(self) -> bool:
        root = Path(self.root)
        compiler = os.environ.get("CC") or shutil.which("cc")
        if not compiler or sys.platform == "win32" or not (root / SOURCE).is_file():
            return False
        made = root / LIBRARY.with_suffix(f".{os.getpid()}.tmp")
        command = [*compiler.split(), "-O3", "-shared", "-fPIC", "-o", str(made), str(root / SOURCE)]
        try:
            subprocess.run(command, check=True, capture_output=True)
            made.replace(root / LIBRARY)  # in one step: a running process may have the old one mapped
        except (OSError, subprocess.CalledProcessError):
            made.unlink(missing_ok=True)
            return False
        return True
