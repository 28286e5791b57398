"""Everything that speaks ClickHouse: connecting, system tables, SQL, BACKUP and RESTORE, ``.backup``, definitions.

What needs no connection is pure: ``sql``, ``layout``, ``document``, ``definition``, ``ordering``, ``selection``,
``table_state``. ``source`` holds the connection, ``inspect`` and ``mutations`` ask, ``statements`` runs BACKUP and
RESTORE, ``changes`` alters what is there, and nothing else does; ``scratch`` starts an engine of our own to try things
in. The client library is imported when a source is opened, not before.
"""

from coldhouse.clickhouse.document import DocumentFile, DocumentHeader, RestoreFile
from coldhouse.clickhouse.inspect import (
    DatabaseState,
    DiskState,
    Inventory,
    check_source,
    count_rows,
    create_query,
    disks,
    exists,
    functions,
    inventory,
    part_rows,
    part_states,
    table_states,
)
from coldhouse.clickhouse.mutations import apply_patches, pending_mutations, unapplied_patches
from coldhouse.clickhouse.ordering import creation_order
from coldhouse.clickhouse.selection import Selection
from coldhouse.clickhouse.source import Address, Source, load_client, open_source, parse_address
from coldhouse.clickhouse.sql import BackupElement, RestoreElement, S3Place
from coldhouse.clickhouse.statements import (
    BackupRequest,
    OperationState,
    OperationStatus,
    RestoreRequest,
    cancel,
    probe_gateway,
    start_backup,
    start_restore,
    status,
    wait,
)
from coldhouse.clickhouse.table_state import TableState

__all__ = [
    "Address",
    "BackupElement",
    "BackupRequest",
    "DatabaseState",
    "DiskState",
    "DocumentFile",
    "DocumentHeader",
    "Inventory",
    "OperationState",
    "OperationStatus",
    "RestoreElement",
    "RestoreFile",
    "RestoreRequest",
    "S3Place",
    "Selection",
    "Source",
    "TableState",
    "apply_patches",
    "cancel",
    "check_source",
    "count_rows",
    "create_query",
    "creation_order",
    "disks",
    "exists",
    "functions",
    "inventory",
    "load_client",
    "open_source",
    "parse_address",
    "part_rows",
    "part_states",
    "pending_mutations",
    "probe_gateway",
    "start_backup",
    "start_restore",
    "status",
    "table_states",
    "unapplied_patches",
    "wait",
]
