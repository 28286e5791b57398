"""Fixtures that start ClickHouse engines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engine import CHECKOUT, EngineServer

#: Where ``make`` installs the oldest engine that can BACKUP: pip install --target .engines/26.7 chdb-core==26.7.3
OLD_ENGINE = Path(os.environ.get("COLDHOUSE_TEST_OLD_ENGINE", CHECKOUT / ".engines" / "26.7"))


@pytest.fixture
def engine_server(tmp_path: Path) -> Iterator[EngineServer]:
    """A fresh server of the newest engine."""
    with EngineServer(tmp_path / "engine") as server:
        yield server


@pytest.fixture(scope="module")
def module_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    """A server that the tests of one module share: a database of its own for each."""
    with EngineServer(tmp_path_factory.mktemp("engine") / "data") as server:
        yield server


@pytest.fixture
def old_engine_site() -> Path:
    """The folder of chdb-core 26.7, the first that can BACKUP."""
    if not (OLD_ENGINE / "chdb").is_dir():
        pytest.skip(f"no chdb-core 26.7 in {OLD_ENGINE}")
    return OLD_ENGINE


@pytest.fixture
def old_engine_server(tmp_path: Path, old_engine_site: Path) -> Iterator[EngineServer]:
    """A fresh server of chdb-core 26.7."""
    with EngineServer(tmp_path / "engine", site=old_engine_site) as server:
        yield server
