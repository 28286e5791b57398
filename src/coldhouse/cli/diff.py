"""``coldhouse diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from coldhouse.cli import answers, options
from coldhouse.cli.output import print_json, print_text, printable
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError
from coldhouse.records import replace

if TYPE_CHECKING:
    from coldhouse.operations.diff import DiffReport, RowCounts


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--rows", metavar="DB.TABLE", default="", help="Also count and show the rows of this table that differ.")
@click.option("--limit", default=10, show_default=True, help="How many rows of each kind --rows shows.")
@click.option("--format", "format_name", metavar="NAME", default="", help="The format of the rows, as in `sql`.")
@options.source
@options.tables
@options.repository
@options.everywhere
@click.pass_obj
def command(
    session: Session,
    before: str,
    after: str,
    rows: str,
    limit: int,
    format_name: str,
    table: tuple[str, ...],
    exclude: tuple[str, ...],
) -> None:
    """Show what changed from A to B.

    A and B are snapshots, or `live`: the ClickHouse of --source as it is now. Tables, definitions and parts are
    compared without reading a row; --rows compares the rows of one table of two snapshots and reads only parts that
    differ.
    """
    from coldhouse.operations import diff
    from coldhouse.operations.renaming import parse_name

    live = diff.LIVE in (before, after)
    name = parse_name(rows) if rows else None
    if name is not None and not name.table:
        raise UsageError(f"--rows {rows!r} is a database", hint="write database.table")
    source = session.server_url("source") if live else ""
    chosen = diff.DiffOptions(before=before, after=after, source=source, include=table, exclude=exclude)
    with session.repository() as repository:
        chosen = chosen if live else replace(chosen, source=session.whose(repository, before, after))
        with session.listener() as listener:
            report = diff.run(repository, chosen, listener)
        if name is None:
            _show(session, report, None)
            return
        with diff.RowDiff(repository, chosen, name, answers.warnings_only(session)) as difference:
            _show(session, report, (rows, difference.counts()))
            if not session.json:
                answers.write(difference.rows(answers.output_format(session, format_name), limit))


def _show(session: Session, report: DiffReport, rows: tuple[str, RowCounts] | None) -> None:
    from coldhouse.cli.diff_output import document, lines

    if session.json:
        print_json(document(report, rows))
    else:
        print_text(lines(report))
        if rows:
            found = rows[1]
            print_text(["", f"Rows of {printable(rows[0])}: {found.removed:,} only before, {found.added:,} only after"])
