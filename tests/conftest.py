"""Fixtures that several rooms use; each kind has its own module."""

import os
import signal

from hypothesis import HealthCheck, settings

from coldhouse.gateway import server

# Time decides nothing, and the same code gets the same examples each time; `make test-long` looks for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("COLDHOUSE_TEST_EXAMPLES", "repeatable"))

pytest_plugins = ["tests.support.fixtures_engine", "tests.support.fixtures_storage"]


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C; their children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Who knocks at the port of a gateway that is gone must not meet one of another worker, or of a child of one.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    server.USUAL_PORTS = tuple(port + (worker + 1) * len(server.USUAL_PORTS) for port in server.USUAL_PORTS)
