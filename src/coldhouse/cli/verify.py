"""``coldhouse verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from coldhouse.cli import options
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session
from coldhouse.records import replace

DONE, CORRUPTION = 0, 20
MIB = 1 << 20


@click.command("verify")
@click.argument("snapshot", required=False, default="")
@click.option(
    "--level",
    type=click.Choice(["structure", "data", "drill"]),
    default="structure",
    show_default=True,
    help="structure: everything is there. data: every byte is right. drill: it restores, in a scratch engine.",
)
@click.option(
    "--sample",
    metavar="PERCENT",
    type=float,
    default=100.0,
    help="data: read so much, the least recently checked first. drill: restore so many of each table's partitions.",
)
@click.option("--max-age", metavar="DAYS", type=float, help="data: read only what was not checked for so many days.")
@options.tables
@click.option(
    "--assert",
    "assertions",
    metavar="SELECT",
    multiple=True,
    help="drill: a query on the restored tables that must return 1. Can be repeated.",
)
@click.option(
    "--memory", metavar="MIB", type=click.IntRange(256), default=2048, show_default=True, help="drill: memory."
)
@click.option(
    "--time-limit", metavar="MINUTES", type=click.FloatRange(min=0, min_open=True), default=1440.0, help="drill: time."
)
@click.option(
    "--scratch-dir",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="drill: where the scratch engine may write; as much as is restored. Default: the folder of temporary files.",
)
@options.bandwidth
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(
    session: Session,
    snapshot: str,
    level: Literal["structure", "data", "drill"],
    sample: float,
    max_age: float | None,
    table: tuple[str, ...],
    exclude: tuple[str, ...],
    assertions: tuple[str, ...],
    memory: int,
    time_limit: float,
    scratch_dir: Path | None,
) -> int:
    """Prove that a snapshot (or, without SNAPSHOT, every one) can be restored, and record the result beside it.

    Exit status 20 when something is wrong, with the names of the damaged objects, parts and tables.
    """
    session.repository_url()
    from coldhouse.operations import verify

    chosen = verify.VerifyOptions(
        snapshot=snapshot,
        level=level,
        sample=sample,
        max_age=max_age,
        include=table,
        exclude=exclude,
        assertions=assertions,
        memory=memory * MIB,
        seconds=time_limit * 60,
        scratch=scratch_dir,
    )
    with session.repository() as repository, session.listener() as listener:
        whose = session.whose(repository, snapshot)
        reports = verify.run(repository, replace(chosen, source=whose), listener)
    if session.json:
        from coldhouse.cli.verify_output import document, documents

        print_json(document(reports[0]) if snapshot else documents(reports))
    else:
        from coldhouse.cli.verify_output import text

        print_text(text(reports))
    sound = all(report.ok and not report.damage_beside for report in reports)
    return DONE if sound else CORRUPTION
