"""Options that several verbs share. Their values go to the Session; a verb's own options are its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

import click

from coldhouse.cli import config, parsing
from coldhouse.cli.session import Given, Level, Session
from coldhouse.errors import UsageError

if TYPE_CHECKING:
    from coldhouse.gateway import GatewaySettings

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """Adds an option to a verb and leaves it otherwise as it is."""

    def __call__(self, verb: Callable[P, R], /) -> Callable[P, R]:
        """The verb with the option."""


_LEVELS = {
    click.core.ParameterSource.COMMANDLINE: Level.OPTION,
    click.core.ParameterSource.ENVIRONMENT: Level.ENVIRONMENT,
    click.core.ParameterSource.DEFAULT_MAP: Level.FILE,
}

#: Options of every verb that may also stand before it (``coldhouse --json snapshots``), and whether they take a value.
ANYWHERE = {
    "--repo": True,
    "--password-file": True,
    "--password-command": True,
    "--key-file": True,
    "--identity-file": True,
    "--recovery-file": True,
    "--config": True,
    "--json": False,
    "--quiet": False,
    "-q": False,
    "--debug": False,
}


class LeadingOptions(click.Group):
    """A group of verbs whose common options may also stand before the verb."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put them behind the verb, which knows them."""
        leading, rest = _split_leading(args)
        return super().parse_args(ctx, [*rest[:1], *leading, *rest[1:]] if rest else args)


