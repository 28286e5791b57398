"""The protocol of the collection, played at random: writers, readers, prunes, rewritings, forgettings, and every fault.

Nothing that a committed snapshot needs is ever gone, whatever happens in whichever order; and when it is quiet again a
prune leaves nothing behind. Each step of the protocol is there for a reason: without it the play finds a loss.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.repository.protocol_play import Protocol

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_nothing_needed_is_lost_and_nothing_unneeded_stays(seed: int) -> None:
    Protocol(Random(seed)).play(400)


@pytest.mark.long
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds)
def test_the_same_for_long(seed: int) -> None:
    Protocol(Random(seed)).play(1500)
