from __future__ import annotations

import json

from coldhouse.cli import documents
from coldhouse.model import Mutation, TableKind, TableName
from coldhouse.operations.backup import BackupReceipt
from coldhouse.operations.estimate import Requests
from coldhouse.operations.init import RepositoryInfo
from coldhouse.operations.restore import RestoreReport
from coldhouse.operations.restore_plan import Share, TableOutcome
from coldhouse.operations.show import SnapshotDetail
from coldhouse.records import replace
from tests.cli import values

SNAPSHOT = {
    "snapshot": values.SECOND,
    "parent": values.FIRST,
    "kind": "incremental",
    "source": "http://db:8123",
    "started_at": "2026-11-23T07:30:00Z",
    "finished_at": "2026-11-23T07:31:05Z",
    "databases": 1,
    "tables": 2,
    "parts": 340,
    "files": 5120,
    "rows": 12_345_678,
    "bytes_total": 1_234_567_890,
    "bytes_reused": 1_200_000_000,
    "bytes_new": 34_567_890,
    "bytes_sent": 34_600_000,
    "bytes_stored": 20_123_456,
    "objects_stored": 4,
    "location": "/backups",
    "server_version": "26.9.1.1",
    "tags": {"host": "db1", "reason": "before upgrade"},
    "damaged_at_source": [],
    "warnings": [],
    "verified_at": None,
    "verified_level": None,
    "verified_in_part": False,
    "damage_found_at": None,
    "pinned": False,
    "pin_reason": "",
}


def test_init() -> None:
    document = documents.repository(RepositoryInfo("/backups", "00ff", created=True))
    assert json.loads(documents.encoded(document)) == {"repository": "00ff", "location": "/backups", "created": True}


def test_backup() -> None:
    damaged = ("shop.orders p",)
    receipt = BackupReceipt(values.snapshot(damaged=damaged), "/backups", 65.2345, damaged, ("one disk",))
    assert json.loads(documents.encoded(documents.backup(receipt))) == SNAPSHOT | {
        "damaged_at_source": ["shop.orders p"],
        "warnings": ["one disk"],
        "seconds": 65.234,
        "requests": None,
    }


def test_a_backup_says_what_it_asked_of_the_store() -> None:
    asked = Requests(put=4, get=3, list=2, head=3, delete=1, uploaded=9000, downloaded=700)
    receipt = BackupReceipt(values.snapshot(), "/backups", 1, (), (), asked)
    assert json.loads(documents.encoded(documents.backup(receipt)))["requests"] == {
        "put": 4,
        "get": 3,
        "list": 2,
        "head": 3,
        "delete": 1,
        "bytes_up": 9000,
        "bytes_down": 700,
    }


def test_a_dry_run_of_a_backup() -> None:
    document = json.loads(documents.encoded(documents.preview(values.preview())))
    least, most = document.pop("requests_at_least"), document.pop("requests_at_most")
    assert (least["put"], most["put"], least["bytes_down"], most["bytes_down"]) == (1, 5, 2048, 4096)
    assert document == {
        "dry_run": True,
        "location": "/backups",
        "compared_with": values.FIRST,
        "tables": [
            {"database": "shop", "table": "idle", "action": "carry", "partitions": None, "bytes": 0},
            {"database": "shop", "table": "kv", "action": "ask", "partitions": None, "bytes": None},
            {"database": "shop", "table": "orders", "action": "ask", "partitions": 2, "bytes": 1048576},
        ],
        "statements": 1,
        "bytes_sent_at_most": 2097152,
        "exact": False,
        "not_estimated": ["shop.kv"],
        "warnings": ["one disk"],
    }


def test_snapshots() -> None:
    document = documents.snapshots([values.full_snapshot(), values.snapshot()], "/backups")
    first, second = json.loads(documents.encoded(document))
    assert (first["kind"], first["parent"]) == ("full", None)
    assert second == SNAPSHOT
    assert json.loads(documents.encoded(documents.snapshots([], "/backups"))) == []


def test_show() -> None:
    detail = SnapshotDetail(
        values.snapshot(), (values.database("void"), values.database(), values.customers(), values.orders())
    )
    document = json.loads(documents.encoded(documents.detail(detail, "/backups")))
    contents = document.pop("contents")
    assert document == SNAPSHOT | {"functions": ["twice"], "empty_databases": ["void"]}
    assert contents == [
        {
            "database": "shop",
            "table": "customers",
            "engine": "ReplacingMergeTree",
            "parts": 1,
            "rows": 345_678,
            "bytes": 567_890,
            "bytes_reused": 567_890,
            "bytes_new": 0,
            "unfinished_mutations": [],
            "damaged_at_source": [],
        },
        {
            "database": "shop",
            "table": "orders",
            "engine": "MergeTree",
            "parts": 339,
            "rows": 12_000_000,
            "bytes": 1_234_000_000,
            "bytes_reused": 1_200_000_000,
            "bytes_new": 34_000_000,
            "unfinished_mutations": [{"id": "mutation_7.txt", "command": "UPDATE price = 0 WHERE id = 1"}],
            "damaged_at_source": [],
        },
    ]


