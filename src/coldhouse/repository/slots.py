"""The key slots of an open repository: who can open it, and making, removing and renewing of slots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

from coldhouse.errors import (
    Corruption,
    ObjectExists,
    ObjectMissing,
    RepositoryInUse,
    StorageError,
    UnsupportedFormat,
    WrongPassphrase,
)
from coldhouse.model import Buffer
from coldhouse.records import replace
from coldhouse.repository import keys, names
from coldhouse.repository.credentials import Credential, Holder, Recipient, RecoveryKeys
from coldhouse.repository.crypto import CIPHER, VERSION, Keyring, damaged, generation_of, write_only
from coldhouse.repository.keys import Config, KdfCost, MasterKey, SlotFace
from coldhouse.storage.base import Storage

#: More slots than this nobody has; it bounds what a hostile store can make an opening cost.
MOST_SLOTS = 256


class Slot(Struct, frozen=True):
    """A key slot as it stands in the store: ``proven`` is None where this key cannot tell who made it.

    ``kind`` is passphrase, file or recipient; ``generation`` the newest one in it; ``cost`` that of a passphrase. Of a
    ``damaged`` slot (the text says how) nothing else is known but its id.
    """

    id: str
    label: str = ""
    kind: str = ""
    full: bool = False
    generation: int = 0
    created: str = ""
    recipient: Recipient | None = None
    cost: KdfCost | None = None
    proven: bool | None = None
    in_use: bool = False
    damaged: str = ""


class Slots:
    """The slots of one repository, seen by one who opened it through the slot ``in_use`` (empty: without a slot)."""

    def __init__(self, storage: Storage, ring: Keyring, in_use: str) -> None:
        self._storage = storage
        self._ring = ring
        self._in_use = in_use
        self._config = Config(keys.FORMAT, VERSION, ring.repository.hex(), CIPHER, "")

    def all(self) -> list[Slot]:
        """Every slot of this repository, oldest first. Raises StorageError."""
        found = [slot for name, stored in read_slots(self._storage) if (slot := self._slot(name, stored)) is not None]
        return sorted(found, key=lambda slot: (slot.created, slot.id))

    def add(self, holder: Holder, *, full: bool, label: str = "", cost: KdfCost | None = None) -> Slot:
        """Make a slot for a passphrase, a key file or a recipient. Raises WriteOnlyKey, StorageError."""
        masters = self._masters()
        id = self._create(self._ring, masters, holder, full=full, label=label, cost=cost)
        self._storage.sync()
        for slot in self.all():
            if slot.id == id:
                return slot
        raise StorageError(
            f"The new key {id[:8]} is stored, and the store does not list it.",
            object_name=names.key_slot(id),
            hint="Look with coldhouse key list whether it is there now; if it is not, make another one.",
        )

    def remove(self, ids: Sequence[str]) -> None:
        """Delete slots by their ids."""
        self._storage.delete([names.key_slot(id) for id in ids])
        self._storage.sync()

    def opened_by(self, credential: Credential) -> list[str]:
        """The ids of the slots that a credential opens."""
        return [id for id, _ in openings(self._storage, self._config, credential)]

    def rotate(
        self, holders: Mapping[str, Holder], superseded: Sequence[str] = (), *, take_over: bool = False
    ) -> Keyring:
        """Make a new generation of the master key and wrap it, with the older ones, for each holder of a slot (by id).

        The new slots take over label and access; when all are stored, the old ones are deleted, and with them those
        that are ``superseded`` (ids). ``take_over`` goes on where an earlier rotation died before it made a slot.

        Raises WriteOnlyKey, RepositoryInUse, StorageError; Corruption, before anything is made, where a slot that is to
        be renewed cannot be read now: what it gives access to would not be known.
        """
        masters = self._masters()
        old = {slot.id: slot for slot in self.all() if slot.id in holders and not slot.damaged}
        for id in holders.keys() - old.keys():
            if self._is_claimed(masters[-1].number + 1):  # so another rotation has replaced it
                raise _in_use(masters[-1].number + 1)
            raise damaged(names.key_slot(id), "cannot be read, so no key can be made in its place")
        new = keys.new_master(masters[-1].number + 1)
        self._claim(new.number, take_over=take_over)
        ring = Keyring(
            self._ring.repository,
            (*self._ring.generations, generation_of(new.number, new.master, self._ring.repository)),
        )
        # The slot in use comes first: where it is renewed, the generation is known to who repeats this.
        for slot in sorted(old.values(), key=lambda slot: not slot.in_use):
            self._create(ring, [*masters, new], holders[slot.id], full=slot.full, label=slot.label, cost=slot.cost)
        self._storage.sync()
        self.remove([*old, *superseded])
        return ring

    def recovery_keys(self) -> RecoveryKeys:
        """The master keys, for a recovery sheet. Raises WriteOnlyKey."""
        return RecoveryKeys(self._ring.repository, tuple((key.number, key.master) for key in self._masters()))

    def _masters(self) -> list[MasterKey]:
        masters = [MasterKey(one.number, one.master) for one in self._ring.generations if one.master is not None]
        if len(masters) != len(self._ring.generations):
            raise write_only()
        return masters

    def _create(
        self,
        ring: Keyring,
        masters: list[MasterKey],
        holder: Holder,
        *,
        full: bool,
        label: str,
        cost: KdfCost | None,
    ) -> str:
        held = masters if full else keys.write_keys(ring)
        id, stored = keys.new_slot(self._config, holder, held, cost or KdfCost(), label, masters[-1])
        self._storage.create(names.key_slot(id), stored)
        return id

    def _claim(self, number: int, *, take_over: bool) -> None:
        """Make sure that a generation is made once: two different ones of one number would split the repository."""
        try:
            self._storage.create(names.rotation(number), b"")
        except ObjectExists as error:
            if not take_over:
                raise _in_use(number) from error

    def _is_claimed(self, number: int) -> bool:
        try:
            self._storage.size(names.rotation(number))
        except ObjectMissing:
            return False
        return True

    def _slot(self, name: str, stored: Buffer | Corruption) -> Slot | None:
        id = name.removeprefix(names.KEYS)
        if isinstance(stored, Corruption):
            return Slot(id, damaged=stored.message)
        try:
            face = keys.slot_face(self._config, name, stored)
            recipient = Recipient(_public(face.recipient, name)) if face is not None and face.recipient else None
        except (Corruption, UnsupportedFormat) as error:
            return Slot(id, damaged=error.message)
        if face is None:
            return None
        known = all(one.master is not None for one in self._ring.generations)
        return Slot(
            id=id,
            label=face.label,
            kind=face.kind,
            full=face.access == "full",
            generation=face.generation,
            created=face.created,
            recipient=recipient,
            cost=face.cost,
            proven=keys.is_proven(self._ring, name, stored) if known else None,
            in_use=id == self._in_use,
        )


def _in_use(number: int) -> RepositoryInUse:
    return RepositoryInUse(
        f"Generation {number} of the master key was made already, or is being made, and this key lacks it.",
        hint="Use a key that has it (key list shows generations). If that rotation was killed at its very "
        "beginning, and no key has it, repeat with --take-over.",
    )


def read_slots(storage: Storage) -> Iterator[tuple[str, Buffer | Corruption]]:
    """The key slots in the store, by name; one that is far too large comes as the error that says so."""
    count = 0
    for found in storage.list(names.KEYS):
        if not names.is_hex_id(found.name.removeprefix(names.KEYS)):
            continue
        count += 1
        if count > MOST_SLOTS:
            raise Corruption(
                f"There are more than {MOST_SLOTS} key slots in {storage.url}.",
                object_name=names.KEYS,
                hint="No Coldhouse makes so many. Remove the objects under keys/ that nobody made.",
            )
        try:
            yield found.name, storage.get(found.name, limit=keys.MAX_SIZE)
        except Corruption as error:
            yield found.name, error
        except ObjectMissing:
            continue


def _candidates(storage: Storage, config: Config, broken: list[Corruption]) -> list[tuple[SlotFace, str, Buffer]]:
    """The slots of this repository, those of the newest generation first; what is wrong with others is added."""
    found: list[tuple[SlotFace, str, Buffer]] = []
    for name, stored in read_slots(storage):
        try:
            if isinstance(stored, Corruption):
                raise stored
            face = keys.slot_face(config, name, stored)
        except Corruption as error:
            broken.append(error)
            continue
        if face is not None:
            found.append((face, name, stored))
    return sorted(found, key=lambda one: (one[0].generation, one[0].created), reverse=True)


def openings(storage: Storage, config: Config, credential: Credential) -> Iterator[tuple[str, Keyring]]:
    """The slots that a credential opens, as (id, keyring), those of the newest generation first.

    Raises, at the end, if none opens: Corruption where a slot is damaged, WrongPassphrase.
    """
    broken: list[Corruption] = []
    wrong: WrongPassphrase | None = None
    # What a face says of its generation is proven only by opening it; here it decides nothing but order, and errors.
    candidates = _candidates(storage, config, broken)
    known = max((face.generation for face, _, _ in candidates), default=0)
    opened = False
    for face, name, stored in candidates:
        try:
            ring = keys.open_slot(config, name, stored, credential)
        except WrongPassphrase as error:
            wrong = error
        except Corruption as error:
            broken.append(error)
        else:
            if ring is not None:
                opened = True
                yield face.slot, replace(ring, known=known)
    if opened:
        return
    if broken:
        raise broken[-1]
    if wrong is not None or candidates:
        raise wrong or keys.refused(credential)
    raise Corruption(
        f"The repository at {storage.url} has no key slot that could be opened.",
        object_name=names.KEYS,
        hint="Put back the objects under keys/ from a copy of the repository, or open it by --recovery-file.",
    )


def unlock(storage: Storage, config: Config, credential: Credential) -> tuple[Keyring, str]:
    """The keyring that a credential opens, and the id of the slot it came from (empty for a recovery sheet).

    Raises WrongPassphrase, Corruption, UnsupportedFormat.
    """
    if isinstance(credential, RecoveryKeys):
        if credential.repository.hex() != config.id:
            raise WrongPassphrase(
                f"The recovery sheet is of repository {credential.repository.hex()}; this one is {config.id}.",
                hint="Use the sheet of this repository, or give the place of the other one.",
            )
        ring = keys.keyring_of(config, [MasterKey(number, master) for number, master in credential.masters])
        with suppress(Corruption, UnsupportedFormat):  # it opens the repository whatever has become of the slots
            slots = _candidates(storage, config, [])
            ring = replace(ring, known=max((face.generation for face, _, _ in slots), default=0))
        return ring, ""
    id, ring = next(openings(storage, config, credential))
    return ring, id


def _public(text: str, name: str) -> bytes:
    try:
        public = bytes.fromhex(text)
    except ValueError:
        public = b""
    if len(public) != 32:
        raise damaged(name, "names a recipient that cannot be one")
    return public
