"""The entry of the command line, and its outermost edge: every error becomes a message and an exit status here."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from coldhouse.cli.options import LeadingOptions
from coldhouse.cli.output import StdoutClosed, print_json, printable
from coldhouse.cli.session import Session
from coldhouse.errors import ColdhouseError, Corruption, Interrupted, StorageError, UsageError
from coldhouse.version import VERSION

PROGRAM = "coldhouse"

#: Objects between two looks for garbage. Python's own 700 makes a quarter of what a start costs: importing makes many
#: objects and no garbage.
COLLECT_AFTER = 20_000

#: The verbs and what they do; each one's module is imported only when it is called.
VERBS = {
    "init": "Make a new repository.",
    "backup": "Take a snapshot of a ClickHouse.",
    "snapshots": "List the snapshots, newest last.",
    "show": "Show what a snapshot holds.",
    "restore": "Put a snapshot, or some of its tables, back into a ClickHouse.",
    "sql": "Ask a snapshot with SQL, without restoring it.",
    "shell": "Ask a snapshot with SQL, one query after the other.",
    "export": "Write a table of a snapshot into a file.",
    "diff": "Show what changed between two snapshots, or since one.",
    "mount": "Give a running ClickHouse a snapshot's tables to read.",
    "copy": "Copy snapshots to a second repository.",
    "repair": "Find damage, and heal it from a copy.",
    "verify": "Prove that snapshots are whole and can be restored.",
    "forget": "Forget snapshots by a policy, or by name.",
    "prune": "Give back the space of what no snapshot needs.",
    "pin": "Keep a snapshot whatever a policy says.",
    "unpin": "Let a policy forget a snapshot again.",
    "doctor": "Look for what can be wrong before it is needed.",
    "key": "Make, list, remove and renew the keys of a repository.",
}

EPILOG = """
Options of every verb: --repo URL, --password-file FILE, --password-command COMMAND, --key-file FILE, --config FILE,
--json, --quiet, --debug. The passphrase can also be in COLDHOUSE_PASSWORD. `coldhouse VERB --help` says more.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 done in part, 10 no repository there, 11 it exists already or is in use,
12 wrong passphrase or key, 13 no such snapshot, 20 corruption found, 130 interrupted.
"""


class Verbs(LeadingOptions):
    """The group of verbs, which knows their names without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order in which they are used."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a verb."""
        if cmd_name not in VERBS:
            return None
        from importlib import import_module

        command: object = getattr(import_module(f"coldhouse.cli.{cmd_name}"), "command", None)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from what is known of them here."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    PROGRAM,
    cls=Verbs,
    epilog=EPILOG,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(VERSION, prog_name=PROGRAM)
def group() -> None:
    """Backup and restore for ClickHouse: every snapshot full, encrypted, and at the cost of what changed."""


def main() -> NoReturn:
    """Run the command line of this process and leave with its exit status."""
    gc.set_threshold(COLLECT_AFTER, 20, 20)
    if f"_{PROGRAM.upper()}_COMPLETE" in os.environ:
        group.main(prog_name=PROGRAM)  # a shell asks how a word could go on
    status = run(sys.argv[1:])
    _close_streams()
    gc.freeze()  # what is left ends with the process: the interpreter need not look through it first
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; everything that goes wrong ends here."""
    session = Session.begin()
    session.json = "--json" in arguments  # until the options are read: they may be what is wrong
    session.debug = "--debug" in arguments
    try:
        with _termination_as_interrupt():
            return _invoke(list(arguments), session)
    except StdoutClosed:
        return 1  # whoever read our output went away and wants no more, not even an error
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)  # noqa: T201
        return 2
    except click.ClickException as error:
        return _report(_from_click(error), session)
    except ColdhouseError as error:
        return _report(error, session)
    except (KeyboardInterrupt, click.Abort):
        return _report(Interrupted("interrupted", hint="the same command can be run again"), session)
    except Exception as error:  # noqa: BLE001  # the outermost edge: a user never sees a bare traceback
        return _report_unexpected(error, session)


def _invoke(arguments: list[str], session: Session) -> int:
    try:
        with group.make_context(PROGRAM, arguments, obj=session) as context:
            status: object = group.invoke(context)
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    return status if isinstance(status, int) else 0


def _from_click(error: click.ClickException) -> ColdhouseError:
    """What click found wrong with the command line, in our words' form."""
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else PROGRAM
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=f"{path} --help lists what there is")


def _report(error: ColdhouseError, session: Session) -> int:
    clean = session.scrubber.clean
    message, hint = clean(error.message), clean(error.hint)
    if session.debug:
        _print_traceback(error, session)
    lines = [f"error: {printable(message, lines=True)}", *([f"hint: {printable(hint, lines=True)}"] if hint else [])]
    print("\n".join(lines), file=sys.stderr)  # noqa: T201
    if session.json:
        _print_error_document(error.code, message, hint, _object_name(error))
    return error.exit_status


def _report_unexpected(error: Exception, session: Session) -> int:
    if session.debug:
        _print_traceback(error, session)
    message = session.scrubber.clean(f"something unexpected happened: {type(error).__name__}: {error}")
    message = " ".join(message.split())
    hint = "this is a bug in Coldhouse; repeat with --debug and report what it prints (secrets are taken out)"
    print(f"error: {printable(message)}\nhint: {hint}", file=sys.stderr)  # noqa: T201
    if session.json:
        _print_error_document("internal", message, hint, "")
    return 1


def _print_error_document(code: str, message: str, hint: str, object_name: str) -> None:
    from coldhouse.cli.documents import ErrorDocument, ErrorText

    try:
        print_json(ErrorDocument(ErrorText(code, message, hint, object_name)))
    except StdoutClosed:
        return  # it is on stderr, too


def _object_name(error: ColdhouseError) -> str:
    return error.object_name if isinstance(error, Corruption | StorageError) else ""


def _print_traceback(error: BaseException, session: Session) -> None:
    import traceback

    text = "".join(traceback.format_exception(error))
    print(session.scrubber.clean(text), file=sys.stderr, end="")  # noqa: T201


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM, and SIGHUP unless it is ignored (nohup), end a command as Ctrl-C does: it cancels and cleans up."""
    handlers: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            handlers[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _close_streams() -> None:
    """Write out what is buffered; where nobody reads any more, keep the interpreter from complaining at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
