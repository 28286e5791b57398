"""What ``repair`` prints, as text and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.output import count, listed, table

if TYPE_CHECKING:
    from coldhouse.operations.diagnosis import Hurt
    from coldhouse.operations.repair import RepairReport

_DONE = {"replaced": "replaced from the copy", "set aside": "set aside in quarantine/", "kept": "left as it is"}


class TreatedDocument(msgspec.Struct, frozen=True):
    """A damaged or missing object, and what was (in a dry run, would be) done: replaced, set aside or kept."""

    object: str
    problem: str
    action: str


class HurtDocument(msgspec.Struct, frozen=True):
    """What a snapshot cannot give back; an empty table or part stands for all that was behind the object."""

    snapshot: str
    table: str
    part: str
    object: str


class RepairDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``repair``; ``damaged`` is what remains, in a dry run what there is."""

    dry_run: bool
    sound: bool
    healed: bool
    snapshots: int
    objects: list[TreatedDocument]
    rebuilt: list[str]
    damaged: list[HurtDocument]


def document(report: RepairReport) -> RepairDocument:
    """The document of a repair."""
    return RepairDocument(
        dry_run=report.dry_run,
        sound=report.sound,
        healed=report.healed,
        snapshots=report.snapshots,
        objects=[TreatedDocument(one.object, one.problem, one.action) for one in report.treatments],
        rebuilt=list(report.rebuilt),
        damaged=[
            HurtDocument(hurt.snapshot, hurt.table, hurt.part, hurt.object) for hurt in (*report.curable, *report.hurt)
        ],
    )


def text(report: RepairReport) -> list[str]:
    """What a repair found and did, for people."""
    if report.sound:
        return [f"Nothing is damaged in {count(report.snapshots, 'snapshot')}."]
    objects = count(len(report.treatments), "object")
    if report.dry_run:
        heading = f"Found {objects} damaged or missing. Nothing was changed: repeat with --yes to do what is said here."
    elif report.healed:
        heading = f"Repaired: {objects}. Every snapshot can be restored in full again."
    else:
        heading = f"Repaired IN PART: {objects} looked after, and some snapshots still miss something."
    rows = [(one.object, _DONE[one.action], one.problem) for one in report.treatments]
    snapshots = sorted({hurt.snapshot for hurt in report.hurt})
    return [
        heading,
        "",
        *table(("OBJECT", "WOULD BE" if report.dry_run else "WAS", "BECAUSE"), rows),
        *listed(
            "Snapshots that would refer to the same files elsewhere:"
            if report.dry_run
            else "Snapshots that refer to the same files elsewhere now:",
            list(report.rebuilt),
        ),
        *listed("Cannot be restored until then:", list(dict.fromkeys(map(_what, report.curable)))),
        *listed(
            "Cannot be restored, as far as it is not found elsewhere:"
            if report.dry_run and report.rebuilt
            else "Cannot be restored:",
            list(dict.fromkeys(map(_what, report.hurt))),
        ),
        *(_advice(snapshots) if report.hurt else []),
    ]


def _what(hurt: Hurt) -> str:
    what = f"{hurt.table} part {hurt.part}" if hurt.part else f"{hurt.table or 'everything'} behind {hurt.object}"
    return f"{hurt.snapshot}: {what}"


def _advice(snapshots: list[str]) -> list[str]:
    return [
        "",
        f"Affected: {count(len(snapshots), 'snapshot')}. The rest of each can be restored with restore --skip-damaged.",
        "The next backup stores again what is damaged here, as far as the source has it; repair then finds it there.",
    ]
