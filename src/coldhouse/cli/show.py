"""``coldhouse show``."""

from __future__ import annotations

import click

from coldhouse.cli import options
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session


@click.command("show")
@click.argument("snapshot")
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, snapshot: str) -> None:
    """Show a snapshot and its tables. SNAPSHOT is an id, the unique beginning of one, or `latest`.

    D is the data of a table, B what of it earlier snapshots had already stored, I what this one stored: D = B + I.
    """
    from coldhouse.operations import show

    with session.repository() as repository:
        detail = show.run(repository, snapshot, source=session.whose(repository, snapshot))
        location = repository.url
    if session.json:
        from coldhouse.cli import documents

        print_json(documents.detail(detail, location))
    else:
        from coldhouse.cli.receipts import snapshot_detail

        print_text(snapshot_detail(detail, location))
