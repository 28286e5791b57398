"""The process of a scratch ClickHouse: ``python -m coldhouse.clickhouse.scratch_server``, started by ``scratch``.

Its first line of standard input is an Order (JSON) with everything it must know, the password too, so that nothing
stands in the list of processes; it answers ``ready PORT`` on standard output. It ends when its standard input ends,
that is, whenever and however its parent ends, when its time is over, and when it holds more memory than it may; if the
parent is gone, it sees to it that the directory goes too.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from coldhouse.clickhouse.embedded_engine import Engine
from coldhouse.clickhouse.http_face import FaceServer

#: Exit statuses that tell the parent why there is no scratch engine any more.
OUT_OF_TIME = 70
OUT_OF_MEMORY = 71

#: What a process may hold beside what the engine itself counts: the interpreter and the allocator's slack.
SLACK = 512 << 20
LOOK_SECONDS = 0.2

_CLEANER = """
import shutil, sys, time
sys.stdin.buffer.read()
for _ in range(20):
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    time.sleep(0.1)
"""


class Order(msgspec.Struct, frozen=True):
    """What a scratch engine is told: its own directory, limits in bytes and seconds, settings of every query."""

    directory: str
    password: str
    memory: int
    seconds: float
    settings: dict[str, str]
    configuration: str

    def __repr__(self) -> str:
        return f"Order({self.directory!r})"


def main() -> None:
    """Serve until told otherwise."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    root = Path(order.directory)
    threading.Thread(target=_end_with_parent, args=(root,), daemon=True).start()
    threading.Thread(target=_keep_limits, args=(order,), daemon=True).start()
    os.nice(10)
    configuration = root / "config.xml"
    configuration.write_text(server_configuration(order))
    engine = Engine(f"{root / 'engine'}?config-file={configuration}", order.settings)
    server = FaceServer(0, engine, "default", order.password)
    sys.stdout.write(f"ready {server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever(poll_interval=0.1)


def server_configuration(order: Order) -> str:
    """The configuration file: small caches, no logs, and the memory that all queries together may use."""
    cache = min(order.memory // 16, 64 << 20)
    return f"""<clickhouse>
<logger><level>none</level></logger>
<max_server_memory_usage>{order.memory}</max_server_memory_usage>
<mark_cache_size>{cache}</mark_cache_size>
<index_mark_cache_size>{cache}</index_mark_cache_size>
<uncompressed_cache_size>0</uncompressed_cache_size>
<index_uncompressed_cache_size>0</index_uncompressed_cache_size>
{order.configuration}
</clickhouse>
"""


def _end_with_parent(root: Path) -> None:
    """Nothing is ever written to standard input after the order: its end is the parent's end."""
    while sys.stdin.buffer.read(1):
        pass
    # The engine writes to its directory as long as it lives, so another process removes it afterwards.
    subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CLEANER, str(root)], stdin=subprocess.PIPE, start_new_session=True, cwd="/"
    )
    os._exit(0)


def _keep_limits(order: Order) -> None:
    end = time.monotonic() + order.seconds
    while True:
        if time.monotonic() > end:
            os._exit(OUT_OF_TIME)
        if memory_held() > order.memory + SLACK:
            os._exit(OUT_OF_MEMORY)
        time.sleep(LOOK_SECONDS)


def memory_held() -> int:
    """Bytes of memory that are this process's own: not those of program files that are mapped into it."""
    try:
        with open("/proc/self/statm") as file:
            _, resident, shared = (int(word) for word in file.read().split()[:3])
    except FileNotFoundError:  # no Linux: the greatest resident size so far
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return (resident - shared) * resource.getpagesize()


if __name__ == "__main__":
    main()
