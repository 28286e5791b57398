"""The protocol of the collection, played at random: every kind of actor, every fault, and a clock that is wrong.

Whatever was committed and not forgotten stands and is what it was, and nothing that it needs is ever gone, whatever
happens in whichever order; when it is quiet again a prune leaves nothing behind, and after 400 days no fence or grave.

That the play would find a loss is shown by playing it with the protocol broken, one step at a time. What it does not
find are the protocols without "publishing before looking", "looking whether the list is still open" and "closing a list
by a fence": a loss takes too many turns in one order there. Only the stories in test_collection_steps.py show these.

Which actors are the product's own code, and which are modelled, is said in protocol_actors.py.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.repository.protocol_mutants import BY_STORIES_ONLY, STEPS, WAYS
from tests.repository.protocol_play import Protocol

seeds = st.integers(0, 2**32 - 1)
#: Of so many plays of a broken protocol at least one must find a loss; most need less than 100.
PLAYS = 1500


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_nothing_needed_is_lost_and_nothing_unneeded_stays(seed: int) -> None:
    Protocol(Random(seed)).play(400)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_the_same_for_long(seed: int) -> None:
    Protocol(Random(seed)).play(1500)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("broken", sorted((STEPS.keys() | WAYS.keys()) - BY_STORIES_ONLY))
def test_the_play_finds_what_a_broken_protocol_loses(broken: str) -> None:
    with pytest.raises(AssertionError, match=r"which is gone|is not whole|has vanished"), (STEPS | WAYS)[broken]():
        for seed in range(PLAYS):
            Protocol(Random(seed)).play(1000)


def test_what_only_stories_show_is_a_step() -> None:
    assert STEPS.keys() > BY_STORIES_ONLY
