"""The verbs against a repository in a local folder, and what they hand to the operations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coldhouse.cli.main import run
from coldhouse.events import Listener, Phase, Warned
from coldhouse.gateway import GatewaySettings
from coldhouse.model import TableName
from coldhouse.operations.backup import BackupOptions, BackupReceipt
from coldhouse.operations.first_look import FirstLook
from coldhouse.operations.restore import Prepared, RestoreOptions, RestoreReport
from coldhouse.repository import Repository
from tests.cli import values

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("COLDHOUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLDHOUSE_REPO", str(tmp_path / "backups"))
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")


@pytest.fixture
def repository(tmp_path: Path, capsys: Capture) -> Path:
    """A new, empty repository."""
    assert run(["init"]) == 0
    capsys.readouterr()
    return tmp_path / "backups"


def test_a_new_repository_is_made_once(tmp_path: Path, capsys: Capture) -> None:
    assert run(["init", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["location"], made["created"]) == (str(tmp_path / "backups"), True)
    assert run(["init", "--json"]) == 11
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "repository_exists"


def test_an_empty_repository_lists_nothing(repository: Path, capsys: Capture) -> None:
    assert run(["snapshots"]) == 0
    assert capsys.readouterr() == ("No snapshots.\n", "")
    assert run(["snapshots", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_no_repository_is_10(capsys: Capture) -> None:
    assert run(["snapshots"]) == 10
    assert "hint: " in capsys.readouterr().err


def test_a_wrong_passphrase_is_12_and_not_repeated(
    repository: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open barley")
    assert run(["snapshots", "--json", "--debug"]) == 12
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "wrong_passphrase"
    assert "barley" not in printed.out + printed.err


def test_an_unknown_snapshot_is_13(repository: Path, capsys: Capture) -> None:
    assert run(["show", "20261123"]) == 13
    assert run(["restore", "latest", "--target", "chdb:///nowhere", "--dry-run"]) == 13


def test_listing_a_local_folder_loads_no_cloud_no_server_and_no_database(repository: Path) -> None:
    program = (
        "import sys\n"
        "from coldhouse.cli.main import run\n"
        "assert run(['snapshots']) == 0\n"
        "heavy = {'obstore', 'uvicorn', 'clickhouse_connect', 'chdb', 'rich', 'asyncio'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "No snapshots.\n", "")


def test_backup_hands_on_what_was_asked(repository: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[BackupOptions] = []

    def backup(
        repository: Repository, options: BackupOptions, listener: Listener, first_look: FirstLook
    ) -> BackupReceipt:
        asked.append(options)
        listener(Phase("sending"))
        listener(Warned("one disk"))
        return BackupReceipt(values.snapshot(), repository.url, 1.0, (), ())

    monkeypatch.setattr("coldhouse.operations.backup.run", backup)
    monkeypatch.setenv("COLDHOUSE_SOURCE_PASSWORD", "hunter2")
    arguments = ["backup", "--source", "http://me@db:8123", "--table", "a.*", "--table", "b.c", "--exclude", "a.x"]
    arguments += ["--full", "--tag", "k=v", "--patches", "fail", "--compression", "zstd:3"]
    arguments += ["--gateway-listen", "0.0.0.0:9440", "--gateway-url", "http://here:9440"]
    assert run(arguments) == 0
    assert asked == [
        BackupOptions(
            source="http://me:hunter2@db:8123",
            include=("a.*", "b.c"),
            exclude=("a.x",),
            full=True,
            tags=(("k", "v"),),
            patches="fail",
            compression="zstd:3",
            gateway=GatewaySettings(listen_host="0.0.0.0", listen_port=9440, url="http://here:9440"),
        )
    ]
    printed = capsys.readouterr()
    assert printed.err == "sending\nwarning: one disk\n"
    assert printed.out.startswith("Backup complete: snapshot ")
    assert run([*arguments, "--quiet", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert json.loads(printed.out)["snapshot"] == values.SECOND


def test_a_warning_stands_on_a_terminal_once(
    repository: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came with the log, right above the receipt; where the two go different ways, both have it."""

    def backup(
        repository: Repository, options: BackupOptions, listener: Listener, first_look: FirstLook
    ) -> BackupReceipt:
        listener(Warned("one disk"))
        return BackupReceipt(values.snapshot(), repository.url, 1.0, (), ("one disk", "not in the log"))

    monkeypatch.setattr("coldhouse.operations.backup.run", backup)
    arguments = ["backup", "--source", "http://db:8123"]
    monkeypatch.setattr("coldhouse.cli.session.one_terminal", lambda: True)
    assert run(arguments) == 0
    printed = capsys.readouterr()
    assert (printed.err + printed.out).count("one disk") == 1
    assert printed.out.endswith("Warnings:\n  not in the log\n")
    assert run([*arguments, "--quiet"]) == 0
    assert "one disk" in capsys.readouterr().out, "there was no log"
    monkeypatch.setattr("coldhouse.cli.session.one_terminal", lambda: False)
    assert run(arguments) == 0
    printed = capsys.readouterr()
    assert "one disk" in printed.out
    assert "one disk" in printed.err


