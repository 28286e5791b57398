"""What a backup asks for, and how."""

from __future__ import annotations

import pytest

from benchmarks.scale.invented import Invented, Shape
from coldhouse.operations.backup_plan import (
    BYTES_OF_AN_ARCHIVED_FILE,
    FILES_OF_AN_ARCHIVE,
    Batch,
    PartitionLoad,
    TablePlan,
    batches,
)


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
