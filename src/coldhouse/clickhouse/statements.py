"""Starting, watching and stopping BACKUP and RESTORE.

Both run in the server's background (``async``), and system.backups alone says how they ended: a client may see a
time-out of a backup that succeeds (clickhouse-facts 4). It forgets everything when the server restarts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from enum import StrEnum

from msgspec import Struct

from coldhouse.clickhouse import failures, sql
from coldhouse.clickhouse.failures import BACKUP_NOT_FOUND, clean
from coldhouse.clickhouse.source import Source
from coldhouse.clickhouse.sql import BackupElement, RestoreElement, S3Place, SettingValue
from coldhouse.errors import GatewayUnreachable, SourceError, SourceUnreachable, StatementFailed
from coldhouse.records import replace

#: The server holds the body of each PUT in memory, 16 at once: a file of 779 MB sent as one PUT took 750 MB of its
#: memory, one of 5.8 GB took 5.7 GB. So larger files come in parts of 16 MiB, two at a time: as fast as with 20
#: (1.2 s against 2.5 s with one, for 779 MB), 40 MB instead of 330 MB, and all but in order. chdb-core 26.7 and 26.9.
SINGLE_PUT_BYTES = 32 << 20
PART_BYTES = 16 << 20
PARTS_IN_FLIGHT = 2
FIRST_POLL_SECONDS = 0.02
SLOWEST_POLL_SECONDS = 1.0
#: So the end is seen when at most a tenth of the time that it took has passed since.
POLL_GROWTH = 1.1
#: Where the end is announced it need not be looked for: a look costs 10 ms of the processors of a busy machine, and in
#: a restore of 2 GB there were 25.
ANNOUNCED_POLL_GROWTH = 2.0
#: How long a server may be away (restart, network) before waiting for it is given up.
AWAY_SECONDS = 60.0
CANCEL_SECONDS = 60.0

_REFUSED_SETTING = frozenset({115, 164, 452})  # UNKNOWN_SETTING, READONLY, SETTING_CONSTRAINT_VIOLATION


class BackupRequest(Struct, frozen=True):
    """A BACKUP to start: ``id`` is new (ids are never reusable), ``base`` the address of a synthetic base.

    ``archive``: what is written ``to`` is one archive; its list of files may take ``archive`` bytes. 0 is none.
    """

    id: str
    elements: tuple[BackupElement, ...]
    to: S3Place
    base: S3Place | None = None
    archive: int = 0


class RestoreRequest(Struct, frozen=True):
    """A RESTORE of one table to start.

    ``elements`` are the table and, when it refers to others that are renamed, those; with ``append`` they may hold
    rows; ``storage_policy`` replaces that of the definition; ``create``: whether the table is made if it is not there.
    """

    id: str
    elements: tuple[RestoreElement, ...]
    place: S3Place
    structure_only: bool = False
    append: bool = False
    create: bool = True
    different_definition: bool = False
    storage_policy: str = ""


class OperationState(StrEnum):
    """Where an operation is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OperationStatus(Struct, frozen=True):
    """A line of system.backups.

    ``num_files`` and ``total_size`` (bytes) count before, ``num_entries`` and ``uncompressed_size`` after
    deduplication; ``files_read`` and ``bytes_read`` are of RESTORE. ``error`` is cleaned of stack traces,
    ``error_code`` is ClickHouse's number for it (e.g. 60 when a table was dropped meanwhile), 0 without error.
    """

    id: str
    state: OperationState
    error: str
    query_id: str
    num_files: int
    total_size: int
    num_entries: int
    uncompressed_size: int
    files_read: int
    bytes_read: int
    error_code: int = 0


Watcher = Callable[[OperationStatus], None]


def start_backup(source: Source, request: BackupRequest) -> None:
    """Start a BACKUP; settings that this server does not have are left out.

    Raises MissingGrant, StatementFailed (e.g. code 60: a table is gone), SourceUnreachable.
    """
    _with_known_settings(
        source,
        _backup_settings(request.id) | (_archive_settings(request.archive) if request.archive else {}),
        lambda settings: sql.backup_statement(request.elements, request.to, request.base, settings),
    )


def start_restore(source: Source, request: RestoreRequest) -> None:
    """Start a RESTORE of one table; its database must exist.

    Raises MissingGrant, StatementFailed, SourceUnreachable.
    """
    _with_known_settings(
        source,
        _restore_settings(request),
        lambda settings: sql.restore_statement(request.elements, request.place, settings),
    )


