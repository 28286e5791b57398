"""Fixtures that several rooms use; each kind has its own module."""

pytest_plugins = ["tests.support.fixtures_engine", "tests.support.fixtures_storage"]
