"""What ``repair`` says and how it ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from coldhouse.cli.main import run
from coldhouse.cli.repair_output import document, text
from coldhouse.operations.diagnosis import Hurt
from coldhouse.operations.repair import RepairReport, Treatment

Capture = pytest.CaptureFixture[str]
PACK = "packs/ab/ab00"


@pytest.fixture
def repository(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("COLDHOUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLDHOUSE_REPO", str(tmp_path / "backups"))
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")
    assert run(["init"]) == 0
    capsys.readouterr()
    return tmp_path / "backups"


def test_a_sound_repository_is_0(repository: Path, capsys: Capture) -> None:
    assert run(["repair"]) == 0
    assert capsys.readouterr().out == "Nothing is damaged in 0 snapshots.\n"
    assert run(["repair", "--data", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sound"] is True


def test_damage_is_20_and_nothing_is_touched_without_yes(repository: Path, capsys: Capture) -> None:
    broken = repository / "snapshots" / "20260102T030405Z-0123456789abcdef"
    broken.parent.mkdir()
    broken.write_bytes(b"no snapshot")

    assert run(["repair", "--json"]) == 20
    found = json.loads(capsys.readouterr().out)
    assert (found["dry_run"], found["healed"], found["snapshots"]) == (True, False, 1)
    assert found["objects"][0]["object"] == f"snapshots/{broken.name}"
    assert found["objects"][0]["action"] == "set aside"
    assert broken.exists()

    assert run(["repair", "--yes"]) == 3, "a snapshot is lost"
    printed = capsys.readouterr().out
    assert "set aside in quarantine/" in printed
    assert f"{broken.name}: everything behind snapshots/{broken.name}" in printed
    assert run(["repair"]) == 0
    assert broken.read_bytes() == b"coldhouse fence\n"  # so that no late request brings it back
    assert (repository / f"quarantine/snapshots/{broken.name}.1").read_bytes() == b"no snapshot"


def test_a_copy_must_be_a_repository(repository: Path, tmp_path: Path, capsys: Capture) -> None:
    assert run(["repair", "--from", str(tmp_path / "nothing")]) == 10


def test_a_dry_run_does_not_call_lost_what_it_would_give_back() -> None:
    hurt = (Hurt("20260102T030405Z-0123456789abcdef", "shop.orders", "all_1_1_0", PACK),)
    found = RepairReport(True, 3, (Treatment(PACK, "is missing", "replaced"),), (), (), curable=hurt)
    lines = text(found)
    assert lines[-2:] == [
        "Cannot be restored until then:",
        "  20260102T030405Z-0123456789abcdef: shop.orders part all_1_1_0",
    ]
    (damaged,) = document(found).damaged
    assert (damaged.part, damaged.object) == ("all_1_1_0", PACK)


def test_a_dry_run_that_finds_files_elsewhere_does_not_call_them_lost() -> None:
    hurt = (Hurt("20260102T030405Z-0123456789abcdef", "shop.orders", "all_1_1_0", PACK),)
    treated = (Treatment(PACK, "is missing", "kept"),)
    lines = text(RepairReport(True, 3, treated, ("20260102T030405Z-0123456789abcdef",), hurt))
    assert "Cannot be restored, as far as it is not found elsewhere:" in lines


def test_what_remains_is_named_with_what_to_do() -> None:
    hurt = (Hurt("20260102T030405Z-0123456789abcdef", "shop.orders", "all_1_1_0", PACK),)
    lines = text(RepairReport(False, 3, (Treatment(PACK, "is missing", "kept"),), (), hurt))
    assert lines[0] == "Repaired IN PART: 1 object looked after, and some snapshots still miss something."
    assert "  20260102T030405Z-0123456789abcdef: shop.orders part all_1_1_0" in lines
    assert any("--skip-damaged" in line for line in lines)
    assert any("The next backup stores again" in line for line in lines)
