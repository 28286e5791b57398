"""The ``config`` object and the key slots: from a passphrase, a key file or an identity to a keyring.

Both are JSON Lines whose last line is a checksum of the lines before it, so that accidental damage is told from a wrong
passphrase. What protects them from a hostile store is that a slot's secret is sealed over its own first line.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Struct

from coldhouse.errors import Corruption, UnsupportedFormat, WrongPassphrase
from coldhouse.model import Buffer
from coldhouse.records import replace
from coldhouse.repository import names
from coldhouse.repository.credentials import (
    Credential,
    Holder,
    Identity,
    KeyFile,
    Recipient,
    new_identity,
    passphrase_octets,
)
from coldhouse.repository.crypto import (
    CIPHER,
    KEY_SIZE,
    VERSION,
    Generation,
    Keyring,
    content_digest,
    derive,
    generation_of,
)

FORMAT = "coldhouse"
MAX_SIZE = 65536  # of config and of a key slot, in bytes

T = TypeVar("T")


class KdfCost(Struct, frozen=True):
    """The price of one guess at a passphrase (Argon2id): memory in KiB, passes over it, and lanes."""

    memory_kib: int = 65536
    passes: int = 3
    lanes: int = 4

    def __post_init__(self) -> None:
        if not (1 <= self.lanes <= 16 and 1 <= self.passes <= 32 and 8 * self.lanes <= self.memory_kib <= 1 << 20):
            raise ValueError(f"not a cost that Argon2id can have here: {self}")


class Config(Struct, frozen=True):
    """The object ``config``: nothing secret; ``id`` is the repository's, 32 hex digits."""

    format: str
    version: int
    id: str
    cipher: str
    created: str


class SlotFace(Struct, frozen=True):
    """The readable first line of a key slot; ``access`` is full or write, ``kind`` says what opens it.

    ``generation`` is the newest one in it; ``proof`` shows to who holds that master key that the slot was made by one
    who does. ``cost`` is that of a passphrase alone, ``recipient`` is that of the kind recipient.
    """

    version: int
    repository: str
    cipher: str
    slot: str
    kind: str
    access: str
    kdf: str
    cost: KdfCost | None
    salt: str
    nonce: str
    created: str
    label: str
    generation: int = 1
    recipient: str = ""
    proof: str = ""


