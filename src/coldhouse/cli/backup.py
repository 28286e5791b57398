"""``coldhouse backup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from coldhouse.cli import options, parsing
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session

if TYPE_CHECKING:
    from coldhouse.operations.backup import BackupOptions
    from coldhouse.operations.first_look import FirstLook
    from coldhouse.operations.opening import Opening

DONE, IN_PART = 0, 3


@click.command("backup")
@options.source
@options.tables
@click.option("--full", is_flag=True, help="Send and verify everything again, whatever the repository already holds.")
@click.option("--tag", metavar="KEY=VALUE", multiple=True, help="A note on the snapshot. Can be repeated.")
@click.option(
    "--patches",
    type=click.Choice(["apply", "fail"]),
    default="apply",
    show_default=True,
    envvar="COLDHOUSE_PATCHES",
    help="Lightweight updates that are not applied yet, which BACKUP would lose: apply them first, or fail.",
)
@click.option(
    "--compression",
    metavar="auto|none|zstd:LEVEL",
    default="auto",
    show_default=True,
    envvar="COLDHOUSE_COMPRESSION",
    help="auto: zstd level 1 where it saves at least 3 %.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be sent, stored and requested, and change nothing.")
@options.gateway
@options.bandwidth
@options.niceness
@options.repository
@options.everywhere
@click.pass_obj
def command(
    session: Session,
    table: tuple[str, ...],
    exclude: tuple[str, ...],
    full: bool,
    tag: tuple[str, ...],
    patches: Literal["apply", "fail"],
    compression: str,
    dry_run: bool,
) -> int:
    """Take a snapshot of a ClickHouse: all databases except its own, or the tables that the patterns name.

    Every snapshot is complete; what the repository already holds is neither sent nor stored again.
    """
    tags, level = parsing.tags(tag), parsing.compression(compression)
    source = session.server_url("source")
    nice, uploads = session.number("nice", (0, 19), default=10), session.number("uploads", (1, 64))
    gateway = options.gateway_settings(session)
    session.repository_url()
    from coldhouse.operations import priority

    priority.step_back(source, nice)  # before any thread is there
    opening = session.opening()
    from coldhouse.operations import backup

    chosen = backup.BackupOptions(
        source=source,
        include=table,
        exclude=exclude,
        full=full,
        tags=tags,
        patches=patches,
        compression=level,
        uploads=uploads,
        gateway=gateway,
    )
    first_look = backup.prepare(chosen)
    if dry_run:
        return _preview(session, opening, chosen, first_look)
    with opening as repository, session.listener() as listener:
        receipt = backup.run(repository, chosen, listener, first_look)
    if session.json:
        from coldhouse.cli import documents

        print_json(documents.backup(receipt))
    else:
        from coldhouse.cli.receipts import backup_receipt

        print_text(backup_receipt(receipt, session.told()))
    return DONE if receipt.complete else IN_PART


def _preview(session: Session, opening: Opening, chosen: BackupOptions, first_look: FirstLook) -> int:
    from coldhouse.operations import backup

    with opening as repository, session.listener() as listener:
        preview = backup.preview(repository, chosen, listener, first_look)
    if session.json:
        from coldhouse.cli import documents

        print_json(documents.preview(preview))
    else:
        from coldhouse.cli.cost_output import backup_preview

        print_text(backup_preview(preview, session.told()))
    return DONE
