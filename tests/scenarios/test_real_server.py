"""The scenarios play in any server that COLDHOUSE_TEST_CLICKHOUSE_URL names."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.engine import CHECKOUT, EngineServer

#: A few scenarios that need every kind of statement: INSERT with VALUES and with SELECT, UPDATE, DELETE, SYSTEM, ALTER.
PLAYED = (
    "tests/scenarios/test_losses.py::TestLightweightUpdates::test_they_are_written_into_the_parts_first",
    "tests/scenarios/test_mutations.py::TestMutatedParts::test_a_delete_after_the_restore_takes_effect",
    "tests/scenarios/test_mutations.py::TestUnfinishedMutations::test_it_is_submitted_again_if_asked",
    "tests/scenarios/test_increments.py::test_only_the_tables_that_changed_are_asked_for",
)


def inserts(server: EngineServer) -> int:
    return int(server.query("SELECT sum(value) FROM system.events WHERE event = 'InsertQuery'"))


def test_scenarios_run_in_the_server_that_is_named(engine_server: EngineServer) -> None:
    before = inserts(engine_server)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"{test}[server]" for test in PLAYED)],
        cwd=CHECKOUT,
        env=os.environ | {"COLDHOUSE_TEST_CLICKHOUSE_URL": engine_server.url},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(PLAYED)} passed" in ran.stdout
    assert inserts(engine_server) >= before + len(PLAYED)
