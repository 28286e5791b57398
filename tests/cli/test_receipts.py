from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from coldhouse.cli import cost_output, receipts
from coldhouse.model import Mutation, TableKind, TableName
from coldhouse.operations.backup import BackupReceipt
from coldhouse.operations.estimate import Requests
from coldhouse.operations.restore import RestoreReport
from coldhouse.operations.restore_plan import Share, TableOutcome
from coldhouse.operations.show import SnapshotDetail
from coldhouse.records import replace
from tests.cli import values


@pytest.fixture(autouse=True)
def _local_time_is_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def outcome(
    table: str, *, to: str = "", action: str = "create", status: str = "restored", note: str = ""
) -> TableOutcome:
    target = TableName("shop", to or table)
    return TableOutcome(TableName("shop", table), target, action, 1000, 2_000_000, 3, status, note)


def report(
    *outcomes: TableOutcome,
    mutations: tuple[tuple[TableName, Mutation], ...] = (),
    left_out: tuple[str, ...] = (),
    dry_run: bool = False,
) -> RestoreReport:
    return RestoreReport(values.snapshot(), outcomes, (), mutations, left_out, 12.3, dry_run)


def test_a_backup_receipt_says_what_it_holds_and_what_it_cost() -> None:
    receipt = BackupReceipt(values.snapshot(), "/backups", 65.2, (), ())
    assert receipts.backup_receipt(receipt) == [
        "Backup complete: snapshot 20261123T073000Z-8899aabbccddeeff",
        "",
        "  kind      incremental (reuses data of 20261122T170000Z-00112233445566aa)",
        "  source    http://db:8123 (ClickHouse 26.9.1.1)",
        "  location  /backups",
        "  started   2026-11-23 07:30:00 UTC, took 1 min 5 s",
        "  tags      host=db1 reason=before upgrade",
        "  holds     1 database, 2 tables, 340 parts, 5,120 files, 12,345,678 rows",
        "  sent      33.0 MiB by ClickHouse",
        "  stored    19.2 MiB in 4 objects, compressed and encrypted",
        "",
        "  D = B + I: 1,234,567,890 = 1,200,000,000 + 34,567,890 bytes",
        "  D  data    1,234,567,890  1.15 GiB  everything that the snapshot holds",
        "  B  reused  1,200,000,000  1.12 GiB  already in the repository",
        "  I  new        34,567,890  33.0 MiB  stored by this snapshot",
    ]


def test_damage_at_the_source_cannot_be_overlooked() -> None:
    damaged = ("shop.orders 202611_1_1_0",)
    lines = receipts.backup_receipt(BackupReceipt(values.snapshot(damaged=damaged), "/backups", 1, damaged, ()))
    assert lines[0] == "Backup done IN PART: snapshot 20261123T073000Z-8899aabbccddeeff"
    assert lines[-2].startswith("DAMAGED AT THE SOURCE")
    assert lines[-1] == "  shop.orders 202611_1_1_0"


def test_a_warning_is_printed_once() -> None:
    lines = receipts.backup_receipt(BackupReceipt(values.snapshot(warnings=("same",)), "", 1, (), ("same", "other")))
    assert lines[-3:] == ["Warnings:", "  same", "  other"]


def test_snapshots_are_a_line_each() -> None:
    lines = receipts.snapshot_list([values.full_snapshot(), values.snapshot(damaged=("p",))])
    assert [line.split("  ") for line in _squeezed(lines)] == [
        ["SNAPSHOT", "TIME", "KIND", "TABLES", "ROWS", "DATA", "NEW", "SOURCE", "VERIFIED", "TAGS"],
        [values.FIRST, "2026-11-22 17:00:00 UTC", "full", "1", "10", "1000 B", "1000 B", "http://db:8123", "never"],
        [
            *(values.SECOND, "2026-11-23 07:30:00 UTC", "incremental", "2", "12,345,678", "1.15 GiB", "33.0 MiB"),
            *("http://db:8123", "never", "host=db1 reason=before upgrade", "DAMAGED AT SOURCE"),
        ],
        [""],
        ["2 snapshots, newest last"],
    ]
    assert lines[0].index("TIME") == lines[1].index("2026-11-22")


def _squeezed(lines: list[str]) -> list[str]:
    return [re.sub(" {2,}", "  ", line) for line in lines]


def test_an_empty_repository_says_so() -> None:
    assert receipts.snapshot_list([]) == ["No snapshots."]


OTHERS = [values.full_snapshot(), values.snapshot()]


