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
