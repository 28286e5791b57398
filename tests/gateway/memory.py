"""A sink in memory: what a pack writer is to the gateway, without the repository."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from coldhouse.errors import ColdhouseError
from coldhouse.model import Buffer, Extent


@dataclass
class MemorySink:
    """Keeps files by their extents; ``failure`` is raised by every write once it is set; ``gate`` holds writes up."""

    failure: ColdhouseError | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    files: dict[int, bytes] = field(default_factory=dict)
    opened: int = 0
    aborted: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gate.set()

    def open_file(self, size: int, checksum: bytes | None) -> MemoryStream:
        with self.lock:
            self.opened += 1
            return MemoryStream(self, self.opened, size)

    def read(self, extents: Sequence[Extent]) -> bytes:
        return b"".join(self.files[int.from_bytes(extent.pack)] for extent in extents)


@dataclass
class MemoryStream:
    sink: MemorySink
    number: int
    size: int
    content: bytearray = field(default_factory=bytearray)

    def write(self, data: Buffer) -> None:
        self.sink.gate.wait(30)
        if self.sink.failure is not None:
            raise self.sink.failure
        self.content += data

    def finish(self, checksum: bytes, *, verified: bool) -> tuple[Extent, ...]:
        assert len(self.content) == self.size
        assert len(checksum) == 16
        with self.sink.lock:
            self.sink.files[self.number] = bytes(self.content)
        return (Extent(self.number.to_bytes(16), 0, self.size),)

    def abort(self) -> None:
        with self.sink.lock:
            self.sink.aborted += 1


@dataclass(frozen=True)
class MemoryObject:
    """An object to serve; after ``sound`` bytes (all, if negative) reading it raises ``failure``.

    Each piece comes in the same memory, as the real ones may: whoever keeps one sees it change.
    """

    content: bytes
    etag: str = "tag"
    sound: int = -1
    failure: ColdhouseError | None = None
    chunk: int = 256 * 1024

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset: int, length: int) -> Iterator[Buffer]:
        end = offset + length
        memory = memoryview(bytearray(self.chunk))
        while offset < end:
            if self.failure is not None and offset >= self.sound:
                raise self.failure
            step = min(self.chunk, end - offset)
            piece = self.content[offset : offset + step]
            memory[: len(piece)] = piece
            yield memory[: len(piece)]
            offset += step
