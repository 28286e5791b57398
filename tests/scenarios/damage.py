"""What a scenario does to files behind everyone's back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.world import World


def flip(path: Path, place: float = 0.5) -> None:
    """Turn one bit of a file, at ``place`` of its length; a file that others hard-link changes with it."""
    with path.open("r+b") as file:
        at = int(path.stat().st_size * place)
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def source_file(world: World, table: str, name: str) -> Path:
    """A file of a table in the data directory, e.g. ``all_1_1_0/v.bin``; skips where the server is somewhere else."""
    found = world.ask(f"SELECT arrayJoin(data_paths) FROM system.tables WHERE database = '{{db}}' AND name = '{table}'")
    path = Path(found) / name
    if not path.is_file():
        pytest.skip("the data directory of this server is not on this machine")
    return path


def packs(folder: Path) -> list[Path]:
    """The packs of a repository in a folder, oldest first."""
    return sorted(
        (path for path in (folder / "packs").rglob("*") if path.is_file()), key=lambda p: p.stat().st_mtime_ns
    )
