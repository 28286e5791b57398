"""What can still be read of a damaged snapshot, for a restore of the rest: what cannot is named and left out.

Parts are read in full before ClickHouse is told of them, because a RESTORE that meets damage half way brings nothing
of its table. So such a restore reads everything twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from coldhouse.errors import Corruption
from coldhouse.model import PageRef, Part, Snapshot, TableEntry, TableName
from coldhouse.repository import PackReader, Page, Repository


class Survivors:
    """Reads what is whole; collects in ``left_out`` the manifests that are not, with what was in them."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.left_out: list[str] = []

    def entries(self, snapshot: Snapshot) -> Iterator[TableEntry]:
        """The tables of all catalog objects that can be read, in the order of their names."""
        lost: list[Corruption] = []
        found = 0
        for ref in snapshot.catalog:
            try:
                entries = list(self._repository.catalog(ref))
            except Corruption as error:
                lost.append(error)
                continue
            found += sum(bool(entry.name.table) for entry in entries)
            yield from entries
        if lost:
            missing = snapshot.accounting.tables - found
            objects = ", ".join(error.object_name for error in lost)
            self.left_out.append(f"{missing:,} tables whose names and definitions were in {objects}")

    def page(self, ref: PageRef, table: TableName) -> Page | None:
        """A manifest page, or None if it is lost."""
        try:
            return self._repository.page(ref)
        except Corruption as error:
            where = f"partition {ref.first}" if ref.first == ref.last else f"partitions {ref.first} to {ref.last}"
            text = f"{table} {where}: {ref.parts:,} parts with {ref.rows:,} rows ({error.object_name})"
            if text not in self.left_out:
                self.left_out.append(text)
            return None

    def parts(self, entry: TableEntry, partitions: Collection[str]) -> Iterator[Part]:
        """The parts of some partitions, as far as the pages that list them are there."""
        for ref in entry.pages:
            if any(ref.first <= partition <= ref.last for partition in partitions):
                page = self.page(ref, entry.name)
                yield from page.parts(partitions) if page is not None else ()


def unreadable_files(reader: PackReader, page: Page, part: Part) -> list[str]:
    """The names of the files of a part that cannot be read back, each with the object that is damaged."""
    found: list[str] = []
    for file in part.files:
        try:
            for _ in reader.lend(page.packs, file.extents, 0, file.size):
                pass
        except Corruption as error:
            found.append(f"{file.name}: {error.object_name}")
    return found
