"""What the verbs that ask a snapshot share: which snapshots, which format, and how an answer and its cost are shown."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from coldhouse.cli.output import StdoutClosed, count, size
from coldhouse.cli.session import Session
from coldhouse.errors import UsageError
from coldhouse.events import Event, Warned
from coldhouse.records import replace

if TYPE_CHECKING:
    from coldhouse.operations.sql import Spent, SqlOptions, SqlSession

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def which(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --format, --database and --attach."""
    for decorate in (
        click.option(
            "--attach",
            metavar="NAME=SNAPSHOT",
            multiple=True,
            help="Another snapshot, whose tables are NAME.database.table (and NAME__database.table). Can be repeated.",
        ),
        click.option(
            "--database",
            metavar="NAME",
            default="",
            help="Where names without a database are looked for. Default: the snapshot's only one, or `default`.",
        ),
        click.option(
            "--format",
            "format_name",
            metavar="NAME",
            default="",
            help="One of ClickHouse's output formats. Default: PrettyCompact on a terminal, otherwise TSV.",
        ),
    ):
        verb = decorate(verb)
    return verb


def sql_options(snapshot: str, database: str, attach: Iterable[str]) -> SqlOptions:
    """The options of a session. Raises UsageError for a NAME=SNAPSHOT that is none."""
    from coldhouse.operations.sql import SqlOptions

    return SqlOptions(snapshot=snapshot, attach=tuple(map(_attachment, attach)), database=database)


def _attachment(text: str) -> tuple[str, str]:
    name, equals, snapshot = text.partition("=")
    if not (equals and snapshot and _NAME.fullmatch(name)):
        raise UsageError(
            f"--attach {text!r} is not NAME=SNAPSHOT",
            hint="for example --attach monday=20261123T02; the name is a word that you choose",
        )
    return name, snapshot


@contextmanager
def asking(session: Session, options: SqlOptions) -> Iterator[SqlSession]:
    """A conversation with the repository's snapshots; ``latest`` is that of the source that is given."""
    from coldhouse.operations.sql import SqlSession

    names = [options.snapshot, *(snapshot for _, snapshot in options.attach)]
    with session.repository() as repository:
        chosen = replace(options, source=session.whose(repository, *names))
        with SqlSession(repository, chosen, warnings_only(session)) as asked:
            yield asked


def output_format(session: Session, given: str) -> str:
    """The format of an answer when the query names none."""
    if given or session.json:
        return given or "JSON"
    return "PrettyCompact" if sys.stdout.isatty() else "TSV"


def warnings_only(session: Session) -> Callable[[Event], None]:
    """A listener for verbs whose output is the answer alone."""

    def listen(event: Event) -> None:
        if isinstance(event, Warned):
            session.warn(event.text)

    return listen


def write(pieces: Generator[bytes, None, None]) -> None:
    """Write an answer to standard output as it comes. Raises StdoutClosed, and what the pieces raise."""
    with closing(pieces):
        sys.stdout.flush()
        out = sys.stdout.buffer
        try:
            for piece in pieces:
                out.write(piece)
            out.flush()
        except BrokenPipeError:
            raise StdoutClosed from None


def cost(spent: Spent) -> str:
    """What a query read, as one line."""
    share = 100 * spent.bytes / spent.size if spent.size else 0.0
    percent = f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
    return (
        f"{count(spent.rows, 'row')} read, {size(spent.bytes)} fetched from the repository in "
        f"{count(spent.requests, 'request')}: {percent} of the snapshot's {size(spent.size)}"
    )
