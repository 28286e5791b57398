"""``coldhouse snapshots``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import click

from coldhouse.cli import options, parsing
from coldhouse.cli.answers import warnings_only
from coldhouse.cli.output import local, print_json, print_text, table
from coldhouse.cli.session import Session


@click.command("snapshots")
@options.source
@click.option("--tag", metavar="KEY=VALUE", multiple=True, help="Only snapshots with this tag. Can be repeated.")
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, tag: tuple[str, ...]) -> None:
    """List the snapshots of a repository, newest last; those of one source if one is given."""
    tags = parsing.tags(tag)
    opening = session.opening()
    from coldhouse.operations import pin, snapshots

    with opening as repository:
        if repository.write_only:
            return _print_times(session, snapshots.known_times(repository))
        everything = snapshots.run(repository, listener=warnings_only(session))
        found = snapshots.chosen(everything, session.shown_url("source"), tags)
        proofs, pins = snapshots.proofs(repository, found), pin.known_pins(repository)
        location = repository.url
    if session.json:
        from coldhouse.cli import documents

        print_json(documents.snapshots(found, location, proofs, pins))
    else:
        from coldhouse.cli.receipts import Which, snapshot_list

        shown = {snapshot.id for snapshot in found}
        others = [snapshot for snapshot in everything if snapshot.id not in shown]
        print_text(snapshot_list(found, proofs, pins, which=Which(session.shown_url("source"), tags), others=others))


def _print_times(session: Session, found: Sequence[tuple[str, datetime]]) -> None:
    """What a key that can back up and not read can list."""
    session.warn("this key can back up and not read: of a snapshot it sees the id and the time, whatever was asked for")
    if session.json:
        from coldhouse.cli import key_documents

        print_json(key_documents.snapshot_times(found))
    else:
        print_text(
            table(("snapshot", "time"), ((id, local(time)) for id, time in found)) if found else ["No snapshots."]
        )
