"""A real S3 client that knows nothing of us."""

from __future__ import annotations

from urllib.parse import urlsplit

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from coldhouse.gateway import Address
from tests.gateway.conftest import Serving, Taking
from tests.gateway.memory import MemoryObject
from tests.gateway.test_ingest import LARGE


def store(address: Address) -> S3Store:
    place = urlsplit(address.url)
    bucket, _, prefix = place.path.strip("/").partition("/")
    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=f"{place.scheme}://{place.netloc}",
        region="eu-central-1",
        access_key_id=address.access_key,
        secret_access_key=address.secret_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def test_put(taking: Taking) -> None:
    client = store(taking.client.address)
    obstore.put(client, "data/a b+c=d~ü", b"small", use_multipart=False)
    obstore.put(client, "data/large", LARGE, use_multipart=False)
    assert taking.content("a b+c=d~ü") == b"small"
    assert taking.content("large") == LARGE
    assert obstore.head(client, "data/large")["size"] == len(LARGE)


def test_put_in_parts(taking: Taking) -> None:
    content = LARGE * 5
    obstore.put(
        store(taking.client.address), "data/a", content, use_multipart=True, chunk_size=6_000_000, max_concurrency=4
    )
    assert taking.content("a") == content


def test_put_if_absent(taking: Taking) -> None:
    client = store(taking.client.address)
    obstore.put(client, "data/.lock", b"one", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(client, "data/.lock", b"two", mode="create")


def test_get(serving: Serving) -> None:
    serving.objects["f/1"] = MemoryObject(LARGE)
    client = store(serving.session.address)
    assert bytes(obstore.get(client, "f/1").bytes()) == LARGE
    assert bytes(obstore.get_range(client, "f/1", start=1000, length=77)) == LARGE[1000:1077]
    with pytest.raises(FileNotFoundError):
        obstore.get(client, "f/2")
    with pytest.raises(BaseError):
        obstore.put(client, "f/1", b"body")
