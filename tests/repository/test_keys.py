"""Key slots of every kind, generations of the master key, and the recovery sheet."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from coldhouse.errors import Corruption, OldKey, RepositoryInUse, UsageError, WriteOnlyKey, WrongPassphrase
from coldhouse.repository import (
    Credential,
    Holder,
    KeyFile,
    Recipient,
    Repository,
    bech32,
    key_lines,
    new_key_file,
    open_repository,
    read_identity,
    read_key_file,
    read_key_lines,
    read_recipient,
)
from coldhouse.repository.credentials import Identity, RecoveryKeys, new_identity
from coldhouse.repository.crypto import content_digest
from coldhouse.storage.base import Storage
from tests.repository.samples import CHEAP, PASSPHRASE, new_repository
from tests.support.memory_storage import MemoryStorage

KEY_FILE = KeyFile(bytes(range(32)))
IDENTITY = Identity(bytes(range(32, 64)))
#: What a slot is made for, and what then opens it.
PAIRS: list[tuple[Holder, Credential]] = [
    ("another passphrase", "another passphrase"),
    (KEY_FILE, KEY_FILE),
    (IDENTITY.recipient, IDENTITY),
]
KINDS = ["passphrase", "file", "recipient"]


def note(repository: Repository, text: bytes = b"content") -> None:
    repository.put_note("test", text.decode(), text)


def can_read(storage: Storage, credential: Credential, text: bytes = b"content") -> bool:
    return open_repository(storage, credential).get_note("test", text.decode()) == text


class TestSlots:
    @pytest.mark.parametrize(("holder", "credential"), PAIRS, ids=KINDS)
    def test_each_kind_opens_the_repository_beside_the_first(
        self, storage: MemoryStorage, holder: Holder, credential: Credential
    ) -> None:
        repository = new_repository(storage)
        note(repository)
        added = repository.slots.add(holder, full=True, label="second", cost=CHEAP)
        assert can_read(storage, credential)
        assert can_read(storage, PASSPHRASE)
        opened = open_repository(storage, credential)
        assert [slot.id for slot in opened.slots.all() if slot.in_use] == [added.id]

    @pytest.mark.parametrize(("holder", "credential"), PAIRS, ids=KINDS)
    def test_a_removed_slot_opens_no_more(self, storage: MemoryStorage, holder: Holder, credential: Credential) -> None:
        repository = new_repository(storage)
        added = repository.slots.add(holder, full=True, cost=CHEAP)
        repository.slots.remove([added.id])
        with pytest.raises(WrongPassphrase):
            open_repository(storage, credential)

    def test_of_each_kind_another_one_does_not_open(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        for holder, _ in PAIRS:
            repository.slots.add(holder, full=True, cost=CHEAP)
        for wrong in ("no passphrase", new_key_file(), new_identity()):
            with pytest.raises(WrongPassphrase, match="opens no key"):
                open_repository(storage, wrong)

    def test_they_are_listed_with_what_they_are(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        repository.slots.add(KEY_FILE, full=False, label="db1")
        repository.slots.add(IDENTITY.recipient, full=True, label="safe")
        listed = {(slot.label, slot.kind, slot.full, slot.proven, slot.in_use) for slot in repository.slots.all()}
        assert listed == {
            ("", "passphrase", True, True, True),
            ("db1", "file", False, True, False),
            ("safe", "recipient", True, True, False),
        }
        assert {slot.recipient for slot in repository.slots.all()} == {None, IDENTITY.recipient}

    def test_a_slot_that_no_holder_of_the_master_key_made_shows(self, storage: MemoryStorage) -> None:
        """Who has the store alone can add a slot of his own making; nobody may take it for one of ours."""
        repository = new_repository(storage)
        other = new_repository(MemoryStorage())
        forged = other.slots.add(IDENTITY.recipient, full=True, label="owner")
        stored = bytes(other.storage.get(f"keys/{forged.id}"))
        storage.put(f"keys/{forged.id}", _resealed(stored, repository=repository.id))
        assert [slot.proven for slot in repository.slots.all() if slot.id == forged.id] == [False]

    @pytest.mark.parametrize("change", [{"label": "x"}, {"access": "full"}, {"generation": 7}, {"proof": ""}])
    def test_a_slot_whose_face_was_changed_is_not_proven_and_does_not_open(
        self, storage: MemoryStorage, change: dict[str, str | int]
    ) -> None:
        repository = new_repository(storage)
        added = repository.slots.add(KEY_FILE, full=False, label="db1")
        name = f"keys/{added.id}"
        storage.put(name, _resealed(storage.objects[name], **change))
        assert [slot.proven for slot in repository.slots.all() if slot.id == added.id] == [False]
        with pytest.raises(WrongPassphrase):
            open_repository(storage, KEY_FILE)

    def test_too_many_slots_are_no_repository_of_ours(self, storage: MemoryStorage) -> None:
        new_repository(storage)
        for number in range(300):
            storage.put(f"keys/{number:032x}", b"")
        with pytest.raises(Corruption, match="more than 256 key slots"):
            open_repository(storage, PASSPHRASE)


class TestRotation:
    def rotated(self, storage: MemoryStorage) -> None:
        """A repository with a note of the first generation and one of the second."""
        repository = new_repository(storage)
        note(repository, b"old")
        (slot,) = repository.slots.all()
        repository.slots.rotate({slot.id: PASSPHRASE})
        note(open_repository(storage, PASSPHRASE), b"new")

    def test_old_and_new_objects_are_readable(self, storage: MemoryStorage) -> None:
        self.rotated(storage)
        assert can_read(storage, PASSPHRASE, b"old")
        assert can_read(storage, PASSPHRASE, b"new")
        (slot,) = open_repository(storage, PASSPHRASE).slots.all()
        assert (slot.generation, slot.proven, slot.cost) == (2, True, CHEAP)

    def test_new_objects_are_sealed_under_the_new_generation(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        master = repository.slots.recovery_keys()
        (slot,) = repository.slots.all()
        repository.slots.rotate({slot.id: PASSPHRASE})
        note(open_repository(storage, PASSPHRASE))
        with pytest.raises(OldKey, match="generation 2"):
            list(open_repository(storage, master).notes("test"))

    @pytest.mark.parametrize(("holder", "credential"), PAIRS, ids=KINDS)
    def test_each_kind_is_renewed(self, storage: MemoryStorage, holder: Holder, credential: Credential) -> None:
        repository = new_repository(storage)
        added = repository.slots.add(holder, full=True, label="second", cost=CHEAP)
        (first,) = [slot for slot in repository.slots.all() if slot.in_use]
        repository.slots.rotate({first.id: PASSPHRASE, added.id: holder})
        opened = open_repository(storage, credential)
        note(opened)
        assert can_read(storage, PASSPHRASE)
        assert [(slot.label, slot.generation) for slot in opened.slots.all() if slot.in_use] == [("second", 2)]

    def test_who_was_left_out_opens_what_was_there_and_not_what_comes(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        note(repository, b"old")
        left = repository.slots.add("left out", full=True, cost=CHEAP)
        (first,) = [slot for slot in repository.slots.all() if slot.in_use]
        repository.slots.rotate({first.id: PASSPHRASE})
        assert can_read(storage, "left out", b"old")
        note(open_repository(storage, PASSPHRASE), b"new")
        with pytest.raises(OldKey, match="generation 2"):
            list(open_repository(storage, "left out").notes("test"))
        repository.slots.remove([left.id])
        with pytest.raises(WrongPassphrase):
            open_repository(storage, "left out")

    def test_a_generation_that_nobody_made_is_damage(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        repository.slots.add("left out", full=True, cost=CHEAP)
        (first,) = [slot for slot in repository.slots.all() if slot.in_use]
        repository.slots.rotate({first.id: PASSPHRASE})
        note(open_repository(storage, PASSPHRASE))
        (name,) = [name for name in storage.objects if name.startswith("notes/")]
        stored = storage.objects[name]
        storage.objects[name] = stored[:10] + (3).to_bytes(2, "little") + stored[12:]
        for passphrase in (PASSPHRASE, "left out"):
            with pytest.raises(Corruption, match="damaged"):
                list(open_repository(storage, passphrase).notes("test"))

    def test_a_write_only_key_from_before_it_is_told_that_it_cannot_read(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        repository.slots.add(KEY_FILE, full=False)
        (first,) = [slot for slot in repository.slots.all() if slot.in_use]
        repository.slots.rotate({first.id: PASSPHRASE})
        note(open_repository(storage, PASSPHRASE))
        with pytest.raises(WriteOnlyKey):
            list(open_repository(storage, KEY_FILE).notes("test"))

    def test_a_write_only_slot_stays_one(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        added = repository.slots.add(KEY_FILE, full=False)
        (first,) = [slot for slot in repository.slots.all() if slot.in_use]
        repository.slots.rotate({first.id: PASSPHRASE, added.id: KEY_FILE})
        note(open_repository(storage, KEY_FILE))
        assert open_repository(storage, KEY_FILE).write_only
        assert dict(open_repository(storage, PASSPHRASE).notes("test")) == {"content": b"content"}

    def test_two_at_once_make_one_generation(self, storage: MemoryStorage) -> None:
        one, other = new_repository(storage), open_repository(storage, PASSPHRASE)
        (slot,) = one.slots.all()
        one.slots.rotate({slot.id: PASSPHRASE})
        with pytest.raises(RepositoryInUse, match="Generation 2"):
            other.slots.rotate({slot.id: PASSPHRASE})

    def test_one_that_died_at_its_beginning_is_taken_over(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        storage.create("rotations/2", b"")
        (slot,) = repository.slots.all()
        repository.slots.rotate({slot.id: PASSPHRASE}, take_over=True)
        assert open_repository(storage, PASSPHRASE).slots.all()[0].generation == 2

    def test_one_that_died_with_both_slots_there_opens_the_newest(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        old = dict(storage.objects)
        (slot,) = repository.slots.all()
        repository.slots.rotate({slot.id: PASSPHRASE})
        storage.objects.update(old)
        (used,) = [slot for slot in open_repository(storage, PASSPHRASE).slots.all() if slot.in_use]
        assert used.generation == 2


class TestWriteOnly:
    def test_its_holder_can_make_remove_and_rotate_nothing(self, storage: MemoryStorage) -> None:
        new_repository(storage).slots.add(KEY_FILE, full=False)
        slots = open_repository(storage, KEY_FILE).slots
        with pytest.raises(WriteOnlyKey):
            slots.add("mine", full=True, cost=CHEAP)
        with pytest.raises(WriteOnlyKey):
            slots.rotate({})
        with pytest.raises(WriteOnlyKey):
            slots.recovery_keys()
        assert {slot.proven for slot in slots.all()} == {None}


class TestRecoverySheet:
    def keys(self, count: int = 1) -> RecoveryKeys:
        masters = tuple((number, bytes([number]) * 32) for number in range(1, count + 1))
        return RecoveryKeys(bytes(range(16)), masters)

    @pytest.mark.parametrize("count", [1, 2, 3, 12])
    def test_it_reads_as_it_was_written(self, count: int) -> None:
        lines = key_lines(self.keys(count))
        assert read_key_lines("\n".join(["some text", *lines, "more"]), "the sheet") == self.keys(count)

    def test_it_opens_the_repository_even_without_slots(self, storage: MemoryStorage) -> None:
        repository = new_repository(storage)
        note(repository)
        sheet = "\n".join(key_lines(repository.slots.recovery_keys()))
        storage.delete([name for name in storage.objects if name.startswith("keys/")])
        opened = open_repository(storage, read_key_lines(sheet, "the sheet"))
        assert opened.get_note("test", "content") == b"content"
        opened.slots.add("a new passphrase", full=True, cost=CHEAP)
        assert can_read(storage, "a new passphrase")

    def test_it_may_be_typed_in_upper_case_without_spaces_and_in_any_order(self) -> None:
        lines = [line[:8] + line[8:].replace(" ", "").upper() for line in key_lines(self.keys(2))]
        assert read_key_lines("\n".join(reversed(lines)), "the sheet") == self.keys(2)

    def test_every_single_typing_error_is_found_and_its_line_is_named(self) -> None:
        lines = key_lines(self.keys())
        for at, letter in enumerate(lines[1]):
            for wrong in bech32.ALPHABET if at >= 8 and letter != " " else "":
                if wrong != letter:
                    typed = [lines[0], lines[1][:at] + wrong + lines[1][at + 1 :], *lines[2:]]
                    with pytest.raises(UsageError, match="key 02 has a typing error"):
                        read_key_lines("\n".join(typed), "the sheet")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda lines: lines[1:], "lacks the line key 01"),
            (lambda lines: [lines[0], *lines[2:]], "lacks the line key 02"),
            (lambda lines: lines[:-1], "not all of one sheet"),
            (lambda lines: [lines[0].replace("01", "02"), *lines[2:]], "typing error"),
            (lambda lines: [line[:-1] for line in lines], "29 characters"),
            (lambda lines: [line[:-1] + "o" for line in lines], "never used"),
            (lambda lines: [], "no line that begins"),
            (lambda lines: ["key 999: " + "q" * 100_000], "characters instead of"),
        ],
    )
    def test_what_is_wrong_is_said(self, change: Callable[[list[str]], list[str]], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            read_key_lines("\n".join(change(key_lines(self.keys()))), "the sheet")

    def test_lines_of_two_sheets_do_not_mix(self) -> None:
        other = RecoveryKeys(bytes(16), self.keys().masters)
        mixed = [key_lines(self.keys())[0], *key_lines(other)[1:]]
        with pytest.raises(UsageError, match="not all of one sheet"):
            read_key_lines("\n".join(mixed), "the sheet")

    def test_it_is_of_one_repository(self, storage: MemoryStorage) -> None:
        new_repository(storage)
        sheet = new_repository(MemoryStorage()).slots.recovery_keys()
        with pytest.raises(WrongPassphrase, match="is of repository"):
            open_repository(storage, sheet)


class TestTexts:
    """Keys as text. The pair is the first one of the test vectors of age (testkit, X25519)."""

    def test_bech32_knows_the_vectors_of_bip_173(self) -> None:
        for text in (
            "A12UEL5L",
            "a12uel5l",
            "?1ezyfcl",
            "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
        ):
            lower = text.lower()
            data = lower.rpartition("1")[2]
            words = bech32.read(data)
            assert bech32.checksum(lower.rpartition("1")[0], words[:-6], bech32.BECH32) == words[-6:]

    def test_keys_are_written_as_age_writes_them(self) -> None:
        secret = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0"
        public = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef"
        identity = read_identity(f"# created: today\n# public key: {public}\n{secret}\n", "the file")
        assert identity.text() == secret
        assert str(identity.recipient) == public
        assert read_recipient(public) == identity.recipient

    def test_a_key_file_reads_as_it_was_written(self) -> None:
        text = KEY_FILE.text()
        assert text.startswith("COLDHOUSE-KEY-1")
        assert read_key_file(f"# the host db1\n{text}\n", "the file") == KEY_FILE

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n#\n",
            "hunter2",
            "COLDHOUSE-KEY-1",
            KEY_FILE.text()[:-1],
            KEY_FILE.text() * 2,
            "\0" * 99,
            IDENTITY.text(),
        ],
    )
    def test_what_is_no_key_file_is_refused_and_not_repeated(self, text: str) -> None:
        with pytest.raises(UsageError, match="no key file") as caught:
            read_key_file(text, "the file")
        assert not text.strip() or text.strip() not in str(caught.value)

    def test_secrets_are_in_no_repr(self) -> None:
        keys = RecoveryKeys(bytes(16), ((1, b"\x07" * 32),))
        shown = repr((KEY_FILE, IDENTITY, keys))
        for secret in (KEY_FILE.secret, IDENTITY.private, b"\x07" * 32):
            assert repr(secret)[2:-1] not in shown

    def test_the_other_half_is_no_secret(self) -> None:
        private = X25519PrivateKey.generate()
        identity = Identity(private.private_bytes_raw())
        assert identity.recipient == Recipient(private.public_key().public_bytes_raw())
        assert KeyFile(bytes(32)) != KEY_FILE


def _resealed(stored: bytes, **change: str | int) -> bytes:
    """A slot with another face and a checksum that fits."""
    lines = bytes(stored).splitlines(keepends=True)
    face = json.dumps({**json.loads(lines[0]), **change}, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    body = face + lines[1]
    return body + json.dumps(content_digest(body).hex()).encode() + b"\n"
