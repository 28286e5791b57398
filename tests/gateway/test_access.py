"""Who may ask what: everybody but the one that holds the address's keys gets the same answer to everything."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from coldhouse.errors import GatewayError, UsageError
from coldhouse.gateway import Address, Gateway, GatewaySettings, server
from coldhouse.records import replace
from tests.gateway.client import Answer, Client
from tests.gateway.conftest import Serving, Taking
from tests.gateway.memory import MemoryObject


def denied(answer: Answer) -> bool:
    return (answer.status, answer.code, answer.message) == (403, "AccessDenied", "Access Denied")


def test_without_a_signature_everything_is_denied(serving: Serving) -> None:
    serving.objects["there"] = MemoryObject(b"content")
    host = {"host": urlsplit(serving.session.address.url).netloc}
    answers = [
        serving.client.send_raw(method, path, headers=host)
        for method in ("GET", "PUT", "DELETE", "POST", "OPTIONS")
        for path in ("there", "absent", "/", "/coldhouse", "/favicon.ico")
    ]
    assert all(denied(answer) for answer in answers)
    assert len({answer.body for answer in answers}) == 1


def test_a_wrong_secret_and_an_unknown_key_are_denied(serving: Serving) -> None:
    serving.objects["there"] = MemoryObject(b"content")
    right = serving.session.address
    assert denied(Client(replace(right, secret_key="0" * 64)).get("there"))
    assert denied(Client(replace(right, access_key="A" * 20)).get("there"))
    assert serving.client.get("there").body == b"content"


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_stale_date_is_refused_and_the_clocks_are_named(serving: Serving, minutes: int) -> None:
    answer = serving.client.at(datetime.now(UTC) + timedelta(minutes=minutes)).get("there")
    assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")
    assert "clocks" in answer.message


def test_a_changed_header_is_denied(taking: Taking) -> None:
    headers = taking.client.signed("PUT", "data/a", b"body", {"x-amz-meta-note": "one"})
    assert denied(taking.client.send_raw("PUT", "data/a", b"body", headers | {"x-amz-meta-note": "two"}))
    assert denied(taking.client.send_raw("PUT", "data/a", b"body", headers | {"x-amz-meta-more": "two"}))
    assert denied(taking.client.send_raw("PUT", "data/b", b"body", headers))
    assert denied(taking.client.send_raw("PUT", "data/a", b"body", headers, query="uploads"))
    assert not taking.session.arrived


def test_a_changed_body_is_refused(taking: Taking) -> None:
    answer = taking.client.send_raw("PUT", "data/a", b"badly", taking.client.signed("PUT", "data/a", b"goods"))
    assert (answer.status, answer.code) == (403, "XAmzContentSHA256Mismatch")
    assert not taking.session.arrived


def test_another_sessions_prefix_is_denied(gateway: Gateway) -> None:
    mine, other = Taking(gateway), Taking(gateway)
    path = urlsplit(other.client.address.url).path
    assert denied(mine.client.put(path + "data/a", b"body"))
    assert denied(mine.client.get(path + "base/.backup"))
    assert denied(mine.client.send("GET", "/coldhouse", query="prefix=" + path.removeprefix("/coldhouse/")))
    assert not other.session.arrived


@pytest.mark.parametrize(
    "steps",
    [
        "../{other}/data/a",
        "%2e%2e/{other}/data/a",
        "%2E%2E%2f{other}/data/a",
        "..%2f{other}/data/a",
        "data/../data/a",
        "data/./a",
        "data//a",
        "data/a%00",
        "data/%ff",
    ],
)
def test_a_path_that_could_mean_another_object_is_denied(gateway: Gateway, steps: str) -> None:
    mine, other = Taking(gateway), Taking(gateway)
    path = steps.format(other=urlsplit(other.client.address.url).path.split("/")[2])
    assert denied(mine.client.put(path, b"body"))
    assert not mine.session.arrived
    assert not other.session.arrived


def test_a_path_is_decoded_once(taking: Taking) -> None:
    """`%252e%252e` is a strange name, and no way up."""
    assert taking.client.put("data/%252e%252e/a", b"body").status == 200
    assert list(taking.session.arrived) == ["%2e%2e/a"]


def test_after_closing_the_same_request_is_denied(gateway: Gateway) -> None:
    taking = Taking(gateway)
    headers = taking.client.signed("PUT", "data/a", b"body")
    assert taking.client.send_raw("PUT", "data/a", b"body", headers).status == 200
    gateway.close(taking.client.address)
    assert denied(taking.client.send_raw("PUT", "data/a", b"body", headers))
    gateway.close(taking.client.address)  # twice does no harm


def test_a_large_head_is_refused(serving: Serving) -> None:
    assert serving.client.get("a", note="x" * 20_000).status == 431
    many = {f"x-{number}": "1" for number in range(80)}
    assert serving.client.send("GET", "a", headers=many).status == 431


def test_an_endless_head_is_cut_off(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection, pytest.raises(OSError):
        connection.sendall(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(10_000):
            connection.sendall(b"a" * 4096)


def test_what_is_no_http_is_refused(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_answers_tell_nothing_of_the_software(serving: Serving) -> None:
    assert "server" not in serving.client.get("absent").headers


def test_keys_are_random_and_not_shown(gateway: Gateway) -> None:
    first, second = Taking(gateway).client.address, Taking(gateway).client.address
    assert first.secret_key != second.secret_key
    assert first.access_key != second.access_key
    assert first.url != second.url
    assert first.secret_key not in repr(first)


def test_the_public_url_is_the_one_that_is_handed_out() -> None:
    with Gateway(GatewaySettings(url="http://backup-host:9440/")) as gateway:
        assert Taking(gateway).client.address.url.startswith("http://backup-host:9440/coldhouse/")


@pytest.mark.parametrize(
    "url", ["http://host/path", "ftp://host", "host:80", "http://user:word@host", "http://host?x=1"]
)
def test_a_public_url_with_more_than_a_host_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Gateway(GatewaySettings(url=url))


def test_listening_everywhere_needs_a_public_url() -> None:
    with pytest.raises(UsageError, match="every address"):
        Gateway(GatewaySettings(listen_host="0.0.0.0"))
    with Gateway(GatewaySettings(listen_host="0.0.0.0", url="http://backup-host:9440")) as gateway:
        assert gateway.port


def test_a_taken_port_is_named(gateway: Gateway) -> None:
    with pytest.raises(GatewayError, match=f"127.0.0.1:{gateway.port}"):
        Gateway(GatewaySettings(listen_port=gateway.port)).start()


def test_a_gateway_that_does_not_run_has_no_addresses() -> None:
    with pytest.raises(GatewayError, match="not running"):
        Gateway(GatewaySettings()).open_serve(lambda _: None)


def test_who_takes_any_port_takes_the_same_as_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        reserved = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        first, second = (each.getsockname()[1] for each in reserved)
    monkeypatch.setattr(server, "USUAL_PORTS", (first, second))
    for _ in range(2):
        with Gateway(GatewaySettings()) as one, Gateway(GatewaySettings()) as two, Gateway(GatewaySettings()) as three:
            assert (one.port, two.port) == (first, second)
            assert three.port not in (0, first, second)


def test_a_stopped_gateway_frees_its_port_and_starts_again() -> None:
    with Gateway(GatewaySettings()) as gateway:
        port = gateway.port
    again = Gateway(GatewaySettings(listen_port=port))
    with again:
        assert again.url == f"http://127.0.0.1:{port}"


def test_a_gateway_that_stops_cuts_connections_that_idle() -> None:
    gateway = Gateway(GatewaySettings())
    gateway.start()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        assert b"403" in idle.recv(4096)
        gateway.stop()
        while idle.recv(4096):
            pass


def test_an_address_is_a_plain_record() -> None:
    assert Address("http://h/", "a", "b") == Address("http://h/", "a", "b")
