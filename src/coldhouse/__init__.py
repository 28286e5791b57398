"""Backup and restore for ClickHouse: every snapshot complete, encrypted before it is stored, proven to restore.

    import coldhouse

    with coldhouse.create("/backups", passphrase) as repository:
        receipt = coldhouse.backup(repository, coldhouse.BackupOptions(source="chdb:///data"))
        report = coldhouse.restore(repository, coldhouse.RestoreOptions(target="chdb:///other", snapshot="latest"))

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coldhouse.article import DatabaseManager as DatabaseManager
    from coldhouse.errors import ColdhouseError as ColdhouseError
    from coldhouse.gateway import GatewaySettings as GatewaySettings
    from coldhouse.model import Accounting as Accounting
    from coldhouse.model import Snapshot as Snapshot
    from coldhouse.model import TableEntry as TableEntry
    from coldhouse.model import TableName as TableName
    from coldhouse.operations.backup import BackupOptions as BackupOptions
    from coldhouse.operations.backup import BackupReceipt as BackupReceipt
    from coldhouse.operations.backup import run as backup
    from coldhouse.operations.opening import create_at as create
    from coldhouse.operations.opening import open_at as open_repository
    from coldhouse.operations.restore import RestoreOptions as RestoreOptions
    from coldhouse.operations.restore import RestoreReport as RestoreReport
    from coldhouse.operations.restore import run as restore
    from coldhouse.operations.show import run as show
    from coldhouse.operations.snapshots import run as snapshots
    from coldhouse.repository import Repository as Repository

__all__ = [
    "Accounting",
    "BackupOptions",
    "BackupReceipt",
    "ColdhouseError",
    "DatabaseManager",
    "GatewaySettings",
    "Repository",
    "RestoreOptions",
    "RestoreReport",
    "Snapshot",
    "TableEntry",
    "TableName",
    "backup",
    "create",
    "open_repository",
    "restore",
    "show",
    "snapshots",
]

#: Where each public name lives: module and name there.
_PLACES = {
    "Accounting": ("coldhouse.model", "Accounting"),
    "BackupOptions": ("coldhouse.operations.backup", "BackupOptions"),
    "BackupReceipt": ("coldhouse.operations.backup", "BackupReceipt"),
    "ColdhouseError": ("coldhouse.errors", "ColdhouseError"),
    "DatabaseManager": ("coldhouse.article", "DatabaseManager"),
    "GatewaySettings": ("coldhouse.gateway", "GatewaySettings"),
    "Repository": ("coldhouse.repository", "Repository"),
    "RestoreOptions": ("coldhouse.operations.restore", "RestoreOptions"),
    "RestoreReport": ("coldhouse.operations.restore", "RestoreReport"),
    "Snapshot": ("coldhouse.model", "Snapshot"),
    "TableEntry": ("coldhouse.model", "TableEntry"),
    "TableName": ("coldhouse.model", "TableName"),
    "backup": ("coldhouse.operations.backup", "run"),
    "create": ("coldhouse.operations.opening", "create_at"),
    "open_repository": ("coldhouse.operations.opening", "open_at"),
    "restore": ("coldhouse.operations.restore", "run"),
    "show": ("coldhouse.operations.show", "run"),
    "snapshots": ("coldhouse.operations.snapshots", "run"),
}


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'coldhouse' has no attribute {name!r}")
    return getattr(import_module(place[0]), place[1])


def __dir__() -> list[str]:
    return sorted(__all__)
