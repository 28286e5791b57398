"""A TCP proxy that stops in the middle: how tests meet an operation exactly while its bytes are under way."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_PIECE = 1 << 16
_BACKLOG = 256


class Turnstile:
    """Stands before a server on loopback at ``target`` and lets everything through until so many bytes have passed.

    ``stop_after(up=N)`` counts what clients send, ``stop_after(down=N)`` what the server answers. When the count is
    reached ``reached`` is set and nothing moves any more until ``open()``; what comes to a closed one is refused.
    """

    def __init__(self, port: int, target: int) -> None:
        self.reached = threading.Event()
        self._target = target
        self._may_pass = threading.Event()
        self._may_pass.set()
        self._lock = threading.Lock()
        self._left: dict[str, int | None] = {"up": None, "down": None}
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self._closed = False

    def stop_after(self, *, up: int | None = None, down: int | None = None) -> None:
        """Count from now on."""
        with self._lock:
            self._left = {"up": up, "down": down}
            self.reached.clear()

    def open(self) -> None:
        """Let everything pass from now on."""
        with self._lock:
            self._left = {"up": None, "down": None}
        self._may_pass.set()

    def close(self) -> None:
        """Cut all connections and refuse new ones."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self.open()
        for thread in tuple(self._threads):
            thread.join()
        for each in self._sockets:
            each.close()

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket()
            with self._lock:
                self._sockets += [client, server]
            try:
                server.connect(("127.0.0.1", self._target))
            except OSError:
                client.shutdown(socket.SHUT_RDWR)
                continue
            self._start(self._move, "up", client, server)
            self._start(self._move, "down", server, client)

    def _move(self, way: str, source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(_PIECE):
                self._count(way, len(piece))
                self._may_pass.wait()
                target.sendall(piece)
        except OSError:
            pass
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _count(self, way: str, size: int) -> None:
        with self._lock:
            left = self._left[way]
            if left is None:
                return
            self._left[way] = left - size
            if left <= size and not self.reached.is_set():
                self._may_pass.clear()
                self.reached.set()
