"""Where the gateway listens, and what an operation is given to reach it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

#: What an archive is called below the place where BACKUP writes; by the end of its name ClickHouse knows what it is.
ARCHIVE = "archive.tar"


class GatewaySettings(Struct, frozen=True):
    """Where the gateway listens and how ClickHouse finds it.

    ``listen_port`` 0 takes a free port, the same as last time where that can be. ``url`` is the address that ClickHouse
    uses where it differs from the listening one (``http://backup-host:9440``; without a path, which would become a part
    of what ClickHouse signs). With ``tls_cert`` and ``tls_key`` (PEM files) the gateway speaks HTTPS.
    """

    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    url: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """What one operation hands to ClickHouse: ``url`` ends with a slash; the keys die when the address is closed."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)
