"""In which order tables are created."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from coldhouse.clickhouse import creation_order
from coldhouse.model import TableName


@dataclass(frozen=True)
class Named:
    name: TableName
    engine: str = "MergeTree"
    depends_on: tuple[TableName, ...] = ()


def named(text: str, engine: str = "MergeTree", *needs: str) -> Named:
    return Named(TableName("db", text), engine, tuple(TableName("db", need) for need in needs))


def order(*tables: Named) -> list[str]:
    return [table.name.table for table in creation_order(tables)]


def test_data_first_consumers_last() -> None:
    tables = (
        named("k", "Kafka"),
        named("mv", "MaterializedView"),
        named("v", "View"),
        named("d", "Dictionary"),
        named("t"),
    )
    assert order(*tables) == ["t", "d", "v", "mv", "k"]


def test_a_dependency_counts_more_than_the_kind() -> None:
    """A table whose DEFAULT asks a dictionary, which reads another table."""
    assert order(named("a", "MergeTree", "dict"), named("dict", "Dictionary", "z"), named("z")) == ["z", "dict", "a"]


def test_the_given_order_is_kept_where_nothing_speaks_against_it() -> None:
    assert order(named("c"), named("a"), named("b")) == ["c", "a", "b"]


def test_dependencies_on_absent_tables_and_on_itself_do_not_matter() -> None:
    assert order(named("a", "MergeTree", "gone", "a")) == ["a"]


def test_a_cycle_is_broken() -> None:
    assert order(named("a", "View", "b"), named("b", "View", "a"), named("c", "View", "b"), named("t")) == [
        "t",
        "a",
        "b",
        "c",
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.sets(st.integers(0, 20), max_size=4)), max_size=20, unique_by=lambda x: x[0]
    )
)
def test_every_table_comes_once_and_after_what_it_needs(graph: list[tuple[int, set[int]]]) -> None:
    """Edges lead to smaller numbers only, so that there is no cycle."""
    tables = [named(str(number), "View", *(str(need) for need in needs if need < number)) for number, needs in graph]
    result = creation_order(tables)
    assert sorted(table.name for table in result) == sorted(table.name for table in tables)
    place = {table.name: index for index, table in enumerate(result)}
    for table in tables:
        assert all(place[need] < place[table.name] for need in table.depends_on if need in place)
