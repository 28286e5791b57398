"""What a test takes for a server: the product's scratch server, with users that lack grants and versions played.

Run as ``python -m tests.support.engine_server DIRECTORY PORT``; see ``engine.py`` for who starts it. It also runs with
an older engine (``--site``). The password comes by the environment (ENGINE_PASSWORD), a line ``ready PORT`` goes out,
and the process ends with its standard input.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

from coldhouse.clickhouse.embedded_engine import FORMAT, Engine, EngineError
from coldhouse.clickhouse.http_face import Asked, Face, FaceServer


class PlayedFace(Face):
    """The embedded engine knows no users: what some lack, and other versions, is played here."""

    denied: ClassVar[tuple[str, ...]]
    version: ClassVar[str]

    def check_grants(self, asked: Asked) -> None:
        words = asked.query.split(None, 3)
        for word in self.denied:
            if words[0].upper() == word.encode():
                raise EngineError(
                    497,
                    f"Code: 497. DB::Exception: {self.house.user}: Not enough privileges. To execute this query, it's "
                    f"necessary to have the grant {word} ON *.*. (ACCESS_DENIED) (version {self.house.engine.version})",
                )
            if [part.upper() for part in words[:3]] == [b"CHECK", b"GRANT", word.encode()]:
                named = FORMAT.search(asked.query)
                asked.query = b"SELECT 0::UInt8 AS result " + (named[0] if named else b"")
        if self.version:
            asked.query = asked.query.replace(b"version()", f"'{self.version}'".encode())


def end_with_parent() -> None:
    """A test that was killed must not leave its engine behind."""
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--user", default="default")
    parser.add_argument("--site", type=Path, help="folder with another chdb-core")
    parser.add_argument("--config", type=Path, help="server configuration (disks, policies)")
    parser.add_argument("--deny", action="append", default=[], help="a statement for which the user lacks the grant")
    parser.add_argument("--version", default="", help="pretend to be this version")
    options = parser.parse_args()
    if options.site:
        sys.path.insert(0, str(options.site))
    threading.Thread(target=end_with_parent, daemon=True).start()
    config = f"?config-file={options.config}" if options.config else ""
    engine = Engine(f"{options.directory}{config}")
    PlayedFace.denied, PlayedFace.version = tuple(options.deny), options.version
    for _ in range(50):  # after a kill the port may be busy for a moment
        try:
            server = FaceServer(options.port, engine, options.user, os.environ.get("ENGINE_PASSWORD", ""), PlayedFace)
            break
        except OSError:
            time.sleep(0.1)
    else:
        raise SystemExit(f"port {options.port} stays busy")
    print(f"ready {server.server_address[1]}", flush=True)  # noqa: T201
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
