"""Patterns of tables."""

from __future__ import annotations

import pytest

from coldhouse.clickhouse import Selection
from coldhouse.model import TableName


@pytest.mark.parametrize(
    ("include", "exclude", "name", "taken"),
    [
        ((), (), ("db", "t"), True),
        ((), (), ("db", ""), True),
        ((), (), ("system", "parts"), False),
        (("*.*",), (), ("information_schema", "tables"), False),
        (("db.t",), (), ("db", "t"), True),
        (("db.t",), (), ("db", "t2"), False),
        (("db.t",), (), ("db", ""), False),
        (("db.*",), (), ("db", ""), True),
        (("db.*",), (), ("db.x", ""), False),
        (("db.*",), (), ("db.x", "t"), False),
        (("db.x.*",), (), ("db.x", ""), True),
        (("db.x.*",), (), ("db.x", "t"), True),
        (("db",), (), ("db", ""), True),
        (("db",), (), ("db", "anything"), True),
        (("db",), (), ("db2", "anything"), False),
        (("d?.t*",), (), ("d1", "t_2"), True),
        (("d?.t*",), (), ("d12", "t_2"), False),
        (("a.b.c",), (), ("a.b", "c"), True),
        (("a.b.c",), (), ("a", "b.c"), True),
        (("[a].t",), (), ("a", "t"), False),
        (("[a].t",), (), ("[a]", "t"), True),
        ((), ("db.tmp*",), ("db", "tmp_1"), False),
        ((), ("db.tmp*",), ("db", ""), True),
        ((), ("db.*",), ("db", ""), False),
        (("db.*",), ("*.t",), ("db", "t"), False),
        (("db.new*",), (), ("db", "new\nline"), True),
    ],
)
def test_what_is_taken(
    include: tuple[str, ...], exclude: tuple[str, ...], name: tuple[str, str], *, taken: bool
) -> None:
    assert Selection(include, exclude).takes(TableName(*name)) is taken


def test_patterns_that_fit_nothing_are_named() -> None:
    selection = Selection(("db.t", "dv.*", "db.x?"))
    assert selection.idle(frozenset({TableName("db", "t"), TableName("db", "u")})) == ("dv.*", "db.x?")
