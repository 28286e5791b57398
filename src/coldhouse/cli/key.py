"""``coldhouse key add|list|remove|rotate|export|policy``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coldhouse.cli import options
from coldhouse.cli.confirm import agreed, require_answer
from coldhouse.cli.output import facts, print_json, print_text, table
from coldhouse.cli.passphrase import KeySource, PassphraseSources, resolve
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coldhouse.operations.key import Credential, Renewal, Slot


@click.group("key", cls=options.LeadingOptions)
def command() -> None:
    """Make, list, remove and renew the keys of a repository.

    A key is a passphrase, a key file or a recipient (a public key of age). It can do everything, or (--write-only) back
    up and not read. None of them is kept in the repository: a wrapped copy of the master key is.
    """


@command.command("add")
@click.option("--label", default="", metavar="TEXT", help="What the key is for; readable to who holds the store.")
@click.option("--write-only", is_flag=True, help="A key that can back up and not read, for a database host.")
@click.option("--new-key-file", metavar="FILE", help="Write a new key file, which only its owner can read.")
@click.option("--recipient", metavar="age1...", help="Make the key for the holder of this key pair of age.")
@options.new_passphrase
@options.repository
@options.everywhere
@click.pass_obj
def add(session: Session, label: str, write_only: bool, new_key_file: str | None, recipient: str | None) -> None:
    """Make another key: for a new passphrase, for a new key file, or for a recipient.

    The new passphrase comes from --new-password-file or COLDHOUSE_NEW_PASSWORD, or is asked for twice.
    """
    if (new_key_file is not None) + (recipient is not None) + bool(session.text("new_password_file")) > 1:
        raise UsageError("a key is for one of a passphrase, a key file and a recipient", hint="give one of them")
    session.repository_url()
    from coldhouse.operations import key

    with session.repository() as repository:
        full = not write_only
        if new_key_file is not None:
            slot = key.add_key_file(repository, Path(new_key_file).expanduser(), full=full, label=label)
        elif recipient is not None:
            slot = key.add(repository, key.read_recipient(recipient), full=full, label=label)
        else:
            slot = key.add(repository, session.new_passphrase(), full=full, label=label)
        lacking = repository.lacking
    if lacking:
        session.warn(
            f"the new key is as old as the one that made it: both lack generation {lacking} of the master key, and "
            "cannot read what was backed up since that was made"
        )
    if session.json:
        from coldhouse.cli import key_documents

        print_json(key_documents.key(slot))
        return
    print_text(
        [
            "Key made" if slot.full else "Key made: it can back up and not read",
            "",
            *facts([("id", slot.id), ("label", slot.label), ("kind", slot.kind), ("file", new_key_file or "")]),
        ]
    )


@command.command("list")
@options.repository
@options.everywhere
@click.pass_obj
def list_keys(session: Session) -> None:
    """List the keys of a repository."""
    from coldhouse.operations import key

    with session.repository() as repository:
        slots = key.list_keys(repository)
    _print_slots(session, slots, [])


@command.command("remove")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Also the key that this command itself uses.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and stop.")
@options.repository
@options.everywhere
@click.pass_obj
def remove(session: Session, keys: tuple[str, ...], force: bool, yes: bool, dry_run: bool) -> None:
    """Remove keys by id or label: they open the repository no more.

    Whoever had one may have kept the master key that it unwrapped: `coldhouse key rotate` makes a new one. The last key
    that can read everything is never removed.
    """
    require_answer(session, yes=yes, dry_run=dry_run)
    from coldhouse.operations import key

    with session.repository() as repository:
        removed = key.plan_removal(key.list_keys(repository), keys, force=force)
        question = f"Remove {', '.join(map(key.describe, removed))}?"
        done = not dry_run and agreed(question, yes=yes)
        if done:
            key.remove(repository, removed)
    _print_slots(session, removed, ["Removed:" if done else "Would be removed:", ""])


@command.command("rotate")
@click.option("--also-password-file", metavar="FILE", multiple=True, help="Renew the key of this passphrase, too.")
@click.option("--also-key-file", metavar="FILE", multiple=True, help="Renew the key of this key file, too.")
@click.option("--take-over", is_flag=True, help="Go on where a rotation was killed before it had made a key.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would become of each key, and stop.")
@options.repository
@options.everywhere
@click.pass_obj
def rotate(
    session: Session,
    also_password_file: tuple[str, ...],
    also_key_file: tuple[str, ...],
    take_over: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Make a new master key: what is backed up from now on cannot be read with the old one.

    What is in the repository stays as it is and stays readable. The key in use, keys of recipients, and keys whose
    passphrase or file is given are renewed; the others are named, and go on opening what they opened before.
    """
    require_answer(session, yes=yes, dry_run=dry_run)
    session.repository_url()
    from coldhouse.operations import key

    own, others = session.credential(), _others(session, also_password_file, also_key_file)
    with session.repository() as repository:
        rotation = key.Rotation(repository, own, others)
        if not session.json:
            print_text(_plan(rotation.plan))
        done = not dry_run and agreed("Make a new master key?", yes=yes)
        if done:
            rotation.run(take_over=take_over)
    if session.json:
        from coldhouse.cli import key_documents

        print_json(key_documents.rotation(rotation.plan, done=done))
    elif done:
        print_text(["", "Done. Print a new recovery sheet: coldhouse key export"])


