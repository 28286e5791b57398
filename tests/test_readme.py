"""What the README prints works as it is printed, but for the names of places."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.engine import CHECKOUT, EngineServer
from tests.support.ports import free_ports

README = (CHECKOUT / "README.md").read_text()


def block(heading: str, language: str, which: int = 0) -> str:
    """A block of code below a heading."""
    section = README.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    return str(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[which])


def replaced(text: str, places: dict[str, str]) -> str:
    """The text with other places; each must be named in it."""
    for old, new in places.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The home of somebody who has installed Coldhouse, and nothing else."""
    command = tmp_path / "bin" / "coldhouse"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m coldhouse "$@"\n')
    command.chmod(0o755)
    return {name: value for name, value in os.environ.items() if not name.startswith("COLDHOUSE_")} | {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / ".config"),
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(CHECKOUT / "src"),
    }


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_backup_and_the_way_back(
    tmp_path: Path, engine_server: EngineServer, environment: dict[str, str]
) -> None:
    engine_server.query("CREATE DATABASE shop")
    engine_server.query(
        "CREATE TABLE shop.orders (id UInt64, day Date) ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY id"
    )
    engine_server.query("INSERT INTO shop.orders SELECT number, toDate('2026-11-01') + number % 60 FROM numbers(6000)")
    gateway = f"127.0.0.1:{free_ports(1)[0]}"
    there = replaced(
        block("First backup", "sh"),
        {
            "/backups/clickhouse": str(tmp_path / "backups"),
            "http://backup_user:its_password@clickhouse.example:8123": engine_server.url,
            "0.0.0.0:9123": gateway,
            "this-host.example:9123": gateway,
        },
    )
    assert len(there.splitlines()) == 5, "the heading says five lines"
    soon = datetime.now(UTC) + timedelta(hours=1)
    back = replaced(
        block("First backup", "sh", 1),
        {
            "http://user:password@clickhouse.example:8123": engine_server.url,
            "--target ...": f"--target {engine_server.url}",
            "2026-11-22T18:00": soon.strftime("%Y-%m-%dT%H:%M+00:00"),
        },
    )
    said = run(["sh", "-euc", there + back], environment)
    assert "Backup complete" in said
    assert said.count("Restore complete") == 2
    rows = engine_server.query("SELECT count() FROM shop_yesterday.orders")
    november = engine_server.query("SELECT count() FROM shop_yesterday.orders WHERE toYYYYMM(day) = 202611")
    assert (rows, november) == ("6000", "3000")
    assert engine_server.query("SELECT count() FROM shop.orders") == "9000"
    assert (tmp_path / ".coldhouse-passphrase").stat().st_mode & 0o777 == 0o600


def test_the_receipt_has_the_lines_that_a_backup_prints(tmp_path: Path, environment: dict[str, str]) -> None:
    data = str(tmp_path / "data")
    run([sys.executable, "-c", PREPARE.format(data=data)], environment)
    environment |= {"COLDHOUSE_REPO": str(tmp_path / "backups"), "COLDHOUSE_PASSWORD": "a passphrase for tests"}
    said = run(["sh", "-euc", f"coldhouse init >&2; coldhouse backup -q --source chdb://{data}"], environment)

    def labels(text: str) -> list[str]:
        return re.findall(r"^  (\S+)  ", text, re.MULTILINE)

    printed = block("What a backup says", "")
    assert labels(printed) == labels(said)
    assert labels(printed)[-3:] == ["D", "B", "I"]


def test_a_second_run_keeps_the_passphrase(tmp_path: Path, environment: dict[str, str]) -> None:
    line = block("First backup", "sh").splitlines()[0]
    run(["sh", "-c", line], environment)
    made = (tmp_path / ".coldhouse-passphrase").read_text()
    again = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, check=False)
    assert again.returncode != 0
    assert (tmp_path / ".coldhouse-passphrase").read_text() == made


PREPARE = """
from chdb.session import Session
session = Session({data!r})
session.query("CREATE DATABASE shop")
session.query("CREATE TABLE shop.orders (id UInt64) ENGINE = MergeTree ORDER BY id")
session.query("INSERT INTO shop.orders SELECT number FROM numbers(1000)")
session.close()
"""
COUNT = """
from chdb.session import Session
session = Session({data!r})
print(session.query("SELECT count(), sum(id) FROM shop.orders", "TabSeparated"))
session.close()
"""


def test_the_library(tmp_path: Path, environment: dict[str, str]) -> None:
    data = str(tmp_path / "data")
    lines = replaced(
        block("As a library", "python"), {"/backups": str(tmp_path / "backups"), "chdb:///data": f"chdb://{data}"}
    )
    run([sys.executable, "-c", PREPARE.format(data=data)], environment)
    said = run([sys.executable, "-c", lines], environment)
    assert said.startswith("Accounting(data=")
    assert run([sys.executable, "-c", COUNT.format(data=data)], environment).split() == ["1000", "499500"]
