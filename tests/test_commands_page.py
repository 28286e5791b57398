"""docs/commands.md names every option of every verb, and every field of the documents that ``--json`` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

import click
import msgspec
import pytest

from coldhouse.cli.main import VERBS
from tests.support.engine import CHECKOUT

PAGE = (CHECKOUT / "docs" / "commands.md").read_text()
SECTIONS = {text.splitlines()[0]: text for text in PAGE.split("\n## ")[1:]}
#: Sections on options that several verbs have.
SHARED = "".join(SECTIONS[name] for name in ("Options of every verb", "The gateway", "Bandwidth and load"))
DOCUMENTS = sorted(
    f"coldhouse.cli.{path.stem}"
    for pattern in ("*documents.py", "*_output.py")
    for path in (CHECKOUT / "src/coldhouse/cli").glob(pattern)
)


def section_of(verb: str) -> str:
    """What the page says of a verb."""
    return next(text for title, text in SECTIONS.items() if verb in re.split(r", | and ", title))


def commands(verb: str) -> Iterator[click.Command]:
    """A verb, and the verbs below it."""
    command = import_module(f"coldhouse.cli.{verb}").command
    assert isinstance(command, click.Command)
    yield command
    if isinstance(command, click.Group):
        yield from command.commands.values()


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_on_the_page(verb: str) -> None:
    said = SHARED + section_of(verb)
    missing = {
        name
        for command in commands(verb)
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in parameter.opts
        if name.startswith("--") and not re.search(rf"{name}(?![\w-])", said)
    }
    assert not missing


@pytest.mark.parametrize("module", DOCUMENTS)
def test_every_field_of_every_document_is_on_the_page(module: str) -> None:
    structs = [
        each
        for each in vars(import_module(module)).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__module__ == module
    ]
    fields = {name for struct in structs for name in struct.__struct_encode_fields__}
    fields -= {"Version", "Statement"}  # of the bucket policy, which is Amazon's
    assert not {name for name in fields if f"`{name}`" not in PAGE and f'"{name}"' not in PAGE}
