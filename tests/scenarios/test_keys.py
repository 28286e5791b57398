"""A database host that can back up and not read: what it can do, and what a thief who takes all of it can not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import cast

import msgspec
import pytest
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from coldhouse.errors import Corruption, ObjectExists, OldKey, StorageRefused, WriteOnlyKey, WrongPassphrase
from coldhouse.model import Snapshot, TableName
from coldhouse.operations import diff, export, key, pin, prune, repair, show, snapshots, sql, verify
from coldhouse.operations.own_state import folder_of
from coldhouse.operations.prune import PruneOptions
from coldhouse.operations.sql import SqlOptions
from coldhouse.operations.verify import VerifyOptions
from coldhouse.records import replace
from coldhouse.repository import KeyFile, Repository, new_key_file, open_repository
from coldhouse.repository.collection import Collection
from coldhouse.repository.crypto import HEADER_SIZE, derive, generation_of
from coldhouse.repository.pack_format import FOOTER_SIZE, decode_footer
from coldhouse.storage import Storage, open_storage
from tests.gateway.client import Client
from tests.scenarios.conftest import CHEAP, Clickhouse, play
from tests.scenarios.world import PASSPHRASE, World
from tests.support.fixtures_storage import use_environment
from tests.support.s3_gate import S3Gate
from tests.support.seaweedfs import HOST_KEY, HOST_SECRET, SeaweedFS

#: Stands in every row, in a column that ClickHouse does not compress.
SECRET = "the-patients-name-is-4711"
MAKE = (
    "CREATE TABLE {db}.t (id UInt64, p UInt8, text String CODEC(NONE)) ENGINE = MergeTree PARTITION BY p ORDER BY id",
    f"INSERT INTO {{db}}.t SELECT number, number % 8, '{SECRET}' || toString(number) FROM numbers(8000)",
    "CREATE TABLE {db}.small (a String) ENGINE = Log",
    f"INSERT INTO {{db}}.small VALUES ('{SECRET}')",
)
MORE = f"INSERT INTO {{db}}.t SELECT number, 9, '{SECRET}' FROM numbers(1000)"


@dataclass(frozen=True)
class Host:
    """The owner's world, and the same ClickHouse seen by a host whose key can only write."""

    owner: World
    world: World
    key: KeyFile
    state: Path

    @property
    def repository(self) -> Repository:
        return self.world.repository

    @property
    def storage(self) -> Storage:
        return self.world.repository.storage