def test_a_list_that_is_not_of_everything_says_what_it_is_of() -> None:
    lines = receipts.snapshot_list([values.snapshot()], which=receipts.Which("http://db:8123"), others=OTHERS[:1])
    assert lines[:2] == ["Snapshots of http://db:8123 only; --source '' lists those of all sources.", ""]
    tagged = receipts.Which(tags=(("host", "db1"), ("kind", "nightly")))
    assert receipts.snapshot_list(OTHERS, which=tagged)[0] == "Snapshots tagged host=db1 kind=nightly only."
    both = receipts.Which("http://db:8123", (("host", "db1"),))
    heading = receipts.snapshot_list(OTHERS, which=both)[0]
    assert heading == "Snapshots of http://db:8123 tagged host=db1 only; --source '' lists those of all sources."


def test_snapshots_that_are_not_of_the_source_asked_for_are_not_gone() -> None:
    """After a disaster the source is often another host: an empty list must not read as if the backups were lost."""
    other = receipts.Which("http://new:8123")
    assert receipts.snapshot_list([], which=other, others=OTHERS) == [
        "No snapshots of http://new:8123; 2 of other sources: http://db:8123.",
        "--source '' lists those of all sources.",
    ]
    tagged = receipts.Which("http://db:8123", (("kind", "nightly"),))
    assert receipts.snapshot_list([], which=tagged, others=OTHERS[:1]) == [
        "No snapshots of http://db:8123 tagged kind=nightly; 1 other, of http://db:8123.",
        "--source '' lists those of all sources.",
    ]
    assert receipts.snapshot_list([], which=receipts.Which(tags=(("kind", "nightly"),)), others=OTHERS) == [
        "No snapshots tagged kind=nightly; 2 others, of http://db:8123."
    ]
    assert receipts.snapshot_list([], which=other) == ["No snapshots of http://new:8123; the repository is empty."]


def test_databases_without_tables_are_shown_by_name() -> None:
    tables = (values.database("archive"), values.database("b"), values.database(), values.orders())
    lines = receipts.snapshot_detail(SnapshotDetail(values.snapshot(), tables), "")
    assert "  empty       databases archive, b" in lines
    lines = receipts.snapshot_detail(SnapshotDetail(values.snapshot(), tables[2:]), "")
    assert not any(line.startswith("  empty ") for line in lines)


def test_a_snapshot_is_shown_table_by_table() -> None:
    detail = SnapshotDetail(values.snapshot(), (values.database(), values.customers(), values.orders()))
    lines = receipts.snapshot_detail(detail, "/backups")
    assert lines[0] == "Snapshot 20261123T073000Z-8899aabbccddeeff"
    assert "  host        db.example.org, time zone Europe/Berlin" in lines
    assert "  functions   twice" in lines
    heading = lines.index("TABLE           ENGINE              PARTS        ROWS  D (DATA)  B (REUSED)   I (NEW)")
    assert lines[heading + 1 : heading + 3] == [
        "shop.customers  ReplacingMergeTree      1     345,678   555 KiB     555 KiB       0 B",
        "shop.orders     MergeTree             339  12,000,000  1.15 GiB    1.12 GiB  32.4 MiB",
    ]
    assert lines[-1] == "  shop.orders: UPDATE price = 0 WHERE id = 1"


def test_a_snapshot_without_tables_is_shown() -> None:
    assert "It holds no tables." in receipts.snapshot_detail(SnapshotDetail(values.snapshot(), ()), "/backups")


def test_a_restore_says_which_table_came_from_where() -> None:
    lines = receipts.restore_report(report(outcome("orders", to="orders2"), outcome("log")), "http://db:8123")
    assert lines == [
        "Restore complete: snapshot 20261123T073000Z-8899aabbccddeeff of http://db:8123, taken 2026-11-23 07:30:00 UTC,"
        " to http://db:8123: 2 tables, 2,000 rows, 3.81 MiB in 12 s",
        "",
        "TABLE         FROM         ACTION  PARTS   ROWS      DATA  STATUS    NOTE",
        "shop.orders2  shop.orders  create      3  1,000  1.91 MiB  restored",
        "shop.log                   create      3  1,000  1.91 MiB  restored",
    ]


def test_rows_are_those_that_were_counted_beside_those_that_were_to_come() -> None:
    some = [
        replace(outcome("whole"), rows_restored=1000),
        replace(outcome("fewer"), rows_restored=900),
        replace(outcome("unknown"), rows=0, rows_known=False, rows_restored=7),
        replace(outcome("planned", status="planned"), rows=0, rows_known=False),
    ]
    lines = receipts.restore_report(report(*some), "db")
    assert [line.split()[3] for line in lines[3:]] == ["1,000", "900/1,000", "7/?", "?"]
    assert "4 tables, 1,907 rows" in lines[0]


def test_rows_that_nobody_has_counted_are_shown_as_such() -> None:
    tiny = replace(values.orders(), kind=TableKind.FILES, engine="TinyLog", rows=0, parts=0, mutations=())
    lines = receipts.snapshot_detail(SnapshotDetail(values.snapshot(), (tiny,)), "/backups")
    assert any(line.split()[:4] == ["shop.orders", "TinyLog", "0", "?"] for line in lines)


