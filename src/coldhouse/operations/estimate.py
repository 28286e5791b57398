"""What a backup will cost, from its plan alone: bounds between which its requests and bytes will lie.

Exact is what is decided already: the reads of what is known, and all of a backup that finds nothing changed. Open is
what only the sending tells: which files ClickHouse finds in the base, how well they compress, how threads fill packs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from coldhouse.model import ManifestRef, PageRef, TableKind, TableName
from coldhouse.operations.backup_plan import Batch, TablePlan
from coldhouse.operations.checkpoint import FILES_PER_NOTE
from coldhouse.repository import limits
from coldhouse.storage.counted import PAGE, Requests

__all__ = [
    "BackupEstimate",
    "BackupPreview",
    "Bounds",
    "Requests",
    "Surroundings",
    "TablePreview",
    "estimate_backup",
    "preview_table",
]

#: What BACKUP sends, in bytes, beside what the system tables count: small files of each part, and of each table.
_BESIDE_PART = 8192
_BESIDE_TABLE = 65536
#: Around a file in an archive: its head, what fills its last block, its line in the list; and around all of them.
_OF_AN_ARCHIVED_FILE = 1024 + 400
_OF_AN_ARCHIVE = 65536
#: What a file takes in manifests and pack directories, and what an object, a catalog entry take beside, at most about.
_OF_A_FILE = 192
_OF_AN_OBJECT = 8192
_OF_AN_ENTRY = 8192
#: A backup announces itself, looks for what a prune has condemned, and takes its announcement back.
_INTENT = Requests(put=1, list=1, delete=1)
#: So much of a frame is used at least, where small files share it.
_USED = limits.FRAME_SIZE * 7 // 8


class Bounds(Struct, frozen=True):
    """At least and at most so many requests and bytes; equal where nothing is open."""

    least: Requests
    most: Requests

    def __add__(self, other: Bounds) -> Bounds:
        return Bounds(self.least + other.least, self.most + other.most)

    @property
    def exact(self) -> bool:
        """Whether nothing is open."""
        return self.least == self.most


class TablePreview(Struct, frozen=True):
    """What a backup would do with a table: carry it over, or ask for all of it or for so many partitions.

    ``bytes`` at the source of what is asked for; None where its engine does not say.
    """

    name: TableName
    action: Literal["carry", "ask"]
    partitions: int | None
    bytes: int | None


class BackupPreview(Struct, frozen=True):
    """What a backup would do: compared with ``parent`` (empty: with nothing), and what it would cost within bounds.

    ``requests`` are all of it; those up to the plan were counted, not estimated.
    """

    location: str
    parent: str
    tables: tuple[TablePreview, ...]
    estimate: BackupEstimate
    requests: Bounds
    warnings: tuple[str, ...]


class Surroundings(Struct, frozen=True):
    """What counts beside the plans.

    ``catalog`` is the parent's; ``new`` says that there are entries which it does not have, ``changed`` that it cannot
    be shared as a whole. ``frames`` are those of a pack; ``checkpoint_bytes`` as in the options, 0 where no notes are
    made. ``recalled`` notes of unfinished backups will be deleted. ``stored`` is how many packs and manifests the
    repository has, if that was counted.
    """

    catalog: Sequence[ManifestRef]
    new: bool
    changed: bool
    frames: int
    checkpoint_bytes: int
    recalled: int = 0
    stored: tuple[int, int] = (0, 0)


class BackupEstimate(Struct, frozen=True):
    """What comes after the plan: at most ``sent`` bytes by ClickHouse, and the requests to the store within bounds.

    ``unsized`` are tables whose engine does not say how large they are; what they cost is not in the bounds.
    ``lists``: so much may have to be proven that the store is listed, for which ``stored`` has to be known.
    """

    statements: int
    sent: int
    bounds: Bounds
    unsized: tuple[str, ...]
    lists: bool


def estimate_backup(plans: Sequence[TablePlan], batches: Sequence[Batch], around: Surroundings) -> BackupEstimate:
    """The bounds of what a backup asks of the store between its plan and its end."""
    asking = [plan for plan in plans if plan.asks]
    sent = sum(map(_sent, asking))
    files = sum(max(load.files, 1) for plan in asking for load in plan.send) + 64 * len(asking)
    reused = [kept.page for plan in plans for kept in plan.kept if kept.partitions is not None]
    packs = _packs(sent, files, len(batches), around.frames)
    manifests, size = _manifests(plans, files, reused, around) if around.changed else (0, 0)
    on_the_way = sent + sum(_around_files(batch) for batch in batches)
    notes = on_the_way // around.checkpoint_bytes * (1 + files // FILES_PER_NOTE) if around.checkpoint_bytes else 0
    packs_to_prove = packs + sum(page.files for page in reused) + sum(page.files for page in _small(plans))
    lists = max(manifests, packs_to_prove) > limits.ASKED
    certain = int(around.new)
    bounds = (
        _reads(plans, asking, batches, around)
        + Bounds(Requests(put=certain, head=certain), Requests(put=manifests + packs + notes, delete=notes))
        + _open(uploaded=size + notes * _OF_AN_OBJECT + (files * _OF_A_FILE if notes else 0))
        + _open(uploaded=_in_packs(sent, files, packs) if asking else 0)
        + _proof(manifests, around.stored[1])
        + _proof(packs_to_prove, around.stored[0])
        + _commit(around)
        + _exactly(delete=around.recalled)
    )
    unsized = tuple(str(plan.table.name) for plan in asking if _size(plan) is None)
    return BackupEstimate(len(batches), on_the_way, bounds, unsized, lists)


def preview_table(plan: TablePlan) -> TablePreview:
    """What a plan means for its table."""
    if not plan.asks:
        return TablePreview(plan.table.name, "carry", None, 0)
    return TablePreview(plan.table.name, "ask", None if plan.whole else len(plan.send), _size(plan))


def _reads(
    plans: Sequence[TablePlan], asking: Sequence[TablePlan], batches: Sequence[Batch], around: Surroundings
) -> Bounds:
    """Pages that a statement's base is made of, pages of which a part is kept, and the parent's catalog."""
    known = {plan.table.name: plan.known.pages if plan.known else () for plan in asking}
    needed = [
        page
        for batch in batches
        for item in batch.items
        for page in known[item.table]
        if item.partitions is None or any(page.first <= each <= page.last for each in item.partitions)
    ]
    needed += [kept.page for plan in plans for kept in plan.kept if kept.partitions is not None]
    again = (*(page.ref for page in _small(plans)), *(around.catalog if around.changed else ()))
    exact = _gets((*(page.ref for page in needed if not page.inline), *around.catalog))
    return Bounds(exact, exact + _gets(again))


def _small(plans: Sequence[TablePlan]) -> list[PageRef]:
    """Pages that stay as they are, unless a changed neighbour takes them in."""
    return [
        kept.page
        for plan in plans
        if not plan.carried
        for kept in plan.kept
        if kept.partitions is None and limits.is_small(kept.page)
    ]


def _gets(refs: Iterable[ManifestRef]) -> Requests:
    sizes = [ref.size for ref in refs if ref.id]
    return Requests(get=len(sizes), downloaded=sum(sizes))


def _size(plan: TablePlan) -> int | None:
    """The bytes at the source of what a plan asks for; None if nobody knows."""
    if plan.table.kind is TableKind.FILES:
        return plan.table.total_bytes
    return sum(load.bytes for load in plan.send)


def _sent(plan: TablePlan) -> int:
    parts = sum(load.parts for load in plan.send)
    return (_size(plan) or 0) + _BESIDE_PART * parts + _BESIDE_TABLE + 4 * len(plan.table.create_query)


def _around_files(batch: Batch) -> int:
    """What an archive has beside its files."""
    return _OF_AN_ARCHIVED_FILE * batch.files + _OF_AN_ARCHIVE if batch.small_files else 0


def _packs(sent: int, files: int, statements: int, frames: int) -> int:
    """Each statement ends its last pack; a pack ends when its frames or its places for files are full."""
    if not sent:
        return 0
    return statements + sent // (frames * _USED) + 2 * files // limits.PACK_RUNS


def _in_packs(sent: int, files: int, packs: int) -> int:
    return sent + sent // 1024 + files * _OF_A_FILE + packs * _OF_AN_OBJECT


def _manifests(
    plans: Sequence[TablePlan], files: int, reused: Sequence[PageRef], around: Surroundings
) -> tuple[int, int]:
    """How many pages and catalog objects there will be at most, and their bytes."""
    changed = [plan for plan in plans if not plan.carried]
    parts = sum(load.parts for plan in changed for load in plan.send)
    again = [*reused, *_small(plans)]
    parts += sum(page.parts for page in again)
    files += sum(page.files for page in again)
    runs = sum(1 + len(plan.kept) for plan in changed)
    # Two neighbours have together more than one may have; within a large partition a page has a quarter at least.
    pages = runs + 4 * parts // limits.PAGE_PARTS + 2 * files // limits.PAGE_FILES
    entries = _OF_AN_ENTRY * (1 + len(changed)) + 2 * sum(len(plan.table.create_query) for plan in changed)
    size = entries + _OF_A_FILE * files + sum(ref.size for ref in around.catalog)
    catalogs = len(around.catalog) + 1 + 2 * size // limits.CATALOG_BYTES
    return pages + catalogs, size + (pages + catalogs) * _OF_AN_OBJECT


def _proof(most: int, stored: int) -> Bounds:
    """Objects are asked for one by one, or all listed where they are many."""
    lists = 1 + (stored + most) // PAGE if most > limits.ASKED else 0
    return _open(head=min(most, limits.ASKED), list=lists)


def _commit(around: Surroundings) -> Bounds:
    """The snapshot object, its announcement; and whether the parent is still there, if anything is shared with it."""
    root = Requests(put=1) + _INTENT
    parent = Requests(head=1) if around.catalog else Requests()
    least = root if around.changed else root + parent
    return Bounds(least, root + parent) + _open(uploaded=_OF_AN_OBJECT)


def _exactly(**both: int) -> Bounds:
    return Bounds(Requests(**both), Requests(**both))


def _open(**most: int) -> Bounds:
    return Bounds(Requests(), Requests(**most))