def status(source: Source, id: str) -> OperationStatus | None:
    """How an operation stands; None when the server does not know it (any more)."""
    there = source.columns("system.backups")
    columns = [name if name in there else default for name, default in _COLUMNS.items()]
    found = source.fetch(sql.select(columns, "system.backups", (sql.equals("id", id),)))
    if not found:
        return None
    texts = [str(value) for value in found[0][:3]]
    counts = [int(str(value)) for value in found[0][3:]]
    code = re.match(r"Code: (\d+)", texts[1])
    seen = OperationStatus(id, _state(texts[0]), clean(texts[1]), texts[2], *counts)
    return replace(seen, error_code=int(code[1])) if code else seen


#: Waits so many seconds. True says that the end is near, so that it is looked for more often again; False that it is
#: not, but will be announced; None that nobody knows.
Pause = Callable[[float], bool | None]


def wait(source: Source, id: str, watcher: Watcher, *, pause: Pause = time.sleep) -> OperationStatus:
    """Wait for the end of an operation; ``watcher`` hears every look at it and may raise to stop waiting.

    Raises SourceUnreachable when the server stays away, SourceError when it has forgotten the operation (restarted).
    """
    seconds = FIRST_POLL_SECONDS
    announced = False
    away_since: float | None = None
    while True:
        try:
            seen = status(source, id)
            away_since = None
        except SourceUnreachable:
            now = time.monotonic()
            away_since = away_since or now
            if now - away_since > AWAY_SECONDS:
                raise
        else:
            if seen is None:
                raise SourceError(
                    f"ClickHouse at {source.url} no longer knows the operation {id}: it was restarted meanwhile.",
                    hint="Run the command again.",
                )
            watcher(seen)
            if seen.state is not OperationState.RUNNING:
                return seen
        near = pause(seconds)
        announced |= near is True
        growth = ANNOUNCED_POLL_GROWTH if near is False and not announced else POLL_GROWTH
        seconds = FIRST_POLL_SECONDS if near else min(seconds * growth, SLOWEST_POLL_SECONDS)


def cancel(source: Source, id: str, *, pause: Callable[[float], None] = time.sleep) -> OperationStatus | None:
    """Stop an operation and wait until it has stopped; its last status (it may have ended before), None if unknown.

    A cancelled RESTORE can have attached everything: look at the table, not at the status.
    """
    seen = status(source, id)
    if seen is None or seen.state is not OperationState.RUNNING:
        return seen
    source.command(sql.kill_query_statement(seen.query_id, wait=False))
    deadline = time.monotonic() + CANCEL_SECONDS
    seconds = FIRST_POLL_SECONDS
    while seen is not None and seen.state is OperationState.RUNNING and time.monotonic() < deadline:
        pause(seconds)
        seconds = min(seconds * POLL_GROWTH, SLOWEST_POLL_SECONDS)
        seen = status(source, id)
    return seen


def probe_gateway(source: Source, place: S3Place) -> None:
    """Let the server call the gateway: RESTORE of a backup that is not there (the place must serve nothing).

    It needs no rights on tables or sources; an answer of the gateway gives BACKUP_NOT_FOUND (599), a refused
    connection is known after 0.1 s. Raises GatewayUnreachable; other failures of the statement as they are.
    """
    settings: dict[str, SettingValue] = dict(_PROBE_SETTINGS)
    try:
        _with_known_settings(source, settings, lambda known: sql.restore_everything_statement(place, known))
    except StatementFailed as failure:
        if failure.clickhouse_code == BACKUP_NOT_FOUND:
            return
        if failure.clickhouse_code in _UNREACHABLE:
            raise _unreachable(source, place, failure) from None
        raise
    raise GatewayUnreachable(f"Something else than the gateway answers ClickHouse at {place.url}.")


def _unreachable(source: Source, place: S3Place, failure: StatementFailed) -> GatewayUnreachable:
    reason = failure.message.removeprefix(failures.REPORTED)
    if re.search(r"HTTP response code: [345]\d\d\b", reason):
        return GatewayUnreachable(
            f"What answers ClickHouse at {place.url} is not the gateway: {reason}",
            hint="A proxy or another service may stand between the server and the address in --gateway-url.",
        )
    return GatewayUnreachable(
        f"ClickHouse at {source.url} cannot reach the gateway at {place.url}: {reason}",
        hint="Give --gateway-listen HOST:PORT an address that the server can reach, and --gateway-url if it reaches "
        "it under another one.",
    )


