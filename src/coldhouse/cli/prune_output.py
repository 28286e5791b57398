"""What ``prune`` prints: what it would do, and what it did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.documents import utc
from coldhouse.cli.output import count, duration, facts, listed, local, size

if TYPE_CHECKING:
    from datetime import datetime

    from coldhouse.operations.prune import PrunePlan, PruneReport, Tally


class TallyDocument(msgspec.Struct, frozen=True):
    """How many packs and manifests, and their bytes."""

    packs: int
    manifests: int
    bytes: int


class RewriteDocument(msgspec.Struct, frozen=True):
    """Packs that are written anew: ``bytes_read`` of them are needed and stored again, ``bytes_freed`` are not.

    ``bytes_unused`` are unused in all packs before, ``bytes_left`` afterwards.
    """

    packs: int
    bytes_read: int
    bytes_freed: int
    bytes_unused: int
    bytes_left: int


class WorkerDocument(msgspec.Struct, frozen=True):
    """Somebody at work; the times are the store's."""

    kind: str
    began_at: str
    heard_at: str


class DoneDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. ``waiting`` is left for a later prune, because of ``waits_for``."""

    deleted: TallyDocument
    waiting: TallyDocument
    waits_for: list[WorkerDocument]
    taken_for_dead: list[str]
    packs_written_anew: int
    bytes_written: int
    snapshots_revised: int
    damaged: list[str]
    notes: int
    leftovers: int
    seconds: float


class PruneDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``prune``; in a dry run ``done`` is null."""

    dry_run: bool
    stored: TallyDocument
    unneeded: TallyDocument
    condemned_before: int
    rewrite: RewriteDocument
    at_work: list[WorkerDocument]
    notes: int
    done: DoneDocument | None


def document(plan: PrunePlan, report: PruneReport | None) -> PruneDocument:
    """The document of a plan, and of what was done."""
    survey, rewrite = plan.survey, plan.rewrite
    return PruneDocument(
        dry_run=report is None,
        stored=_tally(survey.stored),
        unneeded=_tally(survey.unneeded),
        condemned_before=survey.pending,
        rewrite=RewriteDocument(len(rewrite.packs), rewrite.read, rewrite.freed, rewrite.unused, rewrite.left),
        at_work=[_worker(*one) for one in _at_work(plan)],
        notes=len(plan.notes),
        done=_done(report) if report is not None else None,
    )


def plan_text(plan: PrunePlan) -> list[str]:
    """What would be done, for people."""
    survey, rewrite = plan.survey, plan.rewrite
    lines = facts(
        [
            ("stored", _said(survey.stored)),
            ("not needed", _said(survey.unneeded) if survey.unneeded.bytes else "nothing"),
            ("unused in packs that are needed", size(rewrite.unused) if rewrite.unused else ""),
            (
                "to be written anew",
                f"{count(len(rewrite.packs), 'pack')}: reads {size(rewrite.read)}, frees {size(rewrite.freed)}"
                if rewrite.packs
                else "",
            ),
            ("notes of snapshots that are gone", f"{len(plan.notes):,}" if plan.notes else ""),
        ]
    )
    workers = [f"{kind}, began {local(began)}, heard of {local(heard)}" for kind, began, heard in _at_work(plan)]
    return [*lines, *listed("At work now (what they may need stays for a later prune):", workers)]


def report_text(report: PruneReport) -> list[str]:
    """What was done, for people."""
    done, anew = report.collected, report.rewritten
    lines = facts(
        [
            ("deleted", _said(done.deleted) if done.deleted.bytes else "nothing"),
            (
                "written anew",
                f"{count(anew.packs, 'pack')} for {count(anew.snapshots, 'snapshot')}, {size(anew.stored_bytes)} stored"
                if anew.packs
                else "",
            ),
            ("left for later", _said(done.waiting) if done.waiting.bytes else ""),
            ("notes removed", f"{report.notes:,}" if report.notes else ""),
            ("unfinished files removed", f"{report.leftovers:,}" if report.leftovers else ""),
            ("took", duration(report.seconds)),
        ]
    )
    waits = [
        f"{one.kind}, began {local(one.began)}, heard of {local(one.heard)}{one.damaged and f': {one.damaged}'}"
        for one in done.waits
    ]
    return [
        "",
        "Prune complete",
        "",
        *lines,
        *listed("Waits for these to end; run prune again then:", waits),
        *listed("Taken for dead; these names are closed:", done.fenced),
    ]


def _at_work(plan: PrunePlan) -> Iterable[tuple[str, datetime, datetime]]:
    for owner in plan.survey.owners:
        yield owner.says.kind if owner.says is not None else "unreadable", owner.began, owner.heard


def _worker(kind: str, began: datetime, heard: datetime) -> WorkerDocument:
    return WorkerDocument(kind, utc(began), utc(heard))


def _tally(tally: Tally) -> TallyDocument:
    return TallyDocument(tally.packs, tally.manifests, tally.bytes)


def _said(tally: Tally) -> str:
    return f"{size(tally.bytes)} in {count(tally.packs, 'pack')} and {count(tally.manifests, 'manifest')}"


def _done(report: PruneReport) -> DoneDocument:
    done, anew = report.collected, report.rewritten
    return DoneDocument(
        deleted=_tally(done.deleted),
        waiting=_tally(done.waiting),
        waits_for=[_worker(one.kind, one.began, one.heard) for one in done.waits],
        taken_for_dead=list(done.fenced),
        packs_written_anew=anew.packs,
        bytes_written=anew.stored_bytes,
        snapshots_revised=anew.snapshots,
        damaged=list(anew.damaged),
        notes=report.notes,
        leftovers=report.leftovers,
        seconds=round(report.seconds, 3),
    )
