"""S3, on a real server: the contract, and what it says to the wrong credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import obstore
import pytest
from obstore.exceptions import GenericError

from coldhouse.errors import StorageError, StorageRefused
from coldhouse.storage import Storage, open_storage
from coldhouse.storage.object import ObjectStorage
from tests.storage.contract import StorageContract
from tests.support.fixtures_storage import use_environment
from tests.support.seaweedfs import ACCESS_KEY, SeaweedFS

USES: dict[str, Callable[[Storage], object]] = {
    "get": lambda storage: storage.get("config"),
    "get_range": lambda storage: storage.get_range("config", 0, 1),
    "size": lambda storage: storage.size("config"),
    "create": lambda storage: storage.create("config", b"x"),
    "put": lambda storage: storage.put("config", b"x"),
    "list": lambda storage: list(storage.list("")),
    "delete": lambda storage: storage.delete(["config"]),
}
WRITES = ("create", "put", "delete")


class TestContract(StorageContract):
    @pytest.fixture
    def storage(self, s3_url: str) -> Iterator[Storage]:
        storage = open_storage(s3_url)
        yield storage
        storage.close()


@pytest.mark.parametrize("use", USES)
def test_a_wrong_secret_is_refused_and_not_shown(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    use_environment(monkeypatch, seaweedfs.environment_of(ACCESS_KEY, "not-the-secret"))
    with pytest.raises(StorageRefused) as caught:
        USES[use](open_storage(seaweedfs.new_url()))
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint
    assert "not-the-secret" not in str(caught.value)


@pytest.mark.parametrize("use", WRITES)
def test_who_may_only_read_is_refused(
    s3_url: str, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    open_storage(s3_url).put("config", b"as it was")
    use_environment(monkeypatch, seaweedfs.read_only_environment)
    storage = open_storage(s3_url)
    with pytest.raises(StorageRefused, match="refused"):
        USES[use](storage)
    assert bytes(storage.get("config")) == b"as it was"


@pytest.mark.parametrize("use", ["get", "create", "put", "list"])
def test_a_missing_bucket_is_named(s3_url: str, use: str) -> None:
    with pytest.raises(StorageError, match="there is no bucket not-there"):
        USES[use](open_storage("s3://not-there/prefix"))


@pytest.mark.parametrize("use", USES)
def test_a_server_that_does_not_answer_is_named(s3_url: str, use: str) -> None:
    nobody = "http://127.0.0.1:9"
    with pytest.raises(StorageError, match=f"no answer from {nobody}"):
        USES[use](ObjectStorage(f"{s3_url}?endpoint={nobody}", patience=0.3))


def test_an_endpoint_in_the_url_counts_before_the_environment(
    s3_url: str, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    storage = ObjectStorage(f"{s3_url}?endpoint={seaweedfs.endpoint}", patience=0.3)
    storage.create("config", b"1")
    assert bytes(storage.get("config")) == b"1"


def test_the_endpoint_for_s3_counts_before_the_one_for_all(
    s3_url: str, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", seaweedfs.endpoint)
    ObjectStorage(s3_url, patience=0.3).create("config", b"1")


def test_two_prefixes_of_a_bucket_are_two_stores(s3_url: str) -> None:
    one, other = open_storage(f"{s3_url}/one"), open_storage(f"{s3_url}/one-more")
    one.create("config", b"1")
    assert list(other.list("")) == []
    other.create("config", b"2")
    assert [bytes(storage.get("config")) for storage in (one, other)] == [b"1", b"2"]
    assert [len(list(storage.list(""))) for storage in (one, other)] == [1, 1]


def test_the_url_does_not_tell_how_it_is_reached(s3_url: str, seaweedfs: SeaweedFS) -> None:
    assert open_storage(f"{s3_url}/?endpoint={seaweedfs.endpoint}&region=eu-north-1").url == s3_url


def test_a_stream_that_breaks_off_is_continued(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(s3_url)
    data = bytes(range(256)) * (5 << 12)
    storage.create("packs/large", data)
    broken = []

    class Breaking:
        def __init__(self, whole: object) -> None:
            self.whole = whole

        def stream(self, min_chunk_size: int) -> Iterator[bytes]:
            yield next(iter(self.whole.stream(min_chunk_size=min_chunk_size)))  # type: ignore[attr-defined]
            broken.append(True)
            raise GenericError("connection reset")

    get = obstore.get
    monkeypatch.setattr(obstore, "get", lambda *given, **named: Breaking(get(*given, **named)))
    assert b"".join(bytes(piece) for piece in storage.read_through("packs/large", 3, len(data) - 3)) == data[3:]
    assert broken == [True]
