"""ClickHouse's file checksum: known values, both implementations, and every way to cut a file into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldhouse.cityhash import FileHash, file_hash, is_native

BLOCK = bytes(range(256)) * 8

# The first is from a checksums.txt of ClickHouse itself (clickhouse-facts 1.3).
KNOWN = [
    (b"0", "1d5952e8223ea966def237d6e7e216f1"),
    (b"abc", "a78da83cc4e0210684541c08b5db83dc"),
    (BLOCK, "ad1f4d9d00c39701daf55417c6ff86f2"),
    (BLOCK + b"x", "db8642054521768abbde13789aaf0831"),
    (bytes(range(256)) * 20, "fafd884c3c4fdae7af4510245888edba"),
]


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(("data", "expected"), KNOWN)
def test_known_values(data: bytes, expected: str, *, pure: bool) -> None:
    hashing = FileHash(pure=pure)
    hashing.update(data)
    assert hashing.digest().hex() == expected


def test_the_c_library_was_built() -> None:
    """Where there is a compiler, which is wherever these tests run, the slow way is not taken."""
    assert is_native()


def test_an_empty_file_has_the_starting_state() -> None:
    assert file_hash(b"") == FileHash(pure=True).digest() == bytes(16)


# Around the limits inside CityHash (4, 8, 16, 32, 128 bytes) and of the blocks (2048).
@pytest.mark.parametrize(
    "size", [*range(1, 36), *range(126, 162), 2047, 2048, 2049, 2175, 2176, 4095, 4096, 4097, 10_000]
)
def test_both_implementations_agree_on_every_length(size: int) -> None:
    data = (b"\xff\x00\x80" + BLOCK * 6)[:size]
    pure = FileHash(pure=True)
    pure.update(data)
    assert file_hash(data) == pure.digest()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_pieces_do_not_matter(pieces: list[bytes]) -> None:
    native, pure = FileHash(), FileHash(pure=True)
    for piece in pieces:
        native.update(piece)
        pure.update(piece)
    assert native.digest() == pure.digest() == file_hash(b"".join(pieces))


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))[1:]])
def test_any_buffer_will_do(make: type[bytes]) -> None:
    data = make(BLOCK + b"tail")
    assert file_hash(data) == file_hash(bytes(data))


def test_a_digest_does_not_end_the_file() -> None:
    hashing = FileHash()
    hashing.update(BLOCK[:100])
    hashing.digest()
    hashing.update(BLOCK[100:])
    assert hashing.digest().hex() == KNOWN[2][1]


def test_a_buffer_with_holes_is_refused() -> None:
    with pytest.raises(BufferError):
        file_hash(memoryview(BLOCK)[::2])
