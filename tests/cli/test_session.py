from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from coldhouse.cli.options import gateway_settings
from coldhouse.cli.session import Given, Level, Session
from coldhouse.errors import UsageError


def session(environment: Mapping[str, str], **given: str) -> Session:
    made = Session(environment)
    made.given = {name: Given(value, Level.OPTION) for name, value in given.items()}
    return made


def test_a_source_gets_user_and_password_from_the_environment_and_is_shown_without() -> None:
    one = session({"COLDHOUSE_SOURCE_USER": "me", "COLDHOUSE_SOURCE_PASSWORD": "p@ss"}, source="http://other@db:8123")
    assert one.server_url("source") == "http://other:p%40ss@db:8123"
    assert one.shown_url("source") == "http://db:8123"
    assert one.scrubber.clean("p@ss p%40ss") == "*** ***"


def test_the_password_of_a_target_is_not_the_one_of_a_source() -> None:
    one = session({"COLDHOUSE_SOURCE_PASSWORD": "p@ss"}, target="http://me@db:8123")
    assert one.server_url("target") == "http://me@db:8123"


def test_what_was_given_is_not_in_a_repr() -> None:
    assert "hunter2" not in repr(Given("http://me:hunter2@db", Level.OPTION))


def test_the_gateway_listens_on_this_machine_unless_told() -> None:
    settings = gateway_settings(session({}))
    assert (settings.listen_host, settings.listen_port, settings.url, settings.tls_cert) == ("127.0.0.1", 0, "", None)


def test_the_gateway_as_it_was_asked_for() -> None:
    settings = gateway_settings(
        session(
            {},
            gateway_listen="0.0.0.0:9440",
            gateway_url="https://backup-host:9440",
            gateway_tls_cert="/etc/cert.pem",
            gateway_tls_key="/etc/key.pem",
        )
    )
    assert (settings.listen_host, settings.listen_port) == ("0.0.0.0", 9440)
    assert settings.url == "https://backup-host:9440"
    assert (settings.tls_cert, settings.tls_key) == (Path("/etc/cert.pem"), Path("/etc/key.pem"))


@pytest.mark.parametrize(
    "given",
    [
        {"gateway_tls_cert": "/etc/cert.pem"},
        {"gateway_tls_key": "/etc/key.pem"},
        {"gateway_url": "backup-host:9440"},
        {"gateway_url": "http://backup-host:9440/path"},
        {"gateway_listen": "9440"},
    ],
)
def test_a_gateway_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        gateway_settings(session({}, **given))


def test_limits_of_speed_hold_for_the_store_that_is_opened(tmp_path: Path) -> None:
    from coldhouse.operations.opening import Limits, store_at
    from coldhouse.storage import Storage
    from coldhouse.storage.counted import CountedStorage
    from coldhouse.storage.local import LocalStorage
    from coldhouse.storage.throttled import ThrottledStorage

    def opened(limits: Limits) -> Storage:
        counted = store_at(str(tmp_path), limits)
        assert isinstance(counted, CountedStorage)
        return counted._inner

    limits = session({}, max_upload="20M", max_download="1KB").limits()
    assert limits == Limits(upload=20 << 20, download=1000)
    assert isinstance(opened(limits), ThrottledStorage)
    assert session({}, uploads="1", downloads="8").limits() == Limits(uploads=1, downloads=8)
    assert isinstance(opened(Limits(downloads=8)), ThrottledStorage)
    with pytest.raises(UsageError, match="--downloads"):
        session({}, downloads="0").limits()
    assert session({}).limits() == Limits()
    assert isinstance(opened(Limits()), LocalStorage)
