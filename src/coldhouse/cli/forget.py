"""``coldhouse forget``."""

from __future__ import annotations

import click

from coldhouse.cli import keeping, options, parsing
from coldhouse.cli.confirm import agreed, require_answer
from coldhouse.cli.output import count, print_json, print_text
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError

DONE, REFUSED = 0, 1


@click.command("forget")
@click.argument("snapshots", nargs=-1, metavar="[SNAPSHOT]...")
@keeping.rules
@click.option("--keep-tag", metavar="KEY=VALUE[,...]", multiple=True, help="Keep what has these tags. Can be repeated.")
@options.source
@click.option("--tag", metavar="KEY=VALUE", multiple=True, help="Only about snapshots with this tag. Can be repeated.")
@click.option(
    "--group-by",
    metavar="LIST",
    default="source,tables",
    show_default=True,
    help="The policy holds for each group of snapshots: of one source, of the same --table and --exclude, of the same "
    "tags (source,tables,tags), or '' for all together.",
)
@click.option("--time-zone", metavar="ZONE", default="", help="Whose days and hours count. Default: this machine's.")
@click.option(
    "--max-shrink",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    default=50.0,
    show_default=True,
    help="Refuse where the newest snapshot has so much fewer rows, bytes or tables than the one before it.",
)
@click.option("--allow-shrunk", is_flag=True, help="Forget all the same.")
@click.option("--allow-last", is_flag=True, help="Forget also the last snapshot of a source.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.repository
@options.everywhere
@click.pass_context
def command(
    context: click.Context,
    /,
    snapshots: tuple[str, ...],
    keep_tag: tuple[str, ...],
    tag: tuple[str, ...],
    group_by: str,
    time_zone: str,
    max_shrink: float,
    allow_shrunk: bool,
    allow_last: bool,
    dry_run: bool,
    yes: bool,
    **rules: str,
) -> int:
    """Forget the snapshots that no rule keeps, or those that are named.

    Prints what happens to each snapshot and why, and asks before it deletes. Pinned snapshots stay. The space of data
    that no snapshot needs any more is given back by `coldhouse prune`.
    """
    session = context.ensure_object(Session)
    if snapshots:
        _refuse_both(context)
        rules, keep_tag = {}, ()
    policy = keeping.policy(rules, keep_tag)
    zone, groups, tags = keeping.zone(time_zone), keeping.group_by(group_by), parsing.tags(tag)
    if session.json:  # a program reads no plan: it is told at once
        require_answer(session, yes=yes, dry_run=dry_run)
    session.repository_url()
    from coldhouse.cli import forget_output
    from coldhouse.operations import forget

    chosen = forget.ForgetOptions(
        policy=policy,
        names=snapshots,
        source=session.shown_url("source"),
        tags=tags,
        group_by=groups,
        zone=zone,
        most_shrink=max_shrink,
        allow_shrunk=allow_shrunk,
        allow_last=allow_last,
    )
    with session.repository() as repository:
        plan = forget.prepare(repository, chosen)
        if not session.json:
            print_text(forget_output.plan_text(plan))
        if dry_run:
            if session.json:
                print_json(forget_output.document(forget.ForgetReport(plan, ()), dry_run=True))
            return REFUSED if plan.objections else DONE
        if plan.ids and not plan.objections:
            require_answer(session, yes=yes, dry_run=False)
            if not agreed(f"Forget {count(len(plan.ids), 'snapshot')}?", yes=yes):
                raise click.Abort
        report = forget.execute(repository, plan)
    if session.json:
        print_json(forget_output.document(report, dry_run=False))
    else:
        print_text(forget_output.report_text(report))
    return DONE


def _refuse_both(context: click.Context) -> None:
    """Names and rules on one command line contradict each other; rules of the configuration file do not count then."""
    for name in (*keeping.RULES, "keep-tag"):
        given = context.get_parameter_source(name.replace("-", "_"))
        if given is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(
                f"both snapshots and --{name} are given; which one is meant is not clear",
                hint="name snapshots to forget these, or give rules to forget what they do not keep",
            )
