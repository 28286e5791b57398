"""``coldhouse prune``."""

from __future__ import annotations

import click

from coldhouse.cli import options, parsing
from coldhouse.cli.confirm import agreed, require_answer
from coldhouse.cli.output import print_json, print_text
from coldhouse.cli.session import Session

DONE = 0


@click.command("prune")
@click.option(
    "--max-unused",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=10.0,
    show_default=True,
    help="Write packs anew until at most so much of what is stored is unused; 100: none.",
)
@click.option(
    "--dead-after",
    metavar="DURATION",
    default="2h",
    show_default=True,
    help="Take for dead who was not heard of for so long (2h, 1d): a backup that wakes up later fails.",
)
@click.option(
    "--keep-unfinished",
    metavar="DURATION",
    default="14d",
    show_default=True,
    help="Keep for so long what killed backups have stored, so that the next one need not send it again, and what "
    "killed restores had begun.",
)
@click.option("--compression", metavar="HOW", default="auto", help="Of packs that are written anew, as for backup.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.bandwidth
@options.repository
@options.everywhere
@click.pass_obj
def command(
    session: Session,
    max_unused: float,
    dead_after: str,
    keep_unfinished: str,
    compression: str,
    dry_run: bool,
    yes: bool,
) -> int:
    """Give back the space of what no snapshot needs.

    Deletes packs and manifests that nothing refers to, and writes packs anew that are mostly unused. It may run beside
    backups, restores and other prunes: what one of them may still need stays for a later prune. Prints what it would do
    and asks first.
    """
    require_answer(session, yes=yes, dry_run=dry_run)
    silence, keeping = parsing.hours("--dead-after", dead_after), parsing.hours("--keep-unfinished", keep_unfinished)
    parsing.compression(compression)
    session.repository_url()
    from coldhouse.cli import prune_output
    from coldhouse.operations import prune

    chosen = prune.PruneOptions(max_unused, silence, keeping, compression)
    with session.repository() as repository:
        with session.listener() as listener:
            plan = prune.prepare(repository, chosen, listener)
        if not session.json:
            print_text(prune_output.plan_text(plan))
        if dry_run:
            if session.json:
                print_json(prune_output.document(plan, None))
            return DONE
        if not plan.empty and not agreed("Do this?", yes=yes):
            raise click.Abort
        with session.listener() as listener:
            report = prune.run(repository, chosen, plan, listener)
    if session.json:
        print_json(prune_output.document(plan, report))
    else:
        print_text(prune_output.report_text(report))
    return DONE
