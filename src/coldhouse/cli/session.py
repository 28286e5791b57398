"""One invocation: what was given, and the repository and the listener that follow from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from coldhouse.cli.credentials import password_of, with_credentials, without_credentials
from coldhouse.cli.passphrase import KeySource, PassphraseSources, key_source, read_key, resolve
from coldhouse.cli.scrub import Scrubber
from coldhouse.errors import UsageError

if TYPE_CHECKING:
    from coldhouse.events import Event, Listener
    from coldhouse.operations.opening import Limits, Opening
    from coldhouse.repository import Credential, Repository


class Level(IntEnum):
    """Who said something; a lower one wins."""

    OPTION = 0
    ENVIRONMENT = 1
    FILE = 2


@dataclass(frozen=True, slots=True)
class Given:
    """The value of a shared option, which may hold a password, and who gave it."""

    value: str = field(repr=False)
    level: Level


class Session:
    """What the verbs share while one command runs; ``given`` holds the shared options by parameter name."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.scrubber = Scrubber(environment)
        self.given: dict[str, Given] = {}
        self._credential: Credential | None = None
        self.json = False
        self.quiet = False
        self.debug = False
        self._told: set[str] = set()

    @classmethod
    def begin(cls) -> Session:
        """A session over this process's environment."""
        return cls(os.environ)

    def text(self, name: str) -> str:
        """The value of a shared option, or nothing."""
        return self.given[name].value if name in self.given else ""

    def warn(self, text: str) -> None:
        """Tell on stderr what does not stop the work."""
        print(f"warning: {self.scrubber.clean(text)}", file=sys.stderr)  # noqa: T201

    def repository_url(self) -> str:
        """Where the repository is. Raises UsageError when nobody said."""
        if url := self.text("repo"):
            return url
        raise UsageError(
            "which repository? None is given",
            hint='give --repo URL, set COLDHOUSE_REPO, or write repo = "..." in the configuration file',
        )

    def passphrase(self, *, confirm: bool = False) -> str:
        """The repository's passphrase. Raises UsageError when there is none, ColdhouseError when it cannot be had."""
        levels = tuple(self._offered(level) for level in Level)
        passphrase = resolve(levels, self.warn, confirm=confirm)
        self.scrubber.add(passphrase)
        return passphrase

    def new_passphrase(self) -> str:
        """The passphrase of a key that is being made. Raises as passphrase() does."""
        levels = tuple(self._offered(level, "new_") for level in Level)
        passphrase = resolve(levels, self.warn, confirm=True, whose="the new key", prefix="new_")
        self.scrubber.add(passphrase)
        return passphrase

    def credential(self) -> Credential:
        """What opens the repository: a passphrase, or the content of a key, identity or recovery file.

        Raises UsageError, ColdhouseError where it cannot be had.
        """
        if self._credential is None:  # a person is asked once
            source = key_source(tuple(self._offered(level) for level in Level))
            self._credential = self.passphrase() if source is None else self.credential_of(source)
        return self._credential

    def credential_of(self, source: KeySource) -> Credential:
        """The content of a key, identity or recovery file. Raises UsageError."""
        text = read_key(source, self.warn)
        for line in text.splitlines():
            self.scrubber.add(line.strip())
        from coldhouse.operations.opening import read_credential

        return read_credential(source.kind, text, str(source))

    def passphrase_of(self, other: str) -> str:
        """The passphrase of another repository, whose options begin with ``other``. Raises as passphrase() does."""
        levels = tuple(self._offered(level, f"{other}_") for level in Level)
        passphrase = resolve(levels, self.warn, whose=f"the repository at --{other}", prefix=f"{other}_")
        self.scrubber.add(passphrase)
        return passphrase

    def _offered(self, level: Level, prefix: str = "") -> PassphraseSources:
        file, command = (self.given.get(prefix + name) for name in ("password_file", "password_command"))
        from_environment = level is Level.ENVIRONMENT
        variable = f"COLDHOUSE_{prefix.upper()}PASSWORD"
        return PassphraseSources(
            value=self.environment.get(variable, "") if from_environment else "",
            file=file.value if file and file.level is level else "",
            command=command.value if command and command.level is level else "",
            key_file=self._at(level, f"{prefix}key_file"),
            identity_file=self._at(level, f"{prefix}identity_file"),
            recovery_file=self._at(level, f"{prefix}recovery_file"),
        )

    def _at(self, level: Level, name: str) -> str:
        given = self.given.get(name)
        return given.value if given and given.level is level else ""

    def server_url(self, which: str) -> str:
        """The URL of the "source" or "target", user and password filled in. Raises UsageError when nobody said."""
        url = self.text(which)
        if not url:
            raise UsageError(
                f"which {which}? None is given",
                hint=f"give --{which} http://host:8123 or chdb:///folder, or set COLDHOUSE_{which.upper()}",
            )
        prefix = f"COLDHOUSE_{which.upper()}"
        user, password = (self.environment.get(f"{prefix}_{part}", "") for part in ("USER", "PASSWORD"))
        url = with_credentials(url, user, password)
        self.scrubber.add(password_of(url))
        return url

    def shown_url(self, which: str) -> str:
        """The URL of the "source" or "target" as it may be shown, or nothing."""
        return without_credentials(self.text(which))

    def whose(self, repository: Repository, *names: str) -> str:
        """The source whose snapshots are meant where ``latest`` is among ``names``; nothing for any.

        One that only the environment or the configuration names is no obstacle to a repository of another alone.
        """
        source = self.shown_url("source")
        if "latest" not in names or not source or self.given["source"].level is Level.OPTION:
            return source
        from coldhouse.operations.choosing import usual

        return usual(repository, source)

    @contextmanager
    def repository(self) -> Iterator[Repository]:
        """The repository, open. Raises what opening raises, and UsageError when nobody said which or its passphrase."""
        url, credential = self.repository_url(), self.credential()
        from coldhouse.operations.opening import open_at

        with open_at(url, credential, self.limits()) as repository:
            yield repository

    def opening(self) -> Opening:
        """Begin to open the repository; enter what comes back to have it. Raises UsageError at once."""
        url, credential, limits = self.repository_url(), self.credential(), self.limits()
        from coldhouse.operations.opening import Opening

        return Opening(url, credential, limits)

    def limits(self) -> Limits:
        """How fast the stores may be written and read, and by how many requests at once. Raises UsageError."""
        from coldhouse.cli import parsing
        from coldhouse.operations.opening import Limits

        up, down = (self.text(name) for name in ("max_upload", "max_download"))
        return Limits(
            upload=parsing.rate("--max-upload", up) if up else 0,
            download=parsing.rate("--max-download", down) if down else 0,
            uploads=self.number("uploads", (1, 64)),
            downloads=self.number("downloads", (1, 64)),
        )

    def number(self, name: str, bounds: tuple[int, int], default: int = 0) -> int:
        """The value of a shared option that is a whole number, both bounds included. Raises UsageError."""
        from coldhouse.cli import parsing

        text = self.text(name)
        return parsing.number(f"--{name.replace('_', '-')}", text, bounds) if text else default

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """Who shows what an operation tells: a bar on a terminal, lines elsewhere, nothing with --quiet."""
        from coldhouse.cli.progress import showing
        from coldhouse.events import Warned

        with showing(sys.stderr, self.scrubber.clean, quiet=self.quiet) as listener:

            def telling(event: Event) -> None:
                if isinstance(event, Warned):
                    self._told.add(event.text)
                listener(event)

            yield telling

    def told(self) -> frozenset[str]:
        """The warnings that stand in the log, where it stands right above the receipt: on the same terminal."""
        return frozenset(self._told) if one_terminal() and not self.quiet else frozenset()


def one_terminal() -> bool:
    """Whether the log and the result go to the terminal, both."""
    return sys.stdout.isatty() and sys.stderr.isatty()
