"""What a scenario does to files behind everyone's back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from coldhouse.repository import frames_of, pack_name
from coldhouse.repository.opened_pack import open_pack
from tests.scenarios.world import World


def flip(path: Path, place: float = 0.5) -> None:
    """Turn one bit of a file, at ``place`` of its length; a file that others hard-link changes with it."""
    _flip_at(path, int(path.stat().st_size * place))


def flip_data_of(world: World, table: str) -> Path:
    """Turn one bit in the largest frame that holds nothing but one file of a table; returns the pack it lies in.

    Several threads fill a pack, so which file lies in its middle is a matter of luck; whose frame this is, is not.
    """
    files = defaultdict(set)
    for entry in world.repository.entries(world.repository.find("latest")):
        for part in world.repository.parts(entry):
            for file in part.files:
                for frame in frames_of(file.extents):
                    files[frame].add((entry.name.table, part.state.name, file.name))
    alone = [frame for frame, owners in files.items() if len(owners) == 1 and min(owners)[0] == table]
    packs = {id: open_pack(world.repository.storage, world.repository._ring, id) for id, _ in alone}
    spans = []
    for id, number in alone:
        frames = packs[id].table
        index = list(frames.numbers).index(number)
        spans.append((frames.starts[index + 1] - frames.starts[index], frames.starts[index], id))
    size, start, id = max(spans)
    path = Path(world.repository.url, pack_name(id))
    _flip_at(path, start + size // 2)
    return path


def _flip_at(path: Path, at: int) -> None:
    with path.open("r+b") as file:
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
