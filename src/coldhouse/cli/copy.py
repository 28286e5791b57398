"""``coldhouse copy``."""

from __future__ import annotations

import click

from coldhouse.cli import options, parsing
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError

DONE, IN_PART = 0, 3


@click.command("copy")
@click.argument("snapshot", nargs=-1)
@options.destination
@click.option(
    "--init-like",
    is_flag=True,
    help="If there is nothing at --to, make it another store of the same repository, under the same keys.",
)
@click.option(
    "--transfers",
    metavar="N",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Copy so many packs at a time; each takes about 32 MiB of memory.",
)
@click.option(
    "--compression",
    metavar="auto|none|zstd:LEVEL",
    default="auto",
    show_default=True,
    help="For contents that are encrypted anew.",
)
@options.bandwidth
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, snapshot: tuple[str, ...], init_like: bool, transfers: int, compression: str) -> int:
    """Copy snapshots (all, or the SNAPSHOTs given) to a second repository, without the ClickHouse they are from.

    Only what is missing there is sent; a copy that was interrupted is continued by running it again. Where --to is
    another store of the same repository (see --init-like), objects are copied as they are; where it has keys of its
    own, contents are encrypted anew, and its passphrase comes from COLDHOUSE_TO_PASSWORD, --to-password-file or
    --to-password-command.
    """
    level = parsing.compression(compression)
    url = session.text("to")
    if not url:
        raise UsageError("where to? --to is not given", hint="give --to URL, or set COLDHOUSE_TO")
    session.repository_url()
    from coldhouse.operations import copy

    with session.repository() as source, session.listener() as listener:
        target = copy.open_target_at(
            source, url, lambda: session.passphrase_of("to"), init_like=init_like, limits=session.limits()
        )
        with target:
            report = copy.run(source, target, snapshot, transfers=transfers, compression=level, listener=listener)
    if session.json:
        from coldhouse.cli.copy_output import document

        print_json(document(report))
    else:
        from coldhouse.cli.copy_output import text

        print_text(text(report))
    return DONE if report.complete else IN_PART
