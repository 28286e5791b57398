"""What ``diff`` prints, as text and as a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from coldhouse.cli.output import count, printable, size, table

if TYPE_CHECKING:
    from coldhouse.operations.diff import DiffReport, RowCounts
    from coldhouse.operations.diff_plan import Amount, PartitionChange, TableChange

#: Partitions of a table that are shown as text.
SHOWN = 12


class AmountText(msgspec.Struct, frozen=True):
    """Parts, rows, bytes."""

    parts: int
    rows: int
    bytes: int


class PartitionText(msgspec.Struct, frozen=True):
    """A partition whose parts are not the same."""

    partition: str
    added: AmountText
    removed: AmountText


class TableText(msgspec.Struct, frozen=True):
    """A table that is not the same; ``renamed_from`` is null unless it was renamed."""

    database: str
    table: str
    engine: str
    change: str
    renamed_from: str | None
    definition: str
    before: AmountText
    after: AmountText
    added: AmountText
    removed: AmountText
    partitions: list[PartitionText]


class RowsText(msgspec.Struct, frozen=True):
    """How many rows of one table only one side has."""

    table: str
    removed: int
    added: int


class DiffDocument(msgspec.Struct, frozen=True):
    """The document of ``diff``."""

    before: str
    after: str
    same: int
    tables: list[TableText]
    rows: RowsText | None


def document(report: DiffReport, rows: tuple[str, RowCounts] | None) -> DiffDocument:
    """The report as JSON; tables that are the same are only counted."""
    changed = [each for each in report.tables if each.change != "same"]
    return DiffDocument(
        before=report.before,
        after=report.after,
        same=len(report.tables) - len(changed),
        tables=[_table(each) for each in changed],
        rows=RowsText(rows[0], rows[1].removed, rows[1].added) if rows else None,
    )


def lines(report: DiffReport) -> list[str]:
    """The report as text."""
    changed = [each for each in report.tables if each.change != "same"]
    heading = f"From {report.before} to {report.after}"
    same = f"{count(len(report.tables) - len(changed), 'table')} and databases the same"
    if not changed:
        return [heading, "", f"Nothing changed: {same}."]
    rows = [
        (str(each.name), each.change, _parts(each), _delta(each, "rows"), _delta(each, "bytes"), _remark(each))
        for each in changed
    ]
    text = table(("table", "change", "parts", "rows", "size", ""), rows, right=(2, 3, 4))
    return [heading, "", *text, *_partitions(changed), "", f"{same}."]


def _partitions(changed: list[TableChange]) -> list[str]:
    found: list[str] = []
    for each in changed:
        if not each.partitions:
            continue
        found += ["", f"Partitions of {printable(str(each.name))}:"]
        found += [f"  {printable(part.partition)}: {_words(part)}" for part in each.partitions[:SHOWN]]
        if len(each.partitions) > SHOWN:
            found.append(f"  and {len(each.partitions) - SHOWN:,} more; --json lists all of them")
    return found


def _words(part: PartitionChange) -> str:
    came, went = part.added, part.removed
    return f"+{came.parts} -{went.parts} parts, {came.rows - went.rows:+,} rows, {_size(came.bytes - went.bytes)}"


def _parts(each: TableChange) -> str:
    if each.change == "changed":
        return f"+{each.added.parts} -{each.removed.parts}" if each.partitions else ""
    return f"{each.after.parts - each.before.parts:+}"


def _delta(each: TableChange, what: str) -> str:
    """How much more there is, told by the parts where there are some."""
    if each.partitions:
        number = each.added.rows - each.removed.rows if what == "rows" else each.added.bytes - each.removed.bytes
    else:
        number = each.after.rows - each.before.rows if what == "rows" else each.after.bytes - each.before.bytes
    if not number and not each.partitions:
        return ""
    return f"{number:+,}" if what == "rows" else _size(number)


def _size(number: int) -> str:
    return f"{'+' if number >= 0 else '-'}{size(abs(number))}"


def _remark(each: TableChange) -> str:
    said = [f"was {each.was}"] if each.was else []
    said += [f"definition: {each.definition}"] if each.definition else []
    return "; ".join(said)


def _table(each: TableChange) -> TableText:
    return TableText(
        database=each.name.database,
        table=each.name.table,
        engine=each.engine,
        change=each.change,
        renamed_from=str(each.was) if each.was else None,
        definition=each.definition,
        before=_amount(each.before),
        after=_amount(each.after),
        added=_amount(each.added),
        removed=_amount(each.removed),
        partitions=[
            PartitionText(part.partition, _amount(part.added), _amount(part.removed)) for part in each.partitions
        ],
    )


def _amount(amount: Amount) -> AmountText:
    return AmountText(amount.parts, amount.rows, amount.bytes)
