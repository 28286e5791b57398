"""``coldhouse restore``."""

from __future__ import annotations

from typing import Literal

import click

from coldhouse.cli import options, parsing
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError
from coldhouse.records import replace

DONE, IN_PART = 0, 3


@click.command("restore")
@click.argument("snapshot", required=False, default="")
@click.option(
    "--at",
    metavar="TIME",
    default="",
    help="Instead of SNAPSHOT: the newest one not later than TIME (ISO 8601, local time unless it has an offset).",
)
@options.target
@options.tables
@click.option(
    "--partition", metavar="DB.TABLE:ID", multiple=True, help="Only this partition of a table. Can be repeated."
)
@click.option(
    "--rename",
    metavar="OLD=NEW",
    multiple=True,
    help="Restore under another name: db=db2 or db.table=db2.table2. Can be repeated.",
)
@click.option("--schema-only", is_flag=True, help="Create databases and tables without their rows.")
@click.option(
    "--existing",
    type=click.Choice(["fail", "skip", "replace", "append"]),
    default="fail",
    show_default=True,
    help="What to do with tables that are already there.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, read and requested, and change nothing.")
@click.option("--resubmit-mutations", is_flag=True, help="Submit mutations again that were unfinished in the snapshot.")
@click.option(
    "--skip-damaged",
    is_flag=True,
    help="Leave out, and name, parts that the repository cannot give back any more; everything is read twice.",
)
@options.gateway
@options.bandwidth
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(
    session: Session,
    snapshot: str,
    at: str,
    table: tuple[str, ...],
    exclude: tuple[str, ...],
    partition: tuple[str, ...],
    rename: tuple[str, ...],
    schema_only: bool,
    existing: Literal["fail", "skip", "replace", "append"],
    dry_run: bool,
    resubmit_mutations: bool,
    skip_damaged: bool,
) -> int:
    """Put a snapshot, or some of its tables, back into a ClickHouse.

    SNAPSHOT is an id, the unique beginning of one, or `latest`; this and --at need --source where the repository holds
    snapshots of several. Tables that already exist are not touched unless
    --existing says so. A restore that was interrupted is continued by running it again.
    """
    if bool(snapshot) == bool(at):
        raise UsageError(
            "both SNAPSHOT and --at are given" if at else "which snapshot? Neither SNAPSHOT nor --at is given",
            hint="give a snapshot's id, or `latest`, or --at TIME; coldhouse snapshots lists them",
        )
    moment = parsing.time(at) if at else None
    partitions, renames = parsing.partitions(partition), parsing.renames(rename)
    target = session.server_url("target")
    gateway = options.gateway_settings(session)
    opening = session.opening()
    from coldhouse.operations import restore

    prepared = restore.Prepared(target, None if dry_run else gateway)
    chosen = restore.RestoreOptions(
        target=target,
        snapshot=snapshot,
        at=moment,
        include=table,
        exclude=exclude,
        partitions=partitions,
        renames=renames,
        schema_only=schema_only,
        existing=existing,
        dry_run=dry_run,
        resubmit_mutations=resubmit_mutations,
        skip_damaged=skip_damaged,
        gateway=gateway,
    )
    with prepared, opening as repository, session.listener() as listener:
        whose = session.whose(repository, snapshot or "latest")
        report = restore.run(repository, replace(chosen, source=whose), listener, prepared=prepared)
    if session.json:
        from coldhouse.cli import documents

        print_json(documents.restore(report))
    else:
        from coldhouse.cli.receipts import restore_report

        print_text(restore_report(report, session.shown_url("target"), session.told()))
    return DONE if report.complete else IN_PART
