"""``coldhouse init``."""

from __future__ import annotations

import click

from coldhouse.cli import options
from coldhouse.cli.output import facts, print_json, print_text
from coldhouse.cli.session import Session


@click.command("init")
@options.new_repository
@options.everywhere
@click.pass_obj
def command(session: Session) -> None:
    """Make a new repository in a folder or a bucket.

    Everything in it will be encrypted under the passphrase. Keep a copy of the passphrase in a safe place: without it
    nobody can read the repository, and it cannot be set anew.
    """
    url, passphrase = session.repository_url(), session.passphrase(confirm=True)
    from coldhouse.operations import init

    info = init.create(url, passphrase)
    if session.json:
        from coldhouse.cli import documents

        print_json(documents.repository(info))
        return
    print_text(
        [
            "Repository made",
            "",
            *facts([("location", info.url), ("id", info.id)]),
            "",
            "Keep the passphrase in a second, safe place: without it nobody can read what is stored here.",
        ]
    )
