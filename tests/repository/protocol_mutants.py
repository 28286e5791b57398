"""The protocol of the collection without one of its steps: what the stories and the play must find."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

from coldhouse.errors import ObjectExists
from coldhouse.model import Buffer
from coldhouse.operations import copy
from coldhouse.records import replace
from coldhouse.repository import Repository, condemned, names, owners, revisions, rewriting
from coldhouse.repository.collection import Collection
from coldhouse.repository.condemned import Condemned
from coldhouse.repository.draft import SnapshotDraft
from coldhouse.repository.intents import Intent
from coldhouse.repository.needs import Needs
from coldhouse.repository.owners import Owner
from coldhouse.repository.superseding import Succession
from coldhouse.storage.base import Storage


def look_before_publishing(intent: Intent) -> Intent:
    if intent._says.commits:
        intent.condemned = condemned.read_all(intent._storage, names.CONDEMNED)
        intent._says = replace(intent._says, seen=tuple(each.id for each in intent.condemned.lists))
    intent._declare()
    return intent


def only_remove_the_intent(collection: Collection, owner: Owner) -> None:
    collection._storage.delete(owner.objects)


def delete_instead_of_fencing(storage: Storage, ids: list[str]) -> None:
    there = revisions.standing(storage.list(names.SNAPSHOTS))
    storage.delete([name for id in ids for name in there.get(id, ())])


def delete_instead_of_closing(collection: Collection, id: str) -> None:
    collection._storage.delete([names.condemned(id)])


def nothing(*_: object) -> None:
    pass


def never(*_: object) -> bool:
    return False


def always(*_: object) -> bool:
    return True


def no_graves(_: Repository) -> Condemned:
    return Condemned()


def the_same(_: Collection, marks: object) -> object:
    return marks


def fence_all(storage: Storage, intent: Intent, succession: Succession, sealed: Buffer) -> bool:
    try:
        intent.create(succession.next, sealed)
    except ObjectExists:
        return False
    for name in (*succession.standing, succession.next):
        storage.put(name, names.FENCE)
    return True


Mutant = Callable[[], AbstractContextManager[object]]

#: The protocol without these steps; every one has its story in test_collection_steps.
STEPS: dict[str, Mutant] = {
    "a second walk over the roots": lambda: patch.object(Collection, "_mark_again", the_same),
    "waiting for who is at work": lambda: patch.object(owners, "blocks", never),
    "a fence for who is taken for dead": lambda: patch.object(Collection, "_shut_out", only_remove_the_intent),
    "publishing before looking": lambda: patch.object(Intent, "__enter__", look_before_publishing),
    "heeding what was seen": lambda: patch.object(Needs, "refuse", nothing),
    "looking whether the list is still open": lambda: patch.object(Collection, "_still_open", always),
    "closing a list by a fence": lambda: patch.object(Collection, "_close", delete_instead_of_closing),
    "graves": lambda: patch.object(Collection, "_bury", nothing),
    "heeding graves": lambda: patch.object(Repository, "graves", no_graves),
    "forgetting by a fence": lambda: patch.object(revisions, "fence", delete_instead_of_fencing),
    "a name of its own for what is copied back": lambda: patch.object(copy, "were_removed", never),
    "the same where some of its fences stand": lambda: patch.object(copy, "were_removed", never),
    "the very object that the parent was read from": lambda: patch.object(SnapshotDraft, "_parent_stands", always),
}
#: Other ways to break it.
WAYS: dict[str, Mutant] = {
    "fences over all revisions": lambda: patch.object(rewriting, "supersede", fence_all),
}
#: What the play does not find in any bearable time: it takes nine turns of four actors in one order, each of which must
#: stop at one place.
BY_STORIES_ONLY = frozenset(
    {
        "a name of its own for what is copied back",
        "the same where some of its fences stand",
        "publishing before looking",
        "looking whether the list is still open",
        "closing a list by a fence",
    }
)
