"""Who can open a repository: making and removing keys, renewing the master key, and the recovery sheet.

What is removed and renewed is decided from values alone, and can be shown before it is done.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from coldhouse.errors import UsageError
from coldhouse.repository import (
    Credential,
    Holder,
    Identity,
    Recipient,
    RecoveryKeys,
    Repository,
    Slot,
    key_lines,
    new_key_file,
)
from coldhouse.repository import read_recipient as recipient_of

__all__ = [
    "Credential",
    "Renewal",
    "Rotation",
    "Slot",
    "add",
    "add_key_file",
    "bucket_policy",
    "describe",
    "find",
    "list_keys",
    "plan_removal",
    "plan_rotation",
    "read_recipient",
    "recovery_sheet",
    "remove",
    "shown_recipient",
    "write_secret",
]

#: A label is for people; it is readable to who holds the store.
LONGEST_LABEL = 200


class Renewal(Struct, frozen=True):
    """What a rotation does with one slot: it is ``renewed``, or it stays as it is, and why.

    One that is ``superseded`` is removed: an earlier rotation, which was killed, has made another one in its place.
    """

    slot: Slot
    renewed: bool
    reason: str = ""
    superseded: bool = False


def list_keys(repository: Repository) -> list[Slot]:
    """All key slots, oldest first."""
    return repository.slots.all()


def add(repository: Repository, holder: Holder, *, full: bool, label: str = "") -> Slot:
    """Make a key that can do everything, or (``full`` false) back up and not read.

    Raises UsageError for a label that is taken or too long, WriteOnlyKey, StorageError.
    """
    if len(label) > LONGEST_LABEL or not label.isprintable():
        raise UsageError(f"a label has up to {LONGEST_LABEL} printable characters", hint="it is a name for people")
    if label and any(slot.label == label for slot in repository.slots.all()):
        raise UsageError(f"there is a key called {label!r} already", hint="choose another --label, or remove that key")
    return repository.slots.add(holder, full=full, label=label)


def add_key_file(repository: Repository, path: Path, *, full: bool, label: str = "") -> Slot:
    """Write a new key file, which only its owner can read, and make a key for it. Raises as add and write_secret do."""
    file = new_key_file()
    about = f"# {'opens' if full else 'backs up into, and cannot read,'} the repository {repository.id}"
    write_secret(path, [about, file.text()])
    try:
        return add(repository, file, full=full, label=label)
    except BaseException:
        path.unlink()
        raise


def find(slots: Sequence[Slot], name: str) -> Slot:
    """The slot of this id, unique beginning of an id, or label. Raises UsageError."""
    found = [slot for slot in slots if slot.label == name] or [slot for slot in slots if slot.id.startswith(name)]
    if len(found) != 1 or not name:
        what = f"{name!r} stands for {len(found)} keys" if found else f"there is no key {name!r}"
        raise UsageError(what, hint="coldhouse key list shows ids and labels")
    return found[0]


def plan_removal(slots: Sequence[Slot], chosen: Sequence[str], *, force: bool) -> list[Slot]:
    """The slots to remove. Raises UsageError where nobody could open the repository any more.

    A slot counts as a way to open it if a holder of the master key made it, it can read, and it has the newest
    generation. The slot in use is removed only with ``force``.
    """
    removed = {slot.id: slot for slot in (find(slots, name) for name in chosen)}
    newest = max((slot.generation for slot in slots if slot.proven), default=0)
    ways = {slot.id for slot in slots if slot.full and slot.generation == newest and slot.proven is not False}
    if ways and ways <= removed.keys():
        raise UsageError(
            "this is the last key that can read everything: without it the repository is lost",
            hint="make another one first: coldhouse key add",
        )
    for slot in removed.values():
        if slot.in_use and not force:
            raise UsageError(
                f"key {slot.id[:8]} is the one that this command uses",
                hint="use another key for this command, or say --force",
            )
    return list(removed.values())


def remove(repository: Repository, slots: Sequence[Slot]) -> None:
    """Delete slots. Who has opened one of them before may have kept the master key: only a rotation locks him out."""
    repository.slots.remove([slot.id for slot in slots])


def plan_rotation(slots: Sequence[Slot], holders: Mapping[str, Holder]) -> list[Renewal]:
    """What a new generation of the master key does with each slot; ``holders`` are, by slot, those who are at hand.

    A recipient's slot can be renewed without him, because his public key stands in it; but not if a stranger may have
    put it there.
    """
    newest = _newest(slots, holders)
    return [_renewal(slot, holders, newest.get(_place(slot, holders))) for slot in slots]


class _Place(Struct, frozen=True):
    """What only one slot is for: two of the same are what a rotation leaves that was killed."""

    holder: Holder | None
    kind: str
    full: bool
    label: str


def _place(slot: Slot, holders: Mapping[str, Holder]) -> _Place | None:
    """None where nobody can tell: without a label, and without the holder, others may be as good."""
    holder = holders.get(slot.id, slot.recipient)
    return _Place(holder, slot.kind, slot.full, slot.label) if holder is not None or slot.label else None


def _newest(slots: Sequence[Slot], holders: Mapping[str, Holder]) -> Mapping[_Place | None, Slot]:
    """For each place the slot that stays; one that a stranger may have made takes nobody's."""
    made_by_us = [slot for slot in slots if slot.proven or slot.id in holders]
    ordered = sorted(made_by_us, key=lambda slot: (slot.generation, slot.in_use, slot.created))
    return {place: slot for slot in ordered if (place := _place(slot, holders)) is not None}


