"""What ``forget`` prints: the plan with its reasons, and what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.documents import utc
from coldhouse.cli.output import count, listed, local, printable, size, table

if TYPE_CHECKING:
    from coldhouse.operations.forget import ForgetPlan, ForgetReport
    from coldhouse.operations.retention import Decision, Group

SPACE = "Their space is given back by: coldhouse prune"


class DecisionDocument(msgspec.Struct, frozen=True):
    """A snapshot, whether it is kept, and why."""

    snapshot: str
    started_at: str
    source: str
    kept: bool
    reasons: list[str]


class GroupDocument(msgspec.Struct, frozen=True):
    """Snapshots that were judged together, newest first."""

    group: str
    snapshots: list[DecisionDocument]


class ObjectionDocument(msgspec.Struct, frozen=True):
    """Why the plan would be refused."""

    kind: str
    message: str
    hint: str


class ForgetDocument(msgspec.Struct, frozen=True):
    """The document of ``forget``; in a dry run, ``forgotten`` is what would be, if there are no ``objections``."""

    dry_run: bool
    groups: list[GroupDocument]
    forgotten: list[str]
    pinned_meanwhile: list[str]
    unreadable: list[str]
    objections: list[ObjectionDocument]


def document(report: ForgetReport, *, dry_run: bool) -> ForgetDocument:
    """The document of what was done, or would be."""
    plan = report.plan
    return ForgetDocument(
        dry_run=dry_run,
        groups=[_group(group) for group in plan.retention.groups],
        forgotten=list(plan.ids if dry_run else report.forgotten),
        pinned_meanwhile=list(report.spared),
        unreadable=list(plan.unreadable),
        objections=[ObjectionDocument(one.kind, one.text, one.hint) for one in plan.objections],
    )


def plan_text(plan: ForgetPlan) -> list[str]:
    """The plan for people: each group, oldest first, with every reason."""
    lines: list[str] = []
    for group in plan.retention.groups:
        rows = [_row(one) for one in reversed(group.decisions)]
        headings = ("SNAPSHOT", "TIME", "TABLES", "ROWS", "DATA", "", "BECAUSE")
        lines += [printable(group.name), "", *table(headings, rows, right=(2, 3, 4)), ""]
    kept, gone = len(plan.retention.kept), len(plan.ids)
    lines += [f"{count(kept, 'snapshot')} to keep, {gone:,} to forget"]
    lines += listed(
        "These snapshots cannot be read (coldhouse verify says more); forget them by name:", plan.unreadable
    )
    return [*lines, *listed("What speaks against it:", [one.text for one in plan.objections])]


def report_text(report: ForgetReport) -> list[str]:
    """What was done, for people."""
    lines = [f"Forgot {count(len(report.forgotten), 'snapshot')}."] if report.forgotten else ["Nothing was forgotten."]
    lines += listed("Pinned in the meantime, and kept:", report.spared)
    return [*lines, SPACE] if report.forgotten else lines


def _row(one: Decision) -> tuple[str, ...]:
    account = one.snapshot.accounting
    numbers = (f"{account.tables:,}", f"{account.rows:,}", size(account.data))
    fate = "keep" if one.kept else "FORGET"
    return (one.snapshot.id, local(one.snapshot.started), *numbers, fate, "; ".join(one.reasons))


def _group(group: Group) -> GroupDocument:
    return GroupDocument(
        group.name,
        [
            DecisionDocument(
                one.snapshot.id, utc(one.snapshot.started), one.snapshot.source.url, one.kept, list(one.reasons)
            )
            for one in group.decisions
        ],
    )
