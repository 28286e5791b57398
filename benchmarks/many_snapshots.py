"""A repository with 1,000 snapshots that hold nothing: ``python -m benchmarks.many_snapshots PLACE``."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.contenders import environment
from benchmarks.processes import run_command
from tests.support.engine import CHECKOUT

SNAPSHOTS = 1_000


def make_in_child(place: str, home: Path) -> None:
    """Fill a repository in a process of its own, so that the measuring one stays small."""
    command = [sys.executable, "-m", "benchmarks.many_snapshots", place]
    run_command("python", command, environment(home) | {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'src'}"}, home)


def make(place: str, passphrase: str, number: int = SNAPSHOTS) -> None:
    """Commit so many empty snapshots."""
    from coldhouse.model import Accounting, Snapshot, SourceInfo
    from coldhouse.repository import new_snapshot_id, open_repository
    from coldhouse.storage import open_storage
    from coldhouse.version import SOFTWARE

    nothing = Accounting(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    source = SourceInfo("http://127.0.0.1:8123", "benchmark", "benchmark", "26.9", "UTC")
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    with open_repository(open_storage(place), passphrase) as repository:
        for hour in range(number):
            at = begun + timedelta(hours=hour)
            root = Snapshot(
                id=new_snapshot_id(at), started=at, finished=at, source=source, parent="", tags={},
                accounting=nothing, catalog=(), functions=(), damaged=(), warnings=(), software=SOFTWARE,
                include=(), exclude=(),
            )  # fmt: skip
            with repository.draft(None) as draft:
                draft.commit(root)


if __name__ == "__main__":
    make(sys.argv[1], os.environ["COLDHOUSE_PASSWORD"])
