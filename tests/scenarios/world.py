"""What the scenarios play in: one ClickHouse, one repository, and short words for what a person does with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from coldhouse.events import Event
from coldhouse.model import Snapshot, TableEntry, TableName
from coldhouse.operations import backup, restore, show, snapshots
from coldhouse.repository import Repository

PASSPHRASE = "a passphrase for tests"


@dataclass
class World:
    """One source (``url``), one open repository, and a database of the scenario's own, called ``db``.

    ``query`` runs any SQL on the source and returns TabSeparated text.
    """

    url: str
    query: Callable[[str], str]
    repository: Repository
    db: str

    def run(self, *statements: str) -> None:
        """Run statements; ``{db}`` stands for the scenario's database."""
        for statement in statements:
            self.query(statement.replace("{db}", self.db))

    def ask(self, statement: str) -> str:
        """The answer of a query; ``{db}`` stands for the scenario's database."""
        return self.query(statement.replace("{db}", self.db))

    def backup(
        self,
        *,
        include: tuple[str, ...] | None = None,
        exclude: tuple[str, ...] = (),
        full: bool = False,
        patches: Literal["apply", "fail"] = "apply",
        compression: str = "auto",
        listener: Callable[[Event], None] = lambda _: None,
    ) -> backup.BackupReceipt:
        """Back up the scenario's database (or what ``include`` says)."""
        options = backup.BackupOptions(
            source=self.url,
            include=(f"{self.db}.*",) if include is None else include,
            exclude=exclude,
            full=full,
            patches=patches,
            compression=compression,
        )
        return backup.run(self.repository, options, listener)

    def restore(
        self,
        snapshot: Snapshot | str = "latest",
        *,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        partitions: tuple[tuple[str, str], ...] = (),
        renames: tuple[tuple[str, str], ...] = (),
        schema_only: bool = False,
        existing: Literal["fail", "skip", "replace", "append"] = "fail",
        dry_run: bool = False,
        resubmit_mutations: bool = False,
        skip_damaged: bool = False,
        target: str = "",
        listener: Callable[[Event], None] = lambda _: None,
    ) -> restore.RestoreReport:
        """Restore a snapshot, by default into the source itself; ``partitions`` are (table, partition id)."""
        options = restore.RestoreOptions(
            target=target or self.url,
            snapshot=snapshot if isinstance(snapshot, str) else snapshot.id,
            include=include,
            exclude=exclude,
            partitions=tuple((TableName(self.db, table), partition) for table, partition in partitions),
            renames=renames,
            schema_only=schema_only,
            existing=existing,
            dry_run=dry_run,
            resubmit_mutations=resubmit_mutations,
            skip_damaged=skip_damaged,
        )
        return restore.run(self.repository, options, listener)

    def drop(self) -> None:
        """Lose the scenario's database."""
        self.run("DROP DATABASE IF EXISTS {db} SYNC")

    def tables(self, db: str = "") -> list[str]:
        """The names of the tables, inner tables of views left out."""
        where = f"database = '{db or self.db}' AND NOT startsWith(name, '.inner')"
        answer = self.query(f"SELECT hex(name) FROM system.tables WHERE {where} ORDER BY name")
        return [bytes.fromhex(line).decode() for line in answer.splitlines()]

    def content(self, *, db: str = "", final: bool = False) -> dict[str, str]:
        """Every table's row count, a hash over the content of all its rows, and its definition."""
        return {table: self.content_of(table, db=db, final=final) for table in self.tables(db)}

    def content_of(self, table: str, *, db: str = "", final: bool = False) -> str:
        """One table's row count, hash of all rows and definition."""
        name = f"{_quoted(db or self.db)}.{_quoted(table)}"
        engine = self.query(
            f"SELECT engine FROM system.tables WHERE database = '{db or self.db}' AND name = {_text(table)}"
        )
        rows = self.query(
            f"SELECT count(), sum(cityHash64(formatRow('TSV', *))), groupBitXor(cityHash64(formatRow('TSV', *))) "
            f"FROM {name}{' FINAL' if final and engine.endswith('MergeTree') and engine != 'MergeTree' else ''}"
        )
        definition = self.query(f"SHOW CREATE TABLE {name}")
        return f"{rows}\n{definition.replace(_quoted(db or self.db), '').replace(db or self.db, 'db')}"

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        return snapshots.run(self.repository)

    def entry(self, table: str, snapshot: str = "latest") -> TableEntry:
        """What a snapshot holds of one table."""
        detail = show.run(self.repository, snapshot)
        return next(entry for entry in detail.tables if entry.name == TableName(self.db, table))


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
