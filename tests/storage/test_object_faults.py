"""Buckets that lose answers, are overloaded, full, or say strange things; against a stub that does it on request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coldhouse.errors import ObjectExists, StorageError, StorageFull, StorageRefused
from coldhouse.storage import Storage, names_of
from coldhouse.storage.object import ObjectStorage
from tests.support.fixtures_storage import use_environment
from tests.support.gcs_stub import GcsStub, Trouble


@pytest.fixture(params=["s3", "gs"])
def storage(request: pytest.FixtureRequest, gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch) -> Storage:
    scheme = str(request.param)
    use_environment(monkeypatch, gcs_stub.s3_environment if scheme == "s3" else gcs_stub.environment)
    return ObjectStorage(gcs_stub.new_url(scheme), patience=3)


def key_of(storage: Storage, name: str) -> str:
    return f"{storage.url.partition('://')[2].partition('/')[2]}/{name}"


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble("PUT", 0),
        Trouble("PUT", 0, effect=True),
        Trouble("PUT", 503, "SlowDown", times=3),
        Trouble("PUT", 500, "InternalError", effect=True),
        Trouble("PUT", 429, "TooManyRequests"),
        Trouble("PUT", 409, "ConditionalRequestConflict"),
    ],
    ids=lambda trouble: f"{trouble.status}{' after effect' if trouble.effect else ''}",
)
def test_create_survives_a_passing_trouble(storage: Storage, gcs_stub: GcsStub, trouble: Trouble) -> None:
    gcs_stub.state.troubles.append(trouble)
    storage.create("config", b"mine")
    assert gcs_stub.state.objects == {key_of(storage, "config"): b"mine"}


@pytest.mark.parametrize("theirs", [b"theirs, longer", b"thrs"], ids=["of another size", "of the same size"])
def test_create_does_not_take_anothers_object_for_its_own(storage: Storage, gcs_stub: GcsStub, theirs: bytes) -> None:
    def another_is_faster() -> None:
        gcs_stub.state.objects[key_of(storage, "config")] = theirs

    gcs_stub.state.troubles.append(Trouble("PUT", 0, meanwhile=another_is_faster))
    with pytest.raises(ObjectExists):
        storage.create("config", b"mine")
    assert bytes(storage.get("config")) == theirs


def test_create_after_a_conflict_finds_what_the_other_wrote(storage: Storage, gcs_stub: GcsStub) -> None:
    def another_is_faster() -> None:
        gcs_stub.state.objects[key_of(storage, "config")] = b"same"

    gcs_stub.state.troubles.append(Trouble("PUT", 409, "ConditionalRequestConflict", meanwhile=another_is_faster))
    with pytest.raises(ObjectExists):  # though the bytes are the same: they are not ours
        storage.create("config", b"same")


def test_create_needs_one_request_when_all_is_well(storage: Storage, gcs_stub: GcsStub) -> None:
    storage.create("config", b"mine")
    with pytest.raises(ObjectExists):
        storage.create("config", b"mine")
    assert [method for method, _ in gcs_stub.state.requests] == ["PUT", "PUT"]


def test_create_gives_up_when_its_patience_is_at_an_end(gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    use_environment(monkeypatch, gcs_stub.environment)
    gcs_stub.state.troubles.append(Trouble("PUT", 503, "SlowDown", times=1000))
    with pytest.raises(StorageError, match="HTTP 503 SlowDown") as caught:
        ObjectStorage(gcs_stub.new_url(), patience=0.5).create("config", b"mine")
    assert caught.value.object_name == "config"
    assert gcs_stub.state.objects == {}


READS: dict[str, tuple[str, Callable[[Storage], object]]] = {
    "get": ("GET", lambda storage: bytes(storage.get("config"))),
    "get_range": ("GET", lambda storage: bytes(storage.get_range("config", 0, 4))),
    "size": ("HEAD", lambda storage: b"mine"[: storage.size("config")]),
    "list": ("LIST", lambda storage: b"mine" if names_of(storage.list("")) == ["config"] else b""),
}


@pytest.mark.parametrize("use", READS)
@pytest.mark.parametrize("status", [0, 500, 503, 429])
def test_everything_else_survives_a_passing_trouble(storage: Storage, gcs_stub: GcsStub, use: str, status: int) -> None:
    storage.create("config", b"mine")
    method, call = READS[use]
    gcs_stub.state.troubles.append(Trouble(method, status, times=2))
    assert call(storage) == b"mine"
    assert gcs_stub.state.troubles == []


@pytest.mark.parametrize("status", [0, 500, 503, 429])
def test_put_survives_a_passing_trouble(storage: Storage, gcs_stub: GcsStub, status: int) -> None:
    gcs_stub.state.troubles.append(Trouble("PUT", status, times=2))
    storage.put("config", b"mine")
    assert gcs_stub.state.objects == {key_of(storage, "config"): b"mine"}


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (507, "", ""),
        (507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."),
        (403, "QuotaExceeded", "The quota is used up"),
        (403, "AccessDenied", "Cannot upload files, storage cap exceeded."),
    ],
)
def test_a_full_store_is_full(storage: Storage, gcs_stub: GcsStub, status: int, code: str, message: str) -> None:
    for write in (storage.create, storage.put):
        gcs_stub.state.troubles.append(Trouble("PUT", status, code, message, times=1_000_000))
        with pytest.raises(StorageFull) as caught:
            write("packs/one", b"x")
        assert caught.value.object_name == "packs/one"
        gcs_stub.state.troubles.clear()


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (401, "Unauthorized")])
@pytest.mark.parametrize("method", ["PUT", "GET", "LIST", "HEAD"])
def test_a_refusal_is_a_refusal_at_once(
    storage: Storage, gcs_stub: GcsStub, method: str, status: int, code: str
) -> None:
    uses: dict[str, Callable[[], object]] = {
        "PUT": lambda: storage.create("a", b""),
        "GET": lambda: storage.get("a"),
        "LIST": lambda: list(storage.list("")),
        "HEAD": lambda: storage.size("a"),
    }
    gcs_stub.state.troubles.append(Trouble(method, status, code, times=20))
    with pytest.raises(StorageRefused) as caught:
        uses[method]()
    assert caught.value.hint
    assert len(gcs_stub.state.requests) == 1


def test_patience_is_a_matter_of_time_and_not_of_attempts(gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is away for longer than ten quick attempts take ends no backup."""
    use_environment(monkeypatch, gcs_stub.environment)
    storage = ObjectStorage(gcs_stub.new_url(), patience=600)
    storage.create("config", b"mine")
    gcs_stub.state.troubles.append(Trouble("HEAD", 503, "SlowDown", times=14))
    assert storage.size("config") == 4
    assert gcs_stub.state.troubles == []


