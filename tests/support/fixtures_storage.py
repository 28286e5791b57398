"""Stores for tests: one server of each kind for each test process, a place of its own for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest

from coldhouse.storage import Storage, open_storage
from tests.support import azurite as azurite_module
from tests.support.azurite import Azurite
from tests.support.gcs_stub import GcsStub
from tests.support.seaweedfs import SeaweedFS

_FOREIGN = ("AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST")


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A running S3 server."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs") / "server").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A running Azure Blob Storage emulator; skips where there is no node."""
    if reason := azurite_module.why_not():
        pytest.skip(reason)
    server = Azurite(tmp_path_factory.mktemp("azurite") / "server")
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def gcs_stub() -> Iterator[GcsStub]:
    """A running stub of Google Cloud Storage, empty."""
    server = GcsStub().start()
    yield server
    server.stop()


@pytest.fixture
def s3_url(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in S3; the environment holds what is needed to use it."""
    use_environment(monkeypatch, seaweedfs.environment)
    return seaweedfs.new_url()


@pytest.fixture
def az_url(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in Azure Blob Storage; the environment holds what is needed to use it."""
    use_environment(monkeypatch, azurite.environment)
    return azurite.new_url()


@pytest.fixture
def gs_url(gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place in the stub of Google Cloud Storage; the environment holds what is needed to use it."""
    use_environment(monkeypatch, gcs_stub.environment)
    return gcs_stub.new_url()


@pytest.fixture
def s3_storage(s3_url: str) -> Iterator[Storage]:
    """An empty store in S3."""
    storage = open_storage(s3_url)
    yield storage
    storage.close()


def use_environment(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set these variables, and no others that a store's client would read."""
    for name in tuple(os.environ):
        if name.startswith(_FOREIGN):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
