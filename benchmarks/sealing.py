"""An S3 that encrypts what it gets and stores it, and does nothing else that a gateway for backups has to do.

``python -m benchmarks.sealing PLACE`` prints its port, and keeps at PLACE (a folder, or the URL of a bucket) what is
larger than a list of files: in objects of 32 MiB, frame by frame, with the libraries that Coldhouse uses. No signature,
no checksum and no size is checked, nothing is noted that would outlive the process, nothing is proven to be there.
"""

from __future__ import annotations

import socket
import sys
import threading
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.nowhere import LARGEST_KEPT, Connection, Store, serve
from coldhouse.repository.crypto import TAG_SIZE
from coldhouse.repository.pack_format import FRAME_SIZE, SLOT_SIZE
from coldhouse.repository.pack_reader import regrouped
from coldhouse.repository.pack_writer import PackSettings
from coldhouse.spare_memory import SpareMemory, own_memory
from coldhouse.storage import Storage, open_storage

_FRAMES = PackSettings().frames


@dataclass(frozen=True, slots=True)
class Sealed:
    """A body that was stored: its size in bytes, and the numbers of the objects that it lies in."""

    size: int
    objects: tuple[int, ...]


class Sealer:
    """Encrypts and stores, and reads again; any thread may use it."""

    def __init__(self, storage: Storage) -> None:
        """A key that nobody else has."""
        self._storage = storage
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._numbers = count()
        self._lock = threading.Lock()
        self._memory = SpareMemory()
        self._bodies: dict[bytes, Sealed] = {}

    def take(self, path: bytes, size: int, connection: Connection) -> None:
        """Store a body."""
        plain = memoryview(bytearray(FRAME_SIZE))
        sealed = memoryview(own_memory(_FRAMES * SLOT_SIZE))
        numbers, left = list[int](), size
        while left:
            with self._lock:
                number = next(self._numbers)
            end = frame = 0
            while left and frame < _FRAMES:
                view = plain[: min(FRAME_SIZE, left)]
                connection.fill(view)
                piece = sealed[end : end + len(view) + TAG_SIZE]
                self._cipher.encrypt_into(_nonce(number, frame), view, None, piece)
                left, end, frame = left - len(view), end + len(piece), frame + 1
            self._storage.create(_name(number), sealed[:end])
            numbers.append(number)
        with self._lock:
            self._bodies[path] = Sealed(size, tuple(numbers))

    def find(self, path: bytes) -> Sealed | None:
        """A body by its path."""
        with self._lock:
            return self._bodies.get(path)

    def send(self, body: Sealed, first: int, end: int, connection: Connection) -> None:
        """Send a range of a body."""
        of_object = _FRAMES * FRAME_SIZE
        for at, number in enumerate(body.objects):
            begin, stop = max(first, at * of_object), min(end, (at + 1) * of_object)
            if begin < stop:
                size = min(of_object, body.size - at * of_object)
                self._send(number, size, (begin - at * of_object, stop - at * of_object), connection)

    def _send(self, number: int, size: int, span: tuple[int, int], connection: Connection) -> None:
        frames = range(span[0] // FRAME_SIZE, -(-span[1] // FRAME_SIZE))
        lengths = [min(FRAME_SIZE, size - frame * FRAME_SIZE) + TAG_SIZE for frame in frames]
        name = _name(number)
        pieces = self._storage.read_through(name, frames.start * SLOT_SIZE, sum(lengths), piece=2 * SLOT_SIZE)
        with self._memory.lent(FRAME_SIZE) as memory:
            for frame, sealed in zip(frames, regrouped(pieces, lengths, name), strict=True):
                plain = memory[: len(sealed) - TAG_SIZE]
                self._cipher.decrypt_into(_nonce(number, frame), sealed, None, plain)
                at = frame * FRAME_SIZE
                connection.send(plain[max(0, span[0] - at) : span[1] - at])


class SealingConnection(Connection):
    """A connection whose large bodies are encrypted and stored."""

    def __init__(self, peer: socket.socket, store: Store, sealer: Sealer) -> None:
        super().__init__(peer, store)
        self._sealer = sealer

    def take(self, path: bytes, size: int) -> None:
        """Take the body of a PUT."""
        if size > LARGEST_KEPT:
            self._sealer.take(path, size, self)
        else:
            super().take(path, size)

    def give(self, method: bytes, path: bytes, span: bytes) -> None:
        """Answer HEAD or GET."""
        body = self._sealer.find(path)
        if body is None:
            super().give(method, path, span)
            return
        first, end = self.begin(body.size, span)
        if method == b"GET":
            self._sealer.send(body, first, end, self)


def _nonce(number: int, frame: int) -> bytes:
    return number.to_bytes(8) + frame.to_bytes(4)


def _name(number: int) -> str:
    return f"packs/{number % 256:02x}/{number:032x}"


if __name__ == "__main__":
    kept, all_else = Store(Path.cwd()), Sealer(open_storage(sys.argv[1]))
    serve(lambda peer: SealingConnection(peer, kept, all_else))
