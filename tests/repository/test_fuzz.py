"""Whatever stands in an object, also in one that was sealed with the right key, reading it ends in an error of ours.

A store can change bytes as it likes, and who holds a write-only key can seal what he likes: so no parser believes what
it reads, behind the authentication as little as before it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import strategies as st

from coldhouse.errors import ColdhouseError, Corruption, UsageError
from coldhouse.model import Extent, FileEntry, ManifestRef, PageRef, Part, PartState, Snapshot
from coldhouse.records import replace
from coldhouse.repository import (
    KeyFile,
    OwnState,
    PackSettings,
    Repository,
    condemned,
    intents,
    names,
    open_repository,
    read_identity,
    read_key_file,
    read_key_lines,
    read_recipient,
)
from coldhouse.repository.catalog import decode_catalog, encode_entry
from coldhouse.repository.collection import Collection
from coldhouse.repository.credentials import RecoveryKeys, new_identity, new_key_file
from coldhouse.repository.crypto import Kind, content_digest, new_cipher, seal, unseal
from coldhouse.repository.notes import _Note
from coldhouse.repository.pack_format import (
    END_MARK,
    FRAME_SIZE,
    FrameRow,
    encode_footer,
    frame_aad,
    frame_nonce,
)
from coldhouse.repository.recovery import key_lines
from coldhouse.storage import open_storage
from tests.repository.interleaving import BEGINNING, ClockedStorage
from tests.repository.samples import PASSPHRASE, entry, new_repository, packs_of, parts, root, store
from tests.support.fuzzing import BUDGETS, NUMBERS, bent_bytes, bent_record, explore
from tests.support.memory_storage import MemoryStorage

SNAPSHOT = "20260517T120000Z-0123456789abcdef"
ID = b"f" * 16


@dataclass(frozen=True)
class Sample:
    """A repository, and the plaintexts of one good record of each kind."""

    storage: MemoryStorage
    repository: Repository
    records: dict[Kind, bytes]
    page: PageRef
    files: tuple[FileEntry, ...]

    def sealed(self, kind: Kind, name: str, plain: bytes) -> MemoryStorage:
        """The store with an object that a holder of a write-only key made."""
        self.storage.objects[name] = seal(self.repository._ring, kind, name, plain)
        return self.storage


@pytest.fixture(scope="module")
def sample() -> Sample:
    storage = MemoryStorage()
    repository = new_repository(storage)
    files = store(repository, [b"a small file", bytes(FRAME_SIZE + 10)], PackSettings(frames=2))
    packs = packs_of(repository, files)
    with repository.draft(None) as draft:
        held = Part(PartState("all", "all_1_1_0", b"h" * 16, 3, 100), tuple(files))
        draft.add(entry("t"), [held], packs.__getitem__)
        many = draft.add(entry("u"), [Part(one.state, tuple(files)) for one in parts(30, 2)], packs.__getitem__)
        snapshot = draft.commit(root())
    ring = repository._ring
    name = f"manifests/{many.pages[0].ref.id[:1].hex()}/{many.pages[0].ref.id.hex()}"
    page = unseal(ring, Kind.PAGE, name, storage.objects[name])
    records = {
        Kind.SNAPSHOT: msgspec.msgpack.encode(snapshot),
        Kind.PAGE: page,
        Kind.CATALOG: msgspec.msgpack.encode([encode_entry(each) for each in repository.entries(snapshot)]),
        Kind.NOTE: msgspec.msgpack.encode(_Note("key", b"data")),
    }
    return Sample(storage, repository, records, many.pages[0], tuple(files))


def refuses(action: Callable[[], object]) -> bool:
    """Run something; an error of ours is right, and any other fails the test."""
    try:
        action()
    except ColdhouseError as error:
        assert error.message
        return True
    return False


# ------------------------------------------------------------------------------------------------------ sealed records


@BUDGETS
def test_a_snapshot_of_any_content(sample: Sample, budget: int) -> None:
    def check(data: st.DataObject) -> None:
        plain = bent_record(data, sample.records[Kind.SNAPSHOT])
        sample.sealed(Kind.SNAPSHOT, f"snapshots/{SNAPSHOT}", plain)
        refuses(lambda: sample.repository.snapshot(SNAPSHOT))

    explore(check, 100, budget)
    with pytest.raises(Corruption, match="another snapshot"):
        sample.sealed(Kind.SNAPSHOT, f"snapshots/{SNAPSHOT}", sample.records[Kind.SNAPSHOT])
        sample.repository.snapshot(SNAPSHOT)
    del sample.storage.objects[f"snapshots/{SNAPSHOT}"]


@BUDGETS
def test_a_catalog_of_any_content(sample: Sample, budget: int) -> None:
    """The entries are read, and then the pages that they refer to."""
    entries = [msgspec.msgpack.decode(stored) for stored in decode_catalog(sample.records[Kind.CATALOG], "catalog")]

    def check(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            plain = bent_record(data, sample.records[Kind.CATALOG])
        else:
            at = data.draw(st.integers(0, len(entries) - 1))
            plain = msgspec.msgpack.encode([bent_record(data, msgspec.msgpack.encode(entries[at]))])
        ref = put_manifest(sample, Kind.CATALOG, plain)
        refuses(lambda: [list(sample.repository.parts(each)) for each in sample.repository.catalog(ref)])

    explore(check, 120, budget)


@BUDGETS
def test_a_page_of_any_content(sample: Sample, budget: int) -> None:
    """Its columns are read as every reader reads them, and then the files where they are said to be."""

    def check(data: st.DataObject) -> None:
        plain = bent_record(data, sample.records[Kind.PAGE])
        ref = replace(sample.page, ref=put_manifest(sample, Kind.PAGE, plain), content=content_digest(plain))
        refuses(lambda: look_through(sample.repository, ref))

    explore(check, 100, budget)


@pytest.mark.parametrize("column", ["extent_length", "extent_offset", "file_size", "part_rows", "pack_sizes"])
def test_a_page_whose_numbers_are_as_large_as_they_can_be(sample: Sample, column: str) -> None:
    columns = msgspec.msgpack.decode(sample.records[Kind.PAGE])
    plain = msgspec.msgpack.encode(columns | {column: b"\xff" * len(columns[column])})
    ref = replace(sample.page, ref=put_manifest(sample, Kind.PAGE, plain), content=content_digest(plain))
    assert refuses(lambda: look_through(sample.repository, ref)) or column == "part_rows"


def put_manifest(sample: Sample, kind: Kind, plain: bytes) -> ManifestRef:
    name = f"manifests/{ID[:1].hex()}/{ID.hex()}"
    stored = sample.sealed(kind, name, plain).objects[name]
    return ManifestRef(ID, len(stored), content_digest(stored))


def look_through(repository: Repository, ref: PageRef) -> None:
    page = repository.page(ref)
    list(page.states())
    list(page.file_keys())
    page.damaged_files()
    page.files_in({ID})
    with repository.pack_reader() as reader:
        for part in list(page.parts())[:3]:
            for file in part.files:
                for _ in reader.read(page.packs, file.extents, 0, file.size):
                    pass


@BUDGETS
def test_a_reference_to_any_place(sample: Sample, budget: int) -> None:
    """Of a file in a pack, and of a manifest: numbers that a catalog or page may hold."""
    good = sample.files[1].extents[0]
    packs = packs_of(sample.repository, sample.files)

    def check(data: st.DataObject) -> None:
        numbers = st.one_of(NUMBERS.filter(lambda number: number >= 0), st.integers(0, 300_000))
        extent = Extent(good.pack, data.draw(numbers), data.draw(numbers))
        ref = packs[good.pack]
        if data.draw(st.booleans()):
            ref = replace(ref, size=data.draw(numbers), table_size=data.draw(numbers) % (1 << 32))
        with sample.repository.pack_reader() as reader:
            refuses(lambda: next(reader.read({good.pack: ref}, [extent], 0, extent.length), None))
        page = replace(
            sample.page,
            ref=ManifestRef(data.draw(st.binary(max_size=20)), data.draw(NUMBERS), b"d" * 16),
            parts=data.draw(NUMBERS),
        )
        assert refuses(lambda: sample.repository.page(page))

    explore(check, 100, budget)


@pytest.mark.parametrize("stored", ["folder", "memory"])
@pytest.mark.parametrize("size", [-1, 0, 1 << 40, 1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_reference_of_an_impossible_size_allocates_nothing(tmp_path: Path, stored: str, size: int) -> None:
    storage = open_storage(str(tmp_path / "r")) if stored == "folder" else MemoryStorage()
    repository = new_repository(storage)
    storage.create(f"manifests/{ID[:1].hex()}/{ID.hex()}", b"x" * 100)
    with pytest.raises(Corruption):
        list(repository.catalog(ManifestRef(ID, size, b"d" * 16)))


@BUDGETS
def test_a_note_of_any_content(sample: Sample, budget: int) -> None:
    name = "notes/test/" + "0" * 32

    def check(data: st.DataObject) -> None:
        sample.sealed(Kind.NOTE, name, bent_record(data, sample.records[Kind.NOTE]))
        refuses(lambda: list(sample.repository.notes("test")))

    explore(check, 40, budget)
    del sample.storage.objects[name]


# ---------------------------------------------------------------------------------------------------------------- packs


@BUDGETS
def test_a_pack_whose_table_and_directory_hold_anything(sample: Sample, budget: int) -> None:
    def check(data: st.DataObject) -> None:
        forge_pack(sample, data)
        refuses(lambda: sample.repository.directory(ID))
        refuses(lambda: sample.repository.check_pack(ID))

    explore(check, 120, budget)
    del sample.storage.objects[f"packs/{ID[:1].hex()}/{ID.hex()}"]


def forge_pack(sample: Sample, data: st.DataObject) -> None:
    """A pack sealed with the right key, that is like a real one but for what is bent in it."""
    name = f"packs/{ID[:1].hex()}/{ID.hex()}"
    header, cipher = new_cipher(sample.repository._ring, Kind.PACK, name)
    frames = []
    rows = []
    for number in range(data.draw(st.integers(0, 3))):
        plain = data.draw(st.binary(max_size=50))
        codec = data.draw(st.sampled_from([0, 1, 7]))
        packed = zstandard.ZstdCompressor().compress(plain) if codec == 1 else plain
        frames.append(cipher.encrypt(frame_nonce(number), packed, frame_aad(ID, frame_nonce(number), codec)))
        rows.append(FrameRow(number, len(frames[-1]), len(plain), codec))
    runs = data.draw(st.binary(max_size=60)) + bytes(53 * data.draw(st.integers(0, 2)))
    directory = bent_some(data, b"s" * 16 + (len(runs) // 53).to_bytes(4, "little") + runs)
    packed = bent_some(data, zstandard.ZstdCompressor().compress(directory))
    sealed_directory = cipher.encrypt(b"\xff" * 11 + b"\xfe", packed, header + b"directory")
    size = 64 + sum(map(len, frames)) + len(sealed_directory) + 16 + 13 * len(rows) + 16 + 80
    columns = [bytes(0).join(getattr(row, what).to_bytes(4, "little") for row in rows) for what in COLUMNS]
    head = size.to_bytes(8, "little") + len(sealed_directory).to_bytes(4, "little") + len(rows).to_bytes(4, "little")
    table = bent_some(data, head + b"".join(columns) + bytes(row.codec for row in rows))
    sealed_table = cipher.encrypt(b"\xff" * 12, table, header + b"table")
    footer = bent_some(data, encode_footer(header, len(sealed_directory), len(sealed_table)))
    assert END_MARK in encode_footer(header, 0, 0)
    sample.storage.objects[name] = header + b"".join(frames) + sealed_directory + sealed_table + footer


COLUMNS = ("number", "sealed", "plain")


def bent_some(data: st.DataObject, stored: bytes) -> bytes:
    return stored if data.draw(st.integers(0, 3)) else bent_bytes(data, stored)


# --------------------------------------------------------------------------------------------- intents, condemned lists


@BUDGETS
def test_declarations_of_any_content(budget: int) -> None:
    """They are not sealed: whoever can write to the store writes what he likes."""
    declaration = intents.Declaration(kind="backup", commits=(f"snapshots/{SNAPSHOT}",), seen=("0" * 32,))
    line = intents.encode(declaration).splitlines(keepends=True)[0]

    def check(data: st.DataObject) -> None:
        body = bent_json(data, line)
        with suppress(Corruption):
            intents.decode("intents/x", with_checksum(body) if data.draw(st.booleans()) else body)

    explore(check, 60, budget)


@BUDGETS
def test_a_prune_beside_declarations_of_any_content_creates_nothing_but_fences_over_snapshots(budget: int) -> None:
    """It acts for the dead with the rights of the owner: what it creates for them must not be theirs to choose."""
    start = ClockedStorage()
    repository = new_repository(start)
    store(repository, [b"left over"])
    begin = dict(start.objects)
    line = intents.encode(intents.Declaration(kind="backup", commits=(f"snapshots/{SNAPSHOT}",))).splitlines(True)[0]
    targets = st.sampled_from(["", "../x", "config", "rotations/4", "keys/" + "f" * 32, f"snapshots/{SNAPSHOT}.2", "/"])

    def check(data: st.DataObject) -> None:
        start.objects, start.times, start.now = dict(begin), dict.fromkeys(begin, BEGINNING), BEGINNING
        for number in range(data.draw(st.integers(1, 3))):
            if data.draw(st.booleans()):
                body = bent_json(data, line)
            else:
                commits = tuple(data.draw(st.lists(targets | st.text(max_size=20), max_size=3)))
                body = intents.encode(intents.Declaration(kind="x", commits=commits)).splitlines(True)[0]
            start.create(names.declaration("0" * 32, number), with_checksum(body))
        before = set(start.objects)
        for _ in range(2):
            start.now += timedelta(hours=3)
            Collection(repository, threads=0).run()
        for name in set(start.objects) - before:
            assert name.startswith(("condemned/", "graves/")) or names.revision_of(name) is not None
            assert not name.startswith("snapshots/") or start.objects[name] == names.FENCE

    explore(check, 40, budget)


@BUDGETS
def test_condemned_lists_of_any_content(budget: int) -> None:
    ids = [bytes([at]) * 16 for at in range(5)]
    body = condemned.encode([condemned.Candidate(condemned.What.PACK, id) for id in ids])[:-16]

    def check(data: st.DataObject) -> None:
        bent = bent_bytes(data, body)
        with suppress(Corruption):
            found = condemned.decode("0" * 32, "condemned/x", bent + content_digest(bent))
            assert len(list(found)) == len(found)
            found.holds(condemned.What.PACK, ids[0])

    explore(check, 60, budget)


# ---------------------------------------------------------------------------------------------- config, keys, own state


def with_checksum(body: bytes) -> bytes:
    return body + msgspec.json.encode(content_digest(body).hex()) + b"\n"


@BUDGETS
def test_a_config_of_any_content(sample: Sample, budget: int) -> None:
    line = sample.storage.objects["config"].splitlines(keepends=True)[0]
    storage = MemoryStorage()

    def check(data: st.DataObject) -> None:
        body = bent_json(data, line)
        storage.objects = {**sample.storage.objects, "config": with_checksum(body)}
        refuses(lambda: open_repository(storage, PASSPHRASE))

    explore(check, 40, budget)


@BUDGETS
def test_a_key_slot_of_any_content(budget: int) -> None:
    """Of each kind; its checksum fits, as who writes to the store can make it fit."""
    storage = MemoryStorage()
    repository = new_repository(storage)
    file, identity = new_key_file(), new_identity()
    repository.slots.add(file, full=False)
    repository.slots.add(identity.recipient, full=True)
    good = dict(storage.objects)
    slots = sorted(name for name in good if name.startswith("keys/"))

    def check(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(slots))
        face, sealed, _ = good[name].splitlines(keepends=True)
        if data.draw(st.booleans()):
            face = bent_json(data, face)
        else:
            sealed = bent_json(data, sealed)
        storage.objects = {**good, name: with_checksum(face + sealed)}
        for credential in (PASSPHRASE, file, identity):
            refuses(lambda: open_repository(storage, credential))  # noqa: B023
        repository.slots.all()
        for error in repository.damaged_keys():
            assert error.message

    explore(check, 120, budget)


def bent_json(data: st.DataObject, line: bytes) -> bytes:
    """A line of JSON bent as a value, or as bytes; the cost of a passphrase stays what a test can pay."""
    if data.draw(st.integers(0, 3)) == 0:
        return bent_bytes(data, line.rstrip(b"\n")).replace(b"\n", b"") + b"\n"
    with suppress(msgspec.MsgspecError, ValueError, OverflowError, TypeError):  # JSON has no number as a key
        value = msgspec.msgpack.decode(bent_record(data, msgspec.msgpack.encode(msgspec.json.decode(line))))
        if isinstance(value, dict) and isinstance(cost := value.get("cost"), dict):
            numbers = {name: each % 1000 for name, each in cost.items() if isinstance(each, int)}
            value["cost"] = cost | numbers
        return msgspec.json.encode(value, order="sorted") + b"\n"
    return line


@BUDGETS
def test_own_state_of_any_content(sample: Sample, tmp_path: Path, budget: int) -> None:
    """A damaged folder costs the next increment, and nothing else."""
    snapshot = msgspec.msgpack.decode(sample.records[Kind.SNAPSHOT], type=Snapshot)
    ref = ManifestRef(ID, 100, b"d" * 16)
    with OwnState(tmp_path / "state") as own:

        def check(data: st.DataObject) -> None:
            bent_snapshot = bent_record(data, sample.records[Kind.SNAPSHOT])
            kept = [own_file(data, bent_snapshot), own_file(data, catalog(data))]
            (tmp_path / "state" / "snapshots" / snapshot.id).write_bytes(kept[0])
            for catalog_ref in snapshot.catalog:
                (tmp_path / "state" / "manifests" / catalog_ref.id.hex()).write_bytes(kept[1])
            (tmp_path / "state" / "manifests" / ID.hex()).write_bytes(kept[1])
            own.snapshot(snapshot.id)
            own.holds(snapshot.id)
            refuses(lambda: own.manifest(ref))
            own.tidy([snapshot.id])

        def catalog(data: st.DataObject) -> bytes:
            return zstandard.ZstdCompressor().compress(bent_record(data, sample.records[Kind.CATALOG]))

        explore(check, 40, budget)


def own_file(data: st.DataObject, content: bytes) -> bytes:
    content = bent_some(data, content)
    return content_digest(content) + content if data.draw(st.integers(0, 4)) else bent_bytes(data, content)


@BUDGETS
def test_recovery_sheets_and_key_files_of_any_text(budget: int) -> None:
    keys = RecoveryKeys(bytes(range(16)), tuple((number, bytes([number]) * 32) for number in (1, 2)))
    sheet = "\n".join(key_lines(keys))
    texts = [sheet, KeyFile(bytes(32)).text(), new_identity().text(), str(new_identity().recipient)]

    def check(data: st.DataObject) -> None:
        text = data.draw(st.sampled_from(texts))
        at = data.draw(st.integers(0, len(text)))
        inserted = data.draw(
            st.one_of(st.text(max_size=12), st.sampled_from(["\nkey 00: ", "\nkey 99: ", "\u0130", "1"]))
        )
        text = text[:at] + inserted + text[at + data.draw(st.integers(0, 20)) :]
        for read in (read_key_lines, read_key_file, read_identity):
            with suppress(UsageError):
                found = read(text, "the file")
                assert found == keys or read is not read_key_lines
        with suppress(UsageError):
            read_recipient(text)

    explore(check, 100, budget)


# --------------------------------------------------------------------------------------------------------------- bombs


def bombs() -> Iterator[tuple[Kind, bytes]]:
    """Contents as large as they may be, which would take twenty times as much memory if they were believed."""
    most = 250 << 20
    yield Kind.PAGE, b"\x81\xaapart_names\xdd" + (most // 3).to_bytes(4, "big") + b"\xa2ab" * (most // 3)
    yield Kind.PAGE, b"\x81\xa8pack_ids\xc6" + (most // 16 * 16).to_bytes(4, "big") + bytes(most // 16 * 16)
    yield Kind.PAGE, b"\x81\xaapart_names\xdd\xff\xff\xff\xff"
    most = 60 << 20
    yield Kind.CATALOG, b"\xdd" + (most // 2).to_bytes(4, "big") + b"\xc4\x00" * (most // 2)
    yield Kind.CATALOG, b"\x91\xc6\x00\x10\x00\x00" + b"\x91" * (1 << 20)
    yield Kind.SNAPSHOT, b"\x81\xa1x" + b"\x91" * (1 << 20)
    yield Kind.NOTE, b"\x81\xa1x" + b"\x91" * (1 << 20)


def explode() -> None:
    """Read all bombs in this process, whose address space is bounded: the content itself may be held twice."""
    storage = MemoryStorage()
    repository = new_repository(storage)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    names = {Kind.SNAPSHOT: f"snapshots/{SNAPSHOT}", Kind.NOTE: "notes/test/" + "0" * 32}
    for kind, plain in bombs():
        name = names.get(kind, f"manifests/{ID[:1].hex()}/{ID.hex()}")
        storage.objects = {name: seal(repository._ring, kind, name, plain)}
        ref = ManifestRef(ID, len(storage.objects[name]), content_digest(storage.objects[name]))
        content = content_digest(plain)
        del plain
        with pytest.raises(ColdhouseError):
            match kind:
                case Kind.PAGE:
                    repository.page(PageRef(ref, "", "", 1, 1, 0, 0, b"", content=content))
                case Kind.CATALOG:
                    list(repository.catalog(ref))
                case Kind.SNAPSHOT:
                    repository.snapshot(SNAPSHOT)
                case _:
                    list(repository.notes("test"))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_bomb_takes_more_memory_than_its_limit_allows() -> None:
    code = "from tests.repository.test_fuzz import explode; explode()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("kind", "items"), [(Kind.PAGE, b"\xa0"), (Kind.CATALOG, b"\xc4\x00")])
def test_more_items_than_any_writer_makes_are_not_even_read(sample: Sample, kind: Kind, items: bytes) -> None:
    count = (1 << 20) + 1
    plain = b"\xdd" + count.to_bytes(4, "big") + items * count
    if kind is Kind.PAGE:
        plain = b"\x81\xaapart_names" + plain
    ref = put_manifest(sample, kind, plain)
    with pytest.raises(Corruption, match="more"):
        if kind is Kind.PAGE:
            sample.repository.page(replace(sample.page, ref=ref, content=content_digest(plain)))
        else:
            list(sample.repository.catalog(ref))