_COLUMNS = {
    "status": "''",
    "error": "''",
    "query_id": "''",
    "num_files": "0",
    "total_size": "0",
    "num_entries": "0",
    "uncompressed_size": "0",
    "files_read": "0",
    "bytes_read": "0",
}

_PROBE_SETTINGS: Mapping[str, SettingValue] = {
    "backup_restore_s3_retry_attempts": 0,
    "s3_retry_attempts": 0,
    "s3_connect_timeout_ms": 5000,
    "s3_use_adaptive_timeouts": False,  # else the only attempt here has less time than a busy machine may need
}

# S3_ERROR and the network's own: NETWORK_ERROR, SOCKET_TIMEOUT, DNS_ERROR, POCO_EXCEPTION, UNACCEPTABLE_URL
_UNREACHABLE = frozenset({failures.S3_ERROR, 210, 209, 198, 1000, 491})


def _backup_settings(id: str) -> dict[str, SettingValue]:
    return {
        "id": id,
        "async": True,
        "data_file_name_generator": "checksum",
        "allow_checksums_from_remote_paths": False,
        "decrypt_files_from_encrypted_disks": True,
        "backup_data_from_refreshable_materialized_view_targets": True,
        "allow_s3_native_copy": False,
        "backup_restore_s3_retry_attempts": 8,
        "backup_restore_s3_retry_max_backoff_ms": 1000,
        "s3_max_single_part_upload_size": SINGLE_PUT_BYTES,
        "s3_min_upload_part_size": PART_BYTES,
        "s3_max_inflight_parts_for_one_file": PARTS_IN_FLIGHT,
        "s3_upload_checksum_algorithm": "CRC32",
        # By itself ClickHouse hands each read of a file to another thread. For 60,000 small files that took 8 s of
        # processor time instead of 3 s (chdb-core 26.9).
        "local_filesystem_read_method": "pread",
    }


def _archive_settings(most_bytes: int) -> dict[str, SettingValue]:
    """An archive comes in parts: one whose answer was lost is told by its number. What is smaller is the lock alone."""
    return {"archive_adaptive_buffer_max_size_bytes": most_bytes, "s3_max_single_part_upload_size": 4096}


def _restore_settings(request: RestoreRequest) -> dict[str, SettingValue]:
    settings: dict[str, SettingValue] = {
        "id": request.id,
        "async": True,
        "create_table": "if-not-exists" if request.create else False,
        "structure_only": request.structure_only,
        "allow_non_empty_tables": request.append,
        "allow_different_table_def": request.different_definition,
        "backup_restore_s3_retry_attempts": 8,
        "backup_restore_s3_retry_max_backoff_ms": 1000,
        # What is read is copied once more before it is written: from the processor's cache, if it is no more than this.
        # By itself ClickHouse reads 1 MiB at a time, and took a tenth more processor time for 2 GB (chdb-core 26.9).
        "max_read_buffer_size_remote_fs": 128 << 10,
    }
    return settings | ({"storage_policy": request.storage_policy} if request.storage_policy else {})


def _with_known_settings(
    source: Source, settings: Mapping[str, SettingValue], build: Callable[[Mapping[str, SettingValue]], sql.Statement]
) -> None:
    """Run a statement; a setting that the server refuses by name is left out, and it is run again.

    system.settings does not list what only BACKUP knows, so that the error is the only way to learn it.
    """
    left = dict(settings)
    while True:
        try:
            source.command(build(left))
            return
        except StatementFailed as failure:
            refused = _refused(failure, left)
            if refused is None:
                raise
            del left[refused]


def _refused(failure: StatementFailed, settings: Mapping[str, SettingValue]) -> str | None:
    if failure.clickhouse_code not in _REFUSED_SETTING:
        return None
    named = re.findall(r"[a-z][a-z0-9_]+", failure.message)
    return next((name for name in named if name in settings and name not in ("id", "async")), None)


def _state(text: str) -> OperationState:
    if text in ("CREATING_BACKUP", "RESTORING"):
        return OperationState.RUNNING
    if text in ("BACKUP_CREATED", "RESTORED"):
        return OperationState.DONE
    return OperationState.CANCELLED if text.endswith("_CANCELLED") else OperationState.FAILED
