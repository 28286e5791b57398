"""A second reader of the format, written from FORMAT.md: nothing here is of Coldhouse, but for what is compared."""

from __future__ import annotations

import json
import unicodedata
from hashlib import blake2b, sha256
from pathlib import Path
from struct import unpack_from

import msgspec
import zstandard
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.repository import golden_content as golden
from tests.repository.samples import checksum

ROOT = Path(__file__).parent / "golden"


def digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def hkdf(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, info).derive(ikm)


class Ref(msgspec.Struct):
    id: bytes
    size: int
    digest: bytes


class PageRef(msgspec.Struct):
    ref: Ref
    first: str
    last: str
    parts: int
    digest: bytes
    content: bytes
    inline: bytes


class Name(msgspec.Struct):
    database: str
    table: str


class Entry(msgspec.Struct):
    name: Name
    kind: str
    definition: str
    pages: list[PageRef]


class Root(msgspec.Struct):
    id: str
    parent: str
    catalog: list[Ref]


class Columns(msgspec.Struct):
    pack_ids: bytes
    pack_sizes: bytes
    pack_tables: bytes
    partitions: list[str]
    partition_parts: bytes
    part_names: list[str]
    part_hashes: list[bytes]
    part_rows: bytes
    part_bytes: bytes
    part_files: bytes
    file_names: list[str]
    file_name: bytes
    file_size: bytes
    file_checksum: bytes
    file_flags: bytes
    file_extents: bytes
    extent_pack: bytes
    extent_offset: bytes
    extent_length: bytes


class Master(msgspec.Struct):
    number: int
    master: bytes


class Note(msgspec.Struct):
    key: str
    data: bytes


class Reader:
    def __init__(self) -> None:
        line, check = (ROOT / "config").read_bytes().splitlines(keepends=True)
        assert json.loads(check) == digest(line).hex()
        config = json.loads(line)
        assert (config["format"], config["version"], config["cipher"]) == ("coldhouse", 1, "aes-256-gcm")
        self.id = bytes.fromhex(config["id"])
        (slot,) = (ROOT / "keys").iterdir()
        face_line, sealed, check = slot.read_bytes().splitlines(keepends=True)
        assert json.loads(check) == digest(face_line + sealed).hex()
        face = json.loads(face_line)
        assert (face["slot"], face["repository"], face["access"]) == (slot.name, self.id.hex(), "full")
        kek = Argon2id(
            salt=bytes.fromhex(face["salt"]),
            length=32,
            iterations=face["cost"]["passes"],
            lanes=face["cost"]["lanes"],
            memory_cost=face["cost"]["memory_kib"],
        ).derive(unicodedata.normalize("NFC", golden.PASSPHRASE).encode())
        secret = AESGCM(kek).decrypt(bytes.fromhex(face["nonce"]), bytes.fromhex(json.loads(sealed)), face_line)
        (key,) = msgspec.msgpack.decode(secret, type=list[Master])
        suffix = key.number.to_bytes(2, "little")
        self.writer = hkdf(key.master, self.id, b"coldhouse 1 writer" + suffix)
        self.private = X25519PrivateKey.from_private_bytes(hkdf(key.master, self.id, b"coldhouse 1 reader" + suffix))

    def cipher(self, header: bytes, kind: int, object_id: bytes) -> AESGCM:
        assert header[:8] == b"COLDHS\r\n"
        assert unpack_from("<BBHI", header, 8) == (1, kind, 1, 0)
        assert header[16:32] == object_id
        public = header[32:64]
        shared = self.private.exchange(X25519PublicKey.from_public_bytes(public))
        info = b"coldhouse 1 object" + bytes([kind]) + self.id + object_id
        return AESGCM(hkdf(shared + self.writer, public, info))

    def whole(self, name: str, kind: int, object_id: bytes) -> bytes:
        stored = (ROOT / name).read_bytes()
        cipher = self.cipher(stored[:64], kind, object_id)
        return zstandard.decompress(cipher.decrypt(bytes(12), stored[64:], stored[:64]))

    def manifest(self, ref: Ref, kind: int) -> bytes:
        name = f"manifests/{ref.id.hex()[:2]}/{ref.id.hex()}"
        stored = (ROOT / name).read_bytes()
        assert (len(stored), digest(stored)) == (ref.size, ref.digest)
        return self.whole(name, kind, ref.id)

    def snapshot(self, id: str) -> Root:
        name = f"snapshots/{id}"
        return msgspec.msgpack.decode(self.whole(name, 4, sha256(name.encode()).digest()[:16]), type=Root)

    def entries(self, root: Root) -> list[Entry]:
        lists = [msgspec.msgpack.decode(self.manifest(ref, 3), type=list[bytes]) for ref in root.catalog]
        return [msgspec.msgpack.decode(stored, type=Entry) for each in lists for stored in each]

    def page(self, ref: PageRef) -> Columns:
        content = ref.inline or self.manifest(ref.ref, 2)
        assert digest(content) == ref.content
        return msgspec.msgpack.decode(content, type=Columns)

    def pack(self, id: bytes, size: int, table_size: int) -> tuple[dict[int, bytes], bytes]:
        stored = (ROOT / f"packs/{id.hex()[:2]}/{id.hex()}").read_bytes()
        assert len(stored) == size
        header, footer = stored[:64], stored[-80:]
        assert footer[:64] == header
        directory_size, found_size = unpack_from("<II", footer, 64)
        assert (found_size, footer[72:]) == (table_size, b"COLDEND\n")
        cipher = self.cipher(header, 1, id)
        table = cipher.decrypt(b"\xff" * 12, stored[size - 80 - table_size : size - 80], header + b"table")
        assert unpack_from("<QI", table) == (size, directory_size)
        (count,) = unpack_from("<I", table, 12)
        numbers = unpack_from(f"<{count}I", table, 16)
        sealed = unpack_from(f"<{count}I", table, 16 + 4 * count)
        plain = unpack_from(f"<{count}I", table, 16 + 8 * count)
        codecs = table[16 + 12 * count :]
        frames, at = {}, 64
        for number, length, size_, codec in zip(numbers, sealed, plain, codecs, strict=True):
            nonce = number.to_bytes(12, "big")
            packed = cipher.decrypt(nonce, stored[at : at + length], id + nonce + bytes([codec]))
            frames[number] = zstandard.decompress(packed) if codec else packed
            assert len(frames[number]) == size_
            at += length
        end = at + directory_size
        assert end + table_size + 80 == size
        nonce = b"\xff" * 11 + b"\xfe"
        return frames, zstandard.decompress(cipher.decrypt(nonce, stored[at:end], header + b"directory"))

    def extent(self, columns: Columns, at: int) -> bytes:
        (place,) = unpack_from("<I", columns.extent_pack, 4 * at)
        (offset,) = unpack_from("<Q", columns.extent_offset, 8 * at)
        (length,) = unpack_from("<Q", columns.extent_length, 8 * at)
        (size,) = unpack_from("<Q", columns.pack_sizes, 8 * place)
        (table_size,) = unpack_from("<I", columns.pack_tables, 4 * place)
        frames, _ = self.pack(columns.pack_ids[16 * place : 16 * place + 16], size, table_size)
        found = b""
        while length:
            number, begin = divmod(offset, 262144)
            piece = frames[number][begin : begin + length]
            found, offset, length = found + piece, offset + len(piece), length - len(piece)
        return found

    def files(self, columns: Columns) -> list[tuple[str, bytes]]:
        found, at = [], 0
        for file in range(len(columns.file_flags)):
            (name,) = unpack_from("<I", columns.file_name, 4 * file)
            (extents,) = unpack_from("<I", columns.file_extents, 4 * file)
            content = b"".join(self.extent(columns, place) for place in range(at, at + extents))
            at += extents
            assert unpack_from("<Q", columns.file_size, 8 * file) == (len(content),)
            found.append((columns.file_names[name], content))
        return found


