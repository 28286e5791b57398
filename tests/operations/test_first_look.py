"""The first look of a backup is taken while its repository is being opened, and each later one anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coldhouse.clickhouse import Inventory
from coldhouse.errors import SourceUnreachable
from coldhouse.operations.first_look import FirstLook
from tests.support.engine import EngineServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineServer]:
    with EngineServer(tmp_path_factory.mktemp("looked") / "engine") as server:
        server.query("CREATE DATABASE shop")
        yield server


def tables(inventory: Inventory) -> list[str]:
    return [table.name.table for table in inventory.tables]


def test_it_sees_what_was_there_when_it_began_and_the_next_one_what_is_there(server: EngineServer) -> None:
    server.query("CREATE TABLE shop.early (id UInt8) ENGINE = MergeTree ORDER BY id")
    first = FirstLook(server.url, ("shop.*",))
    assert first._looking is not None
    first._looking.result()
    between = datetime.now(UTC)
    server.query("CREATE TABLE shop.late (id UInt8) ENGINE = MergeTree ORDER BY id")
    with first as source:
        looks = [first.look(source), first.look(source)]
    assert [tables(look.inventory) for look in looks] == [["early"], ["early", "late"]]
    assert looks[0].at < between < looks[1].at, "a snapshot says of itself that it is no younger than what it holds"


def test_what_is_wrong_is_raised_where_somebody_waits_for_it() -> None:
    unreachable = FirstLook("http://127.0.0.1:9/")
    with pytest.raises(SourceUnreachable), unreachable:
        pytest.fail("it was connected")


def test_an_embedded_engine_is_opened_when_it_is_entered(tmp_path: Path) -> None:
    look = FirstLook(f"chdb://{tmp_path}/none")
    assert look._looking is None
    assert not (tmp_path / "none").exists()
