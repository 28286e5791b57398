"""What a backup asks for, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scale.invented import CHANGES, Invented, Shape
from benchmarks.scale.works import SOURCE, Place, build
from coldhouse.operations.backup_plan import (
    BYTES_OF_AN_ARCHIVED_FILE,
    FILES_OF_AN_ARCHIVE,
    Batch,
    Compare,
    PartitionLoad,
    TablePlan,
    batches,
    plan_tables,
)
from coldhouse.operations.history import History
from coldhouse.repository.ahead import reading_ahead


@pytest.mark.parametrize(
    ("files", "mean", "expected"),
    [
        (FILES_OF_AN_ARCHIVE, BYTES_OF_AN_ARCHIVED_FILE, True),
        (FILES_OF_AN_ARCHIVE - 1, 10, False),
        (200_000, BYTES_OF_AN_ARCHIVED_FILE + 1, False),
        (200_000, 0, True),
        (0, 0, False),
    ],
)
def test_many_small_files_come_as_an_archive(files: int, mean: int, expected: bool) -> None:
    assert Batch((), files * mean, files).small_files is expected


def test_a_statement_knows_how_many_files_it_brings() -> None:
    loads = tuple(PartitionLoad(f"{number}", files=40, bytes=1000, parts=4) for number in range(10))
    plan = TablePlan(Invented(Shape(1, tables=1)).tables[0], None, (), send=loads, whole=True)
    assert [(batch.files, batch.bytes) for batch in batches([plan])] == [(400, 10_000)]
    assert [(batch.files, batch.bytes) for batch in batches([plan], files=130)] == [
        (120, 3000),
        (120, 3000),
        (120, 3000),
        (40, 1000),
    ]


@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_is_the_same_whether_pages_are_read_ahead_or_not(tmp_path: Path, change: str) -> None:
    shape = Shape(6000, tables=3)
    place = Place(tmp_path / "repository", shape)
    build(place)
    now = Invented(shape, change)
    repository, storage = place.open(change)
    with repository, reading_ahead(0) as none, reading_ahead(3) as ahead:
        history = History.of(repository, SOURCE.identity, ((), ()), full=False)

        def compared(database: Invented) -> list[Compare]:
            return [Compare(each, database.states(each.name), history.table(each)) for each in database.tables]

        before = storage.requests.get
        plans = list(plan_tables(compared(now), history.pages, none))
        read = storage.requests.get - before
        assert list(plan_tables(compared(now), history.pages, ahead)) == plans
        assert storage.requests.get - before == 2 * read
    assert [plan.table for plan in plans] == list(now.tables)
    assert [bool(plan.send) for plan in plans] == [change != "nothing"] * 3
    assert bool(read) is (change != "nothing")
    assert all(plan.kept and not plan.whole for plan in plans) or change == "every partition"
