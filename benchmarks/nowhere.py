"""An S3 that does as little as a gateway can: what is left of a BACKUP or RESTORE is ClickHouse's own.

``python -m benchmarks.nowhere`` prints its port. Below ``/drop/`` it takes bodies from the socket and forgets those
that are larger than a list of files; below ``/keep/`` it keeps all in files of the working directory, and the kernel
sends them. Nothing is encrypted, checked or brought to the disk.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

#: Larger bodies are those of parts; lists of files are kept, because ClickHouse reads them again.
LARGEST_KEPT = 8 << 20
_BUFFER = 1 << 20
_RANGE = re.compile(rb"bytes=(\d+)-(\d*)")
_FACTS = b'ETag: "0"\r\nLast-Modified: Sat, 01 Jan 2000 00:00:00 GMT\r\n'


class Store:
    """What was stored, by path: the file that it lies in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[bytes, Path] = {}
        self._numbers = count()

    def new_file(self) -> Path:
        """A file that nobody writes yet."""
        with self._lock:
            return self._folder / f"object-{next(self._numbers)}"

    def put(self, path: bytes, file: Path) -> None:
        """A file is complete."""
        with self._lock:
            self._files[path] = file

    def find(self, path: bytes) -> Path | None:
        """The file of an object."""
        with self._lock:
            return self._files.get(path)

    def delete(self, path: bytes) -> None:
        """An object goes."""
        with self._lock:
            self._files.pop(path, None)


class Connection:
    """One connection, in a thread of its own."""

    def __init__(self, peer: socket.socket, store: Store) -> None:
        """Nothing is read before ``serve``."""
        self._peer = peer
        self._store = store
        self._buffer = memoryview(bytearray(_BUFFER))
        self._begun = b""

    def serve(self) -> None:
        """Answer until the other side has had enough."""
        with self._peer:
            while head := self._head():
                lines = head.split(b"\r\n")
                method, path, _ = lines[0].split(b" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
                self._answer(method, path, headers)

    def _answer(self, method: bytes, path: bytes, headers: dict[bytes, bytes]) -> None:
        size = int(headers.get(b"content-length", b"0"))
        if method == b"PUT":
            self.take(path, size)
            self._peer.sendall(b"HTTP/1.1 200 OK\r\n" + _FACTS + b"Content-Length: 0\r\n\r\n")
        elif method in (b"GET", b"HEAD"):
            self.give(method, path, headers.get(b"range", b""))
        else:
            self._pass(size)
            self._store.delete(path)
            self._peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    def _head(self) -> bytes:
        while b"\r\n\r\n" not in self._begun:
            came = self._peer.recv(65536)
            if not came:
                return b""
            self._begun += came
        head, _, self._begun = self._begun.partition(b"\r\n\r\n")
        return head

    def take(self, path: bytes, size: int) -> None:
        """Take the body of a PUT."""
        if size > LARGEST_KEPT and path.startswith(b"/drop/"):
            self._pass(size)
            return
        file = self._store.new_file()
        with file.open("wb", buffering=0) as stored:
            self._pass(size, stored.fileno())
        self._store.put(path, file)

    def fill(self, view: memoryview) -> None:
        """Fill a buffer with the next bytes of a body. Raises ConnectionError at its end."""
        begun = min(len(self._begun), len(view))
        view[:begun], self._begun = self._begun[:begun], self._begun[begun:]
        while begun < len(view):
            came = self._peer.recv_into(view[begun:])
            if not came:
                raise ConnectionError("a body ends early")
            begun += came

    def send(self, data: memoryview) -> None:
        """Send a piece of a body."""
        self._peer.sendall(data)

    def _pass(self, size: int, descriptor: int = -1) -> None:
        """Take a body from the socket, and write it where there is a file for it."""
        while size:
            view = self._buffer[: min(size, _BUFFER)]
            self.fill(view)
            if descriptor >= 0:
                os.write(descriptor, view)
            size -= len(view)

    def give(self, method: bytes, path: bytes, span: bytes) -> None:
        """Answer HEAD or GET."""
        file = self._store.find(path)
        if file is None:
            self._peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        first, end = self.begin(file.stat().st_size, span)
        if method == b"GET" and end > first:
            with file.open("rb") as stored:
                self._peer.sendfile(stored, first, end - first)

    def begin(self, size: int, span: bytes) -> tuple[int, int]:
        """Send the head of an answer with an object of this size; returns the range of it that is to follow."""
        asked = _RANGE.fullmatch(span)
        first = int(asked[1]) if asked else 0
        end = min(size, int(asked[2]) + 1) if asked and asked[2] else size
        status = b"200 OK"
        if asked:
            status = b"206 Partial Content\r\nContent-Range: bytes %d-%d/%d" % (first, end - 1, size)
        self._peer.sendall(b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n" % (status, _FACTS, end - first))
        return first, end


def serve(connection: Callable[[socket.socket], Connection]) -> None:
    """Serve until stdin ends, each connection by what ``connection`` makes of it."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # not paced, as Coldhouse's is not

    def answer(peer: socket.socket) -> None:
        with suppress(ConnectionError):  # the other side goes away when it has had enough
            connection(peer).serve()

    def accept() -> None:
        while True:
            peer, _ = listening.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    kept = Store(Path.cwd())
    serve(lambda peer: Connection(peer, kept))
