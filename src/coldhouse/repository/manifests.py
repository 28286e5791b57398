"""Manifest objects, pages and catalogs: stored under random names, read back against the digest that refers to them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from coldhouse.model import Buffer, ManifestRef
from coldhouse.repository import names
from coldhouse.repository.crypto import MIB, Keyring, Kind, content_digest, damaged, seal, unseal
from coldhouse.repository.opened_pack import fetch
from coldhouse.repository.own_state import OwnState
from coldhouse.storage.base import Storage

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

#: A manifest never has more plaintext than this; a writer would have to put 10^6 files into one part.
MAX_PLAIN = 256 * MIB
MAX_CATALOG = 64 * MIB
_UPLOADS = 4
_QUEUED = 8


def read_manifest(storage: Storage, ring: Keyring, kind: Kind, ref: ManifestRef, own: OwnState | None = None) -> bytes:
    """The plaintext of a manifest, from ``own`` where the key cannot read.

    Raises Corruption if it is missing, damaged or not the one that was referred to.
    """
    if own is not None:
        return own.manifest(ref)
    return unseal(ring, kind, names.manifest(ref.id), fetch_manifest(storage, ref), _limit(kind))


def fetch_manifest(storage: Storage, ref: ManifestRef) -> Buffer:
    """A manifest as it is stored. Raises Corruption if it is not the one that was referred to."""
    name = names.manifest(ref.id)
    if len(ref.id) != 16 or not 0 < ref.size <= MAX_PLAIN + MIB:  # it is sealed, and may not have become smaller
        raise damaged(name, "cannot be what the snapshot refers to: nothing has such an id and size")
    stored = fetch(storage, name, 0, ref.size)
    if content_digest(stored) != ref.digest:
        raise damaged(name, "is not what the snapshot refers to: its digest differs")
    return stored


def _limit(kind: Kind) -> int:
    return MAX_PLAIN if kind is Kind.PAGE else MAX_CATALOG


class ManifestWriter:
    """Seals manifests in the caller's thread and stores a few at a time in threads of its own; at most 8 wait."""

    def __init__(self, storage: Storage, ring: Keyring, own: OwnState | None = None) -> None:
        self._own = own
        self.stored_bytes = 0
        self.written: list[ManifestRef] = []
        self._storage = storage
        self._ring = ring
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_QUEUED)
        self._failure: BaseException | None = None
        self._pool: ThreadPoolExecutor | None = None

    def write(self, kind: Kind, plain: bytes) -> ManifestRef:
        """Begin to store a manifest; it is stored when :meth:`flush` returns. Raises the first failure."""
        if len(plain) > _limit(kind):
            raise ValueError(f"a manifest of {len(plain)} bytes is larger than any may be")
        id = names.new_object_id()
        sealed = seal(self._ring, kind, names.manifest(id), plain)
        ref = ManifestRef(id, len(sealed), content_digest(sealed))
        if self._own is not None:
            self._own.add_manifest(ref, plain)
        self._check()
        self._places.acquire()
        future = self._open_pool().submit(self._storage.create, names.manifest(id), sealed)
        future.add_done_callback(self._stored)
        self.written.append(ref)
        self.stored_bytes += ref.size
        return ref

    def flush(self) -> None:
        """Return when everything is stored. Raises the first failure."""
        self.close()
        self._check()

    def close(self) -> None:
        """Wait for what is under way and let go of the threads."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    def _open_pool(self) -> ThreadPoolExecutor:
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_UPLOADS, "manifest-upload")
        return self._pool

    def _stored(self, future: Future[None]) -> None:
        error = future.exception()
        with self._lock:
            self._failure = self._failure or error
        self._places.release()

    def _check(self) -> None:
        with self._lock:
            if self._failure is not None:
                raise self._failure
