"""Azure Blob Storage, on Microsoft's emulator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coldhouse.errors import StorageError, StorageRefused
from coldhouse.storage import Storage, open_storage
from tests.storage.contract import StorageContract


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, az_url: str) -> Iterator[Storage]:
        storage = open_storage(az_url)
        yield storage
        storage.close()


def test_a_wrong_key_is_refused_and_not_shown(az_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "bm90IHRoZSBrZXk="
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    with pytest.raises(StorageRefused) as caught:
        open_storage(az_url).create("config", b"x")
    assert "AZURE_STORAGE_ACCOUNT_KEY" in caught.value.hint
    assert wrong not in str(caught.value)


def test_a_signed_url_is_not_shown(az_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2021-12-02&ss=b&srt=co&sp=r&se=2030-01-01&sig=c2VjcmV0")
    with pytest.raises(StorageRefused) as caught:
        open_storage(az_url).get("config")
    assert "c2VjcmV0" not in str(caught.value)
    assert "sig=" not in str(caught.value)


def test_a_missing_container_is_named(az_url: str) -> None:
    for use in (
        lambda storage: storage.get("config"),
        lambda storage: storage.create("config", b"x"),
        lambda storage: list(storage.list("")),
    ):
        with pytest.raises(StorageError, match="there is no bucket not-there"):
            use(open_storage("az://not-there/prefix"))
