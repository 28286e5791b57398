"""What operations leave in the server: dead connections to a gateway that is gone, and not more of them each time."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.storage import open_storage
from tests.scenarios.conftest import CHEAP
from tests.scenarios.world import PASSPHRASE, World
from tests.support.engine import EngineServer

CLOSE_WAIT = "08"


def ports_of_dead_connections(pid: int) -> set[int]:
    """The ports to which a process holds connections that the other side has closed, by what Linux says of it."""
    links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink())
    mine = {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].partition(":")[2], 16) for row in rows if row[3] == CLOSE_WAIT and row[9] in mine}


def test_dead_connections_are_to_one_port_however_many_operations_there_were(tmp_path: Path, folder_url: str) -> None:
    if not Path("/proc/self/net/tcp").exists():
        pytest.skip("only Linux says which connections a process holds")
    repositories.init(open_storage(folder_url), PASSPHRASE, kdf=CHEAP).close()
    with (
        EngineServer(tmp_path / "engine") as engine,
        repositories.open_repository(open_storage(folder_url), PASSPHRASE) as repository,
    ):
        world = World(engine.url, engine.query, repository, "play")
        world.run("CREATE DATABASE {db}", "CREATE TABLE {db}.t (id UInt64) ENGINE = MergeTree ORDER BY id")
        world.run("INSERT INTO {db}.t SELECT number FROM numbers(1000)")
        for _ in range(3):
            world.backup(full=True)
            world.drop()
            world.restore()
        assert len(ports_of_dead_connections(engine.pid)) == 1, "it keeps some, else this test sees nothing"
