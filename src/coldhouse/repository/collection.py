"""Collection: delete what no snapshot needs, beside any number of writers, readers and other collections.

The steps, and the argument why nothing is lost, are in FORMAT.md under *Collection*. In short: what seems unneeded is
published first (condemned); whoever began before that is waited for, or has seen it, or is shut out; whoever begins
later sees it. Then the roots are read again, what is to go is written down (a grave), and only then it is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing, PruneRefused
from coldhouse.model import PackRef
from coldhouse.repository import condemned, names, notes, owners, revisions
from coldhouse.repository.ahead import THREADS
from coldhouse.repository.condemned import Candidate, CondemnedList, What
from coldhouse.repository.intents import Intent
from coldhouse.repository.marking import Marks
from coldhouse.repository.owners import Owner, Wait
from coldhouse.repository.repository import Repository
from coldhouse.storage.base import StoredObject

DEAD_AFTER = timedelta(hours=2)
KEEP_UNFINISHED = timedelta(days=14)
#: No store carries out a request that it was sent so long ago.
FORGETTABLE = timedelta(days=400)
UNFINISHED = "unfinished"
_QUARANTINE = "quarantine/snapshots/"
_BATCH = 1000
_LOOKS = 5
_LISTINGS = 100


class Limits(Struct, frozen=True):
    """How long a silent owner counts as alive, and how long what unfinished backups stored is kept for the next."""

    dead_after: timedelta = DEAD_AFTER
    keep_unfinished: timedelta = KEEP_UNFINISHED


class Tally(Struct, frozen=True):
    """A number of packs and manifests, and their bytes."""

    packs: int = 0
    manifests: int = 0
    bytes: int = 0

    def with_one(self, what: What, size: int) -> Tally:
        """The same and one more."""
        is_pack = what is What.PACK
        return Tally(self.packs + is_pack, self.manifests + (not is_pack), self.bytes + size)


class Survey(Struct, frozen=True):
    """What a collection would find now: everything that is stored, what nothing needs, and who is at work.

    In ``marks`` is what the revisions need that count, and the packs that what was set aside needs are needed as a
    whole. What a revision needs that a rewriting has left half done is not unneeded yet, but no reason to keep a pack.
    """

    stored: Tally
    unneeded: Tally
    pending: int
    owners: tuple[Owner, ...]
    marks: Marks


@dataclass(slots=True)
class Collected:
    """What a collection did; ``waiting`` says what was left for a later one, and ``waits`` for whom."""

    deleted: Tally = field(default_factory=Tally)
    waiting: Tally = field(default_factory=Tally)
    waits: tuple[Wait, ...] = ()
    fenced: tuple[str, ...] = ()


class _Unfinished(Struct, frozen=True):
    packs: tuple[PackRef, ...]


class Collection:
    """One collection; used by one thread."""

    def __init__(
        self,
        repository: Repository,
        limits: Limits | None = None,
        *,
        threads: int = THREADS,
        told: Callable[[int], None] | None = None,
    ) -> None:
        """``told`` hears of every batch how many objects were deleted."""
        self._repository = repository
        self._storage = repository.storage
        self._limits = limits or Limits()
        self._threads = threads
        self._told = told or (lambda _: None)
        self._collected = Collected()
        self._marked: set[str] = set()  # the roots that were walked from
        self._aside: list[Marks] = []  # what was set aside needs
        self._sizes: dict[bytes, int] = {}  # of all objects that are, or may become, condemned

    def survey(self) -> Survey:
        """Look, and change nothing. Raises PruneRefused, WriteOnlyKey, StorageError."""
        marks = self._mark()
        pending = self._pending()
        stored, unneeded = Tally(), Tally()
        for found, size, _ in self._stored():
            stored = stored.with_one(found.what, size)
            if not self._needed(marks, found):
                unneeded = unneeded.with_one(found.what, size)
        marks = self._counting(marks)
        for aside in self._aside:
            marks.add_packs(aside.packs())
        return Survey(stored, unneeded, sum(map(len, pending)), tuple(owners.read_owners(self._storage)), marks)

    def run(self) -> Collected:
        """Collect what can be collected.

        Raises:
            PruneRefused: a snapshot, or what it refers to, cannot be read: then nothing was deleted.
            WriteOnlyKey: the key cannot read.
            StorageError: the store failed; a repeat goes on.
        """
        with Intent(self._storage, owners.PRUNE) as own:
            now = self._now(own)
            self._forget_old_notes(now)
            found = owners.read_owners(self._storage)
            oldest = owners.oldest_writer(each for each in found if not self._is_dead(each, now))
            stored = list(self._stored())
            marks = self._mark()
            lists = self._pending()
            lists += self._condemn(stored, marks, lists, oldest)
            free = self._free(lists, own, now)  # t1
            if free:
                marks = self._mark_again(marks)  # t2
            for each in free:
                self._finish(each, marks)  # t3
            self._forget_old_fences(now)
        return self._collected

    # ------------------------------------------------------------------------------------------------------- looking

    def _now(self, own: Intent) -> datetime:
        """The time on the store's own clock: that of an object which was just written."""
        for _ in range(_LOOKS):
            times = [stored.modified for stored in self._storage.list(f"{names.INTENTS}{own.id}/")]
            if times:
                return max(times)
            own.renew()  # another collection has taken this one for dead
        raise _restless()

    def _stored(self) -> Iterator[tuple[Candidate, int, datetime]]:
        for what, prefix in ((What.PACK, names.PACKS), (What.MANIFEST, names.MANIFESTS)):
            for stored in self._storage.list(prefix):
                id = names.id_of(stored.name)
                if id is not None:
                    yield Candidate(what, id), stored.size, stored.modified

    def _roots(self) -> set[str]:
        """The names of all revisions that stand. Raises PruneRefused if the snapshots never stay as they are.

        A listing that is made while a snapshot gets a new revision can miss the new one, and see the old one as a fence
        already. So it is repeated until it shows the same twice: then none was missed in the second one.
        """
        roots: set[str] = set()
        before: dict[str, bool] | None = None
        for _ in range(_LISTINGS):
            listing = list(self._storage.list(names.SNAPSHOTS))
            for objects in revisions.standing(listing).values():
                roots.update(objects)
            now = {stored.name: revisions.is_fence(stored) for stored in listing}
            if now == before:
                return roots
            before = now
        raise _restless()

    def _mark(self) -> Marks:
        """Walk from all roots. One that is forgotten on the way may take things along: then it is begun anew."""
        for _ in range(_LOOKS):
            roots = self._roots()
            marks = Marks(self._repository, self._threads)
            try:
                marks.add(sorted(roots))
            except Corruption as error:
                if roots <= self._roots():
                    raise _unreadable(error) from error
                continue
            self._marked = roots
            marks.add_packs(self._noted())
            self._mark_quarantine()
            return marks
        raise _restless()

    def _mark_again(self, marks: Marks) -> Marks:
        """Walk from what was committed since."""
        new = self._roots() - self._marked
        try:
            marks.add(sorted(new))
        except Corruption:
            return self._mark()
        self._marked |= new
        marks.add_packs(self._noted())
        return marks

    def _counting(self, marks: Marks) -> Marks:
        """What the revisions need that count; the same marks unless a rewriting has died and left others standing."""
        standing = revisions.standing(self._storage.list(names.SNAPSHOTS))
        superfluous = {name for some in standing.values() for name in some[1:]}
        if not superfluous & self._marked:
            return marks
        counting = Marks(self._repository, self._threads)
        try:
            counting.add(sorted(self._marked - superfluous))
        except Corruption:  # a snapshot was forgotten and collected on the way
            return marks
        counting.add_packs(self._noted())
        return counting

    def _mark_quarantine(self) -> None:
        """Keep what snapshots that were set aside need, as far as that can be told.

        Each is walked for itself: a walk that fails in the middle has not marked all that it has met.
        """
        for stored in self._storage.list(_QUARANTINE):
            aside = Marks(self._repository, self._threads)
            with suppress(Corruption):
                aside.add([stored.name])
            self._aside += [aside]

    def _noted(self) -> Iterator[PackRef]:
        """The packs that unfinished backups have stored; a note that cannot be read keeps nothing."""
        for stored in self._storage.list(names.note_folder(UNFINISHED)):
            with suppress(Corruption, msgspec.MsgspecError):
                note = notes.read_note(self._storage, self._repository._ring, stored.name)
                if note is not None:
                    yield from msgspec.msgpack.decode(note, type=_Unfinished).packs

    def _needed(self, marks: Marks, found: Candidate) -> bool:
        if found.what is What.PACK:
            return any(each.has_pack(found.id) for each in (marks, *self._aside))
        return any(each.has_manifest(found.id) for each in (marks, *self._aside))

    # ----------------------------------------------------------------------------------------------------- condemning

    def _pending(self) -> list[CondemnedList]:
        """The lists that earlier collections left; one that nobody can read is closed."""
        found: list[CondemnedList] = []
        for id in condemned.listed(self._storage, names.CONDEMNED):
            try:
                each = condemned.read(self._storage, names.CONDEMNED, id)
            except Corruption:
                self._close(id)
                continue
            if each is not None:
                found.append(each)
        return found

    def _condemn(
        self,
        stored: Iterable[tuple[Candidate, int, datetime]],
        marks: Marks,
        pending: Sequence[CondemnedList],
        oldest: datetime | None,
    ) -> list[CondemnedList]:
        """Publish what nothing needs. What is younger than a running writer may be his, and is spared the trouble."""
        candidates: list[Candidate] = []
        for found, size, modified in stored:
            listed = any(each.holds(found.what, found.id) for each in pending)
            young = oldest is not None and modified >= oldest
            if listed or not (young or self._needed(marks, found)):
                self._sizes[found.id] = size
                if not listed:
                    candidates.append(found)
        lists = []
        for start in range(0, len(candidates), condemned.MAX_OBJECTS):
            id = names.new_object_id().hex()
            content = condemned.encode(candidates[start : start + condemned.MAX_OBJECTS])
            self._storage.create(names.condemned(id), content)
            lists.append(condemned.decode(id, names.condemned(id), content))
        return lists

    def _free(self, lists: Sequence[CondemnedList], own: Intent, now: datetime) -> list[CondemnedList]:
        """The lists that need not wait for anybody; those who are dead are shut out first."""
        others = [owner for owner in owners.read_owners(self._storage) if owner.id != own.id]
        alive = [owner for owner in others if not self._is_dead(owner, now)]
        for owner in others:
            if owner not in alive:
                self._shut_out(owner)
        if not lists and not alive:
            return []
        listing = list(self._storage.list(names.SNAPSHOTS))
        taken = frozenset(stored.name for stored in listing)
        standing = revisions.standing(listing)
        fenced = revisions.fenced(listing)
        free = []
        waits: dict[str, Wait] = {}
        for each in lists:
            blocking = [owner for owner in alive if owners.blocks(owner, each.id, taken, standing, fenced)]
            waits |= {owner.id: owners.wait_of(owner) for owner in blocking}
            if blocking:
                self._collected.waiting = self._tally(each, self._collected.waiting)
            else:
                free.append(each)
        self._collected.waits = tuple(waits.values())
        for owner in alive:
            if owners.is_over(owner, taken):
                self._storage.delete(owner.objects)
        return free

    def _is_dead(self, owner: Owner, now: datetime) -> bool:
        return owners.is_dead(owner, now, self._limits.dead_after)

    def _shut_out(self, owner: Owner) -> None:
        """Close the names that a dead writer could still create, then remove his intent.

        Only names of snapshots: it is done with the rights of who prunes, for somebody whom nothing proves.
        """
        for name in owner.says.commits if owner.says is not None else ():
            if names.revision_of(name) is None:
                continue
            with suppress(ObjectExists):  # it has committed, or was shut out before
                self._storage.create(name, names.FENCE)
                self._collected.fenced += (name,)
        self._storage.sync()
        self._storage.delete(owner.objects)

    # ------------------------------------------------------------------------------------------------------- deleting

    def _finish(self, each: CondemnedList, marks: Marks) -> None:
        """Delete what is still unneeded of a list, and close it."""
        going = [found for found in each if found.id in self._sizes and not self._needed(marks, found)]
        if going:
            self._bury(going)
        if not self._still_open(each):
            return  # another collection has finished it: those that began since then have not seen it
        for start in range(0, len(going), _BATCH):
            batch = going[start : start + _BATCH]
            self._storage.delete([found.name for found in batch])
            for found in batch:
                self._collected.deleted = self._collected.deleted.with_one(found.what, self._sizes[found.id])
            self._told(len(batch))
        self._storage.sync()
        self._close(each.id)

    def _close(self, id: str) -> None:
        """Say that a list is done. A fence, no deletion: the request that created it may yet be carried out again."""
        self._storage.put(names.condemned(id), names.FENCE)

    def _bury(self, going: Sequence[Candidate]) -> None:
        """Write down what is going to be deleted, for those who know of it from elsewhere than a snapshot."""
        self._storage.create(names.grave(names.new_object_id().hex()), condemned.encode(going))
        self._storage.sync()

    def _still_open(self, each: CondemnedList) -> bool:
        try:
            return self._storage.size(names.condemned(each.id)) != len(names.FENCE)
        except ObjectMissing:
            return False

    def _tally(self, each: CondemnedList, tally: Tally) -> Tally:
        for found in each:
            if found.id in self._sizes:
                tally = tally.with_one(found.what, self._sizes[found.id])
        return tally

    # --------------------------------------------------------------------------------------------------------- tidying

    def _forget_old_notes(self, now: datetime) -> None:
        """Give up what unfinished backups have stored, when the next ones had time enough to take it over."""
        folder = names.note_folder(UNFINISHED)
        old = [each.name for each in self._storage.list(folder) if now - each.modified > self._limits.keep_unfinished]
        self._storage.delete(old)

    def _forget_old_fences(self, now: datetime) -> None:
        """Remove fences and graves that no request that is still under way can need."""
        listing = list(self._storage.list(names.SNAPSHOTS))
        standing = revisions.standing(listing)
        old: list[str] = []
        for stored in listing:
            revision = names.revision_of(stored.name)
            if revision is not None and revision[0] not in standing and _is_old(stored, now):
                old.append(stored.name)
        if old:
            revisions.note_removal(self._storage)
        for stored in self._storage.list(names.CONDEMNED):
            if condemned.is_closed(stored) and _is_old(stored, now):
                old.append(stored.name)
        old += [stored.name for stored in self._storage.list(names.GRAVES) if _is_old(stored, now)]
        if old:
            self._storage.delete(old)


def _is_old(stored: StoredObject, now: datetime) -> bool:
    return now - stored.modified > FORGETTABLE


def _restless() -> PruneRefused:
    return PruneRefused(
        "Snapshots keep changing while they are looked at; nothing was deleted.", hint="Run prune again later."
    )


def _unreadable(error: Corruption) -> PruneRefused:
    return PruneRefused(
        f"Nothing was deleted, because what a snapshot needs cannot be told: {error.message}",
        hint="Run coldhouse repair, or forget the snapshots that need it; then prune again.",
    )
