"""Why the protocol of the collection has each of its steps: what happens when somebody is stopped just there.

Each story ends well as the protocol is; and with that one step taken out of it a snapshot loses what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from random import Random
from unittest.mock import patch

import pytest

from coldhouse.errors import ObjectExists
from coldhouse.repository import Repository, condemned, names, owners, revisions
from coldhouse.repository.collection import Collection
from coldhouse.repository.condemned import Condemned
from coldhouse.repository.draft import SnapshotDraft
from coldhouse.repository.intents import Intent
from coldhouse.repository.needs import Needs
from coldhouse.repository.owners import Owner
from coldhouse.storage.base import Storage
from tests.repository.interleaving import Actor
from tests.repository.protocol_play import Protocol, tamed

Story = Callable[[Protocol], None]


@contextmanager
def told() -> Iterator[Protocol]:
    """A repository with nobody at work."""
    protocol = Protocol(Random(1))
    protocol.carried = 1.0
    with tamed(protocol.random):
        try:
            yield protocol
        finally:
            protocol.stage.close()


def whole(protocol: Protocol, kind: str) -> Actor:
    """Somebody comes, does all his work and goes."""
    actor = protocol.begin(kind)
    protocol.stage.finish(actor)
    return actor


def forget_all(protocol: Protocol) -> None:
    protocol.everything = True
    whole(protocol, "forget")


# -------------------------------------------------------------------------------------------------------------- stories


def committed_before_the_others_are_looked_at(protocol: Protocol) -> None:
    """A snapshot appears after the first walk over the roots, and its writer is gone when writers are looked for."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("prune")
    stage.until(writer, "create intents")
    stage.until(prune, "create condemned")
    stage.finish(writer)
    stage.finish(prune)


def about_to_commit(protocol: Protocol) -> None:
    """A writer has proven everything, and has seen no list, when the prune begins."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("prune")
    stage.until(writer, "create snapshots")
    stage.finish(prune)
    stage.finish(writer)


def taken_for_dead(protocol: Protocol) -> None:
    """The same writer, but he sleeps for hours."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("prune")
    stage.until(writer, "create snapshots")
    stage.let_time_pass(timedelta(hours=3))
    stage.finish(prune)
    stage.finish(writer)


