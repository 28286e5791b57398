"""One way to make a record from another, whatever it is made of."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import pytest
from msgspec import Struct

from coldhouse.records import replace


class Made(Struct, frozen=True):
    size: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    size: int
    name: str = ""


@pytest.mark.parametrize("kind", [Made, Declared])
def test_a_field_is_replaced_in_a_new_record(kind: type[Made | Declared]) -> None:
    record = kind(1, "a")
    assert replace(record, size=2) == kind(2, "a")
    assert record == kind(1, "a")
    with pytest.raises((AttributeError, FrozenInstanceError)):
        record.size = 3  # type: ignore[misc]


@pytest.mark.parametrize("kind", [Made, Declared])
def test_a_field_that_is_not_there_is_an_error(kind: type[Made | Declared]) -> None:
    with pytest.raises(TypeError):
        replace(kind(1), height=2)
