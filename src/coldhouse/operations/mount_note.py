"""What a mount has in a server, noted in the repository, so that whoever comes later can clear it away."""

from __future__ import annotations

import os
import secrets
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from coldhouse.clickhouse import Source, sql
from coldhouse.records import replace
from coldhouse.repository import IMPOSSIBLE, Repository

KIND = "mount"
#: The databases of a mount say so themselves: nothing else is ever dropped.
COMMENT = "coldhouse mount "
#: A mount on another machine that was not heard of for so long is dead.
SILENCE = timedelta(minutes=5)
BEAT_SECONDS = 60.0


class MountNote(Struct, frozen=True):
    """A mount: the target's identity, its databases there, the process that holds it, when that was last heard of."""

    id: str
    target: str
    databases: tuple[str, ...]
    snapshot: str
    host: str
    process: int
    started: str
    heard: datetime


def new_note(target: str, databases: tuple[str, ...], snapshot: str) -> MountNote:
    """The note of a mount by this process."""
    process = os.getpid()
    return MountNote(
        id=secrets.token_hex(8),
        target=target,
        databases=databases,
        snapshot=snapshot,
        host=_this_host(),
        process=process,
        started=_started(process),
        heard=datetime.now(UTC),
    )


def write(repository: Repository, note: MountNote) -> MountNote:
    """Put down that the mount lives now."""
    note = replace(note, heard=datetime.now(UTC))
    repository.put_note(KIND, note.id, msgspec.msgpack.encode(note))
    return note


def notes(repository: Repository) -> list[MountNote]:
    """All mounts, living and dead, of any target."""
    found: list[MountNote] = []
    for _, data in repository.notes(KIND):
        try:
            found.append(msgspec.msgpack.decode(data, type=MountNote))
        except IMPOSSIBLE:
            continue  # nobody can tell which mount it was
    return found


def is_alive(note: MountNote, now: datetime | None = None) -> bool:
    """Whether its process still runs: looked up on this machine, told by its silence if it is on another."""
    if note.host == _this_host():
        return bool(note.started) and _started(note.process) == note.started
    return (now or datetime.now(UTC)) - note.heard < SILENCE


def clear_away(repository: Repository, target: Source, note: MountNote) -> list[str]:
    """Drop what is left of a mount in its target, and forget it; the databases that were dropped."""
    mine = sql.databases_with_comment_query(f"{COMMENT}{note.id}")
    dropped = [str(name) for name, _ in target.fetch(mine)]
    for database in dropped:
        target.command(sql.drop_database_statement(database))
    repository.delete_note(KIND, note.id)
    return dropped


def clear_dead(repository: Repository, target: Source) -> list[str]:
    """Clear away what dead mounts left in this target; the databases that were dropped."""
    dropped: list[str] = []
    for note in notes(repository):
        if note.target == target.identity and not is_alive(note):
            dropped += clear_away(repository, target, note)
    return dropped


def _this_host() -> str:
    """This machine since its last start: a process number means something here alone."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}"


def _started(process: int) -> str:
    """When a process began, as the kernel counts; empty if there is none. Numbers of processes are used again."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return _without_proc(process)
    return "" if fields[0] == "Z" else fields[19]


def _without_proc(process: int) -> str:
    if Path("/proc/self").exists():
        return ""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "running"
    return "running"
