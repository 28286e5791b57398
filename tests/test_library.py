"""The package as other programs use it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import coldhouse
from tests.support.engine import CHECKOUT, EngineServer

PASSPHRASE = "a passphrase for tests"
PAGE = (CHECKOUT / "docs" / "library.md").read_text()
PUBLIC = sorted(coldhouse.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had_and_is_explained(name: str) -> None:
    documented = inspect.getdoc(getattr(coldhouse, name))
    assert documented
    assert not documented.startswith(f"{name}("), "a text of its own, not the one that dataclasses make up"
    assert re.search(rf"`{name}\b", PAGE), "it is on docs/library.md"


def test_what_is_listed_is_what_there_is() -> None:
    assert sorted(coldhouse._PLACES) == PUBLIC == dir(coldhouse)
    tree = ast.parse(Path(coldhouse.__file__).read_text())
    typed = [alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(name for name in typed if name) == PUBLIC, "what type checkers see"


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        coldhouse.nothing  # noqa: B018


@pytest.mark.parametrize(
    "record",
    [
        coldhouse.BackupOptions,
        coldhouse.BackupReceipt,
        coldhouse.RestoreOptions,
        coldhouse.RestoreReport,
        coldhouse.GatewaySettings,
        coldhouse.Accounting,
    ],
    ids=lambda record: record.__name__,
)
def test_every_field_is_on_the_page(record: type) -> None:
    if issubclass(record, msgspec.Struct):
        names = set(record.__struct_fields__)
    else:
        assert dataclasses.is_dataclass(record)
        names = {field.name for field in dataclasses.fields(record)}
    assert not {name for name in names if f"`{name}`" not in PAGE}


@pytest.fixture
def shop(engine_server: EngineServer) -> Iterator[EngineServer]:
    engine_server.query("CREATE DATABASE shop")
    engine_server.query("CREATE TABLE shop.orders (id UInt64) ENGINE = MergeTree ORDER BY id")
    engine_server.query("INSERT INTO shop.orders SELECT number FROM numbers(10)")
    yield engine_server


def rows(server: EngineServer) -> str:
    return server.query("SELECT count() FROM shop.orders")


def test_a_repository_is_created_opened_and_listed(tmp_path: Path, shop: EngineServer) -> None:
    url = str(tmp_path / "backups")
    with coldhouse.create(url, PASSPHRASE) as repository:
        receipt = coldhouse.backup(repository, coldhouse.BackupOptions(source=shop.url, tags=(("kind", "first"),)))
        assert receipt.complete
    with coldhouse.open_repository(url, PASSPHRASE) as repository:
        (found,) = coldhouse.snapshots(repository, tags=(("kind", "first"),))
        assert found == receipt.snapshot
        assert found.accounting.data == found.accounting.reused + found.accounting.new > 0
        detail = coldhouse.show(repository, found.id[:12])
        assert coldhouse.TableName("shop", "orders") in [entry.name for entry in detail.tables]
        shop.query("DROP DATABASE shop SYNC")
        report = coldhouse.restore(repository, coldhouse.RestoreOptions(target=shop.url, snapshot="latest"))
        assert report.complete
    assert rows(shop) == "10"
    with pytest.raises(coldhouse.ColdhouseError) as error:
        coldhouse.open_repository(url, "another passphrase")
    assert (error.value.exit_status, error.value.code) == (12, "wrong_passphrase")


class TestDatabaseManager:
    """The small face of the article."""

    def test_a_snapshot_can_be_named_and_an_existing_table_is_treated_as_asked(
        self, tmp_path: Path, shop: EngineServer
    ) -> None:
        backups = str(tmp_path / "backups")
        manager = coldhouse.DatabaseManager(shop.url, PASSPHRASE)
        first = manager.backup(backups).snapshot
        assert first.full
        shop.query("INSERT INTO shop.orders SELECT number FROM numbers(5)")
        second = manager.incremental_backup(backups).snapshot
        assert second.parent == first.id

        with pytest.raises(coldhouse.ColdhouseError):
            manager.restore(backups)
        assert rows(shop) == "15"
        manager.restore(backups, first.id, existing="replace")
        assert rows(shop) == "10"
        manager.restore(backups, existing="append")
        assert rows(shop) == "25"
        manager.restore(backups, existing="replace")
        assert rows(shop) == "15"
        assert [table.status for table in manager.restore(backups, existing="skip").tables] == ["skipped"]

    def test_the_passphrase_can_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("COLDHOUSE_PASSWORD", raising=False)
        with pytest.raises(coldhouse.ColdhouseError, match="no passphrase"):
            coldhouse.DatabaseManager("chdb:///data")
        monkeypatch.setenv("COLDHOUSE_PASSWORD", PASSPHRASE)
        coldhouse.DatabaseManager("chdb:///data")
