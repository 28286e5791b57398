from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.cli import keeping
from coldhouse.cli.main import run
from coldhouse.errors import UsageError
from coldhouse.model import Snapshot
from coldhouse.operations.calendar import Duration
from coldhouse.operations.retention import UNLIMITED, Policy
from coldhouse.repository import KdfCost, Repository
from coldhouse.storage import open_storage
from tests.operations.histories import daily, snapshot

Capture = pytest.CaptureFixture[str]
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLDHOUSE_REPO", str(tmp_path / "backups"))
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")
    storage = open_storage(str(tmp_path / "backups"))
    with repositories.init(storage, "open sesame", kdf=KdfCost(memory_kib=64, passes=1, lanes=1)) as made:
        yield made


def fill(repository: Repository, history: list[Snapshot]) -> list[str]:
    for one in history:
        with repository.draft(None) as draft:
            draft.commit(one)
    return [one.id for one in history]


def test_the_rules_become_a_policy() -> None:
    texts = {"keep_last": "3", "keep_daily": "7", "keep_yearly": "unlimited", "keep_within": "2w"}
    texts |= {"keep_within_hourly": "1d", "keep_verified": "2", "keep_weekly": "0", "keep_monthly": ""}
    assert keeping.policy(texts, ["a=1,b=2", "c=3"]) == Policy(
        last=3,
        every=(("daily", 7), ("yearly", UNLIMITED)),
        within=Duration(days=14),
        within_every=(("hourly", Duration(days=1)),),
        tags=((("a", "1"), ("b", "2")), (("c", "3"),)),
        verified=2,
    )


