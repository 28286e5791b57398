"""The configuration file: TOML, each key an option's name without its dashes.

    repo = "s3://backups/clickhouse"
    source = "http://127.0.0.1:8123"
    password-command = "pass show coldhouse"

    [backup]
    exclude = ["scratch.*"]
    tag = ["host=db1"]

What stands at the top holds for every verb that has the option; a section named for a verb holds for that verb alone
and wins. An option on the command line wins over the environment, and the environment over this file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coldhouse.cli.credentials import password_of
from coldhouse.cli.keeping import RULES
from coldhouse.errors import UsageError

Value = str | list[str]

_PASSPHRASE = {"repo": str, "password-file": str, "password-command": str}
_REPOSITORY = _PASSPHRASE | {"key-file": str, "identity-file": str}
#: What opens a repository: of these, one is meant.
_WAYS = _REPOSITORY.keys() - {"repo"}
_GATEWAY = {"gateway-listen": str, "gateway-url": str, "gateway-tls-cert": str, "gateway-tls-key": str}
_BANDWIDTH = {"max-upload": str, "max-download": str, "uploads": str, "downloads": str}
_BACKUP = {"source": str, "compression": str, "patches": str, "nice": str}
_COPY = {"to": str, "to-password-file": str, "to-password-command": str, "compression": str}
_KEEPING = dict.fromkeys(RULES, str) | {"keep-tag": list}
_SHARED: Mapping[str, type] = _REPOSITORY | _GATEWAY | _BANDWIDTH | _BACKUP | {"target": str}
_SECTIONS: Mapping[str, Mapping[str, type]] = {
    "init": _PASSPHRASE,
    "key": _REPOSITORY,
    "backup": _REPOSITORY | _GATEWAY | _BANDWIDTH | _BACKUP | {"table": list, "exclude": list, "tag": list},
    "snapshots": _REPOSITORY | {"source": str, "tag": list},
    "show": _REPOSITORY | {"source": str},
    "doctor": _REPOSITORY | _GATEWAY | {"source": str, "max-age": str, "max-proof-age": str},
    "forget": _REPOSITORY
    | _KEEPING
    | {"source": str, "tag": list, "group-by": str, "time-zone": str, "max-shrink": str},
    "pin": _REPOSITORY | {"source": str},
    "unpin": _REPOSITORY | {"source": str},
    "verify": _REPOSITORY
    | _BANDWIDTH
    | {"source": str, "table": list, "exclude": list, "assertions": list, "scratch-dir": str},
    "repair": _REPOSITORY | _BANDWIDTH,
    "copy": _REPOSITORY | _BANDWIDTH | _COPY,
    "restore": _REPOSITORY
    | _GATEWAY
    | _BANDWIDTH
    | {"source": str, "target": str, "table": list, "exclude": list, "rename": list},
}
#: Their values are paths: ``~`` is expanded, and a relative one starts at the folder of the configuration file.
_PATHS = frozenset(
    {
        "password-file",
        "key-file",
        "identity-file",
        "to-password-file",
        "scratch-dir",
        "gateway-tls-cert",
        "gateway-tls-key",
    }
)
_URLS = frozenset({"source", "target"})
#: Their values may stand without quotes.
_NUMBERS = frozenset({"uploads", "downloads", "nice", "max-age", "max-proof-age"})


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration file says; values may hold passwords."""

    path: Path | None = None
    shared: Mapping[str, Value] = field(default_factory=dict, repr=False)
    sections: Mapping[str, Mapping[str, Value]] = field(default_factory=dict, repr=False)

    def defaults(self, verb: str) -> dict[str, Value]:
        """What a verb's options are where neither the command line nor the environment says, by parameter name."""
        known = _SECTIONS.get(verb, {})
        values = {key: value for key, value in self.shared.items() if key in known}
        # A section's way to open the repository replaces the shared one, also where that one is of another kind.
        section = self.sections.get(verb, {})
        if _WAYS & section.keys():
            values = {key: value for key, value in values.items() if key not in _WAYS}
        return {key.replace("-", "_"): value for key, value in (values | dict(section)).items()}


def default_path(environment: Mapping[str, str]) -> Path:
    """Where the configuration file is when nobody says: below XDG_CONFIG_HOME or ~/.config."""
    base = environment.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base else Path("~/.config").expanduser()) / "coldhouse" / "config.toml"


def load(path: Path, warn: Callable[[str], None]) -> Configuration:
    """Read and check a configuration file. Raises UsageError where it is missing, no TOML, or says unknown things."""
    import tomllib

    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            document: dict[str, object] = tomllib.load(file)
    except OSError as error:
        raise UsageError(
            f"the configuration file {path} cannot be read: {error.strerror}", hint="see --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration file {path} is not TOML: {error}", hint="texts stand in quotes") from None
    configuration = _checked(path, document)
    if mode & (stat.S_IRGRP | stat.S_IROTH) and _has_password(configuration):
        warn(f"{path} holds a password and other users can read it; chmod 600 it")
    return configuration


def _checked(path: Path, document: Mapping[str, object]) -> Configuration:
    shared: dict[str, Value] = {}
    sections: dict[str, Mapping[str, Value]] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            if key not in _SECTIONS:
                raise _unknown(path, f"section [{key}]", key, _SECTIONS)
            known = _SECTIONS[key]
            sections[key] = {name: _value(path, name, item, known, key) for name, item in value.items()}
        else:
            shared[key] = _value(path, key, value, _SHARED, "")
    return Configuration(path, shared, sections)


def _value(path: Path, key: str, value: object, known: Mapping[str, type], section: str) -> Value:
    where = f"{key!r} in [{section}]" if section else repr(key)
    if key not in known:
        raise _unknown(path, where, key, known)
    if known[key] is list:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return [str(item) for item in value]
        raise UsageError(f"{path}: {where} must be a list of texts", hint=f'write {key} = ["...", "..."]')
    if key in _NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise UsageError(f"{path}: {where} must be a text", hint=f'write {key} = "..."')
    return str(path.parent / Path(value).expanduser()) if key in _PATHS else value


def _unknown(path: Path, where: str, key: str, known: Mapping[str, object]) -> UsageError:
    from difflib import get_close_matches

    if key == "password":
        hint = "the passphrase does not belong here: use password-file or password-command"
    elif close := get_close_matches(key.replace("_", "-"), list(known), n=1):
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"known here: {', '.join(sorted(known))}"
    return UsageError(f"{path}: {where} is not known", hint=hint)


def _has_password(configuration: Configuration) -> bool:
    tables = [configuration.shared, *configuration.sections.values()]
    urls = [value for table in tables for key, value in table.items() if key in _URLS]
    return any(isinstance(url, str) and password_of(url) for url in urls)
