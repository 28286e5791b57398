"""The small face of the founding article: a manager of one database with three verbs.

    manager = DatabaseManager("chdb:///data", passphrase)
    manager.backup("/backups")               # D: everything
    manager.incremental_backup("/backups")   # I: what changed; D = B + I
    manager.restore("/backups")

The rest of Coldhouse is in the package itself; see `coldhouse.backup` and `coldhouse.restore`.
"""

from __future__ import annotations

import os
from typing import Literal

from coldhouse.errors import NoRepository, UsageError
from coldhouse.operations import backup as backup_operation
from coldhouse.operations import restore as restore_operation
from coldhouse.operations.choosing import LATEST, usual
from coldhouse.operations.opening import create_at, open_at
from coldhouse.repository import Repository


class DatabaseManager:
    """Backs up and restores one ClickHouse, given by its URL (``chdb:///dir``, ``http://user:pass@host:8123``)."""

    def __init__(self, database: str, passphrase: str = "") -> None:
        """Remember the database; the passphrase comes from COLDHOUSE_PASSWORD when none is given."""
        self._database = database
        self._passphrase = passphrase or os.environ.get("COLDHOUSE_PASSWORD", "")
        if not self._passphrase:
            raise UsageError("no passphrase for the backups", hint="pass one, or set COLDHOUSE_PASSWORD")

    def backup(self, backup_dir: str) -> backup_operation.BackupReceipt:
        """Store everything anew in ``backup_dir`` (a folder or bucket URL), which is made if it is not there."""
        return self._back_up(backup_dir, full=True)

    def incremental_backup(self, backup_dir: str) -> backup_operation.BackupReceipt:
        """Store what changed since the last backup in ``backup_dir``; the result is complete all the same."""
        return self._back_up(backup_dir, full=False)

    def restore(
        self,
        backup_dir: str,
        snapshot: str = "latest",
        *,
        existing: Literal["fail", "skip", "replace", "append"] = "fail",
    ) -> restore_operation.RestoreReport:
        """Bring back the database as of a snapshot; tables that exist are treated as ``existing`` says."""
        with open_at(backup_dir, self._passphrase) as repository:
            options = restore_operation.RestoreOptions(
                target=self._database,
                snapshot=snapshot,
                source=usual(repository, self._database) if snapshot == LATEST else "",
                existing=existing,
            )
            return restore_operation.run(repository, options)

    def _back_up(self, backup_dir: str, *, full: bool) -> backup_operation.BackupReceipt:
        with self._repository(backup_dir) as repository:
            options = backup_operation.BackupOptions(source=self._database, full=full)
            return backup_operation.run(repository, options)

    def _repository(self, backup_dir: str) -> Repository:
        try:
            return open_at(backup_dir, self._passphrase)
        except NoRepository:
            return create_at(backup_dir, self._passphrase)