def test_what_was_skipped_does_not_count_as_restored() -> None:
    skipped = outcome("log", action="skip", status="skipped", note="it is already there")
    lines = receipts.restore_report(report(outcome("orders"), skipped), "db")
    assert ": 1 table, 1,000 rows," in lines[0]
    assert lines[-1].endswith("skipped   it is already there")


def test_a_dry_run_says_that_nothing_was_changed() -> None:
    lines = receipts.restore_report(report(outcome("orders", status="planned"), dry_run=True), "db")
    assert lines[0].startswith(
        "Dry run, nothing was changed. Snapshot 20261123T073000Z-8899aabbccddeeff of http://db:8123, "
        "taken 2026-11-23 07:30:00 UTC, would go to db"
    )


def test_a_dry_run_of_a_restore_says_what_it_would_cost() -> None:
    planned = replace(report(outcome("orders", status="planned"), dry_run=True), estimate=values.restore_estimate())
    lines = receipts.restore_report(planned, "db")
    assert lines[lines.index("") + 3 :] == [
        "",
        "Estimate, at least to at most; a single number is exact except for sizes of sealed objects:",
        "  served    3.00 MiB of files to ClickHouse",
        "  stored    500 B to 8.79 KiB",
        "  read      1.00 MiB to 2.00 MiB",
        "  requests  2 PUT, 30 to 45 GET, 1 LIST, 3 HEAD, 2 DELETE",
    ]


def test_a_restore_says_what_was_asked_of_the_store() -> None:
    asked = Requests(put=2, get=1200, list=1, head=3, delete=2, uploaded=9000, downloaded=700)
    done = replace(report(outcome("orders"), left_out=("shop.orders p",)), served=1 << 20, requests=asked)
    lines = receipts.restore_report(done, "db")
    assert lines[4:] == [
        "",
        "  served    1.00 MiB to ClickHouse",
        "  requests  2 PUT, 1,200 GET, 1 LIST, 3 HEAD, 2 DELETE; 700 B read",
        "",
        "NOT restored:",
        "  shop.orders p",
    ]


def test_parts_that_were_left_out_and_unfinished_mutations_are_named() -> None:
    mutations = ((TableName("shop", "orders"), Mutation("m", "DELETE WHERE 1")),)
    lines = receipts.restore_report(report(outcome("orders"), mutations=mutations, left_out=("shop.orders p",)), "db")
    assert lines[0].startswith("Restore done IN PART")
    assert "  shop.orders p" in lines
    assert lines[-1] == "  shop.orders: DELETE WHERE 1"


def test_what_was_left_out_of_a_table_is_not_counted_as_restored() -> None:
    part = replace(outcome("orders", status="in part"), left_out=Share(2, 300, 1_000_000))
    lines = receipts.restore_report(report(part, outcome("log"), left_out=("shop.orders p", "shop.orders q")), "db")
    assert ": 2 tables, 1,700 rows, 2.86 MiB in" in lines[0]
    assert lines[3].split() == ["shop.orders", "create", "1", "700/1,000", "977", "KiB", "in", "part"]
    assert lines[4].split() == ["shop.log", "create", "3", "1,000", "1.91", "MiB", "restored"]


def test_a_backup_receipt_says_what_was_asked_of_the_store() -> None:
    asked = Requests(put=4, get=1200, list=2, head=3, delete=1, uploaded=9000, downloaded=700)
    lines = receipts.backup_receipt(BackupReceipt(values.snapshot(), "/backups", 1, (), (), asked))
    assert "  requests  4 PUT, 1,200 GET, 2 LIST, 3 HEAD, 1 DELETE; 700 B read" in lines


def test_a_dry_run_of_a_backup_tells_bounds_from_numbers_that_are_exact() -> None:
    assert cost_output.backup_preview(values.preview()) == [
        f"Dry run, nothing was sent or stored; compared with {values.FIRST}.",
        "ClickHouse would be asked for 2 of 3 tables, in 1 statement.",
        "",
        "TABLE        WOULD BE      PARTITIONS  AT THE SOURCE",
        "shop.idle    carried over",
        "shop.kv      asked for            all        unknown",
        "shop.orders  asked for              2       1.00 MiB",
        "",
        "Estimate, at least to at most; a single number is exact except for sizes of sealed objects:",
        "  sent      0 B to 2.00 MiB by ClickHouse",
        "  stored    500 B to 1.00 MiB",
        "  read      2.00 KiB to 4.00 KiB",
        "  requests  1 to 5 PUT, 3 GET, 2 LIST, 1 to 9 HEAD, 0 to 1 DELETE",
        "",
        "Not in the estimate, because their engines do not tell their size:",
        "  shop.kv",
        "",
        "Warnings:",
        "  one disk",
    ]
