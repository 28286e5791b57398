"""``coldhouse pin``."""

from __future__ import annotations

import click

from coldhouse.cli import options
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session


@click.command("pin")
@click.argument("snapshot")
@click.option("--reason", metavar="TEXT", default="", help="Why; shown beside the snapshot.")
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, snapshot: str, reason: str) -> None:
    """Keep a snapshot whatever a policy says, until it is unpinned.

    SNAPSHOT is an id, the unique beginning of one, or `latest`.
    """
    session.repository_url()
    from coldhouse.cli import pin_output
    from coldhouse.operations import pin

    with session.repository() as repository:
        change = pin.pin(repository, snapshot, reason, source=session.whose(repository, snapshot))
    if session.json:
        print_json(pin_output.document(change))
    else:
        print_text(pin_output.text(change))
