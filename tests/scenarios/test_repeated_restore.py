"""A restore that failed is repeated by the same command, and brings back what was missing, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldhouse.errors import Corruption
from tests.scenarios import damage
from tests.scenarios.world import World


@pytest.mark.parametrize("engine", ["TinyLog", "Log", "StripeLog", "Memory", "MergeTree ORDER BY a"])
def test_a_table_that_was_created_and_not_filled_is_filled_by_the_repeat(
    world: World, folder_url: str, engine: str
) -> None:
    world.run(
        f"CREATE TABLE {{db}}.t (a UInt64, b String) ENGINE = {engine}",
        "INSERT INTO {db}.t SELECT number, hex(rand64()) FROM numbers(20000)",
    )
    before = world.content()
    snapshot = world.backup().snapshot
    world.drop()
    (pack,) = damage.packs(Path(folder_url))
    damage.flip(pack)
    with pytest.raises(Corruption):
        world.restore(snapshot)

    damage.flip(pack)  # the same bit once more: the object is sound again
    world.restore(snapshot)

    assert world.content() == before
