"""Snapshots made of parts that no ClickHouse wrote, in a store that a test can damage."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from coldhouse.cityhash import file_hash
from coldhouse.model import FileEntry, PackRef, Part, PartState, Snapshot, TableEntry
from coldhouse.operations import verify
from coldhouse.operations.recording import account
from coldhouse.operations.verify import VerifyOptions, VerifyReport
from coldhouse.records import replace
from coldhouse.repository import PackSettings, Repository
from tests.repository.samples import MOMENT, entry, new_repository, root
from tests.support.memory_storage import MemoryStorage

#: Packs of 256 KiB, so that a few parts fill several.
SMALL_PACKS = PackSettings(compression="none", frames=1)


@dataclass
class Stored:
    """A repository in memory with snapshots of the tables ``shop.orders`` (an object of its own) and ``shop.small``."""

    storage: MemoryStorage = field(default_factory=MemoryStorage)
    seed: int = 1
    settings: PackSettings = SMALL_PACKS

    def __post_init__(self) -> None:
        self.repository: Repository = new_repository(self.storage)
        self._random = random.Random(self.seed)
        self._packs: dict[bytes, PackRef] = {}

    def file(self, name: str, size: int) -> tuple[str, bytes]:
        return name, self._random.randbytes(size)

    def part(self, partition: str, name: str, files: Sequence[tuple[str, bytes]], *, damaged: bool = False) -> Part:
        """Store a part; its files have the checksums that ClickHouse would compute."""
        entries = []
        with self.repository.pack_writer(self.settings) as writer:
            for file, content in files:
                stream = writer.open_file(len(content), None)
                stream.write(content)
                extents = stream.finish(file_hash(content), verified=True)
                checksum = file_hash(content + b"!") if damaged else file_hash(content)
                entries.append(FileEntry(file, len(content), checksum, extents, damaged=damaged))
            writer.flush()
            self._packs |= {extent.pack: writer.pack(extent.pack) for one in entries for extent in one.extents}
        return Part(PartState(partition, name, file_hash(name.encode()), 100, 5000), tuple(entries))

    def orders(self, salt: int = 0) -> list[Part]:
        """Ten parts of 16 files: their page is too large for the catalog. One file lies in three packs."""
        parts = []
        for number in range(10):
            name = f"2026{number:02}_{salt}_{salt}_0"
            size = 600_000 if number == 3 else 9_000
            columns = [self.file("column.bin", size)] + [self.file(f"c{at}.bin", 500 + at) for at in range(15)]
            parts.append(self.part(f"2026{number:02}", name, columns))
        return parts

    def snapshot(
        self, tables: dict[str, list[Part]], parent: Snapshot | None = None, *, lies: int = 0, hour: int = 0
    ) -> Snapshot:
        """A snapshot of these tables; ``lies`` is how many rows too many its root says it has."""
        with self.repository.draft(parent) as draft:
            entries: list[TableEntry] = []
            for name, parts in sorted(tables.items()):
                entries.append(draft.add(entry(name), parts, self._packs.__getitem__))
            start = root(parent, moment=MOMENT + timedelta(hours=hour))
            accounting = account(entries, start.id)
            return draft.commit(replace(start, accounting=replace(accounting, rows=accounting.rows + lies)))

    def two_snapshots(self) -> tuple[Snapshot, Snapshot]:
        """A snapshot, and one that shares most of it."""
        orders, small = self.orders(), [self.part("all", "all_1_1_0", [self.file("data.bin", 3000)])]
        first = self.snapshot({"orders": orders, "small": small})
        more = self.part("209901", "209901_1_1_0", [self.file("data.bin", 20_000)])
        second = self.snapshot({"orders": [*orders, more], "small": small}, first, hour=1)
        return first, second

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self.storage.objects if name.startswith(prefix))

    def flip(self, name: str, at: int = -1, bit: int = 0) -> None:
        """Flip one bit of an object, by default one in its middle."""
        content = bytearray(self.storage.objects[name])
        content[at if at >= 0 else len(content) // 2] ^= 1 << bit
        self.storage.objects[name] = bytes(content)

    def verify(self, options: VerifyOptions) -> tuple[VerifyReport, ...]:
        return verify.run(self.repository, options)
