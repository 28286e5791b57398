from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.cli import parsing
from coldhouse.cli.main import run
from coldhouse.errors import UsageError
from coldhouse.repository import KdfCost, Repository
from coldhouse.storage import open_storage
from tests.repository.test_rewriting import history

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """A repository of which all but the last snapshot were forgotten."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLDHOUSE_REPO", str(tmp_path / "backups"))
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")
    storage = open_storage(str(tmp_path / "backups"))
    with repositories.init(storage, "open sesame", kdf=KdfCost(memory_kib=64, passes=1, lanes=1)) as made:
        made.forget([one.id for one in history(made, rounds=3)[:2]])
        yield made


def objects(repository: Repository) -> dict[str, int]:
    return {one.name: one.size for one in repository.storage.list("")}


def test_a_dry_run_says_how_much_and_changes_nothing(repository: Repository, capsys: Capture) -> None:
    before = objects(repository)
    assert run(["prune", "--dry-run", "--max-unused", "0"]) == 0
    printed = capsys.readouterr().out
    assert objects(repository) == before
    for words in ("stored", "not needed", "to be written anew", "frees"):
        assert words in printed


def test_it_says_what_it_did_and_has_nothing_to_do_afterwards(repository: Repository, capsys: Capture) -> None:
    before = sum(objects(repository).values())
    assert run(["prune", "--yes", "--max-unused", "0"]) == 0
    printed = capsys.readouterr().out
    assert "Prune complete" in printed and "deleted" in printed and "written anew" in printed
    assert sum(objects(repository).values()) < before
    assert run(["prune", "--dry-run"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_documents(repository: Repository, capsys: Capture) -> None:
    assert run(["prune", "--dry-run", "--json", "--max-unused", "0"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["dry_run"] and planned["done"] is None and planned["at_work"] == []
    assert planned["stored"]["packs"] >= planned["rewrite"]["packs"] > 0
    assert planned["rewrite"]["bytes_left"] == 0 < planned["rewrite"]["bytes_freed"]
    with repository.reading("restore", []):
        assert run(["prune", "--yes", "--json", "--max-unused", "0"]) == 0
    waited = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in waited["at_work"]] == ["restore"]
    assert [one["kind"] for one in waited["done"]["waits_for"]] == ["restore"]
    assert waited["done"]["waiting"]["packs"] > 0 == waited["done"]["deleted"]["packs"]
    assert run(["prune", "--yes", "--json", "--max-unused", "0"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["condemned_before"] > 0
    assert done["done"]["deleted"]["packs"] == waited["done"]["waiting"]["packs"]


def test_without_a_terminal_it_asks_for_yes(repository: Repository, capsys: Capture) -> None:
    before = objects(repository)
    assert run(["prune"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert objects(repository) == before


@pytest.mark.parametrize(
    "arguments",
    [["--max-unused", "101"], ["--dead-after", "soon"], ["--keep-unfinished", "0d"], ["--compression", "x"]],
)
def test_options_that_mean_nothing(repository: Repository, arguments: list[str]) -> None:
    assert run(["prune", "--yes", *arguments]) == 2


def test_lengths_of_time() -> None:
    assert parsing.hours("--dead-after", "1d12h") == timedelta(hours=36)
    assert parsing.hours("--dead-after", " 14d ") == timedelta(days=14)
    for wrong in ("", "2", "h", "0h", "1h1d", "-1h", "1.5h"):
        with pytest.raises(UsageError, match="--dead-after"):
            parsing.hours("--dead-after", wrong)
