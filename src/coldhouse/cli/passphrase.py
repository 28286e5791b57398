"""Where the passphrase of the repository comes from; never from the command line, never into a log."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from coldhouse.errors import ColdhouseError, UsageError

#: A passphrase file beyond this size (bytes) is some other file.
LARGEST = 65536
ATTEMPTS = 3

HINT = "set COLDHOUSE_PASSWORD, COLDHOUSE_PASSWORD_FILE or COLDHOUSE_PASSWORD_COMMAND, or give --password-file"


@dataclass(frozen=True, slots=True)
class PassphraseSources:
    """What one level (options, environment, configuration file) offers; empty texts offer nothing."""

    value: str = field(default="", repr=False)
    file: str = ""
    command: str = field(default="", repr=False)
    key_file: str = ""
    identity_file: str = ""
    recovery_file: str = ""

    @property
    def key_source(self) -> KeySource | None:
        """The file that is offered in place of a passphrase, if one is. Raises UsageError where more is offered."""
        offered = [
            KeySource(kind, Path(path).expanduser())
            for kind, path in (
                ("key file", self.key_file),
                ("identity file", self.identity_file),
                ("recovery file", self.recovery_file),
            )
            if path
        ]
        ways = [source.kind for source in offered]
        if self.value or self.file or self.command:
            ways.append("passphrase")
        if offered and len(ways) > 1:
            raise UsageError(
                f"a {' and a '.join(ways)} are given; which one is meant is not clear", hint="give one of them"
            )
        return offered[0] if offered else None


class KeySource(Struct, frozen=True):
    """A file that opens a repository: a "key file", an "identity file" or a "recovery file"."""

    kind: str
    path: Path

    def __str__(self) -> str:
        return f"the {self.kind} {self.path}"


def key_source(levels: tuple[PassphraseSources, ...]) -> KeySource | None:
    """The file that opens the repository, if the first level that offers something offers one. Raises UsageError."""
    for level in levels:
        if (source := level.key_source) is not None:
            return source
        if level.value or level.file or level.command:
            return None
    return None


def read_key(source: KeySource, warn: Callable[[str], None]) -> str:
    """The text of such a file. Raises UsageError."""
    return _from_file(source.path, warn, source.kind)


def resolve(
    levels: tuple[PassphraseSources, ...],
    warn: Callable[[str], None],
    *,
    confirm: bool = False,
    whose: str = "the repository",
    prefix: str = "",
) -> str:
    """Return the passphrase from the first level that offers one, else from a prompt on the terminal.

    ``confirm`` asks for it twice; ``whose`` it is is said at the prompt, and ``prefix`` begins the options' names.
    Raises UsageError where there is none or a level offers two, ColdhouseError where the file or the command fails.
    """
    for level in levels:
        if level.value:
            return level.value
        if level.file and level.command:
            raise UsageError(
                "both a password file and a password command are given; which one is meant is not clear",
                hint="give one of them",
            )
        if level.file:
            return _from_file(Path(level.file).expanduser(), warn)
        if level.command:
            return _from_command(level.command)
    if not sys.stdin.isatty():
        raise UsageError(
            f"the passphrase of {whose} is needed, and there is no terminal to ask for it", hint=_hint(prefix)
        )
    return _from_terminal(whose, confirm=confirm)


def _hint(prefix: str) -> str:
    """Where a passphrase can come from, for options whose names begin with a prefix."""
    variable, option = f"COLDHOUSE_{prefix.upper()}PASSWORD", f"--{prefix.replace('_', '-')}password-file"
    return HINT.replace("COLDHOUSE_PASSWORD", variable).replace("--password-file", option)


def _from_file(path: Path, warn: Callable[[str], None], what: str = "password file") -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LARGEST + 1)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError) and what == "password file"
        hint = _how_to_make(path) if missing else f"see --{what.replace(' ', '-')}"
        raise UsageError(f"the {what} {path} cannot be read: {error.strerror}", hint=hint) from error
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        warn(f"every user of this machine can read the {what} {path}; chmod 600 it")
    return _text(content, f"the {what} {path}")


def _how_to_make(path: Path) -> str:
    import shlex

    return (
        f"for a new repository make it: (umask 077; head -c 32 /dev/urandom | base64 > {shlex.quote(str(path))}), and "
        "keep a copy elsewhere; for a repository that exists, bring its passphrase from where you keep it"
    )


def _from_command(command: str) -> str:
    import shlex
    import subprocess

    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the password command cannot be split into words: {error}", hint="check its quotes") from None
    if not words:
        raise UsageError("the password command is empty", hint=HINT)
    # Only its first word is ever shown: the others may hold a secret.
    try:
        done = subprocess.run(words, check=False, stdout=subprocess.PIPE)
    except OSError as error:
        raise UsageError(
            f"the password command {words[0]} cannot be run: {error.strerror}",
            hint="it is run without a shell: give a program's path and its arguments",
        ) from None
    if done.returncode:
        raise ColdhouseError(
            f"the password command {words[0]} failed with exit status {done.returncode}",
            hint="run it by hand: it must print the passphrase, and nothing else, to its standard output",
        )
    return _text(done.stdout, f"the output of the password command {words[0]}")


def _text(content: bytes, origin: str) -> str:
    if len(content) > LARGEST:
        raise UsageError(f"{origin} is longer than {LARGEST} bytes, so it is no passphrase", hint=HINT)
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError(f"{origin} is not UTF-8 text", hint="write the passphrase as text") from None
    if not text:
        raise UsageError(f"{origin} is empty", hint="it must hold the passphrase")
    return text


def _from_terminal(whose: str, *, confirm: bool) -> str:
    from getpass import getpass

    for _ in range(ATTEMPTS):
        passphrase = getpass(f"passphrase of {whose}: ")
        if not passphrase:
            print("the passphrase cannot be empty", file=sys.stderr)  # noqa: T201
        elif confirm and getpass("once more: ") != passphrase:
            print("the two differ", file=sys.stderr)  # noqa: T201
        else:
            return passphrase
    raise UsageError("no passphrase was given", hint=HINT)
