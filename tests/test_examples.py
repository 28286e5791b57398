"""The examples do what they say: each ends with an error if what it restores differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("example", "last"),
    [
        ("demo.py", "equal: every row of every table has the content that it had"),
        ("article.py", "restored:    Moby-Dick, Middlemarch, Mrs Dalloway"),
    ],
)
def test_an_example_runs_to_its_end(example: str, last: str) -> None:
    command = [sys.executable, str(CHECKOUT / "examples" / example)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == last
    if example == "demo.py":
        check_proofs(done.stdout)


def check_proofs(printed: str) -> None:
    """Both snapshots are proven, SQL is answered, and each level finds of a flipped bit what it promises."""
    before, flipped, after = printed.partition("one bit flips")
    assert flipped
    assert before.count("  drill: ok: ") == 2
    assert "\n1260000\t" in before
    assert "FAILED" not in before
    assert after.count("  structure: ok: ") == 1
    assert "  data: FAILED, 1 problem: " in after
    assert "  drill: FAILED, 1 problem: " in after
    assert "corrupt: shop.orders" in after