def test_an_archived_object_is_named_as_such(storage: Storage, gcs_stub: GcsStub) -> None:
    gcs_stub.state.troubles.append(Trouble("GET", 403, "InvalidObjectState"))
    with pytest.raises(StorageRefused, match="archive"):
        storage.get("packs/one")


def test_a_wrong_region_is_named_as_such(storage: Storage, gcs_stub: GcsStub) -> None:
    gcs_stub.state.troubles.append(Trouble("GET", 400, "AuthorizationHeaderMalformed", "expecting 'eu-north-1'"))
    with pytest.raises(StorageRefused, match="another region"):
        storage.get("packs/one")


def test_deletes_go_on_when_some_are_not_there(gcs_stub: GcsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    use_environment(monkeypatch, gcs_stub.environment)  # Google's delete says 404; S3's does not
    storage = ObjectStorage(gcs_stub.new_url(), patience=3)
    for name in ("a", "b", "c"):
        storage.create(name, b"")
    storage.delete(["x", "a", "y", "b", "z", "c"])
    assert gcs_stub.state.objects == {}


def test_a_store_without_order_is_refused(storage: Storage, gcs_stub: GcsStub) -> None:
    for name in ("a", "b"):
        storage.create(name, b"")
    gcs_stub.state.list_backwards = True
    with pytest.raises(StorageError, match="in the order of their names"):
        list(storage.list(""))


def test_what_others_keep_below_the_prefix_is_not_listed(storage: Storage, gcs_stub: GcsStub) -> None:
    storage.create("config", b"")
    gcs_stub.state.objects[key_of(storage, "READ ME.txt")] = b"not ours"
    gcs_stub.state.objects[key_of(storage, "a b")] = b"not ours"
    assert names_of(storage.list("")) == ["config"]
