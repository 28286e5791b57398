"""A database of invented parts, the ClickHouse that would send them, and a store that pretends to hold their packs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from heapq import merge
from pathlib import Path
from typing import cast

from coldhouse.clickhouse import Source, TableState
from coldhouse.events import silent
from coldhouse.model import Extent, FileEntry, PackRef, Part, PartState, TableKind, TableName, total_size
from coldhouse.operations.backup_plan import Batch, BatchItem
from coldhouse.operations.checkpoint import CheckpointWriter, Recalled
from coldhouse.operations.delivery import Delivery, Ends
from coldhouse.operations.history import History
from coldhouse.operations.known_files import KnownFiles
from coldhouse.operations.reaching import LateGateway
from coldhouse.operations.transfer import ReceivedTable
from coldhouse.repository import PackWriter, Repository, pack_name
from coldhouse.storage.base import StoredObject
from coldhouse.storage.local import LocalStorage

DATABASE = "shop"
FILES = 20
FILE_SIZE = 8000
PARTS_PER_PACK = 32 * 1024 * 1024 // (FILES * FILE_SIZE)
PACK_SIZE = PARTS_PER_PACK * FILES * FILE_SIZE + 4096
TABLE_SIZE = 2000
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
#: One part in so many is another one after a change: 2 %.
ONE_IN = 50

#: Whether a part (its partition's number of so many partitions, its own number in the partition) was changed.
Changed = Callable[[int, int, int], bool]
CHANGES: dict[str, Changed] = {
    "nothing": lambda partition, of, part: False,
    "last partitions": lambda partition, of, part: partition >= of - max(1, of // ONE_IN),
    "every 50th partition": lambda partition, of, part: partition % ONE_IN == ONE_IN // 2,
    "every partition": lambda partition, of, part: part % ONE_IN == 0,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """How many parts, in how many tables, in partitions of how many parts."""

    parts: int
    tables: int = 4
    partition: int = 50

    @property
    def partitions(self) -> int:
        """Partitions of each table."""
        return max(1, self.parts // self.tables // self.partition)


class Invented:
    """A database of this shape after one of the CHANGES."""

    def __init__(self, shape: Shape, change: str = "nothing") -> None:
        self.shape = shape
        self._changed = CHANGES[change]
        self._change = change
        self.tables = tuple(_table(number) for number in range(shape.tables))
        self._numbers = {table.name: number for number, table in enumerate(self.tables)}

    def states(self, table: TableName) -> Iterator[PartState]:
        """A table's parts as system.parts lists them, by partition and name."""
        for partition in range(self.shape.partitions):
            yield from self._partition(table, partition)

    def parts(self, table: TableName, partitions: Sequence[str] | None) -> Iterator[Part]:
        """The parts of a table, or of some of its partitions, with their files, as ClickHouse delivers them."""
        wanted = range(self.shape.partitions) if partitions is None else map(int, partitions)
        for partition in wanted:
            for number, state in enumerate(self._partition(table, partition)):
                yield Part(state, self._files(table, partition, number, state))

    def is_new(self, part: PartState) -> bool:
        """Whether the files of a part have to be sent."""
        return self._change == "nothing" or part.name.endswith("_1")

    def packs(self) -> Iterator[PackRef]:
        """Every pack that a part lies in."""
        count = -(-self.shape.tables * self.shape.partitions * self.shape.partition // PARTS_PER_PACK)
        for kind in dict.fromkeys(("nothing", self._change)):
            yield from (_pack(kind, number) for number in range(count))

    def _partition(self, table: TableName, partition: int) -> Iterator[PartState]:
        id, of = f"{partition:07}", self.shape.partitions
        for number in range(self.shape.partition):
            level = int(self._changed(partition, of, number))
            name = f"{id}_{number:07}_{number:07}_{level}"
            digest = blake2b(f"{table} {name}".encode(), digest_size=16).digest()
            yield PartState(id, name, digest, 1000, FILES * FILE_SIZE, FILES)

    def _files(self, table: TableName, partition: int, number: int, state: PartState) -> tuple[FileEntry, ...]:
        seed = state.hash
        checksums = b"".join(blake2b(seed, digest_size=64, salt=b"%d" % at).digest() for at in range(FILES // 4))
        place = (self._numbers[table] * self.shape.partitions + partition) * self.shape.partition + number
        pack = _pack(self._change if state.name.endswith("_1") else "nothing", place // PARTS_PER_PACK).id
        start = place % PARTS_PER_PACK * FILES * FILE_SIZE
        files = []
        for at in range(FILES):
            size = FILE_SIZE - seed[at % 16] - at
            checksum = checksums[16 * at : 16 * at + 16]
            files.append(FileEntry(_NAMES[at], size, checksum, (Extent(pack, start, size),)))
            start += size
        return tuple(files)


_NAMES = tuple(f"column{at:02}.bin" for at in range(FILES))


def _table(number: int) -> TableState:
    return TableState(
        name=TableName(DATABASE, f"t{number:05}"),
        uuid=f"00000000-0000-4000-8000-{number:012}",
        engine="MergeTree",
        kind=TableKind.PARTS,
        inspected=b"as it always was",
        total_rows=None,
        total_bytes=None,
        depends_on=(),
        create_query="CREATE TABLE ...",
        storage_policy="default",
    )


def _pack(kind: str, number: int) -> PackRef:
    return PackRef(blake2b(f"{kind} {number}".encode(), digest_size=16).digest(), PACK_SIZE, TABLE_SIZE)


class PretendedPacks(LocalStorage):
    """A folder that answers for invented packs as if it had them."""

    def __init__(self, folder: Path, packs: Iterable[PackRef]) -> None:
        super().__init__(folder)
        self._sizes = {pack_name(ref.id): ref.size for ref in packs}

    def size(self, name: str) -> int:
        """Return the size of an object, or of an invented pack."""
        return self._sizes[name] if name in self._sizes else super().size(name)

    def list(self, prefix: str, *, after: str = "") -> Iterator[StoredObject]:
        """Yield what is stored, and all invented packs."""
        invented = (
            StoredObject(name, self._sizes[name], WRITTEN)
            for name in sorted(self._sizes)
            if name.startswith(prefix) and name > after
        )
        return merge(super().list(prefix, after=after), invented, key=lambda stored: stored.name)


class InventedDelivery(Delivery):
    """Delivers invented parts where ClickHouse would send them; known files are looked up as ever."""

    def __init__(self, repository: Repository, database: Invented, batches: Sequence[Batch], history: History) -> None:
        ends = Ends(
            source=cast("Source", None),
            repository=repository,
            writer=cast("PackWriter", None),
            gateway=cast("LateGateway", None),
            checkpoints=cast("CheckpointWriter", None),
            recalled=Recalled(),
        )
        super().__init__(ends, batches, history, {table.name: table for table in database.tables}, silent)
        self._database = database
        self._packs = {ref.id: ref for ref in database.packs()}

    def pack(self, pack_id: bytes) -> PackRef:
        """The invented pack of this id."""
        return self._packs[pack_id]

    def _run(self, batch: Batch) -> dict[TableName, ReceivedTable]:
        known = KnownFiles(self._known_pages(batch), self._known_definitions(batch))
        self.learn_packs(known.packs)
        return {item.table: self._received(item) for item in batch.items}

    def _received(self, item: BatchItem) -> ReceivedTable:
        parts = tuple(self._database.parts(item.table, item.partitions))
        new = sum(total_size(part.files) for part in parts if self._database.is_new(part.state))
        return ReceivedTable("CREATE TABLE ...", parts, new, ())
