"""What the documentation names is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PAGES = sorted([CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md"), *(CHECKOUT / "src").rglob("*.md")])
TEST = re.compile(r"\b(tests/[\w/]+\.py)((?:::\w+)*)")
LOSSES = (CHECKOUT / "docs" / "what-clickhouse-loses.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    for file, names in TEST.findall(page.read_text()):
        assert (CHECKOUT / file).is_file(), file
        body = ast.parse((CHECKOUT / file).read_text()).body
        for name in names.split("::")[1:]:
            found = [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
            assert found, f"{file} has no {name}"
            body = found[0].body


@pytest.mark.parametrize("section", LOSSES.split("\n## ")[1:], ids=lambda section: section.splitlines()[0])
def test_every_loss_has_a_test(section: str) -> None:
    assert TEST.match(section.splitlines()[2].strip("`")), "the line below the heading names a test"