def test_a_restore_in_part_counts_what_came_back() -> None:
    name = TableName("shop", "orders")
    orders = TableOutcome(name, name, "create", 1000, 2000, 3, "in part", left_out=Share(1, 400, 500))
    report = RestoreReport(values.snapshot(), (orders,), (), (), ("shop.orders p",), 1.0, dry_run=False)
    document = json.loads(documents.encoded(documents.restore(report)))
    (table,) = document["tables"]
    assert (table["status"], table["parts"], table["bytes"]) == ("in part", 2, 1500)
    assert (table["rows_expected"], table["rows_restored"]) == (1000, 600)
    assert (document["rows"], document["bytes"]) == (600, 1500)


def test_restore() -> None:
    orders, log = TableName("shop", "orders"), TableName("shop", "log")
    report = RestoreReport(
        values.snapshot(),
        (
            TableOutcome(orders, TableName("old", "orders"), "create", 1000, 2000, 3, "restored", rows_restored=1000),
            TableOutcome(log, log, "skip", 7, 70, 0, "skipped", "it is already there"),
        ),
        ("careful",),
        ((orders, Mutation("m", "DELETE WHERE 1")),),
        (),
        12.3456,
        dry_run=False,
    )
    assert json.loads(documents.encoded(documents.restore(report))) == {
        "snapshot": values.SECOND,
        "source": "http://db:8123",
        "taken_at": "2026-11-23T07:30:00Z",
        "dry_run": False,
        "tables": [
            {
                "database": "old",
                "table": "orders",
                "restored_from": "shop.orders",
                "action": "create",
                "status": "restored",
                "parts": 3,
                "bytes": 2000,
                "rows_expected": 1000,
                "rows_restored": 1000,
                "note": "",
            },
            {
                "database": "shop",
                "table": "log",
                "restored_from": "shop.log",
                "action": "skip",
                "status": "skipped",
                "parts": 0,
                "bytes": 70,
                "rows_expected": 7,
                "rows_restored": 0,
                "note": "it is already there",
            },
        ],
        "rows": 1000,
        "bytes": 2000,
        "seconds": 12.346,
        "unfinished_mutations": [{"database": "shop", "table": "orders", "id": "m", "command": "DELETE WHERE 1"}],
        "left_out": [],
        "warnings": ["careful"],
        "bytes_served": 0,
        "requests": None,
    }


def test_what_a_restore_cost_and_what_one_would_cost() -> None:
    asked = Requests(put=2, get=7, list=1, head=3, delete=2, uploaded=400, downloaded=5000)
    done = RestoreReport(values.snapshot(), (), (), (), (), 1, dry_run=False, served=4500, requests=asked)
    document = json.loads(documents.encoded(documents.restore(done)))
    assert document["bytes_served"] == 4500
    assert document["requests"] == {
        "put": 2,
        "get": 7,
        "list": 1,
        "head": 3,
        "delete": 2,
        "bytes_up": 400,
        "bytes_down": 5000,
    }
    planned = RestoreReport(values.snapshot(), (), (), (), (), 1, dry_run=True, estimate=values.restore_estimate())
    document = json.loads(documents.encoded(documents.restore(planned)))
    assert "requests" not in document
    assert (document["bytes_served_at_least"], document["bytes_served_at_most"]) == (3145728, 3145728)
    assert (document["requests_at_least"]["get"], document["requests_at_most"]["get"]) == (30, 45)
    assert (document["requests_at_least"]["bytes_down"], document["requests_at_most"]["bytes_up"]) == (1048576, 9000)


def test_rows_that_nobody_has_counted_are_null() -> None:
    tiny = replace(values.orders(), kind=TableKind.FILES, engine="TinyLog", rows=0, parts=0)
    (table,) = documents.detail(SnapshotDetail(values.snapshot(), (tiny,)), "/backups").contents
    assert table.rows is None
    log = TableName("shop", "log")
    outcome = TableOutcome(log, log, "append", 0, 70, 0, "restored", rows_known=False)
    report = RestoreReport(values.snapshot(), (outcome,), (), (), (), 1.0, dry_run=False)
    (restored,) = documents.restore(report).tables
    assert (restored.rows_expected, restored.rows_restored) == (None, None)
    report = replace(report, tables=(replace(outcome, rows_restored=7),))
    assert (documents.restore(report).tables[0].rows_restored, documents.restore(report).rows) == (7, 7)
