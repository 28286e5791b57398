from __future__ import annotations

import pytest

from coldhouse.cli.scrub import Scrubber


def test_known_secrets_are_masked_however_they_are_written() -> None:
    scrubber = Scrubber({"AWS_SECRET_ACCESS_KEY": "abc/def+ghi"})
    scrubber.add('p@ss "word"')
    assert scrubber.clean("key abc/def+ghi, abc%2Fdef%2Bghi") == "key ***, ***"
    assert scrubber.clean('p@ss "word" or p%40ss%20%22word%22') == "*** or ***"


def test_a_longer_secret_goes_before_one_that_is_part_of_it() -> None:
    scrubber = Scrubber({})
    scrubber.add("pass")
    scrubber.add("password1")
    assert scrubber.clean("password1") == "***"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("http://me:pw@db:8123/?x=1", "http://me:***@db:8123/?x=1"),
        ("https://me:a:b@c@db/", "https://me:***@db/"),
        ("cannot reach http://db:8123 as me@example.org", "cannot reach http://db:8123 as me@example.org"),
        ("http://db:8123/?user=me&password=pw&x=1", "http://db:8123/?user=me&password=***&x=1"),
    ],
)
def test_a_password_in_a_url_is_found_by_its_place(text: str, clean: str) -> None:
    assert Scrubber({}).clean(text) == clean


def test_a_short_secret_does_not_blot_out_the_text() -> None:
    scrubber = Scrubber({"COLDHOUSE_PASSWORD": "a"})
    assert scrubber.clean("a table") == "a table"


def test_secrets_are_not_in_its_repr() -> None:
    assert "hunter2" not in repr(Scrubber({"COLDHOUSE_PASSWORD": "hunter2"}))
