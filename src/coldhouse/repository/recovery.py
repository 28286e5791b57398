"""Master keys as lines that people can write on paper and type in again: every line says whether it was typed right.

A line is ``key NN:``, twenty-four characters of data (15 bytes) and six of checksum, in groups of five. The alphabet
and the checksum are those of Bech32m, so up to four wrong characters in a line are noticed for certain; and a line that
stands in the place of another, because its number is part of what its checksum covers.
"""

from __future__ import annotations

import re

from coldhouse.errors import UsageError
from coldhouse.repository import bech32
from coldhouse.repository.credentials import RecoveryKeys
from coldhouse.repository.crypto import KEY_SIZE, content_digest

_VERSION = 1
_LINE = 15
_GROUP = 5
_LETTERS = _LINE * 8 // 5
_DIGEST = 8
_HEAD = 1 + 16 + 1
_ENTRY = 2 + KEY_SIZE
_MOST = 64  # generations
_KEY_LINE = re.compile(r"\s*key\s*([0-9]{1,3})\s*:(.*)", re.IGNORECASE)


def key_lines(keys: RecoveryKeys) -> list[str]:
    """The lines that stand for master keys."""
    entries = b"".join(number.to_bytes(2, "little") + master for number, master in keys.masters)
    body = bytes([_VERSION]) + keys.repository + bytes([len(keys.masters)]) + entries
    data = body + content_digest(body)[:_DIGEST]
    data += bytes(-len(data) % _LINE)
    pieces = [data[at : at + _LINE] for at in range(0, len(data), _LINE)]
    return [f"key {number:02}: {_line(number, piece)}" for number, piece in enumerate(pieces, 1)]


def read_key_lines(text: str, origin: str) -> RecoveryKeys:
    """Read the key lines of a recovery sheet, whatever stands between them; ``origin`` names it in errors.

    Raises UsageError that names the line with the typing error.
    """
    found: dict[int, bytes] = {}
    for line in text.splitlines():
        match = _KEY_LINE.fullmatch(line)
        if match is not None:
            number = int(match[1])
            found[number] = _read_line(number, match[2], origin)
    if not found:
        raise _bad(f"{origin} has no line that begins with key 01:")
    for number in range(1, max(found) + 1):
        if number not in found:
            raise _bad(f"{origin} lacks the line key {number:02}")
    return _keys(b"".join(found[number] for number in sorted(found)), origin)


def _line(number: int, piece: bytes) -> str:
    words = bech32.to_words(piece)
    text = bech32.spelled(words + bech32.checksum(_prefix(number), words, bech32.BECH32M))
    return " ".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def _read_line(number: int, text: str, origin: str) -> bytes:
    letters = "".join(text.split()).replace("-", "").lower()
    where = f"in {origin}, the line key {number:02}"
    if len(letters) != _LETTERS + bech32.CHECK:
        raise _bad(f"{where} has {len(letters)} characters instead of {_LETTERS + bech32.CHECK}")
    for letter in letters:
        if letter not in bech32.ALPHABET:
            raise _bad(f"{where} has a character that is never used there ({letter!r})")
    words = bech32.read(letters)
    if bech32.checksum(_prefix(number), words[:_LETTERS], bech32.BECH32M) != words[_LETTERS:]:
        raise _bad(f"{where} has a typing error: its last six characters do not fit the others")
    return bech32.from_words(words[:_LETTERS])


def _keys(data: bytes, origin: str) -> RecoveryKeys:
    if data[0] != _VERSION:
        raise _bad(f"{origin} is of version {data[0]}; this Coldhouse knows version {_VERSION}")
    count = data[_HEAD - 1] if len(data) >= _HEAD else 0
    end = _HEAD + count * _ENTRY
    body = data[:end]
    if (
        not 1 <= count <= _MOST
        or len(data) < end + _DIGEST
        or data[end : end + _DIGEST] != content_digest(body)[:_DIGEST]
    ):
        raise _bad(f"the lines of {origin} are not all of one sheet, or the last of them are missing")
    entries = [body[at : at + _ENTRY] for at in range(_HEAD, end, _ENTRY)]
    masters = tuple((int.from_bytes(entry[:2], "little"), entry[2:]) for entry in entries)
    return RecoveryKeys(body[1:17], masters)


def _prefix(number: int) -> str:
    return f"coldhouse{number:02}"


def _bad(problem: str) -> UsageError:
    return UsageError(
        problem, hint="Compare it with the paper, character by character; b, i, o and 1 never occur in it."
    )
