"""From a URL to a store; and what it costs to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coldhouse.errors import UsageError
from coldhouse.storage import open_storage
from coldhouse.storage.object_url import BucketPlace, parse_bucket_url


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (
        f"{tmp_path}/a folder",
        f"file://{tmp_path}/a%20folder",
        f"file://localhost{tmp_path}/a%20folder",
        "a folder",
    ):
        assert open_storage(url).url == f"{tmp_path}/a folder"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket", BucketPlace("s3", "bucket", "")),
        ("s3://bucket/", BucketPlace("s3", "bucket", "")),
        ("s3://bucket/some/prefix/", BucketPlace("s3", "bucket", "some/prefix")),
        ("s3://b/a%20b?region=eu-north-1", BucketPlace("s3", "b", "a b", region="eu-north-1")),
        ("s3://b/p?endpoint=http://h:1/", BucketPlace("s3", "b", "p", endpoint="http://h:1")),
        ("gs://bucket/p", BucketPlace("gs", "bucket", "p")),
        ("az://container/p?account=me", BucketPlace("az", "container", "p", account="me")),
    ],
)
def test_buckets(url: str, expected: BucketPlace) -> None:
    assert parse_bucket_url(url, {}) == expected


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("", True),
        ("https://minio.example", True),
        ("http://127.0.0.1:9000", True),
        ("http://localhost:9000", True),
        ("http://[::1]:9000", True),
        ("http://10.0.0.1:9000", False),
        ("http://127.example", False),
        ("http://minio.example", False),
    ],
)
def test_bodies_are_hashed_for_the_signature_where_somebody_could_change_them(endpoint: str, expected: bool) -> None:
    assert BucketPlace("s3", "b", "", endpoint=endpoint).untouched_on_the_way is expected


@pytest.mark.parametrize(
    ("url", "variables", "expected"),
    [
        ("s3://b", {"AWS_ENDPOINT_URL": "https://all"}, BucketPlace("s3", "b", "", endpoint="https://all")),
        (
            "s3://b",
            {"AWS_ENDPOINT_URL": "https://all", "AWS_ENDPOINT_URL_S3": "https://s3", "AWS_REGION": "r"},
            BucketPlace("s3", "b", "", endpoint="https://s3", region="r"),
        ),
        ("gs://b", {"STORAGE_EMULATOR_HOST": "h:1"}, BucketPlace("gs", "b", "", endpoint="http://h:1")),
        ("gs://b", {"AWS_ENDPOINT_URL": "https://s3"}, BucketPlace("gs", "b", "")),
        ("az://b", {"AZURE_STORAGE_ACCOUNT": "me"}, BucketPlace("az", "b", "", account="me")),
    ],
)
def test_what_the_url_does_not_say_comes_from_the_environment(
    url: str, variables: dict[str, str], expected: BucketPlace
) -> None:
    assert parse_bucket_url(url, variables) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3://",
        "s3:///prefix",
        "s3://bucket:80/prefix",
        "s3://bucket/prefix#part",
        "s3://bucket?versions=all",
        "az://container?region=x",
        "ftp://host/path",
        "http://host/path",
        "file://otherhost/path",
        "file://relative",
    ],
)
def test_a_url_that_means_nothing_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_storage(url)
    assert caught.value.hint


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "az://secret@container/x", "s3://b/x?endpoint=http://u:secret@h"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_storage(url)
    assert "secret" not in str(caught.value)
    assert "environment" in caught.value.hint


def test_a_folder_needs_no_cloud_library(tmp_path: Path) -> None:
    code = (
        "import sys; from coldhouse.storage import open_storage; list(open_storage(sys.argv[1]).list(''));"
        "print(*sorted({'obstore', 'asyncio', 'ssl'} & set(sys.modules)))"
    )
    imported = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    assert imported.stdout.split() == []
