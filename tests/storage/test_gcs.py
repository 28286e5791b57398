"""Google Cloud Storage, as far as a stub of its XML interface can show."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from coldhouse.storage import Storage, open_storage
from tests.storage.contract import StorageContract
from tests.support.gcs_stub import GcsStub


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, gs_url: str) -> Iterator[Storage]:
        storage = open_storage(gs_url)
        yield storage
        storage.close()

    def check_time(self, modified: datetime, before: datetime) -> None:
        assert modified == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)  # the stub's answer


def test_an_object_is_one_request_whatever_its_size(gs_url: str, gcs_stub: GcsStub) -> None:
    storage = open_storage(gs_url)
    storage.create("packs/large", bytes(20 << 20))
    storage.put("notes/large", bytes(20 << 20))
    assert [method for method, _ in gcs_stub.state.requests] == ["PUT", "PUT"]
