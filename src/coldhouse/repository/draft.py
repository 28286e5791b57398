"""A snapshot in the making: its tables are carried or added, proven to be stored, and made visible by one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from coldhouse.errors import BackupFailed, Corruption, ObjectExists, ObjectMissing, OldKey
from coldhouse.model import ManifestRef, PackRef, PageRef, Snapshot, TableEntry, TableKind, TableName
from coldhouse.records import replace
from coldhouse.repository import names, revisions
from coldhouse.repository.catalog import ParentCatalog, encode_entry, read_entries
from coldhouse.repository.condemned import Condemned, read_all
from coldhouse.repository.crypto import Keyring, Kind, content_digest, damaged, seal, unseal
from coldhouse.repository.intents import Intent
from coldhouse.repository.manifests import ManifestWriter, read_manifest
from coldhouse.repository.needs import Needs
from coldhouse.repository.own_state import OwnState
from coldhouse.repository.page import Page, digest_of_states
from coldhouse.repository.page_encoding import PagePart
from coldhouse.repository.paging import Pager
from coldhouse.storage.base import Storage

#: A page of at most so many bytes of plaintext stands in its table entry instead of an object of its own.
MAX_INLINE = 4096


class SnapshotDraft:
    """The tables of a new snapshot. Nothing is visible, and nothing of the parent is touched, before :meth:`commit`.

    ``stored_bytes`` and ``objects`` count what the draft itself stored: manifests, and the snapshot in the end.
    """

    def __init__(
        self,
        storage: Storage,
        ring: Keyring,
        parent: Snapshot | None,
        own: OwnState | None = None,
        intent: Intent | None = None,
    ) -> None:
        """``own`` is what the host keeps of its own snapshots, where its key cannot read them.

        ``intent`` names the snapshot, and was entered before the parent was read; without one the commit makes its own.
        """
        self._own = own
        self._intent = intent
        self._storage = storage
        self._ring = ring
        self._parent = parent
        self._catalog: ParentCatalog | None = None
        self._manifests = ManifestWriter(storage, ring, own)
        self._tables: dict[TableName, bytes | None] = {}  # None: as in the parent
        self._packs: dict[bytes, PackRef] = {}  # every pack that a page of this draft refers to
        self._loaded_packs: dict[bytes, PackRef] = {}  # of pages that were read to be merged with a neighbour
        self._made: set[bytes] = set()  # contents of the pages that this draft wrote
        self._foreign: dict[bytes, PageRef] = {}  # pages of snapshots other than the parent
        self._leans = False  # something is carried, so the parent must still be there
        self._snapshot_bytes = 0

    def __enter__(self) -> SnapshotDraft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stored_bytes(self) -> int:
        """Bytes of the objects that the draft stored so far."""
        return self._manifests.stored_bytes + self._snapshot_bytes

    @property
    def objects(self) -> int:
        """How many objects the draft stored so far."""
        return len(self._manifests.written) + bool(self._snapshot_bytes)

    def carry(self, entry: TableEntry) -> None:
        """Enter a complete table; if it is exactly as in the parent, it costs nothing.

        Its pages are of the parent, made by this draft, or of any other snapshot; the last are proven at the commit.

        Raises:
            ValueError: the table is in the draft already.
            Corruption: the parent's catalog is damaged.
        """
        parent = self._parent_catalog()
        same = parent.holds(entry)
        if entry.name in self._tables:
            raise ValueError(f"{entry.name} is in the draft already")
        self._tables[entry.name] = None if same else encode_entry(entry)
        self._leans = self._leans or same
        for page in () if same else entry.pages:
            if parent.holds_page(page):
                self._leans = True
            elif page.content not in self._made:
                self._foreign[page.content] = page

    def write_pages(
        self,
        parts: Iterable[PagePart | PageRef],
        packs: Callable[[bytes], PackRef],
        earlier: Sequence[PageRef] = (),
    ) -> tuple[PageRef, ...]:
        """Make the pages of one table, to be entered in its entry.

        Args:
            parts: in the order of (partition, name). A PageRef stands for all parts of an earlier page.
            packs: finds the pack of an id; each must be stored already.
            earlier: the table's pages in the parent. Where one holds exactly these parts, in the same packs, it is
                shared; and the boundaries of the others stay where they are.

        Raises:
            ValueError: the parts are out of order or impossible.
            KeyError: ``packs`` does not know a pack.
            StorageError: a page could not be stored.
            Corruption: an earlier manifest is damaged.
        """
        return Pager(earlier, self._finder(packs), self._load, self._write_page).page(parts)

    def add(
        self, entry: TableEntry, parts: Iterable[PagePart | PageRef], packs: Callable[[bytes], PackRef]
    ) -> TableEntry:
        """Write the pages of a table and enter it; returns its entry with pages, parts, files and bytes filled in.

        The rows are filled in for a table of kind PARTS. For arguments and errors see :meth:`write_pages`; the earlier
        pages are those of the same table, by name or by UUID, in the parent.
        """
        counterpart = self._parent_catalog().counterpart(entry)
        pages = self.write_pages(parts, packs, counterpart.pages if counterpart is not None else ())
        filled = replace(
            entry,
            pages=pages,
            parts=sum(page.parts for page in pages),
            files=sum(page.files for page in pages),
            bytes=sum(page.bytes for page in pages),
            rows=sum(page.rows for page in pages) if entry.kind is TableKind.PARTS else entry.rows,
        )
        self.carry(filled)
        return filled

    def commit(self, root: Snapshot) -> Snapshot:
        """Make the snapshot visible; returns it as stored: with its catalog, and with the draft's own objects counted.

        Manifests are stored first; then every new manifest, every pack that a new page or a page from elsewhere refers
        to, and the parent if anything is carried from it, are proven to be in the store with the right size, and not
        condemned; then the snapshot is created.

        Raises:
            Corruption: something that the snapshot needs is not in the store, or not of its size.
            BackupFailed: the parent was removed meanwhile, something that is needed is condemned, or the name of the
                snapshot was fenced, because it was taken for dead.
            StorageError: the store failed; then, and in all cases above, there is no snapshot.
        """
        if not names.is_snapshot_id(root.id) or root.started.tzinfo is None or root.finished.tzinfo is None:
            raise ValueError(f"{root.id} is no snapshot id, or its times are without a zone")
        if self._intent is not None:
            return self._commit(root, self._intent, Condemned())
        with Intent(self._storage, "backup", [names.snapshot(root.id)]) as intent:
            return self._commit(root, intent, read_all(self._storage, names.GRAVES))

    def _commit(self, root: Snapshot, intent: Intent, graves: Condemned) -> Snapshot:
        catalog = self._parent_catalog().arrange(self._tables, self._write_catalog)
        self._manifests.flush()
        self._storage.sync()
        self._prove(catalog, intent, graves)
        cost = replace(
            root.accounting,
            stored=root.accounting.stored + self._manifests.stored_bytes,
            objects=root.accounting.objects + len(self._manifests.written) + 1,
        )
        snapshot = replace(root, catalog=catalog, accounting=cost)
        name = _name_among(root.id, intent)
        sealed = seal(self._ring, Kind.SNAPSHOT, name, msgspec.msgpack.encode(snapshot))
        try:
            intent.create(name, sealed)
        except ObjectExists as error:
            if self._storage.size(name) != len(names.FENCE):
                raise
            raise BackupFailed(
                "A prune took this backup for dead, because nothing was heard of it for hours, and closed its name.",
                hint="Run it again. If this machine sleeps in between, give prune a longer --dead-after.",
            ) from error
        self._storage.sync()
        self._snapshot_bytes = len(sealed)
        if self._own is not None:
            self._own.add_snapshot(snapshot)
        return snapshot

    def close(self) -> None:
        """End the draft; what it stored without a commit is left for prune."""
        self._manifests.close()

    # --------------------------------------------------------------------------------------------------------- pieces

    def _parent_catalog(self) -> ParentCatalog:
        if self._catalog is None:
            catalog = self._parent.catalog if self._parent is not None else ()
            self._catalog = ParentCatalog(catalog, self._read_catalog)
        return self._catalog

    def _read_catalog(self, ref: ManifestRef) -> bytes:
        return read_manifest(self._storage, self._ring, Kind.CATALOG, ref, self._own)

    def _write_catalog(self, plain: bytes) -> ManifestRef:
        return self._manifests.write(Kind.CATALOG, plain)

    def _load(self, ref: PageRef) -> Iterator[PagePart]:
        page = read_page(self._storage, self._ring, ref, self._own)
        self._loaded_packs.update(page.packs)
        return page.kept()

    def _finder(self, packs: Callable[[bytes], PackRef]) -> Callable[[bytes], PackRef]:
        """The same, knowing also the packs of pages that were loaded to be merged."""

        def find(id: bytes) -> PackRef:
            known = self._loaded_packs.get(id)
            return known if known is not None else packs(id)

        return find

    def _write_page(self, plain: bytes) -> PageRef:
        page = Page(plain, "a page that was just made")  # read back: what cannot be read must not be stored
        self._packs.update(page.packs)
        inline = len(plain) <= MAX_INLINE
        content = content_digest(plain)
        self._made.add(content)
        return PageRef(
            ref=ManifestRef(b"", 0, b"") if inline else self._manifests.write(Kind.PAGE, plain),
            first=page.first,
            last=page.last,
            parts=len(page),
            files=page.file_count,
            rows=page.rows,
            bytes=page.file_bytes,
            digest=digest_of_states(page.states()),
            damaged=len(page.damaged_files()),
            content=content,
            inline=plain if inline else b"",
        )

    # ---------------------------------------------------------------------------------------------------------- proof

    def _prove(self, catalog: Sequence[ManifestRef], intent: Intent, graves: Condemned) -> None:
        """Raise unless everything that this draft relies on is in the store, and will stay there."""
        needs = Needs()
        needs.manifests.update({ref.id: ref.size for ref in self._manifests.written})
        needs.packs.update({ref.id: ref.size for ref in self._packs.values()})
        for page in self._foreign.values():
            needs.add_page(page, self._read_packs(page))
        needs.refuse(graves)
        stands = not self._leans or self._parent is None or self._parent_stands(self._parent)
        if not stands and self._intent is None:
            raise BackupFailed(
                f"Snapshot {self._parent and self._parent.id}, whose data this one shares, was removed meanwhile.",
                hint="Run the backup again: it will start from another snapshot.",
            )
        if intent.condemned or not stands:
            needs.manifests.update({ref.id: ref.size for ref in catalog})
            for entry in read_entries(catalog, self._read_catalog):
                for page in entry.pages:
                    needs.add_page(page, self._read_packs(page))
        needs.refuse(intent.condemned)
        needs.prove(self._storage)

    def _read_packs(self, page: PageRef) -> Mapping[bytes, PackRef]:
        return read_page(self._storage, self._ring, page, self._own).packs

    def _parent_stands(self, parent: Snapshot) -> bool:
        """Whether the very object that the parent was read from still counts; a later revision needs other packs."""
        name = names.snapshot(parent.id)
        try:
            if self._storage.size(name) != len(names.FENCE):
                return True
        except ObjectMissing:
            pass
        found = revisions.current(self._storage, parent.id)
        if found is None or self._own is not None:
            return False
        try:
            stored = revisions.read_object(self._storage, found)
            if stored is None:
                return False
            now = msgspec.msgpack.decode(unseal(self._ring, Kind.SNAPSHOT, found, stored), type=Snapshot)
        except (Corruption, OldKey):
            return False
        return now.catalog == parent.catalog


def _name_among(id: str, intent: Intent) -> str:
    """The name under which an intent declares a snapshot: that of a later revision where the first one is closed."""
    declared = (name for name in intent.commits if (names.revision_of(name) or ("", 0))[0] == id)
    return next(declared, names.snapshot(id))


def read_page(storage: Storage, ring: Keyring, ref: PageRef, own: OwnState | None = None) -> Page:
    """Read a page from its object, from ``own``, or out of its reference. Raises Corruption."""
    if ref.inline:
        return Page(ref.inline, "the catalog")
    plain = read_manifest(storage, ring, Kind.PAGE, ref.ref, own)
    name = names.manifest(ref.ref.id)
    page = Page(plain, name)
    if content_digest(plain) != ref.content or len(page) != ref.parts:
        raise damaged(name, "is another page than the catalog refers to")
    return page
