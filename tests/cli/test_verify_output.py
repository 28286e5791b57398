"""What verify says at its end: of each snapshot, and of what lies beside them."""

from __future__ import annotations

from coldhouse.cli import verify_output
from coldhouse.operations.verify import Checked, VerifyReport
from coldhouse.records import replace

SOUND = VerifyReport("20261126T000000Z-0123456789abcdef", "data", Checked(), (), 0, (), 1.0, partial=False)
BESIDE = replace(
    SOUND, remarks=("a part of packs/ab/abcd that this snapshot does not need is damaged",), damage_beside=True
)


def test_all_sound_is_said_of_several() -> None:
    assert verify_output.text([SOUND, SOUND])[-1] == "2 snapshots verified, all sound"


def test_damage_that_concerns_none_of_them_is_told_at_the_end_with_what_to_do() -> None:
    lines = verify_output.text([BESIDE])
    assert "damage where none of them needs anything" in lines[-3]
    assert "repair --data" in lines[-1]
    assert verify_output.document(BESIDE).ok
    assert verify_output.document(BESIDE).damage_beside
