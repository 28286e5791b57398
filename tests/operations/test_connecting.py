"""A server that is connected to by a thread is there, or its error is, when it is asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from coldhouse.errors import SourceUnreachable, UsageError
from coldhouse.operations.connecting import Connecting
from tests.support.engine import EngineServer


def test_it_is_connected_when_it_is_entered_and_closed_afterwards(tmp_path: Path) -> None:
    with EngineServer(tmp_path / "engine") as server:
        with Connecting(server.url) as source:
            assert source.value("SELECT 42") == 42
        with pytest.raises(UsageError, match="closed"):
            source.value("SELECT 42")


def test_what_connecting_raises_is_raised_where_it_is_entered() -> None:
    connecting = Connecting("http://127.0.0.1:9/")
    with pytest.raises(SourceUnreachable), connecting:
        pytest.fail("it was connected")


def test_what_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(UsageError):
        Connecting("ftp://host")


def test_an_embedded_engine_is_not_begun_before_it_is_entered(tmp_path: Path) -> None:
    Connecting(f"chdb://{tmp_path}/data")
    assert "coldhouse-connecting" not in [thread.name for thread in threading.enumerate()]
    assert not (tmp_path / "data").exists()
