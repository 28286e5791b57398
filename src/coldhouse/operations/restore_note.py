"""What an unfinished restore leaves in the repository, so that a repeat continues it and doubles nothing."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption
from coldhouse.model import TableName
from coldhouse.records import replace
from coldhouse.repository import IMPOSSIBLE, Repository

KIND = "restore"


class Note(Struct, frozen=True):
    """``creating`` did not exist when the restore began; ``staged`` are complete beside their target, being moved in.

    ``appending`` had so many rows before a whole-table append began. ``restored`` of what was created is complete.
    """

    id: str
    started: datetime
    creating: tuple[TableName, ...] = ()
    staged: tuple[TableName, ...] = ()
    appending: tuple[tuple[TableName, int], ...] = ()
    restored: tuple[TableName, ...] = ()


class RestoreNote:
    """The note of one restore (one target, one snapshot, one set of options), kept until the restore is complete.

    Without a repository it is kept nowhere: for a target that is thrown away.
    """

    def __init__(self, repository: Repository | None, key: str) -> None:
        self._repository = repository
        self._key = key
        stored = repository.get_note(KIND, key) if repository is not None else None
        self.resumed = stored is not None
        self._note = _decoded(stored) if stored else Note(secrets.token_hex(8), datetime.now(UTC))

    @property
    def id(self) -> str:
        """The id of the restore: the same for every attempt to finish it."""
        return self._note.id

    @property
    def creating(self) -> frozenset[TableName]:
        """The tables that were not there when the restore began."""
        return frozenset(self._note.creating)

    @property
    def staged(self) -> frozenset[TableName]:
        """The targets whose staging table is complete."""
        return frozenset(self._note.staged)

    @property
    def restored(self) -> frozenset[TableName]:
        """The created tables that an earlier run has completed."""
        return frozenset(self._note.restored)

    def rows_before(self, target: TableName) -> int | None:
        """How many rows a target had before an append to it began, if one began."""
        return dict(self._note.appending).get(target)

    def begin(self, creating: frozenset[TableName]) -> None:
        """Record what will be created, before anything is."""
        self._write(replace(self._note, creating=tuple(sorted(self.creating | creating))))

    def keep_nowhere(self) -> None:
        """Go on without a note: nothing of this restore can be continued by another run."""
        self._repository = None

    def narrow(self, made: frozenset[TableName], *, keep: bool) -> None:
        """Record that of what was to be created only this was; forget the restore if it is nothing, unless ``keep``."""
        if made or keep:
            restored = tuple(sorted(self.restored & made))
            self._write(replace(self._note, creating=tuple(sorted(made)), restored=restored))
        else:
            self.finish()

    def add_staged(self, target: TableName) -> None:
        """Record that a target's staging table is complete."""
        self._write(replace(self._note, staged=(*self._note.staged, target)))

    def add_restored(self, target: TableName) -> None:
        """Remember that a created table is complete; it is written down when the restore fails."""
        self._note = replace(self._note, restored=(*self._note.restored, target))

    def add_appending(self, target: TableName, rows: int) -> None:
        """Record how many rows a target has before an append to it begins."""
        self._write(replace(self._note, appending=(*self._note.appending, (target, rows))))

    def finish(self) -> None:
        """Forget the restore: it is complete, or nothing of it is left."""
        if self._repository is not None:
            self._repository.delete_note(KIND, self._key)

    def _write(self, note: Note) -> None:
        self._note = note
        if self._repository is not None:
            self._repository.put_note(KIND, self._key, msgspec.msgpack.encode(note))


def _decoded(stored: bytes) -> Note:
    try:
        return msgspec.msgpack.decode(stored, type=Note)
    except IMPOSSIBLE as error:
        raise Corruption(
            "The note of this restore's earlier attempt cannot be read.",
            hint="Restore beside what is there with --rename: only the note says what that attempt has begun.",
        ) from error
