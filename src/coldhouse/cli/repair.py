"""``coldhouse repair``."""

from __future__ import annotations

import click

from coldhouse.cli import options
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session

DONE, IN_PART, CORRUPTION = 0, 3, 20


@click.command("repair")
@click.option(
    "--from",
    "copy",
    metavar="URL",
    default="",
    help="Another store of the same repository (see copy --init-like): take what is damaged or missing from there.",
)
@click.option(
    "--data",
    is_flag=True,
    help="Read and check every byte; without it, manifests, and packs that a verification found damaged.",
)
@click.option("--yes", is_flag=True, help="Do it. Without it, only say what is damaged and what would be done.")
@options.bandwidth
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, copy: str, data: bool, yes: bool) -> int:
    """Find damaged and missing objects, say what they mean, and put back what can be proven to be right.

    Nothing is deleted: what is replaced, or cannot be read at all, is kept below quarantine/ in the repository. What
    stays damaged can be left out of a restore with `restore --skip-damaged`. Exit status 0: nothing is damaged (any
    more), 20: damage was found and nothing was done yet, 3: some of it remains.
    """
    session.repository_url()
    from coldhouse.operations import repair

    with session.repository() as repository, session.listener() as listener:
        report = repair.run_from(
            repository, copy, data=data, dry_run=not yes, limits=session.limits(), listener=listener
        )
    if session.json:
        from coldhouse.cli.repair_output import document

        print_json(document(report))
    else:
        from coldhouse.cli.repair_output import text

        print_text(text(report))
    if report.sound or report.healed:
        return DONE
    return CORRUPTION if report.dry_run else IN_PART
