"""Why the protocol of the collection has each of its steps: what happens when somebody is stopped just there.

Each story ends well as the protocol is; and with that one step taken out of it a snapshot loses what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from random import Random

import pytest

from coldhouse.errors import ObjectExists
from coldhouse.repository import names
from tests.repository.interleaving import Actor, Stage
from tests.repository.protocol_mutants import STEPS
from tests.repository.protocol_play import Protocol, tamed

Story = Callable[[Protocol], None]


@contextmanager
def told() -> Iterator[Protocol]:
    """A repository with nobody at work."""
    protocol = Protocol(Random(1))
    protocol.cast.carried = protocol.cast.adds = 1.0
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
    protocol.cast.everything = True
    whole(protocol, "forget")


# -------------------------------------------------------------------------------------------------------------- stories


def committed_before_the_others_are_looked_at(protocol: Protocol) -> None:
    """A snapshot appears after the first walk over the roots, and its writer is gone when writers are looked for."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("collect")
    stage.until(writer, "create intents")
    stage.until(prune, "create condemned")
    stage.finish(writer)
    stage.finish(prune)


def about_to_commit(protocol: Protocol) -> None:
    """A writer has proven everything, and has seen no list, when the prune begins."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("collect")
    stage.until(writer, "create snapshots")
    stage.finish(prune)
    stage.finish(writer)


def taken_for_dead(protocol: Protocol) -> None:
    """The same writer, but he sleeps for hours."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("collect")
    stage.until(writer, "create snapshots")
    stage.let_time_pass(timedelta(hours=3))
    stage.finish(prune)
    stage.finish(writer)


def begun_after_the_others_were_looked_at(protocol: Protocol) -> None:
    """A writer announces himself when the prune has looked for writers already, and is about to delete."""
    stage = protocol.stage
    writer, prune = protocol.begin("late"), protocol.begin("collect")
    stage.until(writer, "create intents")
    stage.until(prune, "delete packs")
    while not writer.finished and not writer.call.startswith("create snapshots"):
        stage.step(writer)
    stage.finish(prune)
    stage.finish(writer)


def built_on_what_is_forgotten_meanwhile(protocol: Protocol) -> None:
    """A writer announces himself after writers were looked for, and builds on what is then forgotten."""
    stage = protocol.stage
    first, prune = protocol.begin("late"), protocol.begin("collect")
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
    first, sleeper = protocol.begin("late"), protocol.begin("collect")
    stage.until(first, "create intents")
    stage.until(sleeper, "create condemned")
    stage.finish(first)  # its snapshot needs the pack that is about to be condemned
    stage.step(sleeper)
    lists = {name: data for name, data in stage.storage.objects.items() if name.startswith(names.CONDEMNED)}
    stage.until(sleeper, "list snapshots", 2)  # it has looked for writers
    whole(protocol, "collect")
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
    zombie, sleeper = protocol.begin("recall"), protocol.begin("collect")
    stage.until(zombie, "put notes")
    stage.let_time_pass(timedelta(hours=3))
    stage.until(sleeper, "delete packs")
    stage.step(zombie)
    whole(protocol, "collect")
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
    whole(protocol, "collect")
    with suppress(ObjectExists):
        stage.storage.create(name, data)


def built_on_an_earlier_revision(protocol: Protocol) -> None:
    """A writer without an intent has read a snapshot whose packs are then written anew, and collected."""
    stage = protocol.stage
    whole(protocol, "backup")
    protocol.cast.adds = 0.0
    writer = protocol.begin("late")
    stage.until(writer, "create intents")
    whole(protocol, "rewrite")
    whole(protocol, "collect")
    stage.finish(writer)


def copied_back_after_its_fence_was_removed(protocol: Protocol) -> None:
    """A forgotten snapshot whose fence is gone is copied back and forgotten again; then everything happens once more.

    The request that deleted the first fence is carried out a second time, and then the one that created the copy.
    """
    stage = protocol.stage
    whole(protocol, "backup")
    protocol.cast.elsewhere.objects.update(stage.storage.objects)
    forget_all(protocol)
    stage.let_time_pass(timedelta(days=500))
    copied_forgotten_and_done_again(protocol)


def copied_back_when_one_of_its_fences_was_removed(protocol: Protocol) -> None:
    """The same, where a prune had put a fence over a revision long before the snapshot itself was forgotten."""
    stage = protocol.stage
    whole(protocol, "backup")
    protocol.cast.elsewhere.objects.update(stage.storage.objects)
    ((name, _),) = [(n, d) for n, d in stage.storage.objects.items() if n.startswith(names.SNAPSHOTS)]
    stage.storage.put(f"{name}.1", names.FENCE)
    stage.let_time_pass(timedelta(days=300))
    forget_all(protocol)
    stage.let_time_pass(timedelta(days=200))
    copied_forgotten_and_done_again(protocol)


def copied_forgotten_and_done_again(protocol: Protocol) -> None:
    stage = protocol.stage
    before = frozenset(stage.storage.objects)
    whole(protocol, "collect")
    removed = before - stage.storage.objects.keys()
    whole(protocol, "copy")
    standing = {n: d for n, d in stage.storage.objects.items() if n.startswith(names.SNAPSHOTS) and d != names.FENCE}
    ((name, data),) = standing.items()
    forget_all(protocol)
    whole(protocol, "collect")
    stage.storage.delete(sorted(removed))
    with suppress(ObjectExists):
        stage.storage.create(name, data)


STORIES: dict[str, Story] = {
    "a second walk over the roots": committed_before_the_others_are_looked_at,
    "waiting for who is at work": about_to_commit,
    "a fence for who is taken for dead": taken_for_dead,
    "publishing before looking": built_on_what_is_forgotten_meanwhile,
    "heeding what was seen": begun_after_the_others_were_looked_at,
    "looking whether the list is still open": overtaken_by_another_prune,
    "closing a list by a fence": a_list_that_comes_back,
    "graves": noted_by_one_who_was_taken_for_dead,
    "heeding graves": noted_by_one_who_was_taken_for_dead,
    "forgetting by a fence": created_a_second_time,
    "a name of its own for what is copied back": copied_back_after_its_fence_was_removed,
    "the same where some of its fences stand": copied_back_when_one_of_its_fences_was_removed,
    "the very object that the parent was read from": built_on_an_earlier_revision,
}


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_lost(step: str) -> None:
    with told() as protocol:
        STORIES[step](protocol)
        protocol.check()


@pytest.mark.parametrize("step", STEPS)
def test_without_this_step_something_is_lost(step: str) -> None:
    with told() as protocol, STEPS[step]():
        STORIES[step](protocol)
        with pytest.raises(AssertionError, match=r"which is gone|is not whole"):
            protocol.check()


# ----------------------------------------------------------------------------------------------------------- the stage


@pytest.mark.parametrize(("days", "done"), [(300, True), (500, False)])
def test_the_request_at_which_an_actor_dies_is_forgotten_like_all_that_it_asked_for(days: int, done: bool) -> None:
    """A process may die as late as 400 days after it began, and so may its last request be carried out; no later."""
    stage = Stage({}, Random(1))
    actor = stage.begin("writer", lambda storage: storage.create("snapshots/one", b"one"))
    if done:
        stage.kill(actor)
    stage.let_time_pass(timedelta(days=days))
    stage.repeat_late()
    assert ("snapshots/one" in stage.storage.objects) == done
