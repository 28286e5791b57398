"""Everything that can go wrong, as one tree; each class carries its exit status and its code in JSON.

    ColdhouseError                 1  failed
    ├── UsageError                 2  usage
    ├── NoRepository              10  no_repository
    ├── RepositoryExists          11  repository_exists
    ├── RepositoryInUse           11  repository_in_use
    ├── WrongPassphrase           12  wrong_passphrase
    ├── WriteOnlyKey              12  write_only_key
    ├── OldKey                    12  old_key
    ├── NoSuchSnapshot            13  no_such_snapshot
    ├── Corruption                20  corruption
    ├── UnsupportedFormat          1  unsupported_format
    ├── StorageError               1  storage
    │   ├── ObjectMissing             object_missing
    │   ├── ObjectExists              object_exists
    │   ├── StorageFull               storage_full
    │   └── StorageRefused            storage_refused
    ├── SourceError                1  source
    │   ├── SourceUnreachable         source_unreachable
    │   ├── SourceRefused             source_refused      (wrong credentials)
    │   ├── SourceTooOld              source_too_old
    │   ├── MissingGrant              missing_grant
    │   └── StatementFailed           statement_failed    (carries ClickHouse's own code)
    ├── GatewayError               1  gateway
    │   └── GatewayUnreachable        gateway_unreachable
    ├── BackupFailed               1  backup_failed
    ├── ForgetRefused              1  forget_refused
    ├── PruneRefused               1  prune_refused
    ├── RestoreFailed              1  restore_failed
    │   └── TargetExists              target_exists
    └── Interrupted              130  interrupted

A message says what happened and what it means; the hint says what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class ColdhouseError(Exception):
    """An error that Coldhouse understands: a message for people, a hint, a code and an exit status."""

    code: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(ColdhouseError):
    """The command or call cannot mean anything."""

    code = "usage"
    exit_status = 2


class NoRepository(ColdhouseError):
    """There is no repository at the given place."""

    code = "no_repository"
    exit_status = 10


class RepositoryExists(ColdhouseError):
    """A repository is already there."""

    code = "repository_exists"
    exit_status = 11


class RepositoryInUse(ColdhouseError):
    """Something else holds what this operation needs for itself."""

    code = "repository_in_use"
    exit_status = 11


class WrongPassphrase(ColdhouseError):
    """No key slot opens with the given passphrase."""

    code = "wrong_passphrase"
    exit_status = 12


class WriteOnlyKey(ColdhouseError):
    """The key at hand can back up and not read."""

    code = "write_only_key"
    exit_status = 12


class OldKey(ColdhouseError):
    """The key at hand is from before a rotation, and what it would have to open from after it."""

    code = "old_key"
    exit_status = 12


class NoSuchSnapshot(ColdhouseError):
    """No snapshot, or more than one, answers to the given name."""

    code = "no_such_snapshot"
    exit_status = 13


class Corruption(ColdhouseError):
    """Stored bytes are not what was written; ``object_name`` is the damaged object."""

    code = "corruption"
    exit_status = 20

    def __init__(self, message: str, *, object_name: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.object_name = object_name


class UnsupportedFormat(ColdhouseError):
    """The repository was written in a format version that this Coldhouse does not know."""

    code = "unsupported_format"


class StorageError(ColdhouseError):
    """The store did not do what it was asked; ``object_name`` is the object concerned, if any."""

    code = "storage"

    def __init__(self, message: str, *, object_name: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.object_name = object_name


class ObjectMissing(StorageError):
    """No object has this name."""

    code = "object_missing"


class ObjectExists(StorageError):
    """put-if-absent found an object of this name."""

    code = "object_exists"


class StorageFull(StorageError):
    """The store has no room left, or its quota is used up."""

    code = "storage_full"


class StorageRefused(StorageError):
    """The store rejected the credentials or the right to do this."""

    code = "storage_refused"


class SourceError(ColdhouseError):
    """ClickHouse did not do what it was asked."""

    code = "source"


class SourceUnreachable(SourceError):
    """No ClickHouse answers at this address."""

    code = "source_unreachable"


class SourceRefused(SourceError):
    """ClickHouse rejected the user or the password."""

    code = "source_refused"


class SourceTooOld(SourceError):
    """This ClickHouse has no BACKUP to S3."""

    code = "source_too_old"


class MissingGrant(SourceError):
    """The user may not do what a backup or restore needs."""

    code = "missing_grant"


class StatementFailed(SourceError):
    """ClickHouse answered a statement with an error; ``clickhouse_code`` is its number (0 if unknown)."""

    code = "statement_failed"

    def __init__(self, message: str, *, clickhouse_code: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.clickhouse_code = clickhouse_code


class GatewayError(ColdhouseError):
    """The endpoint between ClickHouse and the repository could not do its work."""

    code = "gateway"


class GatewayUnreachable(GatewayError):
    """ClickHouse cannot reach the gateway's address."""

    code = "gateway_unreachable"


class BackupFailed(ColdhouseError):
    """No snapshot was made; everything that was there before is still there."""

    code = "backup_failed"


class ForgetRefused(ColdhouseError):
    """Something speaks against forgetting these snapshots; nothing was deleted."""

    code = "forget_refused"


class PruneRefused(ColdhouseError):
    """It cannot be told what snapshots need; nothing was deleted."""

    code = "prune_refused"


class RestoreFailed(ColdhouseError):
    """The restore did not finish; a repeat continues it."""

    code = "restore_failed"


class TargetExists(RestoreFailed):
    """A table to restore exists already, and nothing said what to do with it."""

    code = "target_exists"


class Interrupted(ColdhouseError):
    """The user stopped the operation."""

    code = "interrupted"
    exit_status = 130
