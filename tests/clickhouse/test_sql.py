"""SQL texts: what is quoted comes back from the engine itself as it was."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldhouse.clickhouse import (
    BackupElement,
    BackupRequest,
    OperationState,
    S3Place,
    Source,
    definition,
    document,
    inspect,
    layout,
    sql,
    start_backup,
    wait,
)
from coldhouse.model import TableName
from tests.support.s3_stub import S3Stub

NASTY = [
    "a.b",
    "sl/ash",
    "qu'ote",
    '"double"',
    "back`tick",
    "back\\slash",
    "trailing\\",
    "per%cent %41",
    "new\nline",
    "tab\t",
    "ümläut 日本 🏚",
    "  spaces  ",
    "--dash",
    "/*comment*/",
    "select",
    "1digit",
    "a;b",
    "{x:String}",
    "$a$",
    ".inner",
]
PLACE = S3Place("http://h:1/b/x/", "key", "geheim")


@pytest.mark.parametrize("text", NASTY)
def test_a_string_is_what_it_was(source: Source, text: str) -> None:
    assert source.value(f"SELECT {sql.quote_string(text)}") == text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec="utf-8")))
def test_any_string_is_what_it_was(source: Source, text: str) -> None:
    assert source.value(f"SELECT {sql.quote_string(text)}") == text
    assert source.value(f"SELECT hex({sql.quote_string(text)})") == text.encode().hex().upper()


@pytest.mark.parametrize("text", NASTY)
def test_a_table_of_any_name_is_made_found_and_backed_up(source: Source, s3: S3Stub, text: str) -> None:
    """Database, table, column and partition key have the same nasty name; the backup's layout is as we expect it."""
    name = TableName(f"db {text}", text)
    source.command(f"CREATE DATABASE {sql.quote_identifier(name.database)}")
    column = sql.quote_identifier(text)
    source.command(
        f"CREATE TABLE {sql.quote_name(name)} ({column} String) ENGINE = MergeTree ORDER BY () PARTITION BY {column}"
    )
    source.command(f"INSERT INTO {sql.quote_name(name)} VALUES ({sql.quote_string(text)})")
    (state,) = inspect.table_states(source, (name,)).values()
    ((_, part),) = inspect.part_states(source, (state,))
    id = f"nasty-{text.encode().hex()}"
    start_backup(source, BackupRequest(id, (BackupElement(name, (part.partition,)),), s3.place("b")))
    assert wait(source, id, lambda _: None).state is OperationState.DONE
    _, files = document.parse(s3.objects["b/.backup"])
    names = [file.name for file in files]
    assert layout.table_definition(name) in names
    assert layout.part_file(name, part.name, "count.txt") in names
    assert definition.head(state.create_query).name == name
    assert inspect.count_rows(source, name) == 1
    source.command(sql.drop_database_statement(name.database))


def test_a_statement_does_not_show_its_secret() -> None:
    statement = sql.backup_statement((BackupElement(TableName("a", "b")),), PLACE, PLACE, {"id": "x"})
    assert "geheim" in statement.text
    assert "geheim" not in repr(statement)
    assert "geheim" not in repr(PLACE)


def test_what_a_backup_takes() -> None:
    elements = (
        BackupElement(TableName("a", "t")),
        BackupElement(TableName("a", "u"), ("202401", "x'y")),
        BackupElement(TableName("b", ""), besides=("v",)),
    )
    text = sql.backup_statement(elements, PLACE, None, {"id": "x", "async": True, "n": 3}).text
    assert text == (
        "BACKUP TABLE `a`.`t`, TABLE `a`.`u` PARTITIONS ID '202401', ID 'x\\'y', "
        "DATABASE `b` EXCEPT TABLES `b`.`v` TO S3('http://h:1/b/x/', 'key', 'geheim') "
        "SETTINGS id = 'x', async = 1, n = 3"
    )


@pytest.mark.parametrize("second", [BackupElement(TableName("a", "t"), ("1",)), BackupElement(TableName("a", ""))])
def test_a_table_cannot_be_taken_twice(second: BackupElement) -> None:
    """The last mention would win, silently (clickhouse-facts 6)."""
    with pytest.raises(ValueError, match="named twice"):
        sql.backup_statement((BackupElement(TableName("a", "t")), second), PLACE, None, {"id": "x"})
