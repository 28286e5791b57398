"""The data that is backed up: three shapes, made by the engine, the same bytes every time.

No table ever merges, so that its parts are those that were inserted, also after the engine was started again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

Query = Callable[..., str]

_NO_MERGES = "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"
_WIDE_PARTS = 6
_WIDE_ROWS = 19_200_000  # in all parts; about 2 GB on disk
_SMALL_PARTITIONS, _SMALL_INSERTS = 1_000, 5
_TABLES = 2_000
#: The partition of the small shape that changes before an increment.
CHANGED_PARTITION = 7


class Shape(StrEnum):
    """A kind of data; the name is that of its database, too."""

    WIDE = "wide"
    SMALL = "small"
    TABLES = "tables"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of the full size each shape gets, 1.0 being all of it."""

    wide: float = 1.0
    small: float = 1.0
    tables: float = 1.0

    def of(self, shape: Shape) -> float:
        """The share of one shape."""
        return {Shape.WIDE: self.wide, Shape.SMALL: self.small, Shape.TABLES: self.tables}[shape]


def make(query: Query, shape: Shape, share: float) -> None:
    """Make the database of a shape, unless it is there."""
    if query(f"EXISTS DATABASE {shape}") == "1":
        return
    query(f"CREATE DATABASE {shape}")
    for statement in statements(shape, share):
        query(statement)


def statements(shape: Shape, share: float) -> Iterator[str]:
    """The statements that fill the database of a shape."""
    match shape:
        case Shape.WIDE:
            yield from _wide(share)
        case Shape.SMALL:
            yield from _small(share)
        case Shape.TABLES:
            yield from _tables(share)


def change_a_partition(round_number: int) -> str:
    """The statement that changes one partition of the small shape: it gets one more part."""
    return _rows_of_small(f"SELECT {CHANGED_PARTITION} AS p, {1_000_000 + round_number} AS n FROM numbers(20)")


def _wide(share: float) -> Iterator[str]:
    """A few large parts of mixed columns: keys, times, categories, text of skewed words, numbers, random tokens."""
    yield (
        "CREATE TABLE wide.events (month UInt8, id UInt64, at DateTime64(3), customer UInt32, "
        "country LowCardinality(String), kind Enum8('view' = 1, 'cart' = 2, 'buy' = 3), price Decimal(12, 2), "
        "weight Float64, url String, note String, token UUID, tags Array(LowCardinality(String)), "
        "attributes Map(LowCardinality(String), String)) "
        f"ENGINE = MergeTree PARTITION BY month ORDER BY (at, id) SETTINGS {_NO_MERGES}"
    )
    rows = max(1_000, int(_WIDE_ROWS * share / _WIDE_PARTS))
    for month in range(1, _WIDE_PARTS + 1):
        yield _WIDE_INSERT.format(month=month, rows=rows, words=_WORDS, first=month * 100_000_000)


_WORDS = (
    "the of and to in is it for on with as at by from or an be this that are was not but have all new order item "
    "price small large red blue green steel cotton paper glass wood winter summer north south river house garden "
    "table chair window street market price delivery return quality service customer question answer morning "
    "evening monday friday quick slow heavy light broken sealed fresh ready early late again never always seventeen "
    "hundred thousand discount voucher account invoice payment receipt transfer warehouse container"
)

_WIDE_INSERT = """
INSERT INTO wide.events
WITH
    splitByChar(' ', '{words}') AS words,
    sipHash64(number, 1) AS h1, sipHash64(number, 2) AS h2, sipHash64(number, 3) AS h3
SELECT
    {month},
    number,
    toDateTime64('2026-01-01 00:00:00', 3) + INTERVAL (number * 180 + h1 % 170) MILLISECOND,
    toUInt32(pow((h2 % 1000003) / 1000003, 3) * 400000),
    ['de', 'fr', 'us', 'gb', 'pl', 'jp', 'br', 'in', 'se', 'ch'][1 + toUInt8(pow((h3 % 10007) / 10007, 2) * 10)],
    multiIf(h1 % 20 = 0, 'buy', h1 % 5 = 0, 'cart', 'view'),
    toDecimal64((h2 % 40000) / 100 + 0.99, 2),
    round(exp((h3 % 100000) / 20000), 3),
    concat('https://shop.example/', words[1 + (h1 % 88)], '/', toString(toUInt32(pow((h2 % 99991) / 99991, 2) * 90000)),
        if(h3 % 4 = 0, concat('?ref=', words[1 + (h3 % 97)]), '')),
    arrayStringConcat(arrayMap(
        i -> words[1 + toUInt8(88 * pow(
            (bitShiftRight(if(i < 6, h1, if(i < 12, h2, h3)), (i % 6) * 10) % 1024) / 1024, 2))],
        range(4 + h3 % 14)), ' '),
    reinterpretAsUUID(concat(reinterpretAsFixedString(h1), reinterpretAsFixedString(h2))),
    arrayMap(i -> words[1 + (bitShiftRight(h2, i * 8) % 40)], range(h1 % 4)),
    map('agent', words[1 + (h2 % 30)], 'session', lower(hex(h3)))
FROM numbers({first}, {rows})
SETTINGS max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 100000000,
    min_insert_block_size_bytes = 0, max_insert_block_size = 65536
"""


def _small(share: float) -> Iterator[str]:
    """Many parts of about 12 small files each: 1,000 partitions of 5 parts."""
    yield (
        "CREATE TABLE small.readings (p UInt16, n UInt64, at DateTime, value Float64, label String) "
        f"ENGINE = MergeTree PARTITION BY p ORDER BY n SETTINGS {_NO_MERGES}"
    )
    partitions = max(2 * CHANGED_PARTITION, int(_SMALL_PARTITIONS * share))
    for insert in range(_SMALL_INSERTS):
        yield _rows_of_small(
            f"SELECT number % {partitions} AS p, number + {insert * 1_000_000} AS n FROM numbers({partitions * 20})"
        )


def _rows_of_small(source: str) -> str:
    return (
        "INSERT INTO small.readings SELECT p, n, toDateTime('2026-01-01') + n, sipHash64(p, n) / 1e9, "
        f"hex(sipHash64(n, p)) FROM ({source}) SETTINGS max_partitions_per_insert_block = 0, max_threads = 1, "
        "max_insert_threads = 1, optimize_on_insert = 0"
    )


def _tables(share: float) -> Iterator[str]:
    """Many tables of one small part each."""
    for number in range(max(10, int(_TABLES * share))):
        name = f"tables.t{number:05}"
        yield f"CREATE TABLE {name} (n UInt64, label String) ENGINE = MergeTree ORDER BY n SETTINGS {_NO_MERGES}"
        yield f"INSERT INTO {name} SELECT number, hex(sipHash64(number, {number})) FROM numbers(100)"
