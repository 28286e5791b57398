"""Bech32 and Bech32m (BIP 173 and BIP 350): text for octets in which up to four wrong characters are always noticed.

age writes its keys as Bech32 (https://age-encryption.org/v1), without the limit of 90 characters that BIP 173 has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CHECK = 6  # characters of checksum
BECH32 = 1
BECH32M = 0x2BC830A3
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def encode(prefix: str, data: bytes) -> str:
    """Octets as Bech32, in lower case: ``prefix``, ``1``, the data, six characters of checksum."""
    words = to_words(data)
    return f"{prefix}1{spelled(words)}{spelled(checksum(prefix, words, BECH32))}"


def decode(text: str, prefix: str) -> bytes:
    """Read Bech32 of this prefix, in lower or in upper case. Raises ValueError for anything else, typing errors too."""
    lower = text.lower()
    if text not in (lower, text.upper()):
        raise ValueError("it mixes lower and upper case")
    if not lower.startswith(f"{prefix}1"):
        raise ValueError(f"it does not begin with {prefix}1")
    words = read(lower[len(prefix) + 1 :])
    if len(words) < CHECK or list(words[-CHECK:]) != checksum(prefix, words[:-CHECK], BECH32):
        raise ValueError("its checksum does not fit: a character is wrong or missing")
    return from_words(words[:-CHECK])


def checksum(prefix: str, words: Sequence[int], variant: int) -> list[int]:
    """The six words that make a text of this prefix and these words a valid one."""
    expanded = [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix]
    value = _remainder([*expanded, *words, *bytes(CHECK)]) ^ variant
    return [value >> 5 * (CHECK - 1 - at) & 31 for at in range(CHECK)]


def spelled(words: Iterable[int]) -> str:
    """Words of five bits as characters."""
    return "".join(ALPHABET[word] for word in words)


def read(text: str) -> list[int]:
    """Characters as words of five bits. Raises ValueError."""
    words = [ALPHABET.find(letter) for letter in text]
    if -1 in words:
        raise ValueError("it holds a character that is never used")
    return words


def to_words(data: bytes) -> list[int]:
    """Octets as words of five bits; the last one is filled up with zeros."""
    count = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (count * 5 - len(data) * 8)
    return [number >> 5 * (count - 1 - at) & 31 for at in range(count)]


def from_words(words: Sequence[int]) -> bytes:
    """Words of five bits as octets. Raises ValueError if what fills the last one up is not zero, or a whole word."""
    number = 0
    for word in words:
        number = number << 5 | word
    size, filling = divmod(len(words) * 5, 8)
    if filling > 4 or number & ((1 << filling) - 1):
        raise ValueError("it ends in the middle of an octet")
    return (number >> filling).to_bytes(size, "big")


def _remainder(words: Iterable[int]) -> int:
    value = 1
    for word in words:
        top = value >> 25
        value = (value & 0x1FFFFFF) << 5 ^ word
        for bit, generator in enumerate(_GENERATORS):
            if top >> bit & 1:
                value ^= generator
    return value
