"""The statements of a backup, run one after the other when the table they bring is asked for.

So that memory holds what one statement brings, whatever the size of the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import Struct

from coldhouse.cityhash import file_hash
from coldhouse.clickhouse import (
    BackupElement,
    BackupRequest,
    OperationState,
    Source,
    TableState,
    inspect,
    statements,
)
from coldhouse.errors import BackupFailed, SourceError, StatementFailed
from coldhouse.events import Listener, Phase, Progress, Warned
from coldhouse.gateway.settings import ARCHIVE
from coldhouse.model import FileEntry, PackRef, TableKind, TableName
from coldhouse.operations import transfer
from coldhouse.operations.backup_plan import FILES_PER_STATEMENT, Batch, BatchItem, KeptPage
from coldhouse.operations.checkpoint import CheckpointWriter, Recalled
from coldhouse.operations.history import History
from coldhouse.operations.known_files import KnownFiles, KnownPage
from coldhouse.operations.reaching import LateGateway, place_of, reach_gateway
from coldhouse.operations.transfer import ReceivedTable
from coldhouse.operations.watching import run_to_end
from coldhouse.repository import PackWriter, Page, Repository

if TYPE_CHECKING:
    from coldhouse.gateway import Address, IngestSession

#: Objects up to this size are looked at for definitions (.sql); a definition is a few kilobytes.
DEFINITION_STARTS = (b"CREATE ", b"ATTACH ")

#: How ClickHouse's text of an unfinished mutation begins (MergeTreeMutationEntry::backup).
MUTATION_START = b"block number: "

#: The digits of the largest number of rows, and a line break.
LONGEST_COUNT = 22

#: Bytes that the list of the files in an archive may take in the server's memory: 200 for each file of a statement,
#: and as many for what comes between our look and the BACKUP.
LONGEST_LIST = 400 * FILES_PER_STATEMENT

#: Engines without parts that write how many rows they hold (count.txt).
SELF_COUNTING = frozenset({"Log", "StripeLog", "Memory"})

#: ClickHouse's codes for "no such table / database": it was dropped between our look and the BACKUP.
GONE = frozenset({60, 81, 218})


class Ends(Struct, frozen=True):
    """What a delivery goes between."""

    source: Source
    repository: Repository
    writer: PackWriter
    gateway: LateGateway
    checkpoints: CheckpointWriter
    recalled: Recalled


class Delivery:
    """Hands out tables as ClickHouse delivers them, in the order of the batches."""

    def __init__(
        self,
        ends: Ends,
        batches: Sequence[Batch],
        history: History,
        states: Mapping[TableName, TableState],
        listener: Listener,
    ) -> None:
        self._source = ends.source
        self._repository = ends.repository
        self._writer = ends.writer
        self._gateway = ends.gateway
        self._checkpoints = ends.checkpoints
        self._recalled = ends.recalled
        self._waiting = deque(batches)
        self._next = self._tables_of_next()
        self._history = history
        self._states = states
        self._listener = listener
        self._ready: dict[TableName, ReceivedTable] = {}
        self._total = sum(batch.bytes for batch in batches)
        self._done = 0
        self._reached = False
        self._archives: bool | None = None  # not asked yet
        self._shared_packs: dict[bytes, PackRef] = {}
        self.sent = 0

    def of(self, table: TableName) -> Iterator[ReceivedTable]:
        """The table as its statements bring it: once, or once for each statement that it was split into."""
        while True:
            if table in self._ready:
                yield self._ready.pop(table)
            if not self._waiting or table not in self._next:
                return
            batch = self._waiting.popleft()
            self._next = self._tables_of_next()
            self._ready = self._run(batch)

    def _tables_of_next(self) -> frozenset[TableName]:
        return frozenset(item.table for item in self._waiting[0].items) if self._waiting else frozenset()

    def learn_packs(self, packs: Mapping[bytes, PackRef]) -> None:
        """Remember packs of earlier snapshots that the new one shares."""
        self._shared_packs.update(packs)

    def pack(self, pack_id: bytes) -> PackRef:
        """The pack of this id, whether it was written now or is shared. Raises KeyError for any other."""
        shared = self._shared_packs.get(pack_id)
        return shared if shared is not None else self._writer.pack(pack_id)

    def _run(self, batch: Batch) -> dict[TableName, ReceivedTable]:
        self._reach_gateway_once()
        broken = self._history.pages.broken
        known = KnownFiles(self._known_pages(batch), self._known_definitions(batch), self._recalled, broken)
        self.learn_packs(known.packs)
        base = transfer.base_document(known) if len(known) else b""
        before = self._counted(batch)
        incoming = transfer.Incoming(known)
        session = self._sent(batch, incoming, base, archive=batch.small_files and self._takes_archives())
        after = self._counted(batch) if before else {}
        self._writer.flush()
        self._checkpoints.end_statement(session, self._writer)
        self._done += batch.bytes
        self.sent += session.received_bytes
        tables = [self._states[item.table] for item in batch.items]
        return incoming.tables(
            session.kept,
            lambda: inspect.part_states(self._source, tables, inactive=True, partitions=_partitions(batch)),
            _row_texts(session, known),
            {name: rows for name, rows in before.items() if after.get(name) == rows},
        )

    def _counted(self, batch: Batch) -> dict[TableName, int]:
        """The rows of tables whose files do not tell them; what is not the same after as before, nobody knows."""
        found: dict[TableName, int] = {}
        for item in batch.items:
            state = self._states[item.table]
            if state.kind is TableKind.FILES and state.engine not in SELF_COUNTING:
                with suppress(StatementFailed):  # dropped meanwhile, or of an engine that cannot be read
                    found[item.table] = inspect.count_rows(self._source, item.table)
        return found

    def _sent(self, batch: Batch, incoming: transfer.Incoming, base: bytes, *, archive: bool) -> IngestSession:
        """What ClickHouse sent for a statement, all of it."""
        from coldhouse.gateway import IngestSession

        session = IngestSession(
            self._writer,
            base=(lambda: base) if base else None,
            verify=incoming.check,
            keep=_is_kept,
        )
        gateway = self._gateway.running()
        address = gateway.open_ingest(session)
        try:
            self._statement(batch, session, _request(batch, address, with_base=bool(base), archive=archive))
        except BackupFailed as failure:
            if not session.unknown_archive:
                raise
            self._archives = False
            self._listener(Warned(f"{failure.message}; asking for one file at a time"))
        else:
            return session
        finally:
            gateway.close(address)
        return self._sent(batch, incoming, base, archive=False)

    def _takes_archives(self) -> bool:
        if self._archives is None:
            try:
                self._archives = inspect.sends_archives(self._source)
            except SourceError:  # system.disks may be closed to this user
                self._archives = False
        return self._archives

    def _reach_gateway_once(self) -> None:
        if self._reached:
            return
        reach_gateway(self._source, self._gateway.running())
        self._reached = True

    def _statement(self, batch: Batch, session: IngestSession, request: BackupRequest) -> None:
        """Run BACKUP to its end; whatever goes wrong, no late PUT of it is taken any more."""
        self._listener(Phase(f"ClickHouse sends {_named(batch.items)}"))
        statements.start_backup(self._source, request)
        ended = run_to_end(
            self._source,
            request.id,
            lambda _: self._look(session),
            lambda: session.refuse("the backup was interrupted"),
            session.wait,
        )
        if session.error is not None:
            raise session.error
        if ended.state is OperationState.FAILED and ended.error_code in GONE:
            raise StatementFailed(f"ClickHouse could not back up: {ended.error}", clickhouse_code=ended.error_code)
        if ended.state is not OperationState.DONE or session.document is None:
            raise BackupFailed(
                f"ClickHouse could not finish the backup: {ended.error or 'it sent no list of files'}",
                hint="no snapshot was made; repeat the backup when the cause is gone",
            )

    def _look(self, session: IngestSession) -> None:
        self._listener(Progress(self._done + session.received_bytes, self._total))
        self._checkpoints.look(session, self._writer)

    def _known_pages(self, batch: Batch) -> Iterator[KnownPage]:
        """What earlier snapshots hold of the tables (and partitions) of a statement."""
        with self._repository.reading_ahead() as ahead:
            for kept, page in ahead.each(self._read, self._places_of(batch), waits=lambda kept: not kept.page.inline):
                if page is not None:
                    yield KnownPage(page, kept.partitions)

    def _read(self, kept: KeptPage) -> tuple[KeptPage, Page | None]:
        return kept, self._history.pages.page(kept.page)

    def _places_of(self, batch: Batch) -> Iterator[KeptPage]:
        for item in batch.items:
            entry = self._history.table(self._states[item.table])
            wanted = None if item.partitions is None else frozenset(item.partitions)
            for ref in entry.pages if entry else ():
                if wanted is None or any(ref.first <= each <= ref.last for each in wanted):
                    yield KeptPage(ref, wanted)

    def _known_definitions(self, batch: Batch) -> Iterator[str]:
        for item in batch.items:
            entry = self._history.table(self._states[item.table])
            if entry is not None:
                yield entry.definition


def _partitions(batch: Batch) -> frozenset[str]:
    """The ids of all partitions that a statement asks for; none where it asks for a whole table."""
    ids = frozenset[str]()
    for item in batch.items:
        if item.partitions is None:
            return frozenset()
        ids |= frozenset(item.partitions)
    return ids


def _is_kept(body: bytes) -> bool:
    """Whether a file is also kept in memory: a definition, a mutation, or a number such as a count.txt holds."""
    return body.startswith((*DEFINITION_STARTS, MUTATION_START)) or (
        len(body) <= LONGEST_COUNT and body.strip().isdigit()
    )


def _row_texts(session: IngestSession, known: KnownFiles) -> Callable[[FileEntry], str]:
    """What count.txt files hold: as they came now, or from a known part that has the same.

    Nothing is read back from the repository, because not every key can.
    """
    texts: dict[tuple[int, bytes], str] = {}

    def read(file: FileEntry) -> str:
        if not texts:
            small = (body for body in session.kept.values() if len(body) <= LONGEST_COUNT)
            texts.update(((len(body), file_hash(body)), body.decode("ascii", "replace")) for body in small)
        key = (file.size, file.checksum)
        return texts[key] if key in texts else str(known.part_rows(key) or "")

    return read


def _request(batch: Batch, address: Address, *, with_base: bool, archive: bool) -> BackupRequest:
    return BackupRequest(
        id=f"coldhouse-{uuid4()}",
        elements=tuple(_element(item) for item in batch.items),
        to=place_of(address, f"data/{ARCHIVE}" if archive else "data"),
        base=place_of(address, "base") if with_base else None,
        archive=LONGEST_LIST if archive else 0,
    )


def _element(item: BatchItem) -> BackupElement:
    return BackupElement(item.table, item.partitions or ())


def _named(items: Sequence[BatchItem]) -> str:
    return str(items[0].table) if len(items) == 1 else f"{len(items)} tables"
