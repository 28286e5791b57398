"""What is damaged or missing in a repository, and which snapshots, tables and parts that concerns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from msgspec import Struct

from coldhouse.errors import Corruption, OldKey
from coldhouse.events import Listener, Phase, Progress
from coldhouse.model import FileEntry, ManifestRef, PackRef, PageRef, Snapshot, TableEntry
from coldhouse.repository import PackReader, Page, Repository, manifest_name, pack_name

#: Told of a catalog object that cannot be read.
LostCatalog = Callable[[Snapshot, ManifestRef, Corruption], None]

#: Packs that are read at a time.
_READING = 4


class BadObject(Struct, frozen=True):
    """An object that is missing (``there`` is false) or damaged; ``ref`` is what manifests say of it, if they do."""

    name: str
    problem: str
    there: bool
    ref: PackRef | ManifestRef | None = None


class Hurt(Struct, frozen=True):
    """What a snapshot lost: a part, or (``part`` is empty) all that is behind an object; ``object`` is the cause."""

    snapshot: str
    table: str
    part: str
    object: str


@dataclass(slots=True)
class Diagnosis:
    """Everything that was found: objects by name, what they mean for snapshots, and what was looked at."""

    objects: dict[str, BadObject] = field(default_factory=dict)
    hurt: list[Hurt] = field(default_factory=list)
    packs: dict[bytes, PackRef] = field(default_factory=dict)  # all that snapshots need
    snapshots: int = 0

    @property
    def damaged_snapshots(self) -> list[str]:
        """The ids of the snapshots that cannot be restored in full, oldest first."""
        return sorted({hurt.snapshot for hurt in self.hurt})

    def bad(self, name: str) -> bool:
        """Whether an object was found to be missing or damaged."""
        return name in self.objects


class Doctor:
    """Looks at all snapshots of a repository; pages that they share are read once."""

    def __init__(
        self,
        repository: Repository,
        listener: Listener,
        *,
        known: Sequence[BadObject] = (),
        suspected: Collection[bytes] = (),
    ) -> None:
        """``known`` are packs that are damaged, which need not be read to find it again.

        ``suspected`` are ids of packs that were found to be damaged at some time, and are read in any case.
        """
        self._known = known
        self._suspected = suspected
        self._repository = repository
        self._listener = listener
        self._sizes: dict[str, int] = {}
        self._pages: dict[bytes, bool] = {}  # by their id: whether they can be read
        self._found = Diagnosis()

    def look(self, *, data: bool) -> Diagnosis:
        """Check that everything is there and that manifests can be read; with ``data``, read every pack.

        Raises StorageError.
        """
        self._listener(Phase("listing the repository"))
        kinds = ("packs/", "manifests/")
        self._sizes = {one.name: one.size for prefix in kinds for one in self._repository.storage.list(prefix)}
        for error in self._repository.damaged_keys():
            self._bad(BadObject(error.object_name, error.message, there=True))
        snapshots = list(self._snapshots())
        self._listener(Phase("reading the manifests"))
        for snapshot in snapshots:
            self._walk(snapshot)
        for bad in self._known:
            if isinstance(bad.ref, PackRef) and bad.ref.id in self._found.packs:
                self._bad(bad)
        refs = [ref for ref in self._found.packs.values() if data or ref.id in self._suspected]
        if refs:
            self._listener(Phase("reading all packs" if data else "reading packs that were found damaged before"))
            self._read_packs([ref for ref in refs if not self._found.bad(pack_name(ref.id))])
        if any(name.startswith("packs/") for name in self._found.objects):
            self._find_parts(snapshots)
        return self._found

    def _snapshots(self) -> Iterator[Snapshot]:
        ids = self._repository.snapshot_ids()
        self._found.snapshots += len(ids)
        for id, found in self._repository.each_snapshot(ids):
            if isinstance(found, OldKey):
                raise found
            if isinstance(found, Corruption):
                self._bad(BadObject(found.object_name, found.message, there=True))
                self._found.hurt.append(Hurt(id, "", "", found.object_name))
            else:
                yield found

    def _walk(self, snapshot: Snapshot) -> None:
        for entry in readable_entries(self._repository, snapshot, self._lost_catalog):
            for ref in entry.pages:
                page = self._page(snapshot, entry, ref)
                for pack in page.packs.values() if page is not None else ():
                    self._found.packs.setdefault(pack.id, pack)
                    self._compare(pack_name(pack.id), pack.size, pack)

    def _lost_catalog(self, snapshot: Snapshot, ref: ManifestRef, error: Corruption) -> None:
        name = manifest_name(ref.id)
        self._bad(BadObject(name, error.message, name in self._sizes, ref))
        self._found.hurt.append(Hurt(snapshot.id, "", "", name))

    def _page(self, snapshot: Snapshot, entry: TableEntry, ref: PageRef) -> Page | None:
        """A page, unless it was read for another snapshot already."""
        name = manifest_name(ref.ref.id)
        if not ref.inline and ref.ref.id in self._pages:
            if not self._pages[ref.ref.id]:
                self._found.hurt.append(Hurt(snapshot.id, str(entry.name), "", name))
            return None
        try:
            page = self._repository.page(ref)
        except Corruption as error:
            self._pages[ref.ref.id] = False
            self._bad(BadObject(name, error.message, name in self._sizes, ref.ref))
            self._found.hurt.append(Hurt(snapshot.id, str(entry.name), "", name))
            return None
        if not ref.inline:
            self._pages[ref.ref.id] = True
        return page

    def _compare(self, name: str, size: int, ref: PackRef) -> None:
        found = self._sizes.get(name)
        if found is None:
            self._bad(BadObject(name, "is missing", there=False, ref=ref))
        elif found != size:
            self._bad(BadObject(name, f"has {found:,} bytes instead of {size:,}", there=True, ref=ref))

    def _read_packs(self, refs: Sequence[PackRef]) -> None:
        total, done = sum(ref.size for ref in refs), 0
        with ThreadPoolExecutor(_READING, "repair") as pool:
            for ref, problem in zip(refs, pool.map(self._check_pack, refs), strict=True):
                done += ref.size
                self._listener(Progress(done, total))
                if problem:
                    self._bad(BadObject(pack_name(ref.id), problem, there=True, ref=ref))

    def _check_pack(self, ref: PackRef) -> str:
        try:
            self._repository.check_pack(ref.id)
        except Corruption as error:
            return error.message
        return ""

    def _find_parts(self, snapshots: list[Snapshot]) -> None:
        """Which parts cannot be read any more; of a pack that is there, each of its files is tried."""
        self._listener(Phase("looking for the parts that are affected"))
        bad = frozenset(ref.id for ref in self._bad_packs())
        known: dict[bytes, tuple[tuple[str, str], ...]] = {}
        with self._repository.pack_reader() as reader:
            for snapshot in snapshots:
                for entry, ref in self._readable_pages(snapshot):
                    key = ref.content
                    if key not in known:
                        known[key] = tuple(hurt_parts(self._repository.page(ref), bad, reader))
                    self._found.hurt += [Hurt(snapshot.id, str(entry.name), part, cause) for part, cause in known[key]]

    def _bad_packs(self) -> Iterator[PackRef]:
        for bad in self._found.objects.values():
            if isinstance(bad.ref, PackRef):
                yield bad.ref

    def _readable_pages(self, snapshot: Snapshot) -> Iterator[tuple[TableEntry, PageRef]]:
        for entry in readable_entries(self._repository, snapshot):
            for ref in entry.pages:
                if ref.inline or self._pages.get(ref.ref.id):
                    yield entry, ref

    def _bad(self, bad: BadObject) -> None:
        self._found.objects.setdefault(bad.name, bad)


def readable_entries(
    repository: Repository, snapshot: Snapshot, lost: LostCatalog | None = None
) -> Iterator[TableEntry]:
    """The tables of a snapshot whose catalog objects can be read; ``lost`` is told of the others."""
    for ref in snapshot.catalog:
        try:
            entries = list(repository.catalog(ref))
        except Corruption as error:
            if lost is not None:
                lost(snapshot, ref, error)
            continue
        yield from entries


def hurt_parts(page: Page, bad: frozenset[bytes], reader: PackReader) -> Iterator[tuple[str, str]]:
    """The parts of a page that cannot be read because of some packs, each with the first pack's name."""
    if not bad & page.packs.keys():
        return
    for part in page.parts():
        cause = next((found for file in part.files if (found := unreadable(page, file, bad, reader))), "")
        if cause:
            yield part.state.name or "(all of it)", cause


def unreadable(page: Page, file: FileEntry, bad: frozenset[bytes], reader: PackReader) -> str:
    """The name of the object because of which a file cannot be read, or nothing."""
    if not any(extent.pack in bad for extent in file.extents):
        return ""
    try:
        for _ in reader.read(page.packs, file.extents, 0, file.size):
            pass
    except Corruption as error:
        return error.object_name
    return ""
