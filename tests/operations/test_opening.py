"""A repository that is opened by a thread is there, or its error is, when it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldhouse import repository as repositories
from coldhouse.errors import NoRepository, WrongPassphrase
from coldhouse.operations.opening import Opening
from coldhouse.repository import KdfCost
from coldhouse.storage import open_storage

CHEAP = KdfCost(memory_kib=64, passes=1, lanes=1)


def test_it_is_open_when_it_is_entered(tmp_path: Path) -> None:
    with repositories.init(open_storage(str(tmp_path / "repository")), "right", kdf=CHEAP) as made:
        id = made.id
    with Opening(str(tmp_path / "repository"), "right") as repository:
        assert repository.id == id
        assert repository.snapshot_ids() == []


def test_what_opening_raises_is_raised_where_it_is_entered(tmp_path: Path) -> None:
    with repositories.init(open_storage(str(tmp_path / "repository")), "right", kdf=CHEAP):
        pass
    wrong, absent = Opening(str(tmp_path / "repository"), "wrong"), Opening(str(tmp_path / "none"), "right")
    with pytest.raises(WrongPassphrase), wrong:
        pytest.fail("it was opened")
    with pytest.raises(NoRepository), absent:
        pytest.fail("it was opened")
