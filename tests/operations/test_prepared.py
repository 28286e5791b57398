"""What a restore begins while its repository is being opened is there when it is asked for, and ends if nobody asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.errors import GatewayUnreachable, SourceUnreachable
from coldhouse.gateway import GatewaySettings
from coldhouse.operations.restore import Prepared
from tests.support.engine import EngineServer
from tests.support.ports import free_ports


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with EngineServer(tmp_path_factory.mktemp("prepared") / "engine") as server:
        yield server


def gateways() -> int:
    return [thread.name for thread in threading.enumerate()].count("coldhouse-gateway")


def test_the_gateway_runs_and_the_server_has_knocked_at_it(server: EngineServer) -> None:
    with Prepared(server.url, GatewaySettings()) as prepared:
        assert gateways() == 1
        assert prepared.reaching is not None
        with prepared.connecting as target, prepared.reaching as gateway:
            assert gateway.port
            assert target.value("SELECT 42") == 42
        assert gateways() == 0


def test_a_gateway_that_nobody_asks_for_ends(server: EngineServer) -> None:
    with Prepared(server.url, GatewaySettings()):
        assert gateways() == 1
    assert gateways() == 0


def test_a_server_that_cannot_reach_it_is_told_where_it_is_entered(server: EngineServer) -> None:
    (port,) = free_ports(1)
    with Prepared(server.url, GatewaySettings(url=f"http://127.0.0.1:{port}")) as prepared:
        assert prepared.reaching is not None
        with pytest.raises(GatewayUnreachable), prepared.reaching:
            pytest.fail("it was reached")
        assert gateways() == 0


def test_a_server_that_is_not_there_is_told_by_the_connection() -> None:
    prepared = Prepared("http://127.0.0.1:9/", GatewaySettings())
    with pytest.raises(SourceUnreachable), prepared, prepared.connecting:
        pytest.fail("it was connected")
    assert gateways() == 0


def test_no_gateway_for_who_restores_nothing(server: EngineServer) -> None:
    with Prepared(server.url, None) as prepared:
        assert prepared.reaching is None
        assert gateways() == 0


def test_an_embedded_engine_is_neither_begun_nor_made_to_knock(tmp_path: Path) -> None:
    with Prepared(f"chdb://{tmp_path}/data", GatewaySettings()) as prepared:
        assert prepared.reaching is None
        assert gateways() == 0
    assert not (tmp_path / "data").exists()
