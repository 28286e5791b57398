"""What a host whose key cannot read keeps of its own last snapshots, in a folder of its own, readable to it alone.

It is what the host knew when it took them: which parts of its own tables are where in the repository. Without it the
next snapshot is a full one; nothing in the repository can be decrypted with it.

    lock                  held shared by every backup that uses the folder
    snapshots/<id>        the root of a snapshot, MessagePack
    manifests/<id>        the plaintext of a manifest, zstd

Each file begins with the BLAKE2b-128 of what follows, so that a damaged one is left aside. Nothing here is trusted with
more than the next increment: what the repository holds is proven by the store itself when a snapshot is committed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec
import zstandard

from coldhouse.errors import Corruption
from coldhouse.model import ManifestRef, Snapshot
from coldhouse.repository.catalog import read_entries
from coldhouse.repository.crypto import content_digest, decompress

_DIGEST = 16
_LIMIT = 256 << 20  # of one manifest, in bytes of plaintext
HINT = "Remove this folder: the next backup will be a full one, and make it anew."


class OwnState:
    """The folder of one repository's state on this host; a context manager. Safe for several backups at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = -1
        #: Why nothing more could be kept; empty as long as all is well. It is no reason for a backup to fail.
        self.failure = ""

    def __enter__(self) -> OwnState:
        if self._lock < 0:
            self.open()
        return self

    def open(self) -> None:
        """Make the folder if it is not there, and take the lock. Raises OSError."""
        for folder in (self._folder, self._folder / "snapshots", self._folder / "manifests"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def snapshot(self, id: str) -> Snapshot | None:
        """The root of an own snapshot; None if nothing, or nothing sound, is kept of it."""
        try:
            return msgspec.msgpack.decode(self._read(self._folder / "snapshots" / id), type=Snapshot)
        except (Corruption, msgspec.MsgspecError, ValueError, RecursionError):
            return None

    def holds(self, id: str) -> bool:
        """Whether everything that an increment over this snapshot can need is here, and sound."""
        snapshot = self.snapshot(id)
        if snapshot is None:
            return False
        try:
            for ref in self._pages(snapshot):
                self.manifest(ref)
        except Corruption:
            return False
        return True

    def manifest(self, ref: ManifestRef) -> bytes:
        """The plaintext of a manifest of an own snapshot. Raises Corruption if it is not here, or damaged."""
        path = self._folder / "manifests" / ref.id.hex()
        return decompress(self._read(path), _LIMIT, str(path))

    def add_manifest(self, ref: ManifestRef, plain: bytes) -> None:
        """Keep a manifest that is being stored; it counts when its snapshot is kept."""
        self._write(self._folder / "manifests" / ref.id.hex(), zstandard.ZstdCompressor().compress(plain))

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot that was committed; older ones of the same source and choice of tables are not needed now."""
        self._write(self._folder / "snapshots" / snapshot.id, msgspec.msgpack.encode(snapshot))

    def tidy(self, stored: Iterable[str]) -> None:
        """Forget what no increment will use: all but the last snapshot of each source and choice of tables.

        ``stored`` are the ids of the snapshots that the repository still has. Another backup that uses the folder at
        this moment is not disturbed: then nothing is done.
        """
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        there = set(stored)
        last: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Snapshot] = {}
        for path in sorted((self._folder / "snapshots").iterdir()):
            snapshot = self.snapshot(path.name) if path.name in there else None
            if snapshot is not None:
                last[snapshot.source.identity, snapshot.include, snapshot.exclude] = snapshot
        kept = {snapshot.id for snapshot in last.values()}
        needed: set[str] = set()
        for snapshot in last.values():
            needed.update(ref.id.hex() for ref in snapshot.catalog)
            if self.holds(snapshot.id):
                needed.update(ref.id.hex() for ref in self._pages(snapshot))
        for folder, wanted in (("snapshots", kept), ("manifests", needed)):
            for path in (self._folder / folder).iterdir():
                if path.name not in wanted:
                    path.unlink(missing_ok=True)
        fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _pages(self, snapshot: Snapshot) -> Iterator[ManifestRef]:
        for entry in read_entries(snapshot.catalog, self.manifest):
            yield from (page.ref for page in entry.pages if not page.inline)

    def _read(self, path: Path) -> bytes:
        try:
            stored = path.read_bytes()
        except OSError as error:
            raise Corruption(f"{path} cannot be read: {error.strerror}.", object_name=str(path), hint=HINT) from error
        if content_digest(stored[_DIGEST:]) != stored[:_DIGEST]:
            raise Corruption(f"{path} is damaged.", object_name=str(path), hint=HINT)
        return stored[_DIGEST:]

    def _write(self, path: Path, content: bytes) -> None:
        if self.failure:
            return
        try:
            with NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:  # made with mode 0600
                file.write(content_digest(content) + content)
            os.replace(file.name, path)
        except OSError as error:
            self.failure = f"{path} cannot be written: {error.strerror}"