class _Version(Struct, frozen=True):
    version: int


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A generation as a slot of access ``full`` holds it: number and 32 random bytes."""

    number: int
    master: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class WriteKey:
    """A generation as a slot of access ``write`` holds it: number, public key and writer key."""

    number: int
    public: bytes
    writer: bytes = field(repr=False)


# ------------------------------------------------------------------------------------------------- lines and checksum


def _lines(*records: object) -> bytes:
    body = b"".join(msgspec.json.encode(record, order="sorted") + b"\n" for record in records)
    return body + msgspec.json.encode(content_digest(body).hex()) + b"\n"


def _checked_lines(stored: Buffer, name: str, count: int) -> list[bytes]:
    data = bytes(stored)
    lines = data.splitlines(keepends=True)
    if len(data) > MAX_SIZE or len(lines) != count + 1:
        raise _bad(name, "has not the form that it must have")
    body = b"".join(lines[:-1])
    if lines[-1] != msgspec.json.encode(content_digest(body).hex()) + b"\n":
        raise _bad(name, "is damaged: its checksum does not fit")
    return lines[:-1]


def _parse(line: bytes, type: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(line, type=type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _bad(name, "cannot be read") from error


def _check_version(line: bytes, name: str) -> None:
    version = _parse(line, _Version, name).version
    if version != VERSION:
        raise UnsupportedFormat(
            f"{name} is of format version {version}; this Coldhouse knows version {VERSION}.",
            hint="Use the Coldhouse that wrote this repository, or a newer one.",
        )


def _bad(name: str, what: str) -> Corruption:
    return Corruption(
        f"{name} {what}.", object_name=name, hint="Put back a copy of this object, from another copy of the repository."
    )


# ------------------------------------------------------------------------------------------------------------- config


def new_config() -> Config:
    """A config with a random repository id."""
    return Config(FORMAT, VERSION, secrets.token_hex(16), CIPHER, _now())


def encode_config(config: Config) -> bytes:
    """The bytes of the object ``config``."""
    return _lines(config)


def decode_config(stored: Buffer) -> Config:
    """Read the object ``config``. Raises Corruption, UnsupportedFormat."""
    (line,) = _checked_lines(stored, names.CONFIG, 1)
    _check_version(line, names.CONFIG)
    config = _parse(line, Config, names.CONFIG)
    if config.format != FORMAT or config.cipher != CIPHER or not names.is_hex_id(config.id):
        raise _bad(names.CONFIG, "names a format, a cipher or an id that cannot be")
    return config


# -------------------------------------------------------------------------------------------------------------- slots


def new_master(number: int = 1) -> MasterKey:
    """A random master key."""
    return MasterKey(number, secrets.token_bytes(KEY_SIZE))


def keyring_of(config: Config, keys: list[MasterKey]) -> Keyring:
    """The keyring that master keys stand for."""
    id = bytes.fromhex(config.id)
    return Keyring(id, tuple(generation_of(key.number, key.master, id) for key in keys))


def write_keys(ring: Keyring) -> list[WriteKey]:
    """What of a keyring can back up and not read."""
    return [WriteKey(one.number, one.public, one.writer) for one in ring.generations]


def new_slot(
    config: Config,
    holder: Holder,
    keys: list[MasterKey] | list[WriteKey],
    cost: KdfCost,
    label: str = "",
    prover: MasterKey | None = None,
) -> tuple[str, bytes]:
    """Make a key slot for a passphrase, a key file or a recipient: its id and its bytes.

    ``cost`` is for a passphrase; ``prover`` is the newest master key, where ``keys`` are not master keys themselves.
    """
    ordered: list[MasterKey | WriteKey] = sorted(keys, key=_number)
    newest = ordered[-1]
    prover = newest if isinstance(newest, MasterKey) else prover
    wrapping, salt = _new_wrapping(holder, cost)
    face = SlotFace(
        version=VERSION,
        repository=config.id,
        cipher=CIPHER,
        slot=secrets.token_hex(16),
        kind=kind_of(holder),
        access="full" if isinstance(newest, MasterKey) else "write",
        kdf="argon2id" if isinstance(holder, str) else "hkdf-sha256",
        cost=cost if isinstance(holder, str) else None,
        salt=salt.hex(),
        nonce=secrets.token_hex(12),
        created=_now(),
        label=label,
        generation=newest.number,
        recipient=holder.public.hex() if isinstance(holder, Recipient) else "",
    )
    if prover is not None:
        face = replace(face, proof=_proof(config.id, prover.number, prover.master, _face_line(face)))
    line = _face_line(face)
    secret = msgspec.msgpack.encode(ordered)
    sealed = AESGCM(wrapping).encrypt(bytes.fromhex(face.nonce), secret, line)
    return face.slot, _lines(face, sealed.hex())


def _number(key: MasterKey | WriteKey) -> int:
    return key.number


def kind_of(credential: Credential | Recipient) -> str:
    """The kind of slot that a credential opens."""
    match credential:
        case str():
            return "passphrase"
        case KeyFile():
            return "file"
        case Identity() | Recipient():
            return "recipient"
        case _:
            return "recovery"


def slot_face(config: Config, name: str, stored: Buffer) -> SlotFace | None:
    """What a key slot says of itself, of which nothing is proven; None if it is of another repository.

    Raises Corruption, UnsupportedFormat.
    """
    line, _ = _checked_lines(stored, name, 2)
    _check_version(line, name)
    face = _parse(line, SlotFace, name)
    if face.repository != config.id:
        return None
    if face.cipher != CIPHER or names.key_slot(face.slot) != name or face.access not in {"full", "write"}:
        raise _bad(name, "does not say of itself what it must")
    return face


def is_proven(ring: Keyring, name: str, stored: Buffer) -> bool:
    """Whether a slot was made by a holder of this ring's master key of the slot's generation, and is as it was then."""
    line, _ = _checked_lines(stored, name, 2)
    face = _parse(line, SlotFace, name)
    keys = ring.find(face.generation)
    shown = f'"proof":"{face.proof}"'.encode()
    if keys is None or keys.master is None or not face.proof or line.count(shown) != 1:
        return False
    proof = _proof(ring.repository.hex(), keys.number, keys.master, line.replace(shown, b'"proof":""'))
    return hmac.compare_digest(proof.encode(), face.proof.encode())


def check_slot(name: str, stored: Buffer) -> None:
    """Raise Corruption if a key slot is not as it was written, as far as its checksum tells."""
    line, text = _checked_lines(stored, name, 2)
    _parse(line, SlotFace, name)
    _parse(text, str, name)


def open_slot(config: Config, name: str, stored: Buffer, credential: Credential) -> Keyring | None:
    """Try a credential on a key slot; None if the slot is none of this repository's, or of another kind.

    Raises:
        WrongPassphrase: the credential does not open it.
        Corruption: the slot is damaged.
    """
    line, text = _checked_lines(stored, name, 2)
    face = slot_face(config, name, stored)
    if face is None or face.kind != kind_of(credential) or face.kdf not in {"argon2id", "hkdf-sha256"}:
        return None
    try:
        sealed = bytes.fromhex(_parse(text, str, name))
        wrapping = _wrapping_key(credential, face)
        secret = AESGCM(wrapping).decrypt(bytes.fromhex(face.nonce), sealed, line)
    except InvalidTag as error:
        raise refused(credential) from error
    except ValueError as error:
        raise _bad(name, "cannot be read") from error
    return _keyring(config, face, secret, name)


def refused(credential: Credential) -> WrongPassphrase:
    """The error of a credential that opens nothing."""
    what, how = _WORDS[kind_of(credential)]
    return WrongPassphrase(f"The {what} opens no key of this repository.", hint=f"Give the right one by {how}.")


_WORDS = {
    "passphrase": ("passphrase", "COLDHOUSE_PASSWORD, --password-file or --password-command"),
    "file": ("key file", "COLDHOUSE_KEY_FILE or --key-file"),
    "recipient": ("identity file", "COLDHOUSE_IDENTITY_FILE or --identity-file"),
    "recovery": ("recovery sheet", "--recovery-file"),
}


def _keyring(config: Config, face: SlotFace, secret: bytes, name: str) -> Keyring:
    id = bytes.fromhex(config.id)
    try:
        if face.access == "full":
            masters = msgspec.msgpack.decode(secret, type=list[MasterKey])
            generations = [generation_of(key.number, key.master, id) for key in masters]
        else:
            writers = msgspec.msgpack.decode(secret, type=list[WriteKey])
            generations = [Generation(key.number, key.writer, key.public, None) for key in writers]
    except (msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise _bad(name, "holds no keys that can be read") from error
    if not generations or any(len(one.writer) != KEY_SIZE or len(one.public) != KEY_SIZE for one in generations):
        raise _bad(name, "holds no keys that can be used")
    return Keyring(id, tuple(sorted(generations, key=lambda one: one.number)))


def _new_wrapping(holder: Holder, cost: KdfCost) -> tuple[bytes, bytes]:
    """A wrapping key for a new slot, and its salt: random, or for a recipient the public half of a fresh key pair."""
    if isinstance(holder, Recipient):
        ephemeral = new_identity()
        return _shared_key(ephemeral, holder.public, ephemeral.recipient.public, holder.public), (
            ephemeral.recipient.public
        )
    salt = secrets.token_bytes(16)
    return (_hashed(holder, salt, cost) if isinstance(holder, str) else _file_key(holder, salt)), salt


def _wrapping_key(credential: Credential, face: SlotFace) -> bytes:
    """The wrapping key of a slot. Raises WrongPassphrase, or ValueError for a face that no writer makes."""
    salt = bytes.fromhex(face.salt)
    match credential:
        case str() if face.cost is not None and face.kdf == "argon2id":
            return _hashed(credential, salt, face.cost)
        case KeyFile() if face.kdf == "hkdf-sha256":
            return _file_key(credential, salt)
        case Identity() if face.kdf == "hkdf-sha256":
            own = credential.recipient.public
            if face.recipient != own.hex():
                raise refused(credential)
            return _shared_key(credential, salt, salt, own)
    raise ValueError("its kind and its kdf do not go together")


def _hashed(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    return Argon2id(
        salt=salt, length=KEY_SIZE, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib
    ).derive(passphrase_octets(passphrase))


def _file_key(file: KeyFile, salt: bytes) -> bytes:
    return derive(file.secret, salt, b"coldhouse 1 key file")


def _shared_key(own: Identity, other: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    return derive(own.exchange(other), ephemeral + recipient, b"coldhouse 1 recipient")


def _face_line(face: SlotFace) -> bytes:
    return msgspec.json.encode(face, order="sorted") + b"\n"


def _proof(repository: str, number: int, master: bytes, line: bytes) -> str:
    key = derive(master, bytes.fromhex(repository), b"coldhouse 1 slots" + number.to_bytes(2, "little"))
    return hmac.digest(key, line, "sha256").hex()


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
