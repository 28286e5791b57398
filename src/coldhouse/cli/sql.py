"""``coldhouse sql``."""

from __future__ import annotations

import sys

import click

from coldhouse.cli import answers, options
from coldhouse.cli.session import Session

DONE, IN_PART = 0, 3


@click.command("sql")
@click.argument("snapshot")
@click.argument("query")
@answers.which
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(
    session: Session, snapshot: str, query: str, format_name: str, database: str, attach: tuple[str, ...]
) -> int:
    """Ask a snapshot with SQL, without restoring it.

    SNAPSHOT is an id, the unique beginning of one, or `latest`; QUERY any SELECT over its tables, `-` reads it from
    standard input. Only what the query needs is read from the repository. The answer goes to standard output, what it
    cost to standard error. `coldhouse sql latest "SELECT count() FROM shop.orders"`
    """
    chosen = answers.sql_options(snapshot, database, attach)
    text = sys.stdin.read() if query == "-" else query

    with answers.asking(session, chosen) as asked:
        answers.write(asked.stream(text, answers.output_format(session, format_name)))
        if not session.quiet:
            print(answers.cost(asked.spent()), file=sys.stderr)  # noqa: T201
        return IN_PART if asked.left_out else DONE
