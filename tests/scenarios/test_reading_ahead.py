"""Of a store that is far away several things are read at a time: as many as it can make use of."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from coldhouse import repository as repositories
from coldhouse.operations import verify
from coldhouse.operations.copy_objects import needs_of
from coldhouse.repository import manifest_name
from tests.scenarios.conftest import CHEAP, Clickhouse
from tests.scenarios.test_increments import EVENTS
from tests.scenarios.world import PASSPHRASE, World
from tests.support.faulty import Call, FaultyStorage
from tests.support.memory_storage import MemoryStorage

TABLES = [f"t{number}" for number in range(5)]


@dataclass
class Far:
    """A world whose repository is far away: by table, which kind of thread read its page, each time that it was."""

    world: World
    reader: str
    pages: dict[str, str] = field(default_factory=dict)  # tables by the name of their page's object
    read: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def watch(self, call: Call) -> None:
        if call.verb == "get_range" and call.name in self.pages:
            self.read[self.pages[call.name]].append(threading.current_thread().name.partition("_")[0])

    def look(self, *tables: str, times: int) -> None:
        """The pages of these tables, and no others, were read so often since, by whom they were to be."""
        assert self.read == dict.fromkeys(tables, [self.reader] * times)
        self.read.clear()


@pytest.fixture(params=[0, 3], ids=["none ahead", "three ahead"])
def far(embedded: Clickhouse, request: pytest.FixtureRequest) -> Iterator[Far]:
    store = FaultyStorage(MemoryStorage(request.param))
    with repositories.init(store, PASSPHRASE, kdf=CHEAP) as repository:
        world = World(*embedded, repository, "far_away")
        world.drop()
        world.run("CREATE DATABASE {db}", *(EVENTS[0].replace("events", name) for name in TABLES))
        world.run(*(EVENTS[1].replace("events", name).replace("120", "3000") for name in TABLES))
        entries = repository.entries(world.backup().snapshot)
        far = Far(world, "ahead" if request.param else threading.current_thread().name)
        for entry in entries:
            far.pages |= {manifest_name(page.ref.id): entry.name.table for page in entry.pages if not page.inline}
        store.watch = far.watch
        yield far
        world.drop()


def test_the_pages_of_changed_tables_in_an_increment(far: Far) -> None:
    """To compare, to say what is known, and for what is kept."""
    far.world.run(*(f"INSERT INTO {{db}}.{name} VALUES (1, '2026-01-01', 1, '')" for name in TABLES[1:]))
    before = far.world.content()
    far.world.backup()
    far.look(*TABLES[1:], times=3)
    far.world.drop()
    far.world.restore()
    assert far.world.content() == before


def test_all_pages_in_the_dry_run_of_a_restore(far: Far) -> None:
    far.world.drop()
    far.world.restore(dry_run=True)
    far.look(*TABLES, times=1)


def test_all_pages_for_the_needs_of_a_copy(far: Far) -> None:
    repository = far.world.repository
    needs = needs_of(repository, repository.find("latest"))
    far.look(*TABLES, times=1)
    stored = {each.name: each.size for each in repository.storage.list("")}
    assert needs.sizes == {name: stored[name] for name in stored if name.startswith(("manifests/", "packs/"))}


def test_all_pages_in_a_look_at_the_structure_once(far: Far) -> None:
    """Those that the next snapshot shares were found sound."""
    far.world.backup()
    far.read.clear()
    reports = verify.run(far.world.repository, verify.VerifyOptions())
    assert [report.problems for report in reports] == [(), ()]
    far.look(*TABLES, times=1)
