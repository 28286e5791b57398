"""``coldhouse shell``: the same as ``sql``, as a conversation."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coldhouse.cli import answers, options
from coldhouse.cli.output import print_text, printable
from coldhouse.cli.session import Session
from coldhouse.errors import ColdhouseError, Interrupted

if TYPE_CHECKING:
    from coldhouse.model import TableName
    from coldhouse.operations.sql import SqlSession

HISTORY_LINES = 5000
HELP = [
    "A query ends with a semicolon and may go over several lines.",
    r"\d          the tables          \d TABLE   the columns of a table",
    r"\q          leave (also Ctrl-D) \h         this text",
    "Ctrl-C      cancels a query or drops what is typed; Tab completes names.",
]
_WORDS = (
    *("SELECT", "FROM", "WHERE", "PREWHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "LEFT JOIN", "USING", "ON"),
    *("HAVING", "DISTINCT", "FINAL", "WITH", "UNION ALL", "AS", "AND", "OR", "NOT", "IN", "BETWEEN", "LIKE"),
    *("DESCRIBE", "SHOW TABLES", "EXPLAIN", "FORMAT", "SETTINGS", "count()", "sum(", "min(", "max(", "avg(", "uniq("),
)


@click.command("shell")
@click.argument("snapshot")
@answers.which
@options.whose
@options.repository
@options.everywhere
@click.pass_obj
def command(session: Session, snapshot: str, format_name: str, database: str, attach: tuple[str, ...]) -> None:
    r"""Ask a snapshot with SQL, one query after the other.

    Queries end with a semicolon; \q leaves, \h says what else there is. Tab completes the names of tables and columns,
    and what was asked is remembered.
    """
    chosen = answers.sql_options(snapshot, database, attach)

    with answers.asking(session, chosen) as asked:
        _Shell(session, asked, answers.output_format(session, format_name)).run()


class _Shell:
    """A conversation with one session."""

    def __init__(self, session: Session, asked: SqlSession, format_name: str) -> None:
        self._session = session
        self._asked = asked
        self._format = format_name
        self._terminal = sys.stdin.isatty()

    def run(self) -> None:
        r"""Answer until the end of the input or ``\q``."""
        if self._terminal:
            _Line(self._asked, self._session.environment).prepare()
            names = len(self._asked.names())
            print_text([f"Snapshot {self._asked.snapshots[0].id}, {names} tables. \\h says what there is, \\q leaves."])
        for query in self._queries():
            if query.rstrip(";").strip() in (r"\q", "exit", "quit"):
                return
            self._answer(query)

    def _queries(self) -> Iterator[str]:
        """The queries, and the commands that begin with a backslash."""
        waiting: list[str] = []
        while True:
            try:
                line = input(("coldhouse> " if not waiting else "       ..> ") if self._terminal else "")
            except EOFError:
                if any(map(str.strip, waiting)):
                    yield "\n".join(waiting)
                return
            except KeyboardInterrupt:
                if not self._terminal:
                    raise
                print_text([""])
                waiting = []
                continue
            waiting.append(line)
            text = "\n".join(waiting).strip()
            if not waiting[1:] and (text.startswith("\\") or text in ("exit", "quit")):
                waiting = []
                yield text
                continue
            statements, rest = _split(text)
            waiting = [rest] if rest else []
            yield from statements

    def _answer(self, query: str) -> None:
        """Answer one query; what goes wrong with it is told, and the conversation goes on."""
        try:
            if query.startswith("\\"):
                print_text(self._told(query))
                return
            answers.write(self._asked.stream(query, self._format))
            if self._terminal and not self._session.quiet:
                print(answers.cost(self._asked.spent()), file=sys.stderr)  # noqa: T201
        except KeyboardInterrupt:
            if not self._terminal:
                raise
            self._asked.cancel()
            self._forget_cost()
            print("cancelled", file=sys.stderr)  # noqa: T201
        except Interrupted:
            raise
        except ColdhouseError as error:
            if not self._terminal:
                raise
            self._forget_cost()
            hint = [f"hint: {error.hint}"] if error.hint else []
            print(printable("\n".join([f"error: {error.message}", *hint]), lines=True), file=sys.stderr)  # noqa: T201

    def _forget_cost(self) -> None:
        """What a query read that failed is not the next one's; an engine that has ended cannot tell it."""
        with suppress(ColdhouseError):
            self._asked.spent()

    def _told(self, line: str) -> list[str]:
        r"""The answer to ``\d`` and ``\h``."""
        word, _, argument = line.rstrip(";").partition(" ")
        wanted = argument.strip()
        if word != r"\d":
            return HELP
        if not wanted:
            return [printable(str(name)) for name in self._asked.names()]
        default = self._asked.database
        found = [name for name in self._asked.names() if wanted in (str(name), _short(name, default))]
        return [printable(column) for name in found for column in self._asked.columns(name)] or [f"no table {wanted}"]


def _short(name: TableName, database: str) -> str:
    """What a query may call a table of the default database."""
    return name.table if name.database == database else ""


def _split(text: str) -> tuple[list[str], str]:
    """The queries in a text, and what is not ended yet."""
    from coldhouse.operations.attach_plan import split_statements

    return split_statements(text)


class _Line:
    """The line editor: history in the user's state directory, completion from the session."""

    def __init__(self, asked: SqlSession, environment: Mapping[str, str]) -> None:
        self._asked = asked
        self._history = state_directory(environment) / "history"
        self._matches: list[str] = []

    def prepare(self) -> None:
        """Switch it on, where Python has one."""
        try:
            import readline
        except ImportError:
            return
        import atexit

        self._history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._history.exists():
            readline.read_history_file(self._history)
        readline.set_history_length(HISTORY_LINES)
        readline.set_completer(self._complete)
        readline.set_completer_delims(" \t\n,()=<>+-*/;'\"")
        readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
        atexit.register(self._save)

    def _save(self) -> None:
        import readline

        os.close(os.open(self._history, os.O_CREAT | os.O_WRONLY, 0o600))  # queries may hold what is nobody's business
        readline.write_history_file(self._history)

    def _complete(self, begun: str, state: int) -> str | None:
        if state == 0:
            import readline

            self._matches = completions(self._asked, readline.get_line_buffer(), begun)
        return self._matches[state] if state < len(self._matches) else None


def completions(asked: SqlSession, line: str, begun: str) -> list[str]:
    """The words that can go on from ``begun``: tables, columns of the tables that the line names, words of SQL."""
    names = asked.names()
    tables = {str(name) for name in names} | {_short(name, asked.database) for name in names} - {""}
    named = [name for name in names if name.table and name.table in line]
    columns = {column for name in named[:20] for column in asked.columns(name)}
    databases = {f"{name.database}." for name in names}
    words = {word if begun.isupper() or not begun else word.lower() for word in _WORDS} if begun else set()
    return sorted(word for word in tables | columns | databases | words if word.startswith(begun))


def state_directory(environment: Mapping[str, str]) -> Path:
    """Where a user's state belongs: XDG_STATE_HOME/coldhouse."""
    home = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "coldhouse"
