from __future__ import annotations

import pytest

from coldhouse.cli.credentials import password_of, with_credentials, without_credentials


@pytest.mark.parametrize(
    ("url", "user", "password", "filled"),
    [
        ("http://db:8123", "me", "p@ss/word", "http://me:p%40ss%2Fword@db:8123"),
        ("https://db:8443/?secure=1", "me", "", "https://me@db:8443/?secure=1"),
        ("http://me@db:8123", "other", "pw", "http://me:pw@db:8123"),
        ("http://me:mine@db:8123", "other", "pw", "http://me:mine@db:8123"),
        ("http://db:8123", "", "", "http://db:8123"),
        ("chdb:///data", "me", "pw", "chdb:///data"),
    ],
)
def test_the_environment_fills_in_what_the_url_leaves_out(url: str, user: str, password: str, filled: str) -> None:
    assert with_credentials(url, user, password) == filled


def test_a_url_is_shown_without_user_and_password() -> None:
    assert without_credentials("http://me:p%40ss@db:8123/?x=1") == "http://db:8123/?x=1"
    assert without_credentials("chdb:///data/a@b") == "chdb:///data/a@b"
    assert without_credentials("") == ""


def test_the_password_is_decoded() -> None:
    assert password_of("http://me:p%40ss@db:8123") == "p@ss"
    assert password_of("http://me@db") == ""
