"""A ClickHouse that is connected to while something else is made ready."""

from __future__ import annotations

from functools import partial

from coldhouse.beside import Beside
from coldhouse.clickhouse import Source, open_source, parse_address


class Connecting:
    """A ClickHouse that a thread connects to; a context manager that waits for it, and closes it in the end.

    Most of that time is the server's, in which the caller can import. An embedded engine is opened when it is entered
    and not before: where there is none yet, opening it makes one, and by then nothing else may stand in the way.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        """``create`` as for open_source. Raises UsageError (URL)."""
        self._open = partial(open_source, url, create=create)
        self._opening = None if parse_address(url).embedded else Beside(self._open, "coldhouse-connecting")
        self._source: Source | None = None

    @property
    def begun(self) -> Beside[Source] | None:
        """The thread that connects; None for an embedded engine."""
        return self._opening

    def __enter__(self) -> Source:
        """The open ClickHouse. Raises what open_source raises."""
        self._source = self._open() if self._opening is None else self._opening.result()
        return self._source

    def __exit__(self, *_: object) -> None:
        if self._source is not None:
            self._source.close()