@pytest.mark.parametrize("texts", [{"keep_last": "-1"}, {"keep_daily": "many"}, {"keep_within": "7"}])
def test_rules_that_mean_nothing(texts: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        keeping.policy(texts, [])


def test_groups_and_zones() -> None:
    assert keeping.group_by("tables, source") == ("source", "tables")
    assert keeping.group_by("") == ()
    assert str(keeping.zone("Europe/Berlin")) == "Europe/Berlin"
    assert keeping.zone("") is None
    for wrong in ("Mars/Crater", "../../etc/passwd", "\0"):
        with pytest.raises(UsageError):
            keeping.zone(wrong)
    with pytest.raises(UsageError, match="'host'"):
        keeping.group_by("source,host")


def test_a_dry_run_prints_the_plan_and_changes_nothing(repository: Repository, capsys: Capture) -> None:
    ids = fill(repository, daily(3, last=NOW))
    assert run(["forget", "--keep-last", "1", "--keep-daily", "2", "--time-zone", "UTC", "--dry-run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "http://db1:8123"
    assert printed[2].split() == ["SNAPSHOT", "TIME", "TABLES", "ROWS", "DATA", "BECAUSE"]
    assert [line.split()[0] for line in printed[3:6]] == ids
    assert printed[3].endswith("FORGET  no rule wants it")
    assert printed[5].endswith(f"keep    last 1 of 1; daily {NOW:%Y-%m-%d}")
    assert printed[7] == "2 snapshots to keep, 1 to forget"
    assert repository.snapshot_ids() == ids


def test_yes_forgets(repository: Repository, capsys: Capture) -> None:
    ids = fill(repository, daily(3, last=NOW))
    assert run(["forget", "--keep-last", "1", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("coldhouse prune\n")
    assert repository.snapshot_ids() == ids[2:]
    assert run(["forget", "--keep-last", "1", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("Nothing was forgotten.\n")


def test_without_a_terminal_it_does_not_wait_for_an_answer(repository: Repository, capsys: Capture) -> None:
    ids = fill(repository, daily(3, last=NOW))
    assert run(["forget", "--keep-last", "1"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run(["forget", ids[0]]) == 2
    assert repository.snapshot_ids() == ids


@pytest.mark.parametrize(("answer", "left"), [(True, 1), (False, 3)])
def test_on_a_terminal_it_asks(
    repository: Repository, capsys: Capture, monkeypatch: pytest.MonkeyPatch, answer: bool, left: int
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("click.confirm", confirm)
    fill(repository, daily(3, last=NOW))
    assert run(["forget", "--keep-last", "1"]) == (0 if answer else 130)
    assert asked == ["Forget 2 snapshots?"]
    assert len(repository.snapshot_ids()) == left


def test_the_document(repository: Repository, capsys: Capture) -> None:
    ids = fill(repository, daily(2, last=NOW))
    arguments = ["forget", "--keep-last", "1", "--json"]
    expected = {
        "dry_run": True,
        "groups": [
            {
                "group": "http://db1:8123",
                "snapshots": [
                    {
                        "snapshot": ids[1],
                        "started_at": f"{NOW:%Y-%m-%dT%H:%M:%SZ}",
                        "source": "http://db1:8123",
                        "kept": True,
                        "reasons": ["last 1 of 1"],
                    },
                    {
                        "snapshot": ids[0],
                        "started_at": f"{NOW - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
                        "source": "http://db1:8123",
                        "kept": False,
                        "reasons": ["no rule wants it"],
                    },
                ],
            }
        ],
        "forgotten": [ids[0]],
        "pinned_meanwhile": [],
        "unreadable": [],
        "objections": [],
    }
    assert run([*arguments, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert run([*arguments, "--yes"]) == 0
    assert json.loads(capsys.readouterr().out) == expected | {"dry_run": False}


def test_what_is_refused_is_said_in_a_dry_run_too(repository: Repository, capsys: Capture) -> None:
    ids = fill(repository, [*daily(2, last=NOW - timedelta(hours=1)), snapshot(NOW, rows=1)])
    assert run(["forget", "--keep-last", "1", "--dry-run"]) == 1
    assert "rows fell from 1,000 to 1" in capsys.readouterr().out
    assert run(["forget", "--keep-last", "1", "--yes", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "forget_refused"
    assert repository.snapshot_ids() == ids
    assert run(["forget", "--keep-last", "1", "--yes", "--allow-shrunk"]) == 0
    assert repository.snapshot_ids() == ids[2:]


def test_rules_of_the_configuration_file_do_not_count_beside_names(
    repository: Repository, tmp_path: Path, capsys: Capture
) -> None:
    ids = fill(repository, daily(4, last=NOW))
    (tmp_path / "coldhouse").mkdir()
    (tmp_path / "coldhouse" / "config.toml").write_text('[forget]\nkeep-daily = "2"\nkeep-tag = ["keep=me"]\n')
    assert run(["forget", ids[1], "--yes"]) == 0
    assert repository.snapshot_ids() == [ids[0], *ids[2:]]
    assert run(["forget", "--yes", "--time-zone", "UTC"]) == 0
    assert repository.snapshot_ids() == ids[2:]
    assert run(["forget", ids[2], "--keep-last", "1", "--yes"]) == 2
    assert "--keep-last" in capsys.readouterr().err


def test_nothing_said_keeps_nothing_and_is_refused(repository: Repository, capsys: Capture) -> None:
    fill(repository, daily(2, last=NOW))
    assert run(["forget", "--yes"]) == 2
    assert "keeps no snapshot" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--yes"], ["--dry-run"]])
def test_without_a_rule_it_says_that_none_is_given(repository: Repository, capsys: Capture, more: list[str]) -> None:
    fill(repository, daily(2, last=NOW))
    assert run(["forget", *more]) == 2
    printed = capsys.readouterr()
    assert "no rule is given" in printed.err
    assert "--keep-" in printed.err


def test_without_a_terminal_the_plan_is_shown_before_it_refuses(repository: Repository, capsys: Capture) -> None:
    ids = fill(repository, daily(3, last=NOW))
    assert run(["forget", "--keep-last", "1"]) == 2
    printed = capsys.readouterr()
    assert "1 snapshot to keep, 2 to forget" in printed.out
    assert "--yes" in printed.err
    assert run(["forget", "--keep-last", "1", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
    assert repository.snapshot_ids() == ids
    assert run(["forget", "--keep-last", "3"]) == 0, "nothing is asked where nothing would be forgotten"


def test_pins_are_shown(repository: Repository, capsys: Capture) -> None:
    ids = fill(repository, daily(2, last=NOW))
    assert run(["pin", ids[0], "--reason", "the audit"]) == 0
    assert capsys.readouterr().out == f"Snapshot {ids[0]} is pinned: the audit.\n"
    assert run(["snapshots"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["pinned: the audit" in line for line in lines[1:3]] == [True, False]
    assert run(["snapshots", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["pinned"], one["pin_reason"]) for one in listed] == [(True, "the audit"), (False, "")]
    assert run(["show", ids[0]]) == 0
    assert "  pinned      the audit\n" in capsys.readouterr().out
    assert run(["show", ids[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pin_reason"] == "the audit"
    assert run(["unpin", ids[0], "--json"]) == 0
    document = {"snapshot": ids[0], "pinned": False, "reason": "", "pinned_at": None, "was_pinned": True}
    assert json.loads(capsys.readouterr().out) == document
    assert run(["unpin", ids[0]]) == 0
    assert capsys.readouterr().out == f"Snapshot {ids[0]} was not pinned.\n"
    assert run(["unpin", "20"]) == 13
