"""The walk-through of the founding article: full backup, incremental backup, restore, in a dozen lines."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import clickhouse_connect

import coldhouse


def main(folder: Path) -> None:
    """Back up an embedded database twice, drop it, and restore it."""
    url = f"chdb://{folder / 'data'}"
    client = clickhouse_connect.get_client(interface="chdb", path=str(folder / "data"))
    client.command("CREATE DATABASE library")
    client.command("CREATE TABLE library.books (id UInt32, title String) ENGINE = MergeTree ORDER BY id")
    client.command("INSERT INTO library.books VALUES (1, 'Moby-Dick'), (2, 'Middlemarch')")

    manager = coldhouse.DatabaseManager(url, passphrase="a passphrase of your own")
    full = manager.backup(str(folder / "backups")).snapshot.accounting
    print(f"full:        D = {full.data} bytes")

    client.command("INSERT INTO library.books VALUES (3, 'Mrs Dalloway')")
    increment = manager.incremental_backup(str(folder / "backups")).snapshot.accounting
    print(f"incremental: D = {increment.data} = B {increment.reused} + I {increment.new} bytes")

    client.command("DROP DATABASE library SYNC")
    manager.restore(str(folder / "backups"))
    titles = client.query("SELECT title FROM library.books ORDER BY id").result_columns[0]
    print("restored:   ", ", ".join(titles))
    client.close()
    if len(titles) != len(("Moby-Dick", "Middlemarch", "Mrs Dalloway")):
        sys.exit("a book is missing")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="coldhouse-article-") as name:
        main(Path(name))
