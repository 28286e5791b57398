from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from coldhouse.cli import parsing
from coldhouse.errors import UsageError
from coldhouse.model import TableName


def test_tags_are_pairs_and_values_may_hold_anything() -> None:
    assert parsing.tags(["host=db1", "note=a=b c", "empty="]) == (("host", "db1"), ("note", "a=b c"), ("empty", ""))


@pytest.mark.parametrize("text", ["", "host", "=db1"])
def test_a_tag_without_key_or_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        parsing.tags([text])


def test_a_tag_given_twice_must_say_the_same() -> None:
    assert parsing.tags(["a=1", "a=1"]) == (("a", "1"),)
    with pytest.raises(UsageError, match="given twice"):
        parsing.tags(["a=1", "a=2"])


@pytest.mark.parametrize(
    ("text", "table", "partition"),
    [
        ("shop.orders:202611", TableName("shop", "orders"), "202611"),
        ("shop.orders:all", TableName("shop", "orders"), "all"),
        ("shop.a.b:1", TableName("shop", "a.b"), "1"),
        ("`my.shop`.`a:b`:20261123-1", TableName("my.shop", "a:b"), "20261123-1"),
    ],
)
def test_partitions_name_a_table_and_an_id(text: str, table: TableName, partition: str) -> None:
    assert parsing.partitions([text]) == ((table, partition),)


@pytest.mark.parametrize("text", ["shop.orders", "shop.orders:", ":1", "shop:1", ""])
def test_a_partition_without_table_or_id_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsing.partitions([text])
    assert "for example --partition" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("shop=shop2", ("shop", "shop2")),
        ("shop.orders=old.orders", ("shop.orders", "old.orders")),
        ("`a=b`.t=`c=d`.t", ("`a=b`.t", "`c=d`.t")),
        ("`a``=b`=c", ("`a``=b`", "c")),
    ],
)
def test_renames_are_pairs_and_backticks_protect_an_equals_sign(text: str, pair: tuple[str, str]) -> None:
    assert parsing.renames([text]) == (pair,)


@pytest.mark.parametrize("text", ["shop", "shop=", "=shop", "a=b=c", "`a=b"])
def test_a_rename_that_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not OLD=NEW"):
        parsing.renames([text])


def test_one_table_cannot_get_two_names() -> None:
    with pytest.raises(UsageError, match="two new names"):
        parsing.renames(["a=b", "a=c"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T17:00:00Z", datetime(2026, 11, 22, 17, tzinfo=UTC)),
        ("2026-11-22 18:00+01:00", datetime(2026, 11, 22, 18, tzinfo=timezone(timedelta(hours=1)))),
        ("20261122T170000Z", datetime(2026, 11, 22, 17, tzinfo=UTC)),
    ],
)
def test_a_time_with_an_offset_is_that_moment(text: str, expected: datetime) -> None:
    assert parsing.time(text) == expected


def test_a_time_without_an_offset_is_in_the_local_zone() -> None:
    assert parsing.time("2026-11-22T18:00") == datetime(2026, 11, 22, 18).astimezone()


@pytest.mark.parametrize("text", ["yesterday", "18:00", "2026-13-01T00:00", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an ISO 8601 time"):
        parsing.time(text)


def test_a_day_alone_is_refused_because_it_could_mean_its_beginning_or_its_end() -> None:
    with pytest.raises(UsageError, match="is a day and not a time"):
        parsing.time("2026-11-22")


@pytest.mark.parametrize("text", ["auto", "none", "zstd:1", "zstd:22"])
def test_known_compressions(text: str) -> None:
    assert parsing.compression(text) == text


@pytest.mark.parametrize("text", ["", "zstd", "zstd:0", "zstd:23", "lz4", "zstd:-1", "AUTO"])
def test_unknown_compressions(text: str) -> None:
    with pytest.raises(UsageError, match="is not known"):
        parsing.compression(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [("0.0.0.0:9440", ("0.0.0.0", 9440)), ("backup-host:0", ("backup-host", 0)), ("[::1]:9440", ("::1", 9440))],
)
def test_where_to_listen(text: str, place: tuple[str, int]) -> None:
    assert parsing.listen(text) == place


@pytest.mark.parametrize("text", ["", "9440", ":9440", "host", "host:", "host:65536", "::1:9440", "http://host:1"])
def test_where_nobody_can_listen(text: str) -> None:
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        parsing.listen(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("500K", 512_000),
        ("500KB", 500_000),
        ("500kib", 512_000),
        ("1.5MiB", 1_572_864),
        ("20M", 20 << 20),
        ("20 MB/s", 20_000_000),
        ("2g", 2 << 30),
    ],
)
def test_a_rate_is_bytes_per_second(text: str, count: int) -> None:
    assert parsing.rate("--max-upload", text) == count


@pytest.mark.parametrize("text", ["", "0", "0.1", "-5", "fast", "5T", "10 Mbit", "1e6", "M", "٣"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-upload"):
        parsing.rate("--max-upload", text)


@pytest.mark.parametrize("text", ["", "0", "65", "-1", "1.5", "many", "1e3", "9999999999"])
def test_a_number_out_of_bounds(text: str) -> None:
    with pytest.raises(UsageError, match=r"--uploads .* is not a whole number from 1 to 64"):
        parsing.number("--uploads", text, (1, 64))


def test_both_bounds_are_included() -> None:
    assert [parsing.number("--uploads", text, (1, 64)) for text in ("1", "64")] == [1, 64]
