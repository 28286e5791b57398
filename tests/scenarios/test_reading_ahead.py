"""Of a store that is far away a backup reads several things at a time."""

from __future__ import annotations

import threading
from collections import defaultdict

import pytest

from coldhouse import repository as repositories
from coldhouse.repository import manifest_name
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.test_increments import EVENTS
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Call, FaultyStorage
from tests.support.memory_storage import MemoryStorage


@pytest.mark.parametrize("readers", [0, 3])
def test_pages_of_changed_tables_are_read_by_as_many_as_the_store_can_make_use_of(
    embedded: Clickhouse, readers: int
) -> None:
    """To compare, to say what is known, and for what is kept: a store far away answers to several at a time."""
    read: defaultdict[str, list[str]] = defaultdict(list)

    def watch(call: Call) -> None:
        if call.verb == "get_range":
            read[call.name].append(threading.current_thread().name.partition("_")[0])

    store = FaultyStorage(MemoryStorage(readers), watch=watch)
    with repositories.init(store, PASSPHRASE, kdf=CHEAP) as repository:
        world = World(*embedded, repository, "read_ahead")
        world.drop()
        tables = [f"t{number}" for number in range(5)]
        world.run("CREATE DATABASE {db}", *(EVENTS[0].replace("events", name) for name in tables))
        world.run(*(EVENTS[1].replace("events", name).replace("120", "3000") for name in tables))
        first = world.backup().snapshot
        changed = tables[1:]
        world.run(*(f"INSERT INTO {{db}}.{name} VALUES (1, '2026-01-01', 1, '')" for name in changed))
        pages = {
            manifest_name(page.ref.id): entry.name.table
            for entry in repository.entries(first)
            for page in entry.pages
            if not page.inline
        }
        read.clear()
        before = world.content()
        world.backup()
        asked = {pages[name]: readings for name, readings in read.items() if name in pages}
        assert asked == dict.fromkeys(changed, ["ahead" if readers else threading.current_thread().name] * 3)
        world.drop()
        world.restore()
        assert world.content() == before
        world.drop()
