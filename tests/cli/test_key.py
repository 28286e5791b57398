"""The verbs of keys, on a repository in a folder."""

from __future__ import annotations

import json
import os
import stat
import sys
from datetime import timedelta
from pathlib import Path

import click
import pytest

from coldhouse import repository as repositories
from coldhouse.cli import key
from coldhouse.cli.main import run
from coldhouse.model import Snapshot
from coldhouse.operations import restore
from coldhouse.repository import KdfCost
from coldhouse.repository.credentials import new_identity
from coldhouse.storage import open_storage
from tests.repository.samples import MOMENT, PACK, entry, root

Capture = pytest.CaptureFixture[str]
CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("COLDHOUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLDHOUSE_REPO", str(tmp_path / "backups"))
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")
    monkeypatch.setattr("coldhouse.repository.slots.KdfCost", lambda: CHEAP)
    repositories.init(open_storage(str(tmp_path / "backups")), "open sesame", kdf=CHEAP).close()


def listed(capsys: Capture) -> list[dict[str, object]]:
    capsys.readouterr()
    assert run(["key", "list", "--json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return sorted(found, key=lambda key: str(key["label"]))


def test_a_key_file_is_private_and_opens_the_repository(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["key", "add", "--new-key-file", str(tmp_path / "key"), "--label", "db1"]) == 0
    printed = capsys.readouterr()
    secret = (tmp_path / "key").read_text().splitlines()[1]
    assert secret.startswith("COLDHOUSE-KEY-1")
    assert secret not in printed.out + printed.err
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    monkeypatch.delenv("COLDHOUSE_PASSWORD")
    assert run(["snapshots", "--key-file", str(tmp_path / "key")]) == 0
    monkeypatch.setenv("COLDHOUSE_KEY_FILE", str(tmp_path / "key"))
    assert run(["snapshots"]) == 0
    assert [key["in_use"] for key in listed(capsys)] == [False, True]


def test_no_file_is_written_over(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "key").write_text("mine")
    assert run(["key", "add", "--new-key-file", str(tmp_path / "key")]) == 2
    assert run(["key", "export", "--to", str(tmp_path / "key")]) == 2
    assert (tmp_path / "key").read_text() == "mine"
    assert len(listed(capsys)) == 1


def test_a_key_file_whose_key_was_not_made_does_not_stay(tmp_path: Path, capsys: Capture) -> None:
    assert run(["key", "add", "--new-key-file", str(tmp_path / "one"), "--label", "db1"]) == 0
    assert run(["key", "add", "--new-key-file", str(tmp_path / "other"), "--label", "db1"]) == 2
    assert "there is a key called 'db1' already" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_another_passphrase_comes_from_the_environment(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDHOUSE_NEW_PASSWORD", "open barley")
    assert run(["key", "add", "--label", "second"]) == 0
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open barley")
    assert [(key["label"], key["in_use"]) for key in listed(capsys)] == [("", False), ("second", True)]


def test_a_recipient_opens_by_its_identity_file(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = new_identity()
    (tmp_path / "identity").write_text(f"# public key: {identity.recipient}\n{identity.text()}\n")
    (tmp_path / "identity").chmod(0o600)
    assert run(["key", "add", "--recipient", str(identity.recipient), "--label", "safe"]) == 0
    monkeypatch.delenv("COLDHOUSE_PASSWORD")
    monkeypatch.setenv("COLDHOUSE_IDENTITY_FILE", str(tmp_path / "identity"))
    assert [key["recipient"] for key in listed(capsys)] == ["", str(identity.recipient)]


@pytest.mark.parametrize("recipient", ["age1", "ssh-ed25519 AAAA", "age1" + "q" * 58])
def test_a_recipient_that_is_none_is_refused(recipient: str, capsys: Capture) -> None:
    assert run(["key", "add", "--recipient", recipient]) == 2
    assert "no X25519 recipient of age" in capsys.readouterr().err


def test_two_ways_to_open_at_once_are_refused(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLDHOUSE_KEY_FILE", str(tmp_path / "key"))
    assert run(["snapshots"]) == 2
    assert "a key file and a passphrase are given" in capsys.readouterr().err


def test_a_wrong_key_file_is_12_and_not_repeated(tmp_path: Path, capsys: Capture) -> None:
    text = repositories.new_key_file().text()
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    assert run(["snapshots", "--key-file", str(tmp_path / "key"), "--debug"]) == 12
    printed = capsys.readouterr()
    assert text not in printed.out + printed.err
    assert "The key file opens no key" in printed.err


def test_the_configuration_file_can_name_the_key_file(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["key", "add", "--new-key-file", str(tmp_path / "coldhouse" / "key")]) == 2
    (tmp_path / "coldhouse").mkdir()
    assert run(["key", "add", "--new-key-file", str(tmp_path / "coldhouse" / "key"), "--label", "db1"]) == 0
    (tmp_path / "coldhouse" / "config.toml").write_text('key-file = "key"\n')
    monkeypatch.delenv("COLDHOUSE_PASSWORD")
    assert [key["in_use"] for key in listed(capsys)] == [False, True]


def test_a_key_is_removed_by_its_label(tmp_path: Path, capsys: Capture) -> None:
    run(["key", "add", "--new-key-file", str(tmp_path / "key"), "--label", "db1"])
    assert run(["key", "remove", "db1", "--dry-run"]) == 0
    assert len(listed(capsys)) == 2
    assert run(["key", "remove", "db1", "--yes"]) == 0
    assert run(["snapshots", "--key-file", str(tmp_path / "key")]) == 12
    assert run(["key", "remove", "db1", "--yes"]) == 2


def test_the_last_full_key_is_never_removed(tmp_path: Path, capsys: Capture) -> None:
    run(["key", "add", "--new-key-file", str(tmp_path / "key"), "--write-only", "--label", "db1"])
    first = str(listed(capsys)[0]["id"])
    assert run(["key", "remove", first, "--force", "--yes"]) == 2
    assert "the last key that can read everything" in capsys.readouterr().err
    assert len(listed(capsys)) == 2


def test_the_key_in_use_is_removed_only_when_told(tmp_path: Path, capsys: Capture) -> None:
    run(["key", "add", "--new-key-file", str(tmp_path / "key"), "--label", "db1"])
    first = str(listed(capsys)[0]["id"])
    assert run(["key", "remove", first, "--yes"]) == 2
    assert run(["key", "remove", first[:6], "--force", "--yes"]) == 0
    assert run(["snapshots"]) == 12


def test_nothing_is_removed_without_being_asked_for(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    first = str(listed(capsys)[0]["id"])
    assert run(["key", "remove", first]) == 2
    assert run(["key", "rotate"]) == 2
    assert len(listed(capsys)) == 1


def test_a_rotation_shows_its_plan_and_names_who_is_left_out(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = new_identity()
    run(["key", "add", "--recipient", str(identity.recipient), "--label", "safe"])
    run(["key", "add", "--new-key-file", str(tmp_path / "key"), "--label", "db1", "--write-only"])
    run(["key", "add", "--new-key-file", str(tmp_path / "given"), "--label", "db2", "--write-only"])
    monkeypatch.setenv("COLDHOUSE_NEW_PASSWORD", "open barley")
    run(["key", "add", "--label", "colleague"])
    capsys.readouterr()
    arguments = ["key", "rotate", "--also-key-file", str(tmp_path / "given")]
    assert run([*arguments, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "its passphrase is not at hand" in plan
    assert "its key file is not at hand" in plan
    assert {key["generation"] for key in listed(capsys)} == {1}
    assert run([*arguments, "--yes", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    renewed = {item["key"]["label"]: item["renewed"] for item in done["keys"]}
    assert renewed == {"": True, "safe": True, "db1": False, "db2": True, "colleague": False}
    after = {str(key["label"]): key["generation"] for key in listed(capsys)}
    assert after == {"": 2, "safe": 2, "db1": 1, "db2": 2, "colleague": 1}


def test_the_recovery_sheet_opens_the_repository_when_all_keys_are_gone(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["key", "export", "--to", str(tmp_path / "sheet"), "--json"]) == 0
    printed = capsys.readouterr().out
    sheet = (tmp_path / "sheet").read_text()
    assert stat.S_IMODE((tmp_path / "sheet").stat().st_mode) == 0o600
    assert not any(line in printed for line in sheet.splitlines() if line.startswith("key "))
    for slot in (tmp_path / "backups" / "keys").iterdir():
        slot.unlink()
    monkeypatch.delenv("COLDHOUSE_PASSWORD")
    monkeypatch.setenv("COLDHOUSE_NEW_PASSWORD", "a new start")
    assert run(["key", "add", "--recovery-file", str(tmp_path / "sheet")]) == 0
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "a new start")
    assert run(["snapshots"]) == 0


class TestOfAnEarlierGeneration:
    """A passphrase that a rotation left out, and a sheet that was printed before it, are not called damage."""

    @pytest.fixture(params=["passphrase", "sheet"])
    def history(
        self, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> tuple[Snapshot, Snapshot]:
        """One snapshot before the rotation and one after; the key at hand is from before."""
        monkeypatch.setenv("COLDHOUSE_NEW_PASSWORD", "open barley")
        run(["key", "add", "--label", "colleague"])
        run(["key", "export", "--to", str(tmp_path / "sheet")])
        before = self.taken(tmp_path, root(moment=MOMENT))
        assert run(["key", "rotate", "--yes"]) == 0
        after = self.taken(tmp_path, root(moment=MOMENT + timedelta(days=1)))
        if request.param == "passphrase":
            monkeypatch.setenv("COLDHOUSE_PASSWORD", "open barley")
        else:
            monkeypatch.delenv("COLDHOUSE_PASSWORD")
            monkeypatch.setenv("COLDHOUSE_RECOVERY_FILE", str(tmp_path / "sheet"))
        capsys.readouterr()
        return before, after

    def taken(self, tmp_path: Path, wanted: Snapshot) -> Snapshot:
        with (
            repositories.open_repository(open_storage(str(tmp_path / "backups")), "open sesame") as repository,
            repository.draft(None) as draft,
        ):
            draft.add(entry("t"), (), lambda _: PACK)
            return draft.commit(wanted)

    def test_a_listing_passes_over_what_is_newer(self, history: tuple[Snapshot, Snapshot], capsys: Capture) -> None:
        assert run(["snapshots", "--json"]) == 0
        said = capsys.readouterr()
        assert [each["snapshot"] for each in json.loads(said.out)] == [history[0].id]
        assert "warning: 1 snapshot is not listed: it is sealed under generation 2 of the master key" in said.err
        assert run(["show", history[0].id]) == 0

    def test_what_needs_the_newer_one_says_so(self, history: tuple[Snapshot, Snapshot], capsys: Capture) -> None:
        target = ["--target", "http://127.0.0.1:1"]
        for command in (
            ["show", "latest"],
            ["show", history[1].id],
            ["restore", "latest", *target],
            ["restore", "--at", "2099-01-01T00:00:00Z", *target],
            ["verify", "latest"],
            ["verify"],
            ["repair"],
            ["prune", "--yes"],
            ["forget", "--keep-last", "1", "--yes"],
        ):
            assert run([*command, "--json"]) == 12, command
            error = json.loads(capsys.readouterr().out)["error"]
            assert error["code"] == "old_key", command
            assert "generation 2" in error["message"]
            assert "key add" in error["hint"]
            assert "damage" not in error["message"] + error["hint"]

    def test_what_was_complete_before_is_found_by_its_time(
        self, history: tuple[Snapshot, Snapshot], capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with repositories.open_repository(open_storage(os.environ["COLDHOUSE_REPO"]), "open barley") as repository:
            options = restore.RestoreOptions(target="chdb:///x", at=history[0].finished)
            assert restore._chosen_snapshot(repository, options) == history[0]

    def test_doctor_tells_it_as_what_it_is(self, history: tuple[Snapshot, Snapshot], capsys: Capture) -> None:
        assert run(["doctor", "--json", "--max-age", "100000"]) != 0
        checks = json.loads(capsys.readouterr().out)["checks"]
        (critical,) = [check for check in checks if check["status"] == "critical"]
        assert critical["check"] == "keys"
        assert "generation 2" in critical["message"]
        assert "key add" in critical["hint"]
        assert not any("repair" in check["hint"] for check in checks)

    def test_a_key_that_is_made_with_it_is_as_old(
        self, history: tuple[Snapshot, Snapshot], capsys: Capture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLDHOUSE_NEW_PASSWORD", "a new start")
        assert run(["key", "add", "--json"]) == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["generation"] == 1
        assert "warning: " in said.err
        assert "generation 2" in said.err

    def test_newer_keys_are_not_called_forged(self, history: tuple[Snapshot, Snapshot], capsys: Capture) -> None:
        assert run(["key", "list"]) == 0
        said = capsys.readouterr().out
        assert "no holder of the master key made it" not in said
        assert "UNPROVEN: made with a newer master key than this one, or by a stranger" in said


def test_the_recovery_sheet_goes_to_no_pipe(capsys: Capture) -> None:
    assert run(["key", "export"]) == 2
    assert run(["key", "export", "--json"]) == 2
    assert "key 01" not in capsys.readouterr().out


def test_the_recovery_sheet_goes_to_a_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(["key", "export"]) == 0
    sheet = capsys.readouterr().out
    assert all(f"key 0{number}: " in sheet for number in range(1, 5))


def test_with_a_write_only_key_nothing_can_be_read(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(["key", "add", "--new-key-file", str(tmp_path / "key"), "--write-only"])
    (tmp_path / "backups" / "snapshots").mkdir(exist_ok=True)
    (tmp_path / "backups" / "snapshots" / "20260102T030405Z-0123456789abcdef").write_bytes(b"x" * 200)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("COLDHOUSE_PASSWORD")
    monkeypatch.setenv("COLDHOUSE_KEY_FILE", str(tmp_path / "key"))
    capsys.readouterr()
    assert run(["snapshots", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"snapshot": "20260102T030405Z-0123456789abcdef", "started_at": "2026-01-02T03:04:05Z"}
    ]
    for command in (
        ["key", "add", "--new-key-file", str(tmp_path / "more")],
        ["key", "rotate", "--yes"],
        ["key", "export", "--to", str(tmp_path / "sheet")],
    ):
        assert run([*command, "--json"]) == 12
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "write_only_key"
    assert not (tmp_path / "more").exists()
    assert not (tmp_path / "sheet").exists()


def test_the_policy_lets_a_host_add_and_nothing_else(capsys: Capture) -> None:
    assert run(["key", "policy", "--repo", "s3://backups/click/house"]) == 0
    policy = json.loads(capsys.readouterr().out)
    statements = {statement["Sid"]: statement for statement in policy["Statement"]}
    assert policy["Version"] == "2012-10-17"
    assert {each["Effect"] for each in policy["Statement"]} == {"Allow", "Deny"}
    assert statements["AddAndNeverReplace"]["Condition"] == {"Null": {"s3:if-none-match": "false"}}
    assert "arn:aws:s3:::backups/click/house/packs/*" in statements["AddAndNeverReplace"]["Resource"]
    assert statements["LookAtSealedObjects"]["Resource"] == ["arn:aws:s3:::backups/click/house/*"]
    assert "s3:DeleteObject" in statements["NeverDelete"]["Action"]
    assert run(["key", "policy", "--repo", "gs://backups"]) == 2


def test_every_option_is_in_the_documentation() -> None:
    told = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    for name, command in key.command.commands.items():
        assert f"`{name}`" in told
        for parameter in command.params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{option}" in told, f"key {name} {option}"


def test_options_may_stand_before_the_verb_and_its_second_word(tmp_path: Path, capsys: Capture) -> None:
    for arguments in (["--repo", str(tmp_path / "backups"), "key", "list"], ["key", "--json", "list"]):
        assert run(arguments) == 0
