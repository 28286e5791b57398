"""``coldhouse export``."""

from __future__ import annotations

from pathlib import Path

import click

from coldhouse.cli import options
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError
from coldhouse.records import replace

DONE, IN_PART = 0, 3


@click.command("export")
@click.argument("snapshot")
@click.argument("table", metavar="DB.TABLE")
@click.option(
    "--to",
    metavar="FILE",
    required=True,
    help="The file to write: table.parquet, .csv, .tsv, .jsonl, .arrow, .native, ...; compressed with .gz or .zst.",
)
@click.option("--format", "format_name", metavar="NAME", default="", help="ClickHouse's name of the format.")
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, snapshot: str, table: str, to: str, format_name: str) -> int:
    """Write a table of a snapshot into a file, without restoring it.

    The format follows from the ending of the file's name. The file appears when it is complete, and never replaces one
    that is there.
    """
    from coldhouse.operations import export
    from coldhouse.operations.renaming import parse_name
    from coldhouse.operations.sql import SqlOptions

    name = parse_name(table)
    if not name.table:
        raise UsageError(f"{table!r} is a database", hint="write database.table")
    if to == "-":
        raise UsageError(
            "an export goes into a file, and - is none",
            hint="coldhouse sql SNAPSHOT 'SELECT * FROM DB.TABLE' --format NAME writes to standard output",
        )
    chosen = export.ExportOptions(snapshot=snapshot, table=name, to=Path(to).expanduser(), format=format_name)
    with session.repository() as repository, session.listener() as listener:
        asked = SqlOptions(snapshot, source=session.whose(repository, snapshot))
        report = export.run(repository, replace(chosen, sql=asked), listener)
    from coldhouse.cli.export_output import document, lines

    if session.json:
        print_json(document(report))
    else:
        print_text(lines(report))
    return IN_PART if report.left_out else DONE