def test_the_golden_repository_is_as_the_format_says() -> None:
    reader = Reader()
    root = reader.snapshot(golden.SECOND_ID)
    assert (root.id, root.parent) == (golden.SECOND_ID, golden.FIRST_ID)
    entries = {entry.name.table: entry for entry in reader.entries(root)}
    assert [entry.kind for entry in entries.values()] == ["definition", "definition", "files", "parts", "parts"]
    contents = [file for ref in entries["orders"].pages for file in reader.files(reader.page(ref))]
    assert contents == [
        ("count.txt", b""),
        ("n.bin", golden.SMALL),
        ("p.proj/n.bin", golden.LARGE),
        ("n.bin", golden.SMALL),
        ("n.bin", golden.LATER),
    ]


def test_its_pages_are_as_the_format_says() -> None:
    reader = Reader()
    for entry in reader.entries(reader.snapshot(golden.SECOND_ID)):
        for ref in entry.pages:
            columns = reader.page(ref)
            counts = unpack_from(f"<{len(columns.partitions)}I", columns.partition_parts)
            partitions = [name for name, count in zip(columns.partitions, counts, strict=True) for _ in range(count)]
            assert (partitions[0], partitions[-1], len(partitions)) == (ref.first, ref.last, ref.parts)
            states = blake2b(digest_size=16, person=b"coldhouse states")
            for at, state in enumerate(zip(partitions, columns.part_names, columns.part_hashes, strict=True)):
                (rows,) = unpack_from("<Q", columns.part_rows, 8 * at)
                (size,) = unpack_from("<Q", columns.part_bytes, 8 * at)
                states.update(msgspec.msgpack.encode([*state, rows, size]))
            assert states.digest() == ref.digest


def test_its_packs_say_what_is_in_them() -> None:
    reader = Reader()
    wanted = {checksum(content): len(content) for content in (golden.SMALL, golden.LARGE, golden.NOISE, golden.LATER)}
    covered = dict.fromkeys(wanted, 0)
    for path in (ROOT / "packs").glob("*/*"):
        size = path.stat().st_size
        _, table_size = unpack_from("<II", path.read_bytes(), size - 16)
        frames, directory = reader.pack(bytes.fromhex(path.name), size, table_size)
        (count,) = unpack_from("<I", directory, 16)
        assert len(directory) == 20 + 53 * count
        for at in range(count):
            _, sum_, whole, _, offset, length, _ = unpack_from("<I16sQQQQB", directory, 20 + 53 * at)
            assert wanted[sum_] == whole
            assert offset // 262144 in frames
            covered[sum_] += length
    assert covered == wanted


def test_its_note_has_the_name_that_the_format_says() -> None:
    reader = Reader()
    key = hkdf(reader.writer, reader.id, b"coldhouse 1 note names")
    name = f"notes/journal/{blake2b(b'a key', key=key, digest_size=16).hexdigest()}"
    note = msgspec.msgpack.decode(reader.whole(name, 5, sha256(name.encode()).digest()[:16]), type=Note)
    assert note == Note("a key", b"a note")
