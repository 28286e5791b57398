"""Wait for a BACKUP or RESTORE that runs in the server, and stop it when the user stops us."""

from __future__ import annotations

import time
from collections.abc import Callable

from coldhouse.clickhouse import OperationStatus, Source, statements
from coldhouse.errors import Interrupted


def run_to_end(
    source: Source,
    operation: str,
    watcher: Callable[[OperationStatus], None],
    refuse: Callable[[], None],
    pause: statements.Pause = time.sleep,
) -> OperationStatus:
    """Wait until an operation ends and return how it ended.

    On Ctrl-C the operation is cancelled and waited for: ``refuse`` first closes our end of it, so that a server that is
    slow to cancel gets nowhere meanwhile. Raises Interrupted then, SourceError when the server is gone.
    """
    try:
        return statements.wait(source, operation, watcher, pause=pause)
    except KeyboardInterrupt:
        refuse()
        statements.cancel(source, operation)
        raise Interrupted(
            "interrupted; ClickHouse was told to stop", hint="nothing is half done: the same command can be repeated"
        ) from None
    except BaseException:
        refuse()
        raise