def begun_after_the_others_were_looked_at(protocol: Protocol) -> None:
    """A writer announces himself when the prune has looked for writers already, and is about to delete."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("prune")
    stage.until(writer, "create intents")
    stage.until(prune, "delete packs")
    while not writer.finished and not writer.call.startswith("create snapshots"):
        stage.step(writer)
    stage.finish(prune)
    stage.finish(writer)


def built_on_what_is_forgotten_meanwhile(protocol: Protocol) -> None:
    """A writer announces himself after writers were looked for, and builds on what is then forgotten."""
    stage = protocol.stage
    first, prune = protocol.begin("late"), protocol.begin("prune")
    stage.until(first, "create intents")
    stage.until(prune, "create condemned")
    stage.finish(first)
    writer = protocol.begin("backup")
    stage.until(writer, "create intents")
    stage.step(prune)
    stage.until(prune, "list snapshots", 2)  # it has looked for writers
    while not writer.finished and not writer.call.startswith("create snapshots"):
        stage.step(writer)
    forget_all(protocol)
    stage.finish(prune)
    stage.finish(writer)


def overtaken_by_another_prune(protocol: Protocol, late_list: bool = False) -> None:
    """A prune sleeps before its second walk; another one, for which the pack is still needed, finishes the list."""
    stage = protocol.stage
    first, sleeper = protocol.begin("late"), protocol.begin("prune")
    stage.until(first, "create intents")
    stage.until(sleeper, "create condemned")
    stage.finish(first)  # its snapshot needs the pack that is about to be condemned
    stage.step(sleeper)
    lists = {name: data for name, data in stage.storage.objects.items() if name.startswith(names.CONDEMNED)}
    stage.until(sleeper, "list snapshots", 2)  # it has looked for writers
    whole(protocol, "prune")
    writer = protocol.begin("backup")
    stage.until(writer, "create snapshots")
    forget_all(protocol)
    for name, data in lists.items() if late_list else ():
        with suppress(ObjectExists):
            stage.storage.create(name, data)
    stage.finish(sleeper)
    stage.finish(writer)


def a_list_that_comes_back(protocol: Protocol) -> None:
    """The same, and the request that created the list is carried out a second time after it was finished."""
    overtaken_by_another_prune(protocol, late_list=True)


def noted_by_one_who_was_taken_for_dead(protocol: Protocol) -> None:
    """A pack that a prune is about to delete turns up in a note, and the list that it stood in is finished."""
    stage = protocol.stage
    zombie, sleeper = protocol.begin("recall"), protocol.begin("prune")
    stage.until(zombie, "put notes")
    stage.let_time_pass(timedelta(hours=3))
    stage.until(sleeper, "delete packs")
    stage.step(zombie)
    whole(protocol, "prune")
    writer = protocol.begin("recall")
    stage.until(writer, "create snapshots")
    stage.finish(sleeper)
    stage.finish(writer)


def created_a_second_time(protocol: Protocol) -> None:
    """The request that created a snapshot is carried out again when the snapshot was forgotten and collected."""
    stage = protocol.stage
    whole(protocol, "backup")
    ((name, data),) = [(n, d) for n, d in stage.storage.objects.items() if n.startswith(names.SNAPSHOTS)]
    forget_all(protocol)
    whole(protocol, "prune")
    with suppress(ObjectExists):
        stage.storage.create(name, data)


def built_on_an_earlier_revision(protocol: Protocol) -> None:
    """A writer without an intent has read a snapshot whose packs are then written anew, and collected."""
    stage = protocol.stage
    whole(protocol, "backup")
    protocol.adds = False
    writer = protocol.begin("late")
    stage.until(writer, "create intents")
    whole(protocol, "rewrite")
    whole(protocol, "prune")
    stage.finish(writer)


# -------------------------------------------------------------------------------------- the protocol without one step


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


STORIES: dict[str, tuple[Story, Callable[[], AbstractContextManager[object]]]] = {
    "a second walk over the roots": (
        committed_before_the_others_are_looked_at,
        lambda: patch.object(Collection, "_mark_again", the_same),
    ),
    "waiting for who is at work": (about_to_commit, lambda: patch.object(owners, "blocks", never)),
    "a fence for who is taken for dead": (
        taken_for_dead,
        lambda: patch.object(Collection, "_shut_out", only_remove_the_intent),
    ),
    "publishing before looking": (
        built_on_what_is_forgotten_meanwhile,
        lambda: patch.object(Intent, "__enter__", look_before_publishing),
    ),
    "heeding what was seen": (
        begun_after_the_others_were_looked_at,
        lambda: patch.object(Needs, "refuse", nothing),
    ),
    "looking whether the list is still open": (
        overtaken_by_another_prune,
        lambda: patch.object(Collection, "_still_open", always),
    ),
    "closing a list by a fence": (
        a_list_that_comes_back,
        lambda: patch.object(Collection, "_close", delete_instead_of_closing),
    ),
    "graves": (noted_by_one_who_was_taken_for_dead, lambda: patch.object(Collection, "_bury", nothing)),
    "heeding graves": (
        noted_by_one_who_was_taken_for_dead,
        lambda: patch.object(Repository, "graves", no_graves),
    ),
    "forgetting by a fence": (
        created_a_second_time,
        lambda: patch.object(revisions, "fence", delete_instead_of_fencing),
    ),
    "the very object that the parent was read from": (
        built_on_an_earlier_revision,
        lambda: patch.object(SnapshotDraft, "_parent_stands", always),
    ),
}


@pytest.mark.parametrize("step", STORIES)
def test_nothing_is_lost(step: str) -> None:
    story, _ = STORIES[step]
    with told() as protocol:
        story(protocol)
        protocol.check()


@pytest.mark.parametrize("step", STORIES)
def test_without_this_step_something_is_lost(step: str) -> None:
    story, without = STORIES[step]
    with told() as protocol, without():
        story(protocol)
        with pytest.raises(AssertionError, match=r"which is gone|is not whole"):
            protocol.check()
