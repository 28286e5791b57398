"""Free ports on loopback."""

from __future__ import annotations

import random
import socket

_LOWEST, _HIGHEST = 20000, 30000
_GRPC = 10000  # SeaweedFS also listens this far above each of its ports


def free_ports(count: int) -> list[int]:
    """Ports that are free now, as is the one 10000 above each; random, so that test processes do not meet."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(_LOWEST, _HIGHEST), k=1000):
        if _is_free(port) and _is_free(port + _GRPC):
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError(f"no {count} free ports between {_LOWEST} and {_HIGHEST}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
