"""New manifests for snapshots whose contents lie elsewhere now: each distinct page and catalog is made anew once."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from coldhouse.model import ManifestRef, PackRef, PageRef
from coldhouse.records import replace
from coldhouse.repository import names
from coldhouse.repository.ahead import THREADS, reading_ahead
from coldhouse.repository.catalog import decode_catalog
from coldhouse.repository.condemned import Condemned
from coldhouse.repository.crypto import Kind, content_digest, damaged
from coldhouse.repository.draft import MAX_INLINE
from coldhouse.repository.id_index import IdIndex
from coldhouse.repository.manifests import ManifestWriter, read_manifest
from coldhouse.repository.page import Page
from coldhouse.repository.page_extents import PageExtents, read_extents, relocated, with_fields
from coldhouse.repository.relocation import Relocation
from coldhouse.repository.repository import Repository


class _Page(Struct, frozen=True):
    """A page that was read: its plaintext where it was made anew, and the packs that it lay in."""

    ref: PageRef
    plain: bytes | None
    packs: tuple[PackRef, ...]


class Revisor:
    """Makes the manifests of new revisions. Used by one thread, which reads with others."""

    def __init__(
        self, repository: Repository, relocation: Relocation, condemned: Condemned, threads: int = THREADS
    ) -> None:
        """No revision is made of a snapshot that needs something ``condemned``."""
        self._repository = repository
        self._relocation = relocation
        self._condemned = condemned
        self._threads = threads
        self._writer = ManifestWriter(repository.storage, repository._ring)
        self._pages: dict[bytes, PageRef] = {}  # by the id of the page that they stand for
        self._seen_pages = IdIndex()
        self._catalogs: dict[bytes, ManifestRef] = {}
        self._seen_catalogs = IdIndex()
        self._blocked: set[bytes] = set()  # pages and catalogs that refer to what is condemned

    @property
    def written(self) -> list[ManifestRef]:
        """The manifests that were stored."""
        return self._writer.written

    @property
    def stored_bytes(self) -> int:
        """The bytes of these."""
        return self._writer.stored_bytes

    def revise(self, root: bytes, name: str) -> bytes | None:
        """The new plaintext of a snapshot object, the same if nothing moved; None if it needs what is condemned.

        Raises Corruption, StorageError.
        """
        try:
            catalog = msgspec.msgpack.decode(root, type=_Root).catalog
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise damaged(name, "holds no snapshot that can be read") from error
        new = [self._revised_catalog(ref) for ref in catalog]
        if any(ref.id in self._blocked or self._condemned.manifest(ref.id) for ref in catalog):
            return None
        return root if new == list(catalog) else with_fields(root, name, catalog=new)

    def flush(self) -> None:
        """Return when every manifest is stored. Raises the first failure."""
        self._writer.flush()

    def close(self) -> None:
        """Let go of the threads."""
        self._writer.close()

    # ------------------------------------------------------------------------------------------------------- catalogs

    def _revised_catalog(self, ref: ManifestRef) -> ManifestRef:
        if ref.id in self._seen_catalogs:
            return self._catalogs.get(ref.id, ref)
        self._seen_catalogs.add(ref.id)
        name = names.manifest(ref.id)
        plain = read_manifest(self._repository.storage, self._repository._ring, Kind.CATALOG, ref)
        entries = decode_catalog(plain, name)
        pages = [page for stored in entries for page in _pages_of(stored, name)]
        self._revise_pages(pages)
        if any(self._is_blocked(page) for page in pages):
            self._blocked.add(ref.id)
        revised = [self._revised_entry(stored, name) for stored in entries]
        if revised != entries:
            self._catalogs[ref.id] = self._writer.write(Kind.CATALOG, msgspec.msgpack.encode(revised))
        return self._catalogs.get(ref.id, ref)

    def _revised_entry(self, stored: bytes, name: str) -> bytes:
        """An entry with its new pages; byte by byte the same if there are none."""
        pages = _raw_pages_of(stored, name)
        revised = [self._revised_ref(raw, name) for raw in pages]
        if all(new is raw for new, raw in zip(revised, pages, strict=True)):
            return stored
        return with_fields(stored, name, pages=revised)

    def _revised_ref(self, raw: msgspec.Raw, name: str) -> msgspec.Raw:
        new = self._pages.get(_page_ref(raw, name).key)
        if new is None:
            return raw
        return msgspec.Raw(with_fields(bytes(raw), name, ref=new.ref, content=new.content, inline=new.inline))

    # ---------------------------------------------------------------------------------------------------------- pages

    def _revise_pages(self, pages: list[PageRef]) -> None:
        fresh = []
        for page in pages:
            if page.key not in self._seen_pages:
                self._seen_pages.add(page.key)
                fresh.append(page)
        with reading_ahead(self._threads if len(fresh) > 1 else 0) as ahead:
            for found in ahead.each(self._read, fresh):
                if any(self._condemned.pack(ref.id) for ref in found.packs):
                    self._blocked.add(found.ref.key)
                if found.plain is not None:
                    self._pages[found.ref.key] = self._written(found.ref, found.plain)

    def _is_blocked(self, page: PageRef) -> bool:
        return page.key in self._blocked or (not page.inline and self._condemned.manifest(page.ref.id))

    def _read(self, ref: PageRef) -> _Page:
        name = "the catalog" if ref.inline else names.manifest(ref.ref.id)
        plain = ref.inline or read_manifest(self._repository.storage, self._repository._ring, Kind.PAGE, ref.ref)
        extents: PageExtents = read_extents(plain, name)
        if not self._relocation.touches(extents):
            return _Page(ref, None, extents.packs)
        new = relocated(plain, name, self._relocation.move, self._relocation.pack)
        if len(Page(new, "a page that was just made")) != ref.parts:  # what cannot be read must not be stored
            raise damaged(name, "is another page than the catalog refers to")
        return _Page(ref, new, extents.packs)

    def _written(self, old: PageRef, plain: bytes) -> PageRef:
        inline = len(plain) <= MAX_INLINE
        ref = ManifestRef(b"", 0, b"") if inline else self._writer.write(Kind.PAGE, plain)
        return replace(old, ref=ref, content=content_digest(plain), inline=plain if inline else b"")


class _Root(Struct, frozen=True):
    catalog: tuple[ManifestRef, ...]


class _Entry(Struct, frozen=True):
    pages: list[msgspec.Raw] = msgspec.field(default_factory=list)


def _raw_pages_of(stored: bytes, name: str) -> list[msgspec.Raw]:
    try:
        return msgspec.msgpack.decode(stored, type=_Entry).pages
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, "holds a table entry that cannot be read") from error


def _pages_of(stored: bytes, name: str) -> list[PageRef]:
    return [_page_ref(raw, name) for raw in _raw_pages_of(stored, name)]


def _page_ref(raw: msgspec.Raw, name: str) -> PageRef:
    try:
        return msgspec.msgpack.decode(raw, type=PageRef)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, "holds a table entry that cannot be read") from error
