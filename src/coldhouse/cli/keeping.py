"""The options that make a retention policy: ``--keep-last N`` and its kin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from coldhouse.cli import parsing
from coldhouse.errors import UsageError

if TYPE_CHECKING:
    from coldhouse.operations.retention import GroupBy, Policy

P = ParamSpec("P")
R = TypeVar("R")

PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")
_UNITS = {"hourly": "hours", "daily": "days", "weekly": "weeks", "monthly": "months", "yearly": "years"}

#: What each option that takes a number or a duration is for; their names are those of the configuration file, too.
_HELP = {
    "keep-last": ("N", "Keep the last N snapshots."),
    **{
        f"keep-{period}": ("N", f"Keep the last snapshot of each of the last N {_UNITS[period]} that have any.")
        for period in PERIODS
    },
    "keep-within": ("DURATION", "Keep all that are not older than DURATION (2y5m7d3h) beside the newest one."),
    **{
        f"keep-within-{period}": ("DURATION", f"Of these, keep the last one of each of the {_UNITS[period]}.")
        for period in PERIODS
    },
    "keep-verified": ("N", "Keep the last N that passed a drill (coldhouse verify --level drill)."),
}
RULES = tuple(_HELP)


def rules(verb: Callable[P, R]) -> Callable[P, R]:
    """Add the options; a verb takes their texts by keyword: ``keep_last`` and so on."""
    for name, (metavar, text) in reversed(_HELP.items()):
        verb = click.option(f"--{name}", metavar=metavar, default="", help=text)(verb)
    return verb


def policy(texts: Mapping[str, str], keep_tag: Sequence[str]) -> Policy:
    """The policy that the texts of the options (by parameter name) ask for. Raises UsageError."""
    from coldhouse.operations import calendar, retention

    every = [(period, _count(texts, f"keep_{period}")) for period in calendar.PERIODS]
    within_every = [
        (period, calendar.Duration.parse(text))
        for period in calendar.PERIODS
        if (text := texts.get(f"keep_within_{period}", ""))
    ]
    within = texts.get("keep_within", "")
    return retention.Policy(
        last=_count(texts, "keep_last"),
        every=tuple((period, count) for period, count in every if count),
        within=calendar.Duration.parse(within) if within else None,
        within_every=tuple(within_every),
        tags=tuple(parsing.tags(text.split(",")) for text in keep_tag),
        verified=_count(texts, "keep_verified"),
    )


def _count(texts: Mapping[str, str], name: str) -> int:
    from coldhouse.operations.retention import UNLIMITED

    text = texts.get(name, "").strip()
    if text == "unlimited":
        return UNLIMITED
    if not text.isdecimal() and text:
        raise UsageError(f"--{name.replace('_', '-')} {text!r} is not a number", hint="a number, or `unlimited`")
    return min(int(text or "0"), UNLIMITED)


def group_by(text: str) -> tuple[GroupBy, ...]:
    """Read ``source,tables,tags``, or nothing for one group of all. Raises UsageError."""
    from coldhouse.operations.retention import GROUP_BY

    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in GROUP_BY]
    if unknown:
        raise UsageError(
            f"--group-by {unknown[0]!r} is not known", hint=f"some of {', '.join(GROUP_BY)}, separated by commas"
        )
    return tuple(each for each in GROUP_BY if each in words)


def zone(name: str) -> tzinfo | None:
    """The time zone of a name such as Europe/Berlin; None, this machine's, for none. Raises UsageError."""
    if not name:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"the time zone {name!r} is not known here", hint="for example Europe/Berlin or UTC") from None
