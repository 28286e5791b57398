"""The values of options: texts in, typed values out, UsageError with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from coldhouse.errors import UsageError
from coldhouse.model import TableName

_COMPRESSION = re.compile(r"auto|none|zstd:(?P<level>\d{1,2})")
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/\s]+):(?P<port>\d{1,5})")
_RATE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>B|[KMG](?:i?B)?|)(?:/s)?", re.IGNORECASE)
_HOURS = re.compile(r"(?:(?P<days>\d{1,5})d)?(?:(?P<hours>\d{1,6})h)?")
_UNITS = {"": 1, "b": 1} | {
    name: base**power
    for power, letter in enumerate("kmg", 1)
    for name, base in ((letter, 1024), (f"{letter}ib", 1024), (f"{letter}b", 1000))
}
#: Backticked runs hold anything; outside of them the separator ends a name.
_RENAME = re.compile(r"(?P<old>(?:`(?:[^`]|``)+`|[^`=])+)=(?P<new>(?:`(?:[^`]|``)+`|[^`=])+)")


def tags(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Read KEY=VALUE; the value may be empty or hold further equals signs. A key given twice is an error."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--tag {text!r} is not KEY=VALUE", hint="for example --tag reason=before-upgrade")
        if found.setdefault(key, value) != value:
            raise UsageError(f"--tag {key} is given twice, as {found[key]!r} and {value!r}", hint="give it once")
    return tuple(found.items())


def partitions(texts: Iterable[str]) -> tuple[tuple[TableName, str], ...]:
    """Read DB.TABLE:ID, where ID is the partition's id as system.parts shows it."""
    return tuple(_partition(text) for text in texts)


def _partition(text: str) -> tuple[TableName, str]:
    from coldhouse.operations.renaming import parse_name

    name, colon, partition = text.rpartition(":")
    hint = "for example --partition shop.orders:202611 (ids: SELECT partition_id FROM system.parts)"
    if not (colon and name and partition):
        raise UsageError(f"--partition {text!r} is not DB.TABLE:ID", hint=hint)
    table = parse_name(name)
    if not table.table:
        raise UsageError(f"--partition {text!r} names a database and no table", hint=hint)
    return table, partition


def renames(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Read OLD=NEW; a name with an equals sign, a dot or a backtick is written in backticks."""
    pairs: dict[str, str] = {}
    for text in texts:
        match = _RENAME.fullmatch(text)
        if match is None:
            raise UsageError(
                f"--rename {text!r} is not OLD=NEW",
                hint="write db=db2 or db.table=db2.table2; names with dots or equals signs in `backticks`",
            )
        old, new = match["old"], match["new"]
        if pairs.setdefault(old, new) != new:
            raise UsageError(
                f"--rename gives {old} two new names, {pairs[old]} and {new}", hint="restore twice for two copies"
            )
    return tuple(pairs.items())


def time(text: str) -> datetime:
    """Read an ISO 8601 time; one without an offset is in the local time zone. The result has a time zone."""
    hint = "for example --at 2026-11-22T18:00 (local time), --at 2026-11-22T18:00+01:00 or --at 2026-11-22T17:00:00Z"
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"--at {text!r} is not an ISO 8601 time", hint=hint) from None
    if not re.search(r"[Tt ]", text.strip()):
        # Midnight at its beginning or at its end? At 3 a.m. nobody should have to guess.
        raise UsageError(f"--at {text!r} is a day and not a time", hint=hint)
    return moment.astimezone()


def compression(text: str) -> str:
    """Check ``auto``, ``none`` or ``zstd:LEVEL`` with a level from 1 to 22, and return it."""
    match = _COMPRESSION.fullmatch(text)
    level = match["level"] if match else None
    if match is None or (level is not None and not 1 <= int(level) <= 22):
        raise UsageError(
            f"--compression {text!r} is not known", hint="auto, none, or zstd:LEVEL with a level from 1 to 22"
        )
    return text


def rate(option: str, text: str) -> int:
    """Read bytes per second: a number with B, K, M, G (of 1024), KB, MB, GB (of 1000), or KiB, MiB, GiB."""
    match = _RATE.fullmatch(text.strip())
    count = float(match["number"]) * _UNITS[match["unit"].lower()] if match else 0.0
    if count < 1:
        raise UsageError(
            f"{option} {text!r} is not a number of bytes per second",
            hint=f"for example {option} 20M, {option} 1.5MiB or {option} 500KB",
        )
    return int(count)


def number(option: str, text: str, bounds: tuple[int, int]) -> int:
    """Read a whole number within bounds, which are included."""
    least, most = bounds
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()) or not least <= int(text) <= most:
        raise UsageError(f"{option} {text!r} is not a whole number from {least} to {most}")
    return int(text)


def hours(option: str, text: str) -> timedelta:
    """Read a length of time of whole days and hours: 36h, 14d, 1d12h. Raises UsageError."""
    match = _HOURS.fullmatch(text.strip())
    length = timedelta(days=int(match["days"] or 0), hours=int(match["hours"] or 0)) if match else timedelta()
    if not length:
        raise UsageError(f"{option} {text!r} is not a length of time", hint=f"for example {option} 36h or {option} 14d")
    return length


def listen(text: str) -> tuple[str, int]:
    """Read HOST:PORT, with an IPv6 address in brackets; port 0 means any free one."""
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(
            f"--gateway-listen {text!r} is not HOST:PORT", hint="for example 0.0.0.0:9440, 127.0.0.1:0 or [::1]:9440"
        )
    return match["host"].strip("[]"), int(match["port"])
