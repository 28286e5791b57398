"""References that RESTORE itself does not rename."""

from __future__ import annotations

import pytest

from coldhouse.clickhouse.forwarding import with_renamed
from coldhouse.model import TableName

RENAMES = {TableName("a", "t"): TableName("it's", "t2")}


@pytest.mark.parametrize(
    ("query", "renamed"),
    [
        (
            "CREATE TABLE a.b (`c` Int8) ENGINE = Buffer('a', 't', 1, 10)",
            "CREATE TABLE a.b (`c` Int8) ENGINE = Buffer('it\\'s', 't2', 1, 10)",
        ),
        (
            "CREATE TABLE a.b (`c` Int8) ENGINE = Distributed('cluster', 'a', 't', c)",
            "CREATE TABLE a.b (`c` Int8) ENGINE = Distributed('cluster', 'it\\'s', 't2', c)",
        ),
        (
            "CREATE TABLE a.b (`c` Int8) ENGINE = Distributed(cluster, `a`, t)",
            "CREATE TABLE a.b (`c` Int8) ENGINE = Distributed(cluster, 'it\\'s', 't2')",
        ),
        (
            "CREATE VIEW a.v AS SELECT a.t.c, x.a.t.c, t.a.c FROM a.t",
            "CREATE VIEW a.v AS SELECT `it's`.`t2`.c, x.a.t.c, t.a.c FROM a.t",
        ),
        ("CREATE TABLE a.t (`c` Int8) ENGINE = Merge('a', 't')", None),
        ("CREATE TABLE a.b (`c` Int8) ENGINE = Buffer('a', 'other', 1)", None),
        ("CREATE TABLE a.b (`c` Int8) ENGINE = Buffer", None),
    ],
)
def test_what_a_copy_refers_to(query: str, renamed: str | None) -> None:
    assert with_renamed(query, RENAMES) == (query if renamed is None else renamed)
