"""LocalStorage beside a dict: whatever is done to both, they hold the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from coldhouse.errors import Corruption, ObjectExists, ObjectMissing
from coldhouse.storage.local import LocalStorage

# Names whose order differs from that of a tree walk, and none that is another's folder.
NAMES = st.sampled_from(["a", "a-b", "a.b", "d-e/x", "d.e/x", "d/e-f/x", "d/e/x", "d/e/y", "d/f", "d0", "z/y/x/w"])
PREFIXES = st.sampled_from(["", "a", "a-", "d", "d/", "d/e", "d/e/", "d/e/x", "z/", "z/y/x/w", "no", "no/"])
DATA = st.binary(max_size=20)


class LocalStorageBesideADict(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "repository"
        self.storage = LocalStorage(self.root)
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.storage.close()
        self.folder.cleanup()

    @rule(name=NAMES, data=DATA)
    def create(self, name: str, data: bytes) -> None:
        if name in self.model:
            with pytest.raises(ObjectExists):
                self.storage.create(name, data)
        else:
            self.storage.create(name, data)
            self.model[name] = data

    @rule(name=NAMES, data=DATA)
    def put(self, name: str, data: bytes) -> None:
        self.storage.put(name, data)
        self.model[name] = data

    @rule(names=st.lists(NAMES, max_size=4))
    def delete(self, names: list[str]) -> None:
        self.storage.delete(names)
        for name in names:
            self.model.pop(name, None)

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        if name in self.model:
            assert bytes(self.storage.get(name)) == self.model[name]
            assert self.storage.size(name) == len(self.model[name])
        else:
            with pytest.raises(ObjectMissing):
                self.storage.get(name)

    @rule(name=NAMES, offset=st.integers(0, 25), length=st.integers(0, 25))
    def get_range(self, name: str, offset: int, length: int) -> None:
        if name not in self.model:
            with pytest.raises(ObjectMissing):
                self.storage.get_range(name, offset, length)
        elif offset + length > len(self.model[name]):
            with pytest.raises(Corruption):
                self.storage.get_range(name, offset, length)
        else:
            assert bytes(self.storage.get_range(name, offset, length)) == self.model[name][offset : offset + length]

    @rule(prefix=PREFIXES, after=st.one_of(NAMES, PREFIXES))
    def list_some(self, prefix: str, after: str) -> None:
        expected = [
            (name, len(data)) for name, data in sorted(self.model.items()) if name.startswith(prefix) and name > after
        ]
        assert [(found.name, found.size) for found in self.storage.list(prefix, after=after)] == expected

    @rule()
    def sync(self) -> None:
        self.storage.sync()

    @rule()
    def reopen(self) -> None:
        self.storage.close()
        self.storage = LocalStorage(self.root)

    @invariant()
    def nothing_is_left_over(self) -> None:
        assert self.storage.remove_leftovers(0) == 0


TestLocalStorageBesideADict = LocalStorageBesideADict.TestCase
TestLocalStorageBesideADict.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
