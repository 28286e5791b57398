"""What a restore will cost, from its plan and the manifests of what it restores: bounds of its requests and bytes.

Exact are manifests, notes and long runs of files, each of which is one request. Open is, for small files that share
frames, how many of them one request serves: that depends on the order in which ClickHouse asks, and on what the cache
still holds then. At most is the worst order; at least is as many bytes in each request as there can be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from coldhouse.model import Extent, FileEntry, PackRef, Part, TableKind
from coldhouse.operations.estimate import Bounds
from coldhouse.operations.restore_plan import TableStep
from coldhouse.repository import Page, is_swept, limits, pack_sizes
from coldhouse.storage.counted import Requests

__all__ = ["RestoreEstimate", "RestoreSurroundings", "TableReads", "estimate_restore"]

#: What a note takes beside the names in it, and what a name takes beside its letters, at most.
_OF_A_NOTE = 8192
_OF_A_NAME = 64


class TableReads(Struct, frozen=True):
    """A table that will be restored, and the manifest pages of it that RESTORE needs, in any form that yields them."""

    step: TableStep
    pages: Iterable[Page]


class RestoreSurroundings(Struct, frozen=True):
    """What counts beside the tables.

    ``sweep`` as for the pack reader. ``noted``: the repository takes notes. ``resumed``: an earlier run of this restore
    has left its note, so that some of its tables may be there. ``schema_only``, ``resubmit``, ``skip_damaged`` are as
    in the options.
    """

    sweep: int
    noted: bool = True
    resumed: bool = False
    schema_only: bool = False
    resubmit: bool = False
    skip_damaged: bool = False

    @property
    def certain(self) -> bool:
        """Whether everything in the plan will be read: nothing is there already, nothing damaged is looked for."""
        return not (self.resumed or self.skip_damaged)


class RestoreEstimate(Struct, frozen=True):
    """What comes after the plan: so many bytes of files served to ClickHouse, and the requests to the store.

    Beside the files ClickHouse is served a list of them, and the definitions.
    """

    served_least: int
    served_most: int
    bounds: Bounds


def estimate_restore(tables: Iterable[TableReads], around: RestoreSurroundings) -> RestoreEstimate:
    """The bounds of what a restore asks of the store between its plan and its end.

    ``tables`` are in the order in which they are restored; their pages are taken one at a time. Raises Corruption for
    an address that no pack has.
    """
    whole, group, bounds, served = _Reads(), _Reads(), _note(around), 0
    names = puts = 0
    for table in tables:
        step = table.step
        names += _OF_A_NAME + 3 * len(str(step.target))
        puts += step.action == "append" and step.entry.kind is not TableKind.DEFINITION
        bounds += _manifests(step, around)
        reads = _Reads()
        for packs, file in _files(table, around):
            served += file.size
            reads.add(packs, file, around.sweep)
        whole.join(reads)
        both = group.joined(reads)
        if not both.fit:
            bounds += Bounds(Requests(), group.most(around))
        group = both if both.fit else reads
    bounds += Bounds(whole.least() if around.certain else Requests(), group.most(around))
    bounds += Bounds(Requests(put=0 if around.resumed else puts), Requests(put=puts))
    bounds += Bounds(Requests(), Requests(uploaded=(1 + puts) * (_OF_A_NOTE + names)))
    return RestoreEstimate(served if around.certain else 0, served, bounds)


def _note(around: RestoreSurroundings) -> Bounds:
    """The note of the restore is written and removed, the announcement taken back; a store may refuse all of it."""
    most = Requests(put=1, delete=2 if around.noted else 1)
    return Bounds(most if around.noted else Requests(put=1), most)


def _manifests(step: TableStep, around: RestoreSurroundings) -> Bounds:
    """Pages are read for the RESTORE statement, and once more to submit mutations again."""
    sizes = [page.ref.size for page in step.pages if not page.inline]
    once, never = Requests(get=len(sizes), downloaded=sum(sizes)), Requests()
    filled = never if around.schema_only else once
    again = once if around.resubmit and step.entry.mutations else never
    return Bounds((filled if around.certain else never) + again, filled + again)


def _files(table: TableReads, around: RestoreSurroundings) -> Iterator[tuple[Mapping[bytes, PackRef], FileEntry]]:
    """Every file that ClickHouse will be served, with the packs of its page."""
    if around.schema_only:
        return
    for page in table.pages:
        for part in page.parts(table.step.partitions):
            if not _is_damaged(part):
                for file in part.files:
                    yield page.packs, file


def _is_damaged(part: Part) -> bool:
    """Whether it was damaged at the source: then it is left out."""
    return any(file.damaged for file in part.files)


# -------------------------------------------------------------------------------------------------------------- packs


class _Use:
    """What of a pack is read: frames as bits, and how often.

    ``shared`` frames are read through the cache, ``touches`` times; ``swept`` ones lie in long runs, each of which is
    one request past the cache, but for what ``stays`` of it because other files lie there too.
    """

    __slots__ = ("ref", "shared", "stays", "sweeps", "swept", "swept_bytes", "touches")

    def __init__(self, ref: PackRef) -> None:
        self.ref = ref
        self.shared = self.swept = 0
        self.touches = self.sweeps = self.swept_bytes = 0
        self.stays = False

    def add(self, extent: Extent, *, swept: bool) -> None:
        """Read a run of a file."""
        frames = pack_sizes.frame_mask(extent)
        number = frames.bit_count()
        if swept:
            self.swept |= frames
            self.sweeps += 1
            self.swept_bytes += pack_sizes.largest(self.ref, number)
            self.stays |= bool(extent.offset % limits.FRAME_SIZE or extent.length % limits.FRAME_SIZE)
        else:
            self.shared |= frames
            self.touches += number

    def join(self, other: _Use) -> None:
        """Read what another one reads, too."""
        self.shared |= other.shared
        self.swept |= other.swept
        self.touches += other.touches
        self.sweeps += other.sweeps
        self.swept_bytes += other.swept_bytes
        self.stays |= other.stays

    @property
    def cached(self) -> int:
        """At most so many bytes of its frames come into the cache: neighbours come along."""
        return pack_sizes.frames(self.ref) * limits.FRAME_SIZE if self.shared or self.stays else 0

    def least(self) -> Requests:
        """Each run is a request; what no run brings along comes with as many bytes in a request as there can be."""
        alone = (self.shared & ~self.swept).bit_count()
        bytes_alone = pack_sizes.smallest(self.ref, alone)
        gets = 1 + self.sweeps + -(-bytes_alone // limits.FETCH_BYTES)
        read = pack_sizes.smallest(self.ref, (self.shared | self.swept).bit_count())
        return Requests(get=gets, downloaded=pack_sizes.end_size(self.ref) + read)

    def most(self, *, kept: bool, opened: bool, times: int) -> Requests:
        """Each frame once if it is ``kept``, else each time; the pack is opened once if it stays ``opened``."""
        touches, sweeps = times * self.touches, times * self.sweeps
        gets = self.shared.bit_count() if kept else touches
        fetched = gets * min(limits.FETCH_BYTES, pack_sizes.largest(self.ref))
        if kept:
            fetched = min(fetched, pack_sizes.largest(self.ref))
        opens = 1 if opened else touches + sweeps
        read = opens * pack_sizes.end_size(self.ref) + fetched + times * self.swept_bytes
        return Requests(get=opens + sweeps + gets, downloaded=read)


class _Reads:
    """What is read of packs, by their ids: some hundred bytes of memory for each."""

    def __init__(self) -> None:
        self._uses: dict[bytes, _Use] = {}

    def add(self, packs: Mapping[bytes, PackRef], file: FileEntry, sweep: int) -> None:
        """Read a file once, from beginning to end."""
        for extent in file.extents:
            self._use(packs[extent.pack]).add(extent, swept=is_swept(file.size, extent.length, sweep))

    def join(self, other: _Reads) -> None:
        """Read what another one reads, too."""
        for use in other._uses.values():
            self._use(use.ref).join(use)

    def joined(self, other: _Reads) -> _Reads:
        """This and another one together."""
        both = _Reads()
        both.join(self)
        both.join(other)
        return both

    @property
    def fit(self) -> bool:
        """Whether the cache holds all that these reads bring into it, so that nothing is fetched a second time."""
        cached = sum(use.cached for use in self._uses.values())
        return cached <= limits.CACHE_BYTES and len(self._uses) <= limits.OPEN_PACKS

    def least(self) -> Requests:
        """At least this is asked for."""
        return sum((use.least() for use in self._uses.values()), Requests())

    def most(self, around: RestoreSurroundings) -> Requests:
        """At most this is asked for; who looks for damage first reads everything twice."""
        kept, opened = self.fit, len(self._uses) <= limits.OPEN_PACKS
        times = 2 if around.skip_damaged else 1
        each = (use.most(kept=kept, opened=opened, times=times) for use in self._uses.values())
        return sum(each, Requests())

    def _use(self, ref: PackRef) -> _Use:
        found = self._uses.get(ref.id)
        if found is None:
            found = self._uses[ref.id] = _Use(ref)
        return found
