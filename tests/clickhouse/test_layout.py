"""Names inside a backup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldhouse.clickhouse import layout
from coldhouse.clickhouse.layout import (
    DatabaseDefinition,
    MutationFile,
    Other,
    PartFile,
    TableDefinition,
    TableFile,
)
from coldhouse.model import TableName

T = TableName("db", "t")


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("metadata/db.sql", DatabaseDefinition("db")),
        ("metadata/we%2Eird.sql", DatabaseDefinition("we.ird")),
        ("metadata/db/t.sql", TableDefinition(T)),
        ("metadata/db/a%2Fb%27%60%C3%A9.sql", TableDefinition(TableName("db", "a/b'`é"))),
        ("data/db/t/all_1_1_0/data.bin", PartFile(T, "all_1_1_0", "data.bin")),
        ("data/db/t/all_1_1_0_7/p.proj/data.bin", PartFile(T, "all_1_1_0_7", "p.proj/data.bin")),
        ("data/db/t/202401-1_1_17_3/x.bin", PartFile(T, "202401-1_1_17_3", "x.bin")),
        ("data/db/t/20240101_20240131_1_1_0/x.bin", PartFile(T, "20240101_20240131_1_1_0", "x.bin")),
        ("data/db/t/data.bin", TableFile(T, "data.bin")),
        ("data/db/t/all_1_1_0", TableFile(T, "all_1_1_0")),
        ("data/db/t/mutations/0000000002.txt", MutationFile(T, 2)),
        ("data/db/t/data/all_1_1_0/x.bin", TableFile(T, "data/all_1_1_0/x.bin")),
        ("temporary_tables/metadata/x.sql", Other("temporary_tables/metadata/x.sql")),
        ("data/db/../../etc/passwd", Other("data/db/../../etc/passwd")),
        ("data/db//t/x", Other("data/db//t/x")),
        ("data/db/t", Other("data/db/t")),
        ("", Other("")),
    ],
)
def test_what_a_name_stands_for(name: str, meaning: layout.Member) -> None:
    assert layout.member(name) == meaning


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_come_back(database: str, table: str) -> None:
    name = TableName(database.encode("utf-8", "ignore").decode(), table.encode("utf-8", "ignore").decode())
    if name.database and name.table:
        assert layout.member(layout.table_definition(name)) == TableDefinition(name)
        assert layout.member(layout.part_file(name, "all_1_1_0", "f")) == PartFile(name, "all_1_1_0", "f")
        assert layout.member(layout.part_file(name, "", "f")) == TableFile(name, "f")


@given(st.text())
def test_any_name_means_something(name: str) -> None:
    layout.member(name)
    layout.member(f"data/{name}/t/{name}")


@pytest.mark.parametrize(
    ("part", "served", "partition"),
    [
        ("all_1_1_0", "all_1_1_0", "all"),
        ("all_1_1_0_13", "all_1_1_0", "all"),
        ("202401-1_1_17_3_99", "202401-1_1_17_3", "202401-1"),
        ("20240101_20240131_1_1_0_4", "20240101_20240131_1_1_0", "202401"),
        ("4c1f2a5e9b_10_20_5", "4c1f2a5e9b_10_20_5", "4c1f2a5e9b"),
        ("not a part", "not a part", ""),
    ],
)
def test_part_names(part: str, served: str, partition: str) -> None:
    """RESTORE keeps a mutation version, and later mutations then do nothing (clickhouse-facts 3.5)."""
    assert layout.served_part_name(part) == served
    assert layout.partition_of(part) == partition


@pytest.mark.parametrize(
    ("part", "needs"),
    [
        ("all_1_1_0", True),
        ("all_3_6_1", True),
        ("all_1_1_0_6", True),  # an earlier mutation
        ("all_1_1_0_7", False),  # this one
        ("all_1_1_0_9", False),  # a later one, which includes it
        ("all_8_8_0", False),  # inserted afterwards
        ("202401_8_8_0", False),
    ],
)
def test_which_parts_an_unfinished_mutation_still_concerns(part: str, needs: bool) -> None:
    assert layout.needs_mutation(part, "mutation_7.txt") is needs


def test_of_a_replicated_tables_mutation_only_untouched_parts_are_known_to_need_it() -> None:
    assert layout.needs_mutation("all_0_5_1", "0000000003")
    assert not layout.needs_mutation("all_0_5_1_9", "0000000003")