def _renewal(slot: Slot, at_hand: Collection[str], newest: Slot | None) -> Renewal:
    if slot.damaged:
        return Renewal(slot, False, "it is damaged")
    replaced = newest is not None and (slot.id in at_hand or (slot.proven and slot.generation < newest.generation))
    if newest is not None and replaced and newest.id != slot.id:
        return Renewal(slot, False, f"key {newest.id[:8]} was made in its place", superseded=True)
    if slot.id in at_hand:
        return Renewal(slot, True)
    if not slot.proven:
        return Renewal(slot, False, "nothing proves that a holder of the master key made it: remove it")
    if slot.recipient is not None:
        return Renewal(slot, True)
    what = "passphrase" if slot.kind == "passphrase" else "key file"
    return Renewal(slot, False, f"its {what} is not at hand: make a new key for its holder, then remove it")


class Rotation:
    """A rotation that can be looked at before it is done."""

    def __init__(self, repository: Repository, own: Credential, others: Sequence[Credential] = ()) -> None:
        """``own`` opened the repository; ``others`` open slots that are to be renewed, too.

        Raises WrongPassphrase if one of the others opens nothing, WriteOnlyKey, UsageError if nobody could read then.
        """
        self._repository = repository
        self._holders: dict[str, Holder] = {}
        slots = repository.slots.all()
        repository.slots.recovery_keys()  # who cannot read cannot rotate
        for credential in (own, *others):
            if not isinstance(credential, RecoveryKeys):
                self._holders |= dict.fromkeys(repository.slots.opened_by(credential), _holder(credential))
        self._holders |= {slot.id: slot.recipient for slot in slots if slot.recipient is not None and slot.proven}
        self.plan = plan_rotation(slots, self._holders)
        if not any(item.renewed and item.slot.full for item in self.plan):
            raise UsageError(
                "no key that can read would get the new master key",
                hint="make one first with coldhouse key add, and use it for the rotation",
            )

    def run(self, *, take_over: bool = False) -> None:
        """Do it. Raises RepositoryInUse, StorageError; after either, everything opens that opened before."""
        renewed = {item.slot.id: self._holders[item.slot.id] for item in self.plan if item.renewed}
        superseded = [item.slot.id for item in self.plan if item.superseded]
        self._repository.slots.rotate(renewed, superseded, take_over=take_over)


