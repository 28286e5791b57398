"""What ``coldhouse doctor`` prints, and with which status it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from coldhouse.cli.main import run
from coldhouse.events import Listener, Phase
from coldhouse.gateway import GatewaySettings
from coldhouse.operations.doctor import Diagnosis, DoctorOptions, Opening
from coldhouse.operations.doctor_findings import Finding, Measure, Status

Capture = pytest.CaptureFixture[str]
Answer = Callable[..., list[tuple[DoctorOptions, bool]]]

FINE = Finding("connection", Status.OK, "ClickHouse answers")
AGE = Finding(
    "snapshot-age",
    Status.WARNING,
    "the newest is 30 hours old",
    "look at cron",
    Measure("age", 108000, "s", 93600, 187200),
)
FULL = Finding("free-space", Status.CRITICAL, "0 bytes | are\nfree", "", Measure("free", 0, "B", 2, 1, least=True))
UNSEEN = Finding("mounts", Status.SKIPPED, "there is no connection")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("COLDHOUSE_REPO", "COLDHOUSE_SOURCE", "COLDHOUSE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open sesame")


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Let the doctor find this; returns what it is asked, and whether with a repository."""

    def install(*findings: Finding) -> list[tuple[DoctorOptions, bool]]:
        asked: list[tuple[DoctorOptions, bool]] = []

        def doctor(options: DoctorOptions, opening: Opening | None, listener: Listener) -> Diagnosis:
            asked.append((options, opening is not None))
            listener(Phase("looking"))
            return Diagnosis(findings, 1.25)

        monkeypatch.setattr("coldhouse.operations.doctor.run", doctor)
        return asked

    return install


def test_what_was_asked_is_handed_on(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(FINE)
    assert run(["doctor", "--repo", "/backups"]) == 0
    monkeypatch.setenv("COLDHOUSE_SOURCE_PASSWORD", "hunter2")
    options = ["--max-age", "1.5", "--max-proof-age", "7", "--gateway-listen", "127.0.0.1:9440"]
    assert run(["doctor", "--source", "http://me@db:8123", *options]) == 0
    assert asked == [
        (DoctorOptions(), True),
        (
            DoctorOptions(
                source="http://me:hunter2@db:8123",
                max_age=timedelta(hours=1.5),
                max_proof_age=timedelta(days=7),
                gateway=GatewaySettings(listen_port=9440),
            ),
            False,
        ),
    ]


def test_the_configuration_file_says_how_old_things_may_be(answer: Answer, tmp_path: Path) -> None:
    (tmp_path / "coldhouse").mkdir()
    (tmp_path / "coldhouse" / "config.toml").write_text('repo = "/backups"\n[doctor]\nmax-age = "170"\n')
    asked = answer(FINE)
    assert run(["doctor"]) == 0
    assert asked == [(DoctorOptions(max_age=timedelta(hours=170)), True)]


@pytest.mark.parametrize(
    ("findings", "status", "monitored", "word"),
    [
        ((FINE, UNSEEN), 0, 0, "OK"),
        ((FINE, AGE), 3, 1, "WARNING"),
        ((AGE, FULL), 1, 2, "CRITICAL"),
    ],
)
def test_the_worst_decides(
    answer: Answer, capsys: Capture, findings: tuple[Finding, ...], status: int, monitored: int, word: str
) -> None:
    answer(*findings)
    assert run(["doctor", "--repo", "/backups"]) == status
    assert run(["doctor", "--repo", "/backups", "--json"]) == status
    capsys.readouterr()
    assert run(["doctor", "--repo", "/backups", "--monitor"]) == monitored
    printed = capsys.readouterr()
    assert printed.out.startswith(f"COLDHOUSE {word} - ")
    assert printed.err == "", "a monitor wants one line"


def test_text(answer: Answer, capsys: Capture) -> None:
    answer(FINE, AGE, UNSEEN, Finding("version", Status.SKIPPED, UNSEEN.message))
    assert run(["doctor", "--repo", "/backups"]) == 3
    assert capsys.readouterr().out.splitlines() == [
        "ok        connection    ClickHouse answers",
        "WARNING   snapshot-age  the newest is 30 hours old",
        "                        hint: look at cron",
        "skipped   mounts, version: there is no connection",
        "",
        "4 checks: 1 fine, 1 warning, 2 skipped",
    ]


def test_a_line_for_monitors(answer: Answer, capsys: Capture) -> None:
    answer(FINE, AGE, FULL)
    assert run(["doctor", "--repo", "/backups", "--monitor"]) == 2
    assert capsys.readouterr().out == (
        "COLDHOUSE CRITICAL - free-space: 0 bytes / are free; snapshot-age: the newest is 30 hours old"
        " | age=108000s;93600;187200 free=0B;2:;1:\n"
    )
    answer(FINE)
    assert run(["doctor", "--repo", "/backups", "--monitor"]) == 0
    assert capsys.readouterr().out == "COLDHOUSE OK - 1 check: 1 fine\n"


def test_what_cannot_be_looked_at_is_unknown_to_a_monitor(capsys: Capture) -> None:
    assert run(["doctor", "--monitor"]) == 3
    assert (
        capsys.readouterr().out == "COLDHOUSE UNKNOWN - what to look at? Neither a source nor a repository is given\n"
    )
    assert run(["doctor"]) == 2
    assert run(["doctor", "--monitor", "--json"]) == 2


def test_json(answer: Answer, capsys: Capture) -> None:
    answer(FINE, AGE)
    assert run(["doctor", "--repo", "/backups", "--json"]) == 3
    assert json.loads(capsys.readouterr().out) == {
        "status": "warning",
        "checks": [
            {"check": "connection", "status": "ok", "message": "ClickHouse answers", "hint": "", "value": None},
            {
                "check": "snapshot-age",
                "status": "warning",
                "message": "the newest is 30 hours old",
                "hint": "look at cron",
                "value": 108000,
            },
        ],
        "seconds": 1.25,
    }


def test_a_wrong_passphrase_is_found_and_not_repeated(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDHOUSE_REPO", str(tmp_path / "backups"))
    assert run(["init"]) == 0
    monkeypatch.setenv("COLDHOUSE_PASSWORD", "open barley")
    capsys.readouterr()
    assert run(["doctor", "--json"]) == 1
    printed = capsys.readouterr()
    first = json.loads(printed.out)["checks"][0]
    assert (first["check"], first["status"]) == ("repository", "critical")
    assert "barley" not in printed.out + printed.err
