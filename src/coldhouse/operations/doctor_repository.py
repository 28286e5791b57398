"""What the doctor looks at in a repository: keys and notes, the ages of snapshot and proof, what is unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from coldhouse.clickhouse import Source
from coldhouse.errors import NoSuchSnapshot
from coldhouse.operations import checkpoint, choosing, mount_note, pin, proof, restore_note, snapshots
from coldhouse.operations.disks import same_disk
from coldhouse.operations.doctor_findings import Clock, Finding, Measure, Status, above, span
from coldhouse.repository import Repository, condemned, names, owners
from coldhouse.repository.collection import DEAD_AFTER
from coldhouse.repository.crypto import NEWER_KEY
from coldhouse.repository.names import QUARANTINE
from coldhouse.storage import Storage

#: How far in the future a snapshot may lie before its time is called wrong.
AHEAD = timedelta(minutes=5)
#: Of so many snapshots, the newest ones, it is looked how much they stored.
_WEIGHED = 5
#: So many objects are named; the next look shows the others.
_NAMED = 5
_CLOSED = "this key can back up and not read"


def opened(repository: Repository) -> Finding:
    """That it opened, and how many snapshots it holds."""
    count = len(repository.snapshot_ids())
    return Finding(
        "repository", Status.OK, f"{repository.url} opens; it holds {count} snapshot{'' if count == 1 else 's'}"
    )


def keys(repository: Repository) -> Finding:
    """Whether the key slots are sound, as far as that shows without their passphrases."""
    damage = list(repository.damaged_keys())
    if damage:
        return Finding(
            "keys",
            Status.CRITICAL,
            "; ".join(error.message.rstrip(".") for error in damage),
            "add the key anew while another one opens the repository (coldhouse key add, then key remove)",
        )
    if repository.lacking:
        return _old_key(repository)
    count = len(repository.slots.all())
    return Finding("keys", Status.OK, f"{count} key{'' if count == 1 else 's'}, no damage to be seen")


def _old_key(repository: Repository) -> Finding:
    """A rotation has left it out: to who can read that means more than to a host that only writes."""
    message = f"the key at hand is from before the rotation that made generation {repository.lacking} of the master key"
    if repository.write_only:
        message += ": what it backs up can be read with the old master key as well"
        return Finding("keys", Status.WARNING, message, "make a new one for this host: coldhouse key add --write-only")
    return Finding("keys", Status.CRITICAL, f"{message}: it cannot read what was backed up since", NEWER_KEY)


def newest_snapshot(
    repository: Repository, source: str, max_age: timedelta, now: Clock, *, identified: bool = True
) -> Finding:
    """How old the newest snapshot is: of a ``source`` (its identity or URL), or of any if none is given.

    Of a source that could not be ``identified`` only the URL is known, and it may have been backed up by another.

    Raises Corruption where a snapshot that is newer than those cannot be read.
    """
    check = "snapshot-age"
    whose = " of this source" if source and not repository.write_only else ""
    begun = _newest(repository, "" if repository.write_only else source)
    if begun is None and not identified and repository.snapshot_ids():
        return Finding(check, Status.SKIPPED, "the source does not say which it is, and no snapshot is of its URL")
    if begun is None:
        return Finding(check, Status.WARNING, f"there is no snapshot{whose} yet", "coldhouse backup takes one")
    age = now() - begun[1]
    warning, critical = max_age.total_seconds(), 2 * max_age.total_seconds()
    measure = Measure("snapshot_age", round(age.total_seconds()), "s", warning, critical)
    if age < -AHEAD:
        message = f"the newest snapshot{whose}, {begun[0]}, was begun {span(-age)} in the future"
        return Finding(check, Status.WARNING, message, "a clock was wrong then, or is now: see the clocks", measure)
    status = above(age.total_seconds(), warning, critical)
    message = f"the newest snapshot{whose}, {begun[0]}, was begun {span(age)} ago"
    hint = "" if status is Status.OK else "look at what runs coldhouse backup, and at what it said the last time"
    return Finding(check, status, message, hint, measure)


def last_proof(repository: Repository, max_age: timedelta, now: Clock) -> Finding:
    """How old the last proof by level data or drill is, and whether a verification found damage that is still there."""
    check = "proof-age"
    if repository.write_only:
        return Finding(check, Status.SKIPPED, _CLOSED)
    there = set(repository.snapshot_ids())
    if not there:
        return Finding(check, Status.SKIPPED, "there is no snapshot to prove")
    records = {id: proof.decoded(id, data) for id, data in repository.notes(proof.KIND) if id in there}
    damaged = sorted(id for id, record in records.items() if record.damaged_levels)
    if damaged:
        return Finding(
            check,
            Status.CRITICAL,
            f"a verification found damage in {', '.join(damaged[-3:])}{' and others' if len(damaged) > 3 else ''}",
            "coldhouse verify --level data says what is damaged, coldhouse repair what can be done",
        )
    hint = "coldhouse verify --level drill restores a snapshot into a scratch engine; --level data reads every byte"
    times = [one.at for record in records.values() for one in record.proofs if one.level != "structure"]
    if not times:
        return Finding(check, Status.WARNING, "no snapshot was ever proven by level data or drill", hint)
    age = now() - max(times)
    warning, critical = max_age.total_seconds(), 2 * max_age.total_seconds()
    status = above(age.total_seconds(), warning, critical)
    measure = Measure("proof_age", round(age.total_seconds()), "s", warning, critical)
    message = f"a snapshot was last proven {span(age)} ago"
    return Finding(check, status, message, "" if status is Status.OK else hint, measure)


def leftovers(repository: Repository, now: Clock) -> Finding:
    """What was begun and not finished, by the notes of it. Raises Corruption where one cannot be read."""
    check = "repository-leftovers"
    if repository.write_only:
        return Finding(check, Status.SKIPPED, _CLOSED)
    pin.pins(repository)  # a damaged one is found here: it may be any snapshot's
    told: list[str] = []
    restores = [msgspec.msgpack.decode(data, type=restore_note.Note) for _, data in repository.notes(restore_note.KIND)]
    if restores:
        since = span(now() - min(note.started for note in restores))
        told.append(f"{_some(len(restores), 'restore')} under way or interrupted, since {since}: repeated, it goes on")
    if any(True for _ in repository.notes(checkpoint.KIND)):
        told.append("what an unfinished backup has stored: the next one of its source uses it")
    told += _of_collections(repository.storage, now())
    unreadable = list(owners.unreadable(repository.storage))
    if unreadable:
        message = "; ".join([*(error.message.rstrip(".") for error in unreadable[:_NAMED]), *told])
        return Finding(check, Status.WARNING, message, unreadable[0].hint)
    dead = [note for note in mount_note.notes(repository) if not mount_note.is_alive(note, now())]
    if dead:
        told.append(
            f"{_some(len(dead), 'mount')} that died: {', '.join(name for note in dead for name in note.databases)}"
        )
        hint = "run coldhouse doctor with --source on the server where it was: it drops what is left there"
        return Finding(check, Status.WARNING, "; ".join(told), hint)
    return Finding(check, Status.OK, "; ".join(told) or "nothing is left unfinished")


def _of_collections(storage: Storage, now: datetime) -> Iterator[str]:
    """What a prune takes away or finishes; none of it is wrong."""
    heard: dict[str, datetime] = {}
    for stored in storage.list(names.INTENTS):
        intent = stored.name.removeprefix(names.INTENTS).partition("/")[0]
        heard[intent] = max(stored.modified, heard.get(intent, stored.modified))
    silent = sum(now - last > DEAD_AFTER for last in heard.values())
    if silent:
        yield f"what {_some(silent, 'command')} announced and then died: coldhouse prune takes it away"
    if any(not condemned.is_closed(stored) for stored in storage.list(names.CONDEMNED)):
        yield "a prune under way, or one that waits for others or was interrupted: the next one goes on with it"
    if any(True for _ in storage.list(QUARANTINE)):
        yield f"damaged objects that coldhouse repair has set aside below {QUARANTINE}"


def place(repository: Repository, source: Source) -> Finding:
    """Whether repository and data would be lost together."""
    if same_disk(repository.url, source):
        return Finding(
            "same-disk",
            Status.WARNING,
            "the repository is on the same disk as the data that it protects",
            "put it, or a copy of it (coldhouse copy), elsewhere",
        )
    return Finding("same-disk", Status.OK, "repository and data are not on one disk, as far as can be seen from here")


def largest_of_the_last(repository: Repository) -> int:
    """What the largest of the last few snapshots stored, in bytes; 0 where this key cannot tell. Raises Corruption."""
    if repository.write_only:
        return 0
    last = repository.snapshot_ids()[-_WEIGHED:]
    return max((snapshot.accounting.stored for snapshot in repository.snapshots(last)), default=0)


def _newest(repository: Repository, source: str) -> tuple[str, datetime] | None:
    """The id of the newest snapshot (of a source) and when it was begun."""
    if not source:
        times = snapshots.known_times(repository)
        return times[-1] if times else None
    try:
        found = choosing.newest(repository, source)
    except NoSuchSnapshot:
        return None
    return found.id, found.started


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
