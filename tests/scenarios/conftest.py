"""The places in which every scenario is played: two kinds of ClickHouse, two kinds of store.

The embedded engine runs in the test's own process; the server is the same engine in a child process behind HTTP, or the
real server that COLDHOUSE_TEST_CLICKHOUSE_URL names. What depends most on the version of the engine is also played in a
server of the oldest one that can BACKUP: ``pytestmark = ALSO_OLD``, or ``ALSO_OLD_LONG`` where it takes minutes.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from coldhouse import repository as repositories
from coldhouse.repository import KdfCost
from coldhouse.storage import open_storage
from tests.scenarios.world import PASSPHRASE, World
from tests.support.engine import EngineServer, post
from tests.support.fixtures_engine import OLD_ENGINE

#: Cheap on purpose: the tests open hundreds of repositories; the real cost has a test of its own.
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)

Clickhouse = tuple[str, Callable[[str], str]]

PLACES = ("embedded", "server")
ALSO_OLD = pytest.mark.parametrize("clickhouse", [*PLACES, "old_server"], indirect=True)
ALSO_OLD_LONG = pytest.mark.parametrize(
    "clickhouse", [*PLACES, pytest.param("old_server", marks=pytest.mark.long)], indirect=True
)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    """The engine in this process; one data directory, because a process can have only one."""
    from chdb.session import Session

    path = tmp_path_factory.mktemp("chdb")
    session = Session(str(path))
    yield f"chdb://{path}", lambda text: str(session.query(text, "TabSeparated")).rstrip("\n")
    session.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    """A server over HTTP."""
    given = os.environ.get("COLDHOUSE_TEST_CLICKHOUSE_URL")
    if given:
        yield given, lambda text: post(given, text).decode().rstrip("\n")
        return
    with EngineServer(tmp_path_factory.mktemp("server"), user="keeper", password="p@ss/word") as engine:
        yield engine.url, engine.query


@pytest.fixture(scope="session")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    """A server of chdb-core 26.7, the oldest engine that can BACKUP."""
    if not (OLD_ENGINE / "chdb").is_dir():
        pytest.skip(f"no chdb-core 26.7 in {OLD_ENGINE}")
    with EngineServer(tmp_path_factory.mktemp("old") / "data", site=OLD_ENGINE) as engine:
        assert engine.query("SELECT version()").startswith("26.7.")
        yield engine.url, engine.query


@pytest.fixture(params=PLACES)
def clickhouse(request: pytest.FixtureRequest) -> Clickhouse:
    """The ClickHouse that a scenario plays in."""
    return cast("Clickhouse", request.getfixturevalue(request.param))


@pytest.fixture
def folder_url(tmp_path: Path) -> str:
    """A repository URL: a folder."""
    return str(tmp_path / "repository")


@pytest.fixture
def world(clickhouse: Clickhouse, folder_url: str) -> Iterator[World]:
    """A ClickHouse and a repository in a folder."""
    yield from play(clickhouse, folder_url)


def play(clickhouse: Clickhouse, repo_url: str) -> Iterator[World]:
    """Make a repository and a fresh database, and clear both away afterwards."""
    url, query = clickhouse
    db = f"play_{secrets.token_hex(4)}"
    with repositories.init(open_storage(repo_url), PASSPHRASE, kdf=CHEAP) as repository:
        world = World(url, query, repository, db)
        world.run("CREATE DATABASE {db}")
        yield world
        world.drop()
        world.query(f"DROP DATABASE IF EXISTS {db}_copy SYNC")
