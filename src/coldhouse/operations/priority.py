"""Stepping back for others on the machine whose ClickHouse is being backed up."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address

from coldhouse.clickhouse import parse_address


def step_back(source_url: str, nice: int) -> None:
    """Lower this process's priority to ``nice`` (0 to 19) where the source is on this machine; never raises it.

    On Linux a priority belongs to a thread and goes over to those that it starts: this comes before any of them. What
    is written and read steps back as well, because a disk's scheduler goes by the same number (man 2 ioprio_set).
    Raises UsageError for a URL that is none.
    """
    step = steps(os.getpriority(os.PRIO_PROCESS, 0), nice) if is_here(source_url) else 0
    if step:
        os.nice(step)


def steps(now: int, wanted: int) -> int:
    """How far to go from one priority to another; what is nicer already stays so, and 0 means to leave it."""
    return max(0, wanted - now) if wanted else 0


def is_here(source_url: str) -> bool:
    """Whether the source is on this machine: an embedded one, or one at a loopback address or under our own name."""
    address = parse_address(source_url)
    if address.embedded or address.host.lower() in ("localhost", socket.gethostname().lower()):
        return True
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return False
