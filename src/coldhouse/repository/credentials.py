"""What opens a repository, and what a slot can be made for: passphrases, key files, and key pairs as age has them."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from msgspec import Struct

from coldhouse.errors import UsageError
from coldhouse.repository import bech32
from coldhouse.repository.crypto import KEY_SIZE

_KEY_FILE = "coldhouse-key-"
_IDENTITY = "age-secret-key-"
_RECIPIENT = "age"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The 32 random bytes of a key file."""

    secret: bytes = field(repr=False)

    def text(self) -> str:
        """The line that a key file holds."""
        return bech32.encode(_KEY_FILE, self.secret).upper()


class Recipient(Struct, frozen=True):
    """The public half of a key pair (X25519, 32 bytes): a slot can be made for it without its private half."""

    public: bytes

    def __str__(self) -> str:
        return bech32.encode(_RECIPIENT, self.public)


@dataclass(frozen=True, slots=True)
class Identity:
    """The private half of a key pair (X25519, 32 bytes)."""

    private: bytes = field(repr=False)

    @property
    def recipient(self) -> Recipient:
        """The public half."""
        return Recipient(X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw())

    def exchange(self, public: bytes) -> bytes:
        """The secret shared with the holder of another key pair. Raises ValueError for a point of low order."""
        private = X25519PrivateKey.from_private_bytes(self.private)
        return private.exchange(X25519PublicKey.from_public_bytes(public))

    def text(self) -> str:
        """The line that an identity file of age holds."""
        return bech32.encode(_IDENTITY, self.private).upper()


@dataclass(frozen=True, slots=True)
class RecoveryKeys:
    """What a recovery sheet holds: the repository's id (16 bytes) and its master keys, (generation, 32 bytes) each."""

    repository: bytes
    masters: tuple[tuple[int, bytes], ...] = field(repr=False)


#: What opens a repository; a text is a passphrase.
Credential = str | KeyFile | Identity | RecoveryKeys
#: What a key slot can be made for.
Holder = str | KeyFile | Recipient


def new_key_file() -> KeyFile:
    """A random key file."""
    return KeyFile(secrets.token_bytes(KEY_SIZE))


def new_identity() -> Identity:
    """A random key pair."""
    return Identity(X25519PrivateKey.generate().private_bytes_raw())


def passphrase_octets(passphrase: str) -> bytes:
    """A passphrase as it is hashed: Unicode NFC, UTF-8."""
    return unicodedata.normalize("NFC", passphrase).encode()


def read_key_file(text: str, origin: str) -> KeyFile:
    """Read the text of a key file; ``origin`` names it in errors. Raises UsageError."""
    return KeyFile(_read(text, _KEY_FILE, f"{origin} is no key file of Coldhouse"))


def read_identity(text: str, origin: str) -> Identity:
    """Read an identity file as age-keygen writes it; ``origin`` names it in errors. Raises UsageError."""
    return Identity(_read(text, _IDENTITY, f"{origin} is no identity file with an X25519 key of age"))


def read_recipient(text: str) -> Recipient:
    """Read ``age1...``. Raises UsageError."""
    return Recipient(_read(text, _RECIPIENT, f"{text.strip()[:80]!r} is no X25519 recipient of age"))


def _read(text: str, prefix: str, problem: str) -> bytes:
    """The octets of the one line that is neither empty nor a comment; no error repeats any of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if len(lines) != 1:
        raise UsageError(f"{problem}: it holds {len(lines)} lines beside comments instead of one", hint=_HINT)
    try:
        octets = bech32.decode(lines[0], prefix)
    except ValueError as error:
        raise UsageError(f"{problem}: {error}", hint=_HINT) from None
    if len(octets) != KEY_SIZE:
        raise UsageError(f"{problem}: it has {len(octets)} bytes instead of {KEY_SIZE}", hint=_HINT)
    return octets


_HINT = "key files come from coldhouse key add --new-key-file, identities and recipients (age1...) from age-keygen"
