"""Sealing: from a keyring to the cipher of one object, and whole objects sealed in one piece.

Anyone who holds the writer key and the public key can seal; only who holds the private key can open. See FORMAT.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from hashlib import blake2b
from struct import Struct

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from coldhouse.errors import Corruption, OldKey, WriteOnlyKey
from coldhouse.model import Buffer
from coldhouse.repository import names

MAGIC = b"COLDHS\r\n"
VERSION = 1
TAG_SIZE = 16
KEY_SIZE = 32
CIPHER = "aes-256-gcm"

_HEADER = Struct("<8sBBHI16s32s")  # magic, version, kind, generation, zero, object id, ephemeral public key
HEADER_SIZE = _HEADER.size
_WHOLE_NONCE = bytes(12)  # a whole object is the only message under its key

MIB = 1 << 20
DAMAGED = (
    "The bytes in the store are not those that were written. coldhouse repair --data says what that means, and puts "
    "back what lies elsewhere too; with --from URL it takes sound objects from a copy."
)

NEWER_KEY = (
    "Use a key or a recovery sheet that was made since (coldhouse key list shows generations), or let somebody who has "
    "one make a new one for you: coldhouse key add. What was backed up before the rotation this one still reads."
)


class Kind(IntEnum):
    """What an object is, as its header says."""

    PACK = 1
    PAGE = 2
    CATALOG = 3
    SNAPSHOT = 4
    NOTE = 5


@dataclass(frozen=True)
class Generation:
    """The keys of one generation: ``private`` and ``master`` are None for a key that can only write."""

    number: int
    writer: bytes = field(repr=False)
    public: bytes
    private: bytes | None = field(repr=False)
    master: bytes | None = field(default=None, repr=False)

    @cached_property
    def reader(self) -> X25519PrivateKey | None:
        """``private`` as the library wants it; making one of its keys costs as much as using it."""
        return None if self.private is None else X25519PrivateKey.from_private_bytes(self.private)


class Keyring(msgspec.Struct, frozen=True):
    """All keys of a repository (16-byte id) that a key slot gave: oldest generation first, at least one.

    ``known`` is the newest generation that any slot tells of; nothing proves it, and it decides what errors say.
    """

    repository: bytes
    generations: tuple[Generation, ...]
    known: int = 0

    @property
    def newest(self) -> Generation:
        """The generation that seals."""
        return self.generations[-1]

    @property
    def lacking(self) -> int:
        """The newest generation that others hold and this one does not; 0 if it holds the newest."""
        return self.known if self.known > self.newest.number else 0

    def find(self, number: int) -> Generation | None:
        """The generation of this number, or None."""
        return next((one for one in self.generations if one.number == number), None)


def derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) of a secret, 32 bytes."""
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=salt, info=info).derive(secret)


def generation_of(number: int, master: bytes, repository: bytes) -> Generation:
    """The keys that a master key of 32 bytes stands for."""
    suffix = number.to_bytes(2, "little")
    private = derive(master, repository, b"coldhouse 1 reader" + suffix)
    return Generation(
        number=number,
        writer=derive(master, repository, b"coldhouse 1 writer" + suffix),
        public=X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw(),
        private=private,
        master=master,
    )


def content_digest(data: Buffer) -> bytes:
    """BLAKE2b-128, as in ManifestRef and PageRef."""
    return blake2b(data, digest_size=16).digest()


def new_cipher(ring: Keyring, kind: Kind, name: str) -> tuple[bytes, AESGCM]:
    """Make the 64-byte header and the cipher of an object about to be written; its key is fresh."""
    keys = ring.newest
    ephemeral = X25519PrivateKey.generate()
    public = ephemeral.public_key().public_bytes_raw()
    id = names.bound_id(name)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(keys.public))
    header = _HEADER.pack(MAGIC, VERSION, kind, keys.number, 0, id, public)
    return header, _cipher(ring, keys, kind, id, public, shared)


