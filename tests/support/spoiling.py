"""Damage that is damage every time: what is put in place of a byte is never that byte."""

from __future__ import annotations


def spoiled(content: bytes | bytearray | memoryview) -> bytes:
    """The same bytes with one bit of the last one turned."""
    return bytes(content[:-1]) + bytes([content[-1] ^ 1])
