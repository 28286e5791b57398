"""The golden repository, made by the first version of the format, is read by this one and every later one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coldhouse.errors import WrongPassphrase
from coldhouse.model import TableEntry
from coldhouse.repository import Repository, open_repository
from coldhouse.storage.local import LocalStorage
from tests.repository import golden_content as golden
from tests.repository.samples import checksum
from tests.support.memory_storage import MemoryStorage

FOLDER = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def repository() -> Repository:
    return open_repository(LocalStorage(FOLDER), golden.PASSPHRASE)


def entries(repository: Repository, id: str) -> dict[str, TableEntry]:
    return {found.name.table: found for found in repository.entries(repository.snapshot(id))}


def contents(repository: Repository, entry: TableEntry) -> Iterator[tuple[str, str, bytes]]:
    reader = repository.pack_reader()
    for ref in entry.pages:
        page = repository.page(ref)
        for part in page.parts():
            for file in part.files:
                whole = b"".join(reader.read(page.packs, file.extents, 0, file.size))
                yield part.state.name, file.name, whole


def test_its_snapshots(repository: Repository) -> None:
    assert repository.snapshot_ids() == [golden.FIRST_ID, golden.SECOND_ID]
    first, second = repository.snapshots()
    assert second.parent == first.id
    assert first.started == golden.STARTED
    assert first.finished.microsecond == 5
    assert (first.tags, first.software) == ({"plan": "daily"}, "coldhouse 1")
    assert first.source.timezone == "Europe/Berlin"
    assert (first.accounting.data, first.accounting.databases, second.accounting.reused) == (3, 1, 3)
    assert second.functions[0].name == "twice"
    assert first.damaged == ("shop.orders 202601_3_3_0",)


def test_its_tables(repository: Repository) -> None:
    first, second = entries(repository, golden.FIRST_ID), entries(repository, golden.SECOND_ID)
    assert list(first) == list(second) == ["", "größe", "log", "many", "orders"]
    assert first[""] == golden.DATABASE
    assert first["größe"] == golden.VIEW
    assert second["log"] == first["log"]
    assert (first["log"].rows, first["log"].kind.value) == (7, "files")
    assert (first["orders"].parts, second["orders"].parts) == (4, 5)
    assert (first["orders"].rows, second["orders"].rows) == (151, 156)
    assert second["orders"].mutations == (golden.MUTATION,)


def test_its_parts(repository: Repository) -> None:
    orders = entries(repository, golden.SECOND_ID)["orders"]
    states = [part.state for part in repository.parts(orders)]
    assert [state.name for state in states] == [f"202601_{at}_{at}_0" for at in (1, 2, 3, 4)] + ["202602_1_1_0"]
    assert [bool(state.hash) for state in states] == [True, True, True, False, True]
    damaged = [part.state.name for part in repository.parts(orders) if any(file.damaged for file in part.files)]
    assert damaged == ["202601_3_3_0"]


def test_its_pages(repository: Repository) -> None:
    many = entries(repository, golden.FIRST_ID)["many"]
    assert [ref.parts for ref in many.pages] == [1000, 100]
    assert not many.pages[0].inline
    assert list(repository.parts(many)) == golden.many_parts()


def test_its_files(repository: Repository) -> None:
    orders = entries(repository, golden.SECOND_ID)["orders"]
    assert list(contents(repository, orders)) == [
        ("202601_1_1_0", "count.txt", b""),
        ("202601_1_1_0", "n.bin", golden.SMALL),
        ("202601_3_3_0", "p.proj/n.bin", golden.LARGE),
        ("202601_4_4_0", "n.bin", golden.SMALL),
        ("202602_1_1_0", "n.bin", golden.LATER),
    ]
    log = entries(repository, golden.FIRST_ID)["log"]
    assert list(contents(repository, log)) == [("", "n.bin", golden.NOISE)]


def test_its_packs(repository: Repository) -> None:
    packs = [bytes.fromhex(stored.name[-32:]) for stored in repository.storage.list("packs/")]
    assert len(packs) > 1
    assert sum(map(repository.check_pack, packs)) == sum(
        map(len, (golden.SMALL, golden.LARGE, golden.NOISE, golden.LATER))
    )
    runs = [run for pack in packs for run in repository.directory(pack)[1]]
    assert {run.checksum for run in runs} == {
        checksum(content) for content in (golden.SMALL, golden.LARGE, golden.NOISE, golden.LATER)
    }


def test_its_note(repository: Repository) -> None:
    assert list(repository.notes("journal")) == [("a key", b"a note")]


def test_its_passphrase() -> None:
    with pytest.raises(WrongPassphrase):
        open_repository(LocalStorage(FOLDER), "another")


def test_it_can_be_continued(repository: Repository) -> None:
    """This version can still write a snapshot upon the golden ones."""
    storage = MemoryStorage()
    for stored in repository.storage.list(""):
        storage.put(stored.name, repository.storage.get(stored.name))
    copy = open_repository(storage, golden.PASSPHRASE)
    parent = copy.find("latest")
    with copy.draft(parent) as draft:
        for entry in copy.entries(parent):
            draft.carry(entry)
        draft.commit(golden.root("20260104T030405Z-0000000000000000", parent.id, parent.accounting))
    assert len(storage.objects) == len(list(repository.storage.list(""))) + 1
