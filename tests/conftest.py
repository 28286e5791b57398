"""Fixtures that several rooms use; each kind has its own module."""

import signal

pytest_plugins = ["tests.support.fixtures_engine", "tests.support.fixtures_storage"]


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore Ctrl-C; their children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
