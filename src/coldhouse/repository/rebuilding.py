"""New revisions of snapshots whose pages are damaged, or refer to damaged packs: the same parts, found elsewhere.

Like every writer of revisions it works under an intent; see "Collection" in FORMAT.md. What an entry, a reference or a
root says beside the places of files, also what this version does not know, stays byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

import msgspec

from coldhouse.errors import Corruption
from coldhouse.model import ManifestRef, PackRef, PageRef, Part
from coldhouse.repository import names
from coldhouse.repository.catalog import decode_catalog
from coldhouse.repository.crypto import Kind, content_digest, seal
from coldhouse.repository.draft import MAX_INLINE
from coldhouse.repository.intents import Intent
from coldhouse.repository.manifests import ManifestWriter, read_manifest
from coldhouse.repository.marking import read_root_object
from coldhouse.repository.needs import Needs
from coldhouse.repository.page import Page, digest_of_states
from coldhouse.repository.page_encoding import encode_page
from coldhouse.repository.page_extents import with_fields
from coldhouse.repository.records import decode_record
from coldhouse.repository.repository import Repository
from coldhouse.repository.superseding import Succession, successions, supersede


class _Entry(msgspec.Struct, frozen=True):
    """Of a table entry, the references to its pages as they are stored."""

    pages: list[msgspec.Raw] = []


class _Content(msgspec.Struct, frozen=True):
    content: bytes = b""


class _Root(msgspec.Struct, frozen=True):
    catalog: tuple[ManifestRef, ...] = ()


class Rebuilder:
    """Stores pages that stand for others, then revisions that refer to them. Used by one thread; a context manager.

    ``lost`` are packs that are known to be missing or damaged: what was not found elsewhere still lies in them.
    """

    def __init__(self, repository: Repository, lost: Set[bytes] = frozenset()) -> None:
        self._repository = repository
        self._lost = lost
        self._storage = repository.storage
        self._writer = ManifestWriter(repository.storage, repository.ring)
        self._pages: dict[bytes, PageRef] = {}  # by the content of the page that they stand for
        self._catalogs: dict[bytes, ManifestRef] = {}
        self._needs = Needs()

    def __enter__(self) -> Rebuilder:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def replace(self, old: PageRef, parts: Sequence[Part], packs: Callable[[bytes], PackRef]) -> bool:
        """Store a page that stands for an old one; False, and nothing is stored, if these are not the same parts.

        Raises StorageError.
        """
        if not same_parts(old, parts):
            return False
        plain = encode_page(parts, packs)
        page = Page(plain, "a page that was just made")
        inline = len(plain) <= MAX_INLINE
        new = PageRef(
            ref=ManifestRef(b"", 0, b"") if inline else self._writer.write(Kind.PAGE, plain),
            first=old.first,
            last=old.last,
            parts=old.parts,
            files=old.files,
            rows=old.rows,
            bytes=old.bytes,
            digest=old.digest,
            damaged=old.damaged,
            content=content_digest(plain),
            inline=plain if inline else b"",
        )
        self._needs.add_page(new, {id: ref for id, ref in page.packs.items() if id not in self._lost})
        self._pages[old.content] = new
        return True

    def commit(self, subjects: Iterable[Succession], intent: Intent) -> list[str]:
        """Create the next revision of each snapshot that has such a page, and return the ids of those that got one.

        Raises BackupFailed if something that they need is condemned, Corruption if it is not there and not known to be
        lost, StorageError.
        """
        revised = [(one, new) for one in subjects if (new := self._revised(one)) is not None]
        self._writer.flush()
        self._storage.sync()
        self._needs.manifests.update({ref.id: ref.size for ref in self._writer.written})
        self._needs.refuse(intent.condemned)
        self._needs.prove(self._storage)
        return [one.id for one, new in revised if self._supersede(one, new, intent)]

    def _supersede(self, subject: Succession, plain: bytes, intent: Intent) -> bool:
        sealed = seal(self._repository.ring, Kind.SNAPSHOT, subject.next, plain)
        return supersede(self._storage, intent, subject, sealed)

    def _revised(self, subject: Succession) -> bytes | None:
        """The new content of a snapshot object; None if nothing in it changes."""
        name = subject.standing[0]
        root = read_root_object(self._repository, name)
        if root is None:
            return None
        catalog = decode_record(root, _Root, name, "a snapshot").catalog
        new = [self._catalog(ref) for ref in catalog]
        return None if new == list(catalog) else with_fields(root, name, catalog=new)

    def _catalog(self, ref: ManifestRef) -> ManifestRef:
        """A catalog object with the new pages; the same if there are none, or if it cannot be read."""
        if ref.id not in self._catalogs:
            name = names.manifest(ref.id)
            try:
                plain = read_manifest(self._storage, self._repository.ring, Kind.CATALOG, ref)
                entries = decode_catalog(plain, name)
                revised = [self._entry(stored, name) for stored in entries]
            except Corruption:
                return ref
            same = revised == entries
            self._catalogs[ref.id] = ref if same else self._writer.write(Kind.CATALOG, msgspec.msgpack.encode(revised))
        return self._catalogs[ref.id]

    def _entry(self, stored: bytes, name: str) -> bytes:
        pages = decode_record(stored, _Entry, name, "a table entry").pages
        revised = [self._page(raw, name) for raw in pages]
        if all(new is raw for new, raw in zip(revised, pages, strict=True)):
            return stored
        return with_fields(stored, name, pages=revised)

    def _page(self, raw: msgspec.Raw, name: str) -> msgspec.Raw:
        new = self._pages.get(decode_record(raw, _Content, name, "a reference to a page").content)
        if new is None:
            return raw
        return msgspec.Raw(with_fields(bytes(raw), name, ref=new.ref, content=new.content, inline=new.inline))


def same_parts(page: PageRef, parts: Sequence[Part]) -> bool:
    """Whether these parts are the ones that a page held: the same states, as many files, as many bytes in them."""
    files = [file for part in parts for file in part.files]
    return (
        len(parts) == page.parts
        and len(files) == page.files
        and sum(file.size for file in files) == page.bytes
        and digest_of_states(part.state for part in parts) == page.digest
    )


def standing(repository: Repository, ids: Iterable[str]) -> list[Succession]:
    """The revisions of some snapshots, of those that are still there."""
    found = successions(repository.storage.list(names.SNAPSHOTS))
    return [found[id] for id in sorted(set(ids)) if id in found and found[id].standing]