def test_how_hard_a_backup_works_is_handed_on(
    repository: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr("coldhouse.operations.priority.step_back", lambda url, nice: asked.append((url, nice)))
    uploads: list[int] = []

    def backup(
        repository: Repository, options: BackupOptions, listener: Listener, first_look: FirstLook
    ) -> BackupReceipt:
        uploads.append(options.uploads)
        return BackupReceipt(values.snapshot(), repository.url, 1.0, (), ())

    monkeypatch.setattr("coldhouse.operations.backup.run", backup)
    arguments = ["backup", "--source", "http://db:8123", "--quiet"]
    assert run(arguments) == 0
    assert run([*arguments, "--nice", "0", "--uploads", "5"]) == 0
    monkeypatch.setenv("COLDHOUSE_NICE", "19")
    assert run(arguments) == 0
    assert (asked, uploads) == ([("http://db:8123", nice) for nice in (10, 0, 19)], [0, 5, 0])
    capsys.readouterr()
    assert run([*arguments, "--nice", "20"]) == 2
    assert "--nice '20' is not a whole number from 0 to 19" in capsys.readouterr().err


def test_a_backup_with_damage_at_the_source_is_3(
    repository: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = ("shop.orders p",)

    def backup(
        repository: Repository, options: BackupOptions, listener: Listener, first_look: FirstLook
    ) -> BackupReceipt:
        return BackupReceipt(values.snapshot(damaged=damaged), repository.url, 1.0, damaged, ())

    monkeypatch.setattr("coldhouse.operations.backup.run", backup)
    assert run(["backup", "--source", "http://db:8123", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["damaged_at_source"] == ["shop.orders p"]


def test_restore_hands_on_what_was_asked(repository: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RestoreOptions] = []

    def restore(
        repository: Repository, options: RestoreOptions, listener: Listener, *, prepared: Prepared
    ) -> RestoreReport:
        asked.append(options)
        left_out = () if options.dry_run else ("shop.orders p",)
        return RestoreReport(values.snapshot(), (), (), (), left_out, 1.0, options.dry_run)

    monkeypatch.setattr("coldhouse.operations.restore.run", restore)
    arguments = [
        "restore",
        "--at",
        "2026-11-22T18:00Z",
        "--target",
        "chdb:///data",
        "--table",
        "a.*",
        "--exclude",
        "a.x",
    ]
    arguments += ["--partition", "a.b:202611", "--rename", "a=z", "--schema-only", "--existing", "skip"]
    assert run([*arguments, "--dry-run", "--resubmit-mutations"]) == 0
    assert asked.pop() == RestoreOptions(
        target="chdb:///data",
        at=datetime(2026, 11, 22, 18, tzinfo=UTC),
        include=("a.*",),
        exclude=("a.x",),
        partitions=((TableName("a", "b"), "202611"),),
        renames=(("a", "z"),),
        schema_only=True,
        existing="skip",
        dry_run=True,
        resubmit_mutations=True,
    )
    assert run(["restore", "latest", "--target", "chdb:///data"]) == 3
    assert asked.pop() == RestoreOptions(target="chdb:///data", snapshot="latest")


def test_copy_makes_a_second_store_of_the_repository(repository: Path, tmp_path: Path, capsys: Capture) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    assert run(["copy", "--to", elsewhere, "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "no_repository"
    assert run(["copy", "--to", elsewhere, "--init-like", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["method"], report["snapshots"], report["target"]) == ("objects", [], elsewhere)
    assert run(["copy", "--to", elsewhere]) == 0
    assert capsys.readouterr().out.startswith("Copy complete: 0 snapshots copied\n")
    assert run(["snapshots", "--repo", elsewhere]) == 0, "the passphrase is the same"


def test_copy_takes_the_passphrase_of_the_other_repository_from_its_own_variable(
    repository: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open barley")
    assert run(["init", "--repo", elsewhere]) == 0
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")
    assert run(["copy", "--to", elsewhere]) == 2
    assert "COLDHOUSE_TO_PASSWORD" in capsys.readouterr().err
    monkeypatch.setenv("COLDHOUSE_TO_PASSWORD", "open barley")
    assert run(["copy", "--to", elsewhere, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == "anew"
