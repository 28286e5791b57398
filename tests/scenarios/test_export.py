"""A table of a snapshot as a file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from coldhouse.cli.main import run
from coldhouse.errors import ColdhouseError, Corruption, UsageError
from coldhouse.model import TableName
from coldhouse.operations import export
from tests.scenarios.conftest import Clickhouse, play
from tests.scenarios.test_sql import LARGE, SALES, damage
from tests.scenarios.world import PASSPHRASE, World


@pytest.fixture
def world(embedded: Clickhouse, folder_url: str) -> Iterator[World]:
    yield from play(embedded, folder_url)


def exported(world: World, file: Path, table: str = "sales", **options: str) -> export.ExportReport:
    chosen = export.ExportOptions("latest", TableName(world.db, table), file, **options)  # type: ignore[arg-type]
    return export.run(world.repository, chosen)


def test_a_table_goes_to_every_kind_of_file_and_comes_back_equal(world: World, tmp_path: Path) -> None:
    world.run(*SALES)
    content = "SELECT count(), sum(cityHash64(id, shop, sum)) FROM "
    expected = world.ask(content + "{db}.sales")
    world.backup()
    for ending, reading in (
        ("parquet", "Parquet"),
        ("csv", "CSVWithNames"),
        ("jsonl", "JSONEachRow"),
        ("native", "Native"),
        ("tsv", "TSVWithNames"),
    ):
        file = tmp_path / f"sales.{ending}"
        report = exported(world, file)
        assert (report.rows, report.format, report.bytes) == (1000, reading, file.stat().st_size)
        structure = "id UInt64, shop UInt32, sum Float64"
        assert world.ask(f"{content} file('{file}', '{reading}', '{structure}')") == expected


def test_statements_name_the_table_that_they_fill(world: World, tmp_path: Path) -> None:
    world.run("CREATE TABLE {db}.`odd ``name` (id UInt64) ENGINE = MergeTree ORDER BY id")
    world.run("INSERT INTO {db}.`odd ``name` VALUES (7)")
    world.backup()
    exported(world, tmp_path / "odd.sql", "odd `name")
    statement = (tmp_path / "odd.sql").read_text()
    assert statement.startswith("INSERT INTO `odd \\`name` (`id`)")
    world.run("DROP TABLE {db}.`odd ``name` SYNC", "CREATE TABLE {db}.`odd ``name` (id UInt64) ENGINE = Memory")
    world.run(statement.strip().rstrip(";").replace("INTO ", "INTO {db}."))
    assert world.ask("SELECT id FROM {db}.`odd ``name`") == "7"


def test_a_compressed_name_gives_a_compressed_file(world: World, tmp_path: Path) -> None:
    world.run(*SALES)
    world.backup()
    assert exported(world, tmp_path / "a.csv.gz").format == "CSVWithNames"
    lines = gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).decode().splitlines()
    assert (lines[0], len(lines)) == ('"id","shop","sum"', 1001)
    exported(world, tmp_path / "a.csv.zst")
    with open(tmp_path / "a.csv.zst", "rb") as file:
        assert zstandard.ZstdDecompressor().stream_reader(file).readall().decode().splitlines() == lines


def test_nothing_is_replaced(world: World, tmp_path: Path) -> None:
    world.run(*SALES)
    world.backup()
    (tmp_path / "kept.csv").write_text("precious")
    with pytest.raises(UsageError, match="there already"):
        exported(world, tmp_path / "kept.csv")
    with pytest.raises(UsageError, match="there already"), export.new_file(tmp_path / "late.csv") as file:
        file.write(b"mine")
        (tmp_path / "late.csv").write_text("of another who was faster")
    assert (tmp_path / "kept.csv").read_text() == "precious"
    assert (tmp_path / "late.csv").read_text() == "of another who was faster"
    assert sorted(path.name for path in tmp_path.glob(".*.part")) == []


def test_what_cannot_be_exported_is_said_before_anything_is_written(world: World, tmp_path: Path) -> None:
    world.run(*SALES)
    world.backup()
    with pytest.raises(UsageError, match="does not say in which format"):
        exported(world, tmp_path / "sales.backup")
    with pytest.raises(UsageError, match="no table"):
        exported(world, tmp_path / "nothing.csv", "nothing")
    with pytest.raises(ColdhouseError, match="cannot be written"):
        exported(world, tmp_path / "no such folder" / "sales.csv")
    assert not list(tmp_path.glob("**/*sales*"))


def test_damage_leaves_no_file(world: World, folder_url: str, tmp_path: Path) -> None:
    world.run(*(statement.replace("{rows}", "100000") for statement in LARGE))
    world.backup()
    damage(folder_url, 0.5)
    with pytest.raises(Corruption):
        exported(world, tmp_path / "large.parquet", "large")
    assert not list(tmp_path.glob("*large*"))


def test_the_command(
    world: World, folder_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLDHOUSE_REPO", folder_url)
    monkeypatch.setenv("COLDHOUSE_PASSWORD", PASSPHRASE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    world.run(*SALES)
    world.backup()
    file = tmp_path / "out.data"
    assert run(["export", "latest", f"{world.db}.sales", "--to", str(file), "--format", "CSV", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["rows"], document["format"], document["bytes"]) == (1000, "CSV", file.stat().st_size)
    assert len(file.read_text().splitlines()) == 1000
    assert run(["export", "latest", f"{world.db}.sales", "--to", str(file), "--format", "CSV"]) == 2
    assert run(["export", "latest", world.db, "--to", str(tmp_path / "x.csv")]) == 2
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert run(["export", "latest", f"{world.db}.sales", "--to", "-", "--format", "CSV"]) == 2
    assert "coldhouse sql" in capsys.readouterr().err
    assert not (tmp_path / "-").exists()