@pytest.fixture
def host(embedded: Clickhouse, folder_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """One snapshot of the owner, then a key for the host."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for owner in play(embedded, folder_url):
        owner.run(*MAKE)
        owner.backup()
        yield from joined(owner, folder_url)


def joined(owner: World, url: str, environment: Callable[[], None] = lambda: None) -> Iterator[Host]:
    file = new_key_file()
    owner.repository.slots.add(file, full=False, label="db1")
    environment()
    with open_repository(open_storage(url), file) as repository:
        state = folder_of(repository.id, os.environ)
        yield Host(owner, replace(owner, repository=repository), file, state)


# ------------------------------------------------------------------------------------------------------- what it can do


def test_it_backs_up_first_in_full_and_then_increments_and_the_owner_restores(host: Host) -> None:
    first = host.world.backup().snapshot
    assert (first.accounting.reused, first.parent) == (0, "")  # it knows nothing of the owner's snapshot
    host.world.run(MORE)
    second = host.world.backup().snapshot
    assert second.parent == first.id
    assert 0 < second.accounting.new < second.accounting.data / 2
    content = host.owner.content()
    reports = verify.run(host.owner.repository, VerifyOptions(level="data"))
    assert [report.problems for report in reports] == [(), (), ()]
    host.owner.drop()
    host.owner.restore(second)
    assert host.owner.content() == content


def test_without_its_own_state_the_next_one_is_full_and_all_is_well(host: Host) -> None:
    host.world.backup()
    for path in (host.state / "manifests").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    again = host.world.backup().snapshot
    assert again.accounting.reused == 0
    assert host.world.backup().snapshot.accounting.new == 0


def test_after_a_prune_that_wrote_its_packs_anew_the_next_one_is_full(host: Host) -> None:
    """What it kept says nothing of the new packs, and it cannot read the manifests that do."""
    host.world.run("INSERT INTO {db}.t SELECT number, 10, randomPrintableASCII(100) FROM numbers(20000)")
    host.world.backup()
    host.world.run("ALTER TABLE {db}.t DROP PARTITION ID '10'")
    second = host.world.backup().snapshot
    assert second.accounting.new == 0
    prune.run(host.owner.repository, PruneOptions(max_unused=0))
    assert host.world.backup().snapshot.parent == second.id, "nothing was unused yet"
    host.owner.repository.forget(host.owner.repository.snapshot_ids()[:2])
    assert prune.run(host.owner.repository, PruneOptions(max_unused=0)).rewritten.packs > 0
    full = host.world.backup().snapshot
    assert (full.parent, full.accounting.reused) == ("", 0)
    assert host.world.backup().snapshot.accounting.new == 0
    assert [report.problems for report in verify.run(host.owner.repository, VerifyOptions(level="data"))] == [()] * 4


def test_after_a_rotation_it_goes_on_and_its_old_key_writes_what_it_still_cannot_read(host: Host) -> None:
    """The slot that a thief copied is of the old generation for ever; what it opens reads nothing, old or new."""
    slot = next(slot for slot in host.owner.repository.slots.all() if not slot.full)
    copied = bytes(host.storage.get(f"keys/{slot.id}"))
    host.world.backup()
    key.Rotation(host.owner.repository, PASSPHRASE, [host.key]).run()
    with open_repository(open_storage(host.repository.url), host.key) as renewed:
        assert renewed.write_only
        again = replace(host.world, repository=renewed).backup().snapshot
        assert again.accounting.new == 0
    assert f"keys/{slot.id}" not in [one.name for one in host.storage.list("keys/")]
    host.storage.create(f"keys/{slot.id}", copied)
    for name in (first.id for first in snapshots.run(open_repository(open_storage(host.storage.url), PASSPHRASE))):
        with pytest.raises((WriteOnlyKey, Corruption)):
            host.repository.snapshot(name)


# ----------------------------------------------------------------------------------------------------- what it can not


def test_whatever_reads_says_that_this_key_can_not(host: Host, tmp_path: Path) -> None:
    made = host.world.backup().snapshot
    repository = host.repository
    pack = next(iter(host.owner.repository.stored_packs()))[0]
    entry = host.owner.entry("t")
    (part, *_) = host.owner.repository.parts(entry)
    (first, *_) = part.files
    packs = {pack: ref for one in entry.pages for pack, ref in host.owner.repository.page(one).packs.items()}
    host.owner.repository.put_note("restore", "k", b"data")
    pin.pin(host.owner.repository, made.id)
    readers: dict[str, Callable[[], object]] = {
        "snapshot": lambda: repository.snapshot(made.id),
        "snapshots": lambda: list(repository.snapshots()),
        "find": lambda: repository.find("latest"),
        "catalog": lambda: list(repository.catalog(made.catalog[0])),
        "entries": lambda: list(repository.entries(made)),
        "page": lambda: repository.page(next(ref for ref in entry.pages if not ref.inline)),
        "directory": lambda: repository.directory(pack),
        "check_pack": lambda: repository.check_pack(pack),
        "read": lambda: list(repository.pack_reader().read(packs, first.extents, 0, first.size)),
        "notes": lambda: list(repository.notes("restore")),
        "note": lambda: repository.get_note("restore", "k"),
        "add": lambda: repository.slots.add("mine", full=True),
        "rotate": lambda: repository.slots.rotate({}),
        "recovery": repository.slots.recovery_keys,
        "restore": host.world.restore,
        "show": lambda: show.run(repository, "latest"),
        "list": lambda: snapshots.run(repository),
        "verify": lambda: verify.run(repository, VerifyOptions(level="data")),
        "sql": lambda: sql.SqlSession(repository, SqlOptions("latest")).__enter__(),
        "diff": lambda: diff.run(repository, diff.DiffOptions(made.id, "latest")),
        "export": lambda: export.run(
            repository, export.ExportOptions("latest", TableName(host.owner.db, "t"), tmp_path / "out.tsv")
        ),
        "repair": lambda: repair.run(repository),
        "pins": lambda: pin.pins(repository),
    }
    for name, reads in readers.items():
        with pytest.raises(WriteOnlyKey):
            reads()
            pytest.fail(f"{name} read something")


def test_nothing_that_lies_on_the_host_decrypts_anything(host: Host) -> None:
    """Every object is tried with every key that can be made of what the host has."""
    host.world.backup()
    host.world.run(MORE)
    host.world.backup()
    known, pieces = secrets_of(host), pieces_of(host)
    (generation,) = host.repository._ring.generations
    assert generation.private is None
    id = bytes.fromhex(host.repository.id)
    sealed = [
        bytes(host.storage.get(stored.name))
        for stored in host.storage.list("")
        if stored.name.startswith(("packs/", "manifests/", "snapshots/", "notes/"))
    ]
    publics = {generation.public} | {stored[32:HEADER_SIZE] for stored in sealed}
    for secret in known | pieces:
        assert X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() not in publics
        assert generation_of(1, secret, id).public != generation.public
    for stored in sealed:
        attack(stored, host, known, pieces)
    assert len(sealed) > 10


def secrets_of(host: Host) -> set[bytes]:
    """The keys that the host holds: its key file, what that opens, and every 32 bytes in what that opens."""
    (slot,) = [slot for slot in host.owner.repository.slots.all() if not slot.full]
    face, sealed, _ = [json.loads(line) for line in bytes(host.storage.get(f"keys/{slot.id}")).splitlines()]
    wrapping = derive(host.key.secret, bytes.fromhex(face["salt"]), b"coldhouse 1 key file")
    line = bytes(host.storage.get(f"keys/{slot.id}")).splitlines(keepends=True)[0]
    opened = AESGCM(wrapping).decrypt(bytes.fromhex(face["nonce"]), bytes.fromhex(sealed), line)
    (kept,) = msgspec.msgpack.decode(opened)
    assert set(kept) == {"number", "public", "writer"}
    pieces = {opened[at : at + 32] for at in range(len(opened) - 31)}
    return pieces | {host.key.secret, wrapping, kept["public"], kept["writer"], bytes(32)}


def pieces_of(host: Host) -> set[bytes]:
    """Every 32 bytes, at any place, in what lies on the host and in what of the repository is not sealed."""
    (slot,) = [slot for slot in host.owner.repository.slots.all() if not slot.full]
    contents = [host.key.text().encode(), *(bytes(host.storage.get(name)) for name in ("config", f"keys/{slot.id}"))]
    contents += [bytes(host.storage.get(stored.name)) for stored in host.storage.list("intents/")]
    kept = [path.read_bytes() for path in host.state.rglob("*") if path.is_file()]
    contents += kept
    for content in kept:
        if content[16:20] == zstandard.FRAME_HEADER:
            contents.append(zstandard.ZstdDecompressor().decompress(content[16:]))
    assert sum(map(len, contents)) > 10_000, "its state is not where it was looked for"
    return {content[at : at + 32] for content in contents for at in range(len(content) - 31)}


def attack(stored: bytes, host: Host, known: set[bytes], pieces: AbstractSet[bytes] = frozenset()) -> None:
    """Try to open an object: with each secret as the object's key, as its shared secret, and as a private key.

    ``pieces`` are no private keys of this object, nor of the repository.
    """
    header, (keys,) = stored[:HEADER_SIZE], host.repository._ring.generations
    kind, id, ephemeral = header[9:10], header[16:32], header[32:64]
    info = b"coldhouse 1 object" + kind + bytes.fromhex(host.repository.id) + id
    shared = known | {ephemeral}
    for secret, public in product(known, (ephemeral, keys.public)):
        try:
            shared.add(X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public)))
        except ValueError:
            continue
    candidates = known | pieces | {derive(one + keys.writer, ephemeral, info) for one in shared | pieces}
    sealed, nonce, data = _smallest_message(stored, header)
    for candidate in candidates:
        with suppress(InvalidTag):
            AESGCM(candidate).decrypt(nonce, sealed, data)
            pytest.fail("it opens")


def _smallest_message(stored: bytes, header: bytes) -> tuple[bytes, bytes, bytes]:
    """A sealed piece of an object, with its nonce and associated data: of a pack its frame table."""
    if header[9] != 1:
        return stored[HEADER_SIZE:], bytes(12), header
    footer = decode_footer(stored[-FOOTER_SIZE:], "pack")
    return stored[-FOOTER_SIZE - footer.table_size : -FOOTER_SIZE], b"\xff" * 12, header + b"table"


def test_the_attack_would_open_what_can_be_opened(host: Host) -> None:
    """With the owner's private key it succeeds: above it fails for want of a key, not for a mistake of its own."""
    (keys,) = host.owner.repository._ring.generations
    assert keys.private is not None
    for stored in host.storage.list(""):
        if stored.name.startswith(("packs/", "manifests/", "snapshots/")):
            with pytest.raises(pytest.fail.Exception, match="it opens"):
                attack(bytes(host.storage.get(stored.name)), host, {keys.private})


def test_the_attack_would_find_a_key_that_the_host_had_kept(host: Host) -> None:
    """At any place of a file of its state, also a compressed one."""
    host.world.backup()
    (keys,) = host.owner.repository._ring.generations
    assert keys.private is not None
    path = next((host.state / "manifests").iterdir())
    plain = zstandard.ZstdDecompressor().decompress(path.read_bytes()[16:])
    path.write_bytes(bytes(16) + zstandard.ZstdCompressor().compress(plain[:1001] + keys.private + plain[1001:]))
    assert keys.private in pieces_of(host)


def test_no_content_lies_in_its_state_or_in_the_repository(host: Host) -> None:
    host.world.backup()
    texts = [bytes(host.storage.get(stored.name)) for stored in host.storage.list("")]
    for path in host.state.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            texts.append(content)
            if path.parent.name == "manifests":
                texts.append(zstandard.ZstdDecompressor().decompress(content[16:]))
    assert len(texts) > 10
    assert all(SECRET.encode() not in text for text in texts)
    assert {path.stat().st_mode & 0o077 for path in host.state.rglob("*")} == {0}


def test_its_key_opens_no_other_slot(host: Host) -> None:
    (mine,) = [slot for slot in host.owner.repository.slots.all() if not slot.full]
    host.owner.repository.slots.remove([mine.id])
    with pytest.raises(WrongPassphrase):
        open_repository(open_storage(host.storage.url), host.key)


# ----------------------------------------------------------------------------------------------- with the bucket policy


@pytest.fixture
def guarded(
    embedded: Clickhouse, s3_url: str, seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Host]:
    """A repository in a bucket that holds the printed policy for a user who has no other right.

    SeaweedFS does not know the condition s3:if-none-match (it would refuse every PUT), so that one is left out here.
    """
    yield from under_policy(embedded, s3_url, seaweedfs, tmp_path, monkeypatch, seaweedfs.endpoint)


@pytest.fixture
def gate(seaweedfs: SeaweedFS) -> Iterator[S3Gate]:
    with S3Gate(seaweedfs.endpoint) as gate:
        yield gate


@pytest.fixture
def gated(
    embedded: Clickhouse,
    s3_url: str,
    seaweedfs: SeaweedFS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    gate: S3Gate,
) -> Iterator[Host]:
    """The same, where that condition is enforced as well: the host has no other way to the store than the gate."""
    yield from under_policy(embedded, s3_url, seaweedfs, tmp_path, monkeypatch, gate.endpoint)


def under_policy(
    embedded: Clickhouse,
    s3_url: str,
    seaweedfs: SeaweedFS,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
) -> Iterator[Host]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    statements = [dict(one) for one in key.bucket_policy(s3_url, seaweedfs.environment)]
    for one in statements:
        one["Principal"] = "*"
        if one["Sid"] == "AddAndNeverReplace":
            assert one.pop("Condition") == {"Null": {"s3:if-none-match": "false"}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()
    bucket = Client(seaweedfs.address)
    assert bucket.send("PUT", f"/{seaweedfs.bucket}", policy, query="policy=").status == 204
    restricted = seaweedfs.environment_of(HOST_KEY, HOST_SECRET) | {"AWS_ENDPOINT_URL": endpoint}
    for owner in play(embedded, s3_url):
        owner.run(*MAKE)
        owner.backup()
        yield from joined(owner, s3_url, lambda: use_environment(monkeypatch, restricted))
    assert bucket.send("DELETE", f"/{seaweedfs.bucket}", query="policy=").status == 204


#: Where the printed policy lets a host add.
ADDS = ("packs/", "manifests/", "snapshots/", "intents/", "doctor/")


def backed_up(host: Host) -> tuple[Snapshot, set[str]]:
    """Two backups under the policy; the second one, and the names of all objects."""
    host.world.backup()
    host.world.run(MORE)
    second = host.world.backup().snapshot
    assert second.parent
    assert second.accounting.new < second.accounting.data
    names = {stored.name for stored in host.storage.list("")}
    assert {name.partition("/")[0] for name in names} >= {
        "config",
        "keys",
        "packs",
        "manifests",
        "snapshots",
        "intents",
    }
    return second, names


def assert_restores(host: Host, snapshot: Snapshot) -> None:
    content = host.owner.content()
    host.owner.drop()
    host.owner.restore(snapshot)
    assert host.owner.content() == content


def test_under_the_printed_policy_it_backs_up_and_can_delete_nothing(guarded: Host) -> None:
    """Without the condition on If-None-Match it can write over what lies where it may add, and over nothing else."""
    second, names = backed_up(guarded)
    for name in sorted(names):
        with pytest.raises(StorageRefused):
            guarded.storage.delete([name])
        with pytest.raises(ObjectExists):
            guarded.storage.create(name, b"x") if name.startswith(ADDS) else _refused(guarded, name)
    for name in [*sorted(names), "keys/" + "0" * 32, "rotations/2", "notes/proof/x", "condemned/" + "0" * 32]:
        if not name.startswith(ADDS):
            with pytest.raises(StorageRefused):
                guarded.storage.put(name, b"x")
            continue
        before = bytes(guarded.storage.get(name))
        guarded.storage.put(name, b"x")
        assert bytes(guarded.storage.get(name)) == b"x", "it is refused: say so in docs/keys.md"
        guarded.storage.put(name, before)
    assert_restores(guarded, second)


def test_where_the_condition_of_the_policy_is_enforced_it_can_replace_nothing(gated: Host, gate: S3Gate) -> None:
    second, names = backed_up(gated)
    assert gate.refused == [], "a backup never replaces"
    before = {name: bytes(gated.storage.get(name)) for name in names}
    for name in sorted(names):
        with pytest.raises(StorageRefused):
            gated.storage.delete([name])
        with pytest.raises(StorageRefused):
            gated.storage.put(name, b"x")
        with pytest.raises(ObjectExists):
            gated.storage.create(name, b"x") if name.startswith(ADDS) else _refused(gated, name)
    assert len(gate.refused) == len(names)
    assert {name: bytes(gated.storage.get(name)) for name in names} == before
    assert_restores(gated, second)


def _refused(guarded: Host, name: str) -> None:
    with pytest.raises(StorageRefused):
        guarded.storage.create(name, b"x")
    raise ObjectExists(name)


Statement = dict[str, object]


def actions(statements: list[Statement], effect: str) -> set[str]:
    found: set[str] = set()
    for one in statements:
        if one["Effect"] == effect:
            action = one["Action"]
            found |= {action} if isinstance(action, str) else set(cast("list[str]", action))
    return found


@pytest.mark.parametrize("url", ["s3://backups", "s3://backups/click/house"])
def test_the_printed_policy_allows_exactly_what_a_backup_asks_for(url: str) -> None:
    """Of Amazon's rights; whether Amazon takes it as it was meant was not tried there."""
    statements = [dict(one) for one in key.bucket_policy(url, {})]
    assert actions(statements, "Allow") == {"s3:ListBucket", "s3:GetObject", "s3:PutObject"}
    assert {"s3:DeleteObject", "s3:DeleteObjectVersion"} <= actions(statements, "Deny")
    (adding,) = [one for one in statements if one["Action"] == "s3:PutObject"]
    assert adding["Condition"] == {"Null": {"s3:if-none-match": "false"}}
    below = url.removeprefix("s3://")
    folders = {str(one).removeprefix(f"arn:aws:s3:::{below}/") for one in cast("list[str]", adding["Resource"])}
    assert folders == {"packs/*", "manifests/*", "snapshots/*", "intents/*", "doctor/*"}


# ------------------------------------------------------------------------------------- with a key that was not renewed


def test_who_was_left_out_of_a_rotation_goes_on_backing_up(world: World) -> None:
    """It builds on what it can read, says what it cannot, and everybody with the newer key can read it."""
    world.repository.slots.add("left out", full=True, label="colleague", cost=CHEAP)
    world.run(*MAKE)
    first = world.backup().snapshot
    key.Rotation(world.repository, PASSPHRASE).run()
    with open_repository(open_storage(world.repository.url), PASSPHRASE) as renewed:
        replace(world, repository=renewed).backup(full=True)
        with open_repository(open_storage(world.repository.url), "left out") as old:
            receipt = replace(world, repository=old).backup()
            assert (receipt.snapshot.parent, receipt.snapshot.accounting.new) == (first.id, 0)
            assert any("generation 2" in warning for warning in receipt.snapshot.warnings)
            content = world.content()
            world.drop()
            replace(world, repository=renewed).restore(receipt.snapshot)
            assert world.content() == content
            with pytest.raises(OldKey):
                Collection(old).run()
            assert [each.id for each in snapshots.run(old)] == [first.id, receipt.snapshot.id]
            assert len(renewed.snapshot_ids()) == 3
        assert [report.problems for report in verify.run(renewed, VerifyOptions(level="data"))] == [(), (), ()]
