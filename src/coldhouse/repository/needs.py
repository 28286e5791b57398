"""What a snapshot needs, to be proven in the store before it is committed."""

from __future__ import annotations

from collections.abc import Mapping

from coldhouse.errors import BackupFailed, ObjectMissing
from coldhouse.model import PackRef, PageRef
from coldhouse.repository import names
from coldhouse.repository.condemned import Condemned
from coldhouse.repository.crypto import damaged, missing
from coldhouse.storage.base import Storage

#: Up to so many objects are asked for one by one; more are found by listing.
ASKED = 100
_ASKING = 8


class Needs:
    """Packs and manifests by id, with their sizes in bytes."""

    def __init__(self) -> None:
        self.packs: dict[bytes, int] = {}
        self.manifests: dict[bytes, int] = {}

    def add_page(self, page: PageRef, packs: Mapping[bytes, PackRef]) -> None:
        """Add a page and the packs that its files lie in."""
        if not page.inline:
            self.manifests[page.ref.id] = page.ref.size
        self.packs.update({ref.id: ref.size for ref in packs.values()})

    def refuse(self, condemned: Condemned) -> None:
        """Raise BackupFailed if one of them is condemned."""
        if not condemned:
            return
        found = [names.pack(id) for id in self.packs if condemned.pack(id)]
        found += [names.manifest(id) for id in self.manifests if condemned.manifest(id)]
        if found:
            raise BackupFailed(
                f"{found[0]}, which this snapshot needs, is about to be removed by a prune.",
                hint="Run it again; if that does not help, run coldhouse prune first.",
            )

    def prove(self, storage: Storage) -> None:
        """Raise Corruption unless all of them are in the store, each with its size."""
        manifests = {names.manifest(id): size for id, size in self.manifests.items()}
        packs = {names.pack(id): size for id, size in self.packs.items()}
        for prefix, expected in ((names.MANIFESTS, manifests), (names.PACKS, packs)):
            found = _ask(storage, expected) if len(expected) <= ASKED else _list(storage, prefix, expected)
            for name, size in expected.items():
                if name not in found:
                    raise missing(name)
                if found[name] != size:
                    raise damaged(name, f"has {found[name]} bytes instead of {size}")


def _ask(storage: Storage, expected: Mapping[str, int]) -> dict[str, int]:
    if not expected:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    def size_of(name: str) -> int | None:
        try:
            return storage.size(name)
        except ObjectMissing:
            return None

    with ThreadPoolExecutor(min(_ASKING, len(expected)), "proof") as pool:
        sizes = pool.map(size_of, expected)
        return {name: size for name, size in zip(expected, sizes, strict=True) if size is not None}


def _list(storage: Storage, prefix: str, expected: Mapping[str, int]) -> dict[str, int]:
    return {stored.name: stored.size for stored in storage.list(prefix) if stored.name in expected}