def _holder(credential: Credential) -> Holder:
    match credential:
        case Identity():
            return credential.recipient
        case RecoveryKeys():
            raise TypeError("a recovery sheet opens no slot")
        case _:
            return credential


def recovery_sheet(repository: Repository, now: datetime) -> list[str]:
    """The lines of a sheet of paper with which the repository can be opened when all keys are lost."""
    keys = repository.slots.recovery_keys()
    return [
        "COLDHOUSE RECOVERY SHEET",
        "",
        f"repository  {repository.id}",
        f"place       {repository.url}",
        f"printed     {now:%Y-%m-%d %H:%M %Z}",
        f"generation  {keys.masters[-1][0]} of the master key",
        "",
        "Whoever has this sheet can read and change everything in the repository. Print it, keep it",
        "where you keep what must not be lost or stolen, and delete the file that it came from.",
        "",
        "What to do when every passphrase and key is lost:",
        "1. Type the lines below that begin with 'key' into a file, sheet.txt. Case and spaces do not",
        "   matter. A typing error is noticed, and the line that has it is named.",
        "2. coldhouse key add --repo PLACE --recovery-file sheet.txt      makes a new passphrase",
        "3. coldhouse restore latest --repo PLACE --target URL            restores, as usual",
        "4. Delete sheet.txt.",
        "",
        *key_lines(keys),
        "",
        "After coldhouse key rotate print a new sheet: this one does not hold keys made later.",
    ]


def write_secret(path: Path, lines: Sequence[str]) -> None:
    """Write a new file that only its owner can read. Raises UsageError if it is there already or cannot be written."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as text:
            text.write("".join(f"{line}\n" for line in lines))
            text.flush()
            os.fsync(text.fileno())
    except FileExistsError:
        raise UsageError(
            f"{path} exists already", hint="give the name of a new file: no secret is written over"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="choose another place") from error


def describe(slot: Slot) -> str:
    """A slot as people may call it."""
    return f"{slot.label} ({slot.id[:8]})" if slot.label else slot.id[:8]


def shown_recipient(recipient: Recipient | None) -> str:
    """``age1...``, or nothing."""
    return str(recipient) if recipient is not None else ""


def read_recipient(text: str) -> Recipient:
    """Read ``age1...``. Raises UsageError."""
    return recipient_of(text)


def bucket_policy(repo_url: str, environment: Mapping[str, str]) -> list[Mapping[str, object]]:
    """The statements of an IAM policy for a host that backs up into an S3 bucket and can neither read nor delete.

    Every PUT has to say If-None-Match, so that nothing is written over; s3:if-none-match is such a condition
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html).
    Raises UsageError for a repository that is not in S3.
    """
    if not repo_url.startswith("s3://"):
        raise UsageError(
            "policies are printed for S3 buckets only",
            hint="docs/keys.md says what hosts need on Google Cloud Storage, on Azure, and in a folder",
        )
    from coldhouse.storage.object_url import parse_bucket_url

    place = parse_bucket_url(repo_url, environment)
    bucket = f"arn:aws:s3:::{place.bucket}"
    below = f"{place.prefix}/" if place.prefix else ""
    return [
        {
            "Sid": "List",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket,
            **({"Condition": {"StringLike": {"s3:prefix": [place.prefix, f"{below}*"]}}} if below else {}),
        },
        {
            # To open with its own key, and to ask for sizes before a commit (HEAD needs this right): what else it may
            # fetch stays sealed to it.
            "Sid": "LookAtSealedObjects",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            "Resource": [f"{bucket}/{below}*"],
        },
        {
            "Sid": "AddAndNeverReplace",
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": [
                f"{bucket}/{below}{folder}/*" for folder in ("packs", "manifests", "snapshots", "intents", "doctor")
            ],
            "Condition": {"Null": {"s3:if-none-match": "false"}},
        },
        {
            "Sid": "NeverDelete",
            "Effect": "Deny",
            "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutLifecycleConfiguration"],
            "Resource": [bucket, f"{bucket}/{below}*"],
        },
    ]