def open_cipher(ring: Keyring, kind: Kind, name: str, header: Buffer) -> AESGCM:
    """Find the cipher of a stored object from its header, of which nothing is believed yet.

    Raises:
        Corruption: the header is not one of this object.
        WriteOnlyKey: the key at hand can only write.
        OldKey: the key at hand is from before the rotation that made the object's key.
    """
    if len(header) != HEADER_SIZE:
        raise damaged(name, "is too short to be an object of a repository")
    magic, version, found, number, zero, id, public = _HEADER.unpack(header)
    if magic != MAGIC or zero != 0:
        raise damaged(name, "does not begin like an object of a repository")
    if version != VERSION:
        raise damaged(name, f"is damaged, or of format version {version}, which this Coldhouse does not know")
    if found != kind or id != names.bound_id(name):
        raise damaged(name, "is another object than its name says")
    keys = ring.find(number)
    if keys is None and ring.newest.number < number <= ring.lacking:
        raise write_only() if ring.newest.private is None else old_key(ring, name, number)
    if keys is None:
        raise damaged(name, f"is damaged, or sealed under key generation {number}, which this key slot does not hold")
    if keys.reader is None:
        raise write_only()
    try:
        shared = keys.reader.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # a point of low order: no writer makes one
        raise damaged(name, "has no valid key in its header") from error
    return _cipher(ring, keys, kind, id, public, shared)


def _cipher(ring: Keyring, keys: Generation, kind: Kind, id: bytes, public: bytes, shared: bytes) -> AESGCM:
    info = b"coldhouse 1 object" + bytes([kind]) + ring.repository + id
    return AESGCM(derive(shared + keys.writer, public, info))


def seal(ring: Keyring, kind: Kind, name: str, plain: bytes) -> bytes:
    """Compress and seal a whole object."""
    header, cipher = new_cipher(ring, kind, name)
    return header + cipher.encrypt(_WHOLE_NONCE, zstandard.ZstdCompressor(level=3).compress(plain), header)


def unseal(ring: Keyring, kind: Kind, name: str, sealed: Buffer, limit: int = 64 * MIB) -> bytes:
    """Open a whole object of at most ``limit`` bytes of plaintext. Raises Corruption."""
    view = memoryview(sealed)
    header = bytes(view[:HEADER_SIZE])
    cipher = open_cipher(ring, kind, name, header)
    return decompress(decrypt(cipher, _WHOLE_NONCE, view[HEADER_SIZE:], header, name), limit, name)


def decrypt(cipher: AESGCM, nonce: bytes, sealed: Buffer, aad: bytes, name: str) -> bytes:
    """Open one sealed piece of the object ``name``. Raises Corruption."""
    try:
        return cipher.decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError) as error:
        raise damaged(name, "is damaged: its authentication fails") from error


def decrypt_into(cipher: AESGCM, nonce: bytes, sealed: Buffer, aad: bytes, room: memoryview, name: str) -> None:
    """Open one sealed piece of the object ``name`` into memory of the length of its plaintext. Raises Corruption."""
    try:
        cipher.decrypt_into(nonce, sealed, aad, room)
    except (InvalidTag, ValueError) as error:
        raise damaged(name, "is damaged: its authentication fails") from error


def decompress(data: bytes, limit: int, name: str) -> bytes:
    """Decompress one zstd frame that says its size, at most ``limit`` bytes. Raises Corruption."""
    try:
        size = zstandard.get_frame_parameters(data).content_size
        if not 0 <= size <= limit:
            raise damaged(name, f"claims an impossible size of {size} bytes")
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise damaged(name, "holds bytes that do not decompress") from error
    if len(plain) != size:
        raise damaged(name, "holds bytes that do not decompress to their size")
    return plain


def write_only() -> WriteOnlyKey:
    """The error of who wants to read with a key that can only write."""
    return WriteOnlyKey(
        "This key can back up and not read: not even what it backed up itself.",
        hint="Use a passphrase or key that may read; coldhouse key list says which keys there are.",
    )


def old_key(ring: Keyring, name: str, number: int) -> OldKey:
    """The error of who wants to read what is newer than his key."""
    return OldKey(
        f"{name} is sealed under generation {number} of the master key; the key at hand holds generation "
        f"{ring.newest.number}, from before a rotation.",
        hint=NEWER_KEY,
    )


def damaged(name: str, what: str) -> Corruption:
    """The error that names a damaged object."""
    return Corruption(f"{name} {what}.", object_name=name, hint=DAMAGED)


def missing(name: str) -> Corruption:
    """The error that names an object which ought to be there."""
    return Corruption(f"{name} is missing, though a snapshot needs it.", object_name=name, hint=DAMAGED)