@command.command("export")
@click.option("--to", metavar="FILE", help="A new file that only its owner can read, in place of the terminal.")
@options.repository
@options.everywhere
@click.pass_obj
def export(session: Session, to: str | None) -> None:
    """Print a recovery sheet: a page of paper that opens the repository when every key is lost."""
    if to is None and (session.json or not sys.stdout.isatty()):
        raise UsageError(
            "a recovery sheet holds the master key, and is printed to a terminal or a file that is named",
            hint="give --to FILE",
        )
    from coldhouse.operations import key

    with session.repository() as repository:
        sheet, id = key.recovery_sheet(repository, datetime.now(UTC)), repository.id
        if to is not None:
            key.write_secret(Path(to).expanduser(), sheet)
    if to is None:
        print_text(sheet)
    elif session.json:
        from coldhouse.cli import key_documents

        print_json(key_documents.SheetDocument(id, to))
    else:
        print_text([f"The recovery sheet is in {to}. Print it, keep the paper safe, and delete the file."])


@command.command("policy")
@options.place
@options.everywhere
@click.pass_obj
def policy(session: Session) -> None:
    """Print an S3 policy for a host with a write-only key: it can add to the repository, and not replace or delete."""
    from coldhouse.cli import key_documents
    from coldhouse.operations import key

    print_json(key_documents.policy(key.bucket_policy(session.repository_url(), session.environment)))


def _others(session: Session, password_files: Iterable[str], key_files: Iterable[str]) -> list[Credential]:
    """What opens the keys that are to be renewed beside the one in use."""
    found: list[Credential] = []
    for path in password_files:
        passphrase = resolve((PassphraseSources(file=path),), session.warn)
        session.scrubber.add(passphrase)
        found.append(passphrase)
    found += [session.credential_of(KeySource("key file", Path(path).expanduser())) for path in key_files]
    return found


def _print_slots(session: Session, slots: list[Slot], heading: list[str]) -> None:
    if session.json:
        from coldhouse.cli import key_documents

        print_json(key_documents.keys(slots))
    else:
        headings = ("id", "label", "kind", "access", "generation", "created", "")
        newest = max((slot.generation for slot in slots if slot.proven), default=0)
        print_text([*heading, *table(headings, (_row(slot, newest) for slot in slots), right=[4])])


def _row(slot: Slot, newest: int = 0) -> tuple[str, ...]:
    """``newest`` is the newest generation that is proven: of a later one this key cannot tell who made it."""
    if slot.damaged:
        return (slot.id[:8], "", "", "", "", "", f"damaged: {slot.damaged}")
    remarks = [
        *(["in use"] if slot.in_use else []),
        *([_unproven(slot, newest)] if slot.proven is False else []),
        *([str(slot.recipient)] if slot.recipient is not None else []),
    ]
    access = "full" if slot.full else "write-only"
    return (slot.id[:8], slot.label, slot.kind, access, str(slot.generation), slot.created, "; ".join(remarks))


def _unproven(slot: Slot, newest: int) -> str:
    if 0 < newest < slot.generation:
        return "UNPROVEN: made with a newer master key than this one, or by a stranger"
    return "UNPROVEN: no holder of the master key made it"


def _plan(plan: Iterable[Renewal]) -> list[str]:
    rows = [(*_row(item.slot)[:4], _fate(item), _row(item.slot)[6]) for item in plan]
    return [
        "A new master key, and what becomes of the keys:",
        "",
        *table(("id", "label", "kind", "access", "", ""), rows),
    ]


def _fate(item: Renewal) -> str:
    if item.renewed:
        return "renewed"
    return f"{'removed' if item.superseded else 'stays as it is'}: {item.reason}"
