"""What ``copy`` prints, as text and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.output import count, duration, facts, listed, size

if TYPE_CHECKING:
    from coldhouse.operations.copy import CopyReport


class CopiedDocument(msgspec.Struct, frozen=True):
    """A snapshot: ``status`` is copied, there, forgotten (there, and so not copied again) or failed.

    Objects and bytes were stored at the target.
    """

    snapshot: str
    status: str
    objects: int
    bytes: int
    note: str


class CopyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``copy``; ``method`` is objects or anew."""

    source: str
    target: str
    method: str
    snapshots: list[CopiedDocument]
    objects: int
    bytes: int
    seconds: float


def document(report: CopyReport) -> CopyDocument:
    """The document of a copy."""
    return CopyDocument(
        source=report.source,
        target=report.target,
        method=report.method,
        snapshots=[CopiedDocument(one.id, one.status, one.objects, one.bytes, one.note) for one in report.snapshots],
        objects=report.objects,
        bytes=report.bytes,
        seconds=report.seconds,
    )


def text(report: CopyReport) -> list[str]:
    """What a copy did, for people."""
    copied, there, forgotten, failed = (
        [one for one in report.snapshots if one.status == status]
        for status in ("copied", "there", "forgotten", "failed")
    )
    heading = "Copy complete" if report.complete else "Copy done IN PART"
    return [
        f"{heading}: {count(len(copied), 'snapshot')} copied",
        "",
        *facts(
            [
                ("from", report.source),
                ("to", report.target),
                ("how", "object by object" if report.method == "objects" else "encrypted anew"),
                ("there before", count(len(there), "snapshot") if there else ""),
                (
                    "forgotten there",
                    f"{count(len(forgotten), 'snapshot')}; name one to copy it again" if forgotten else "",
                ),
                ("stored", f"{size(report.bytes)} in {count(report.objects, 'object')}"),
                ("took", duration(report.seconds)),
            ]
        ),
        *listed("Copied:", [f"{one.id}  {size(one.bytes)} in {count(one.objects, 'object')}" for one in copied]),
        *listed("NOT copied:", [f"{one.id}: {one.note}" for one in failed]),
    ]
