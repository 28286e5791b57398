"""``coldhouse mount``."""

from __future__ import annotations

import threading
from contextlib import suppress

import click

from coldhouse.cli import answers, options
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError
from coldhouse.records import replace

DONE, IN_PART = 0, 3


@click.command("mount")
@click.argument("snapshot")
@click.option(
    "--as",
    "database",
    metavar="DATABASE",
    required=True,
    help="The database that the tables are in; of tables of several databases db is in DATABASE__db.",
)
@options.target
@options.tables
@options.gateway
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, snapshot: str, database: str, table: tuple[str, ...], exclude: tuple[str, ...]) -> int:
    """Give a running ClickHouse a snapshot's tables to read, until this command is ended with Ctrl-C.

    SNAPSHOT is an id, the unique beginning of one, or `latest`. Nothing is copied: what a query needs is read from the
    repository. Rows come back with INSERT INTO ... SELECT, partitions with ALTER TABLE ... ATTACH PARTITION ID '...'
    FROM. When the command ends, the tables are gone.
    """
    if not database:
        raise UsageError("--as is empty", hint="give the mounted database a name")
    target = session.server_url("target")
    from coldhouse.operations import mount

    chosen = mount.MountOptions(
        target=target,
        snapshot=snapshot,
        database=database,
        include=table,
        exclude=exclude,
        gateway=options.gateway_settings(session),
    )
    from coldhouse.cli.mount_output import document, lines

    with session.repository() as repository:
        chosen = replace(chosen, source=session.whose(repository, snapshot))
        # Ctrl-C is the way in which a mount ends
        with mount.Mount(repository, chosen, answers.warnings_only(session)) as mounted, suppress(KeyboardInterrupt):
            if session.json:
                print_json(document(mounted))
            else:
                print_text(lines(mounted))
            threading.Event().wait()
        if mounted.damage is not None:
            raise mounted.damage
    return IN_PART if mounted.left_out else DONE
