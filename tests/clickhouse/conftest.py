"""One engine for the whole folder; a test that writes has a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from coldhouse.clickhouse import Source, open_source
from tests.support.engine import EngineServer
from tests.support.s3_stub import S3Stub


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with EngineServer(tmp_path_factory.mktemp("engine") / "data", user="us er", password="pass:w@rd'/") as server:
        yield server


@pytest.fixture
def source(engine: EngineServer) -> Iterator[Source]:
    with open_source(engine.url) as opened:
        yield opened


@pytest.fixture
def db(engine: EngineServer) -> Iterator[str]:
    """The name of an empty database."""
    name = f"db_{uuid4().hex[:8]}"
    engine.query(f"CREATE DATABASE {name}")
    yield name
    engine.query(f"DROP DATABASE {name}")


@pytest.fixture
def s3() -> Iterator[S3Stub]:
    with S3Stub() as stub:
        yield stub


@pytest.fixture(params=["newest", "26.7"])
def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineServer]:
    """A fresh server of the newest and of the oldest engine that can BACKUP."""
    site = request.getfixturevalue("old_engine_site") if request.param == "26.7" else None
    with EngineServer(tmp_path / "engine", site=site) as server:
        yield server