def _split_leading(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options before the verb that belong to every verb, and the rest."""
    position = 0
    while position < len(arguments):
        name, equals, _ = arguments[position].partition("=")
        if name not in ANYWHERE:
            break
        position += 2 if ANYWHERE[name] and not equals else 1
    return list(arguments[:position]), list(arguments[position:])


def _session(context: click.Context) -> Session:
    session = context.find_object(Session)
    if session is None:
        raise RuntimeError("a verb was called without a session")
    return session


def _keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Put a shared option into the session, with who gave it."""
    source = context.get_parameter_source(parameter.name or "")
    if value and parameter.name and source in _LEVELS:
        _session(context).given[parameter.name] = Given(value, _LEVELS[source])


def _switch(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    session = _session(context)
    if parameter.name == "json":
        session.json = value
    elif parameter.name == "quiet":
        session.quiet = value
    else:
        session.debug = value


def _read_configuration(context: click.Context, _: click.Parameter, value: str | None) -> None:
    """Let the configuration file say what the other options are by default; it is read before they are."""
    session = _session(context)
    path = Path(value).expanduser() if value else config.default_path(session.environment)
    if not value and not path.is_file():
        return
    configuration = config.load(path, session.warn)
    context.default_map = dict(configuration.defaults(_verb(context)))


def _verb(context: click.Context) -> str:
    """The verb that a command belongs to: key of ``coldhouse key add``."""
    outermost = context
    while outermost.parent is not None and outermost.parent.parent is not None:
        outermost = outermost.parent
    return outermost.info_name or ""


def _kept(name: str, metavar: str, text: str) -> Decorator:
    variable = "COLDHOUSE_" + name.removeprefix("--").replace("-", "_").upper()
    return click.option(
        name,
        metavar=metavar,
        envvar=variable,
        show_envvar=True,
        expose_value=False,
        callback=_keep,
        help=text,
    )


def _flag(*names: str, text: str) -> Decorator:
    return click.option(*names, is_flag=True, expose_value=False, callback=_switch, help=text)


def _all(*decorators: Decorator) -> Decorator:
    def decorate(verb: Callable[P, R]) -> Callable[P, R]:
        for decorator in reversed(decorators):  # click shows options in the order of the decorators, topmost first
            verb = decorator(verb)
        return verb

    return decorate


def source(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --source."""
    return _kept(
        "--source",
        "URL",
        "The ClickHouse to back up: http://host:8123, https://host:8443 or chdb:///folder. "
        "User and password better come from COLDHOUSE_SOURCE_USER and COLDHOUSE_SOURCE_PASSWORD than from the URL.",
    )(verb)


def whose(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --source, for verbs that read snapshots."""
    return _kept("--source", "URL", "Of which source the `latest` snapshot is meant: its URL, or its identity.")(verb)


def target(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --target."""
    return _kept(
        "--target",
        "URL",
        "The ClickHouse to restore into, as for a source; COLDHOUSE_TARGET_USER and COLDHOUSE_TARGET_PASSWORD.",
    )(verb)


def tables(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --table and --exclude."""
    return _all(
        click.option(
            "--table",
            metavar="PATTERN",
            multiple=True,
            help="Only these tables: database.table, with * and ?. Can be repeated. Default: all.",
        ),
        click.option("--exclude", metavar="PATTERN", multiple=True, help="Not these tables. Can be repeated."),
    )(verb)


def gateway(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --gateway-listen, --gateway-url, --gateway-tls-cert and --gateway-tls-key."""
    return _all(
        _kept(
            "--gateway-listen",
            "HOST:PORT",
            "Where to wait for ClickHouse's data. Default: 127.0.0.1 and a free port, for a server on this machine.",
        ),
        _kept(
            "--gateway-url",
            "URL",
            "How ClickHouse reaches that place, where it is not what --gateway-listen says (another name, a proxy).",
        ),
        _kept("--gateway-tls-cert", "FILE", "Certificate chain (PEM): the gateway then speaks HTTPS."),
        _kept("--gateway-tls-key", "FILE", "Private key (PEM) of that certificate."),
    )(verb)


def destination(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --to, --to-password-file and --to-password-command."""
    return _all(
        _kept("--to", "URL", "The repository to copy to, as for --repo."),
        _kept("--to-password-file", "FILE", "A file that holds its passphrase, if it has keys of its own."),
        _kept("--to-password-command", "COMMAND", "A command that prints that passphrase."),
    )(verb)


def bandwidth(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --max-upload, --max-download, --uploads and --downloads."""
    return _all(
        _kept("--max-upload", "RATE", "At most so many bytes per second to the store, on average: 20M, 1.5MiB, 500KB."),
        _kept("--max-download", "RATE", "At most so many bytes per second from the store, on average."),
        _kept("--uploads", "N", "At most so many objects go up to the store at a time."),
        _kept("--downloads", "N", "At most so many requests read from the store at a time."),
    )(verb)


def niceness(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --nice."""
    return _kept(
        "--nice",
        "N",
        "How far Coldhouse steps back for others, 0 (not at all) to 19, where the ClickHouse is on this machine. "
        "Default: 10.",
    )(verb)


def place(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --repo."""
    return _kept(
        "--repo", "URL", "The repository: /folder, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix."
    )(verb)


def new_repository(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --repo, --password-file and --password-command."""
    return _all(
        place,
        _kept("--password-file", "FILE", "A file that holds the repository's passphrase."),
        _kept("--password-command", "COMMAND", "A command that prints the passphrase; it is run without a shell."),
    )(verb)


def repository(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --repo and everything that opens a repository: a passphrase, a key file, an identity, a recovery sheet."""
    return _all(
        new_repository,
        _kept("--key-file", "FILE", "A key file that opens the repository, in place of a passphrase."),
        _kept("--identity-file", "FILE", "An identity file of age (AGE-SECRET-KEY-1...), in place of a passphrase."),
        _kept("--recovery-file", "FILE", "The lines of a recovery sheet, in place of a passphrase."),
    )(verb)


def new_passphrase(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --new-password-file."""
    return _kept("--new-password-file", "FILE", "A file that holds the passphrase of the new key.")(verb)


def everywhere(verb: Callable[P, R]) -> Callable[P, R]:
    """Add --config, --json, --quiet and --debug."""
    return _all(
        click.option(
            "--config",
            metavar="FILE",
            envvar="COLDHOUSE_CONFIG",
            show_envvar=True,
            is_eager=True,
            expose_value=False,
            callback=_read_configuration,
            help="Configuration file (TOML). Default: ~/.config/coldhouse/config.toml, if it is there.",
        ),
        _flag("--json", text="Print one JSON document to standard output instead of text."),
        _flag("--quiet", "-q", text="Show no progress and no log, only the result and errors."),
        _flag("--debug", text="Show where an error came from."),
    )(verb)


def gateway_settings(session: Session) -> GatewaySettings:
    """The gateway's settings as they were given. Raises UsageError where they make no sense together."""
    from coldhouse.gateway import GatewaySettings

    host, port = parsing.listen(session.text("gateway_listen") or "127.0.0.1:0")
    certificate, key = session.text("gateway_tls_cert"), session.text("gateway_tls_key")
    if bool(certificate) != bool(key):
        raise UsageError(
            "TLS for the gateway needs a certificate and its key, and one of them is missing",
            hint="give --gateway-tls-cert and --gateway-tls-key together",
        )
    url = session.text("gateway_url")
    parts = urlsplit(url)
    if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/")):
        raise UsageError(
            f"--gateway-url {url!r} is not the URL of a host and port", hint="for example http://backup-host:9440"
        )
    return GatewaySettings(listen_host=host, listen_port=port, url=url, tls_cert=_path(certificate), tls_key=_path(key))


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None
