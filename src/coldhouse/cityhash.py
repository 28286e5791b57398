"""ClickHouse's own checksum of a file: CityHash128 1.0.2, chained over blocks of 2048 bytes.

It is what ``checksums.txt`` and the ``.backup`` document hold. It finds every accident, and is no protection against
an attacker: that is what the repository's sealing is for. The work is done by ``_cityhash.c``, which the build compiles
and ctypes loads (so the GIL is released while it runs); without a compiler the package clickhouse-cityhash does it,
eight times slower and under the GIL.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from pathlib import Path
from typing import Protocol, cast

from coldhouse.model import Buffer

BLOCK = 2048
_K3 = 0xC949D7C7509E6557
_HALF = 0xFFFFFFFFFFFFFFFF


class FileHash:
    """The checksum of a file whose bytes arrive piece by piece."""

    __slots__ = ("_engine",)

    def __init__(self, *, pure: bool = False) -> None:
        """``pure`` avoids the C library even where there is one."""
        library = None if pure else _library()
        self._engine: _NativeHash | _PythonHash = _PythonHash() if library is None else _NativeHash(library)

    def update(self, data: Buffer) -> None:
        """Take the next bytes of the file."""
        self._engine.update(data)

    def digest(self) -> bytes:
        """16 bytes whose hex is the text in ``.backup``; more bytes may follow afterwards."""
        return self._engine.digest()


def file_hash(data: Buffer) -> bytes:
    """The checksum of a whole file, 16 bytes, as ``FileHash.digest``."""
    hashing = FileHash()
    hashing.update(data)
    return hashing.digest()


def is_native() -> bool:
    """Whether the C library is there."""
    return _library() is not None


class _State(ctypes.Structure):
    """The same layout as file_hash in _cityhash.c."""

    _fields_ = [
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
        ("filled", ctypes.c_uint64),
        ("block", ctypes.c_ubyte * BLOCK),
    ]


class _View(ctypes.Structure):
    """Py_buffer of the stable ABI (Python 3.11): the only way for ctypes to reach a read-only memoryview uncopied."""

    _fields_ = [
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    ]


@cache
def _library() -> ctypes.CDLL | None:
    path = Path(__file__).with_name("_cityhash.so")
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    library.coldhouse_file_hash_update.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    library.coldhouse_file_hash_update.restype = None
    library.coldhouse_file_hash_digest.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    library.coldhouse_file_hash_digest.restype = None
    return library


class _NativeHash:
    __slots__ = ("_address", "_library", "_state")

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._state = _State()
        self._address = ctypes.addressof(self._state)

    def update(self, data: Buffer) -> None:
        if isinstance(data, bytes):
            self._library.coldhouse_file_hash_update(self._address, data, len(data))
            return
        view = _View()
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(view), 0)  # contiguous or BufferError
        try:
            self._library.coldhouse_file_hash_update(self._address, view.buf, view.len)
        finally:
            ctypes.pythonapi.PyBuffer_Release(ctypes.byref(view))

    def digest(self) -> bytes:
        out = ctypes.create_string_buffer(16)
        self._library.coldhouse_file_hash_digest(self._address, ctypes.addressof(out))
        return out.raw


class _PythonHash:
    """The same by clickhouse-cityhash, whose CityHash128WithSeed ignores its seed.

    CityHash128 of 16 or more bytes is CityHash128WithSeed of what follows them, seeded from them: a prefix carries
    the seed.
    """

    __slots__ = ("_first", "_hash128", "_rest", "_second")

    def __init__(self) -> None:
        self._hash128 = _package_hash()
        self._first = self._second = 0
        self._rest = bytearray()

    def update(self, data: Buffer) -> None:
        self._rest += data
        whole = len(self._rest) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            self._first, self._second = self._hashed(self._rest[start : start + BLOCK])
        del self._rest[:whole]

    def digest(self) -> bytes:
        first, second = self._hashed(self._rest) if self._rest else (self._first, self._second)
        return struct.pack(">QQ", second, first)

    def _hashed(self, block: bytearray) -> tuple[int, int]:
        value = self._hash128(struct.pack("<QQ", self._first ^ _K3, self._second) + block)
        return value >> 64, value & _HALF


class _Hash128(Protocol):
    def __call__(self, data: bytes | bytearray) -> int: ...


@cache
def _package_hash() -> _Hash128:
    from clickhouse_cityhash.cityhash import CityHash128

    return cast(_Hash128, CityHash128)
