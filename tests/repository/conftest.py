from __future__ import annotations

import pytest

from coldhouse.repository import Repository
from tests.repository.samples import new_repository
from tests.support.memory_storage import MemoryStorage


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def repository(storage: MemoryStorage) -> Repository:
    return new_repository(storage)
