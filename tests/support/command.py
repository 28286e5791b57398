"""The command line in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from tests.support.engine import CHECKOUT

#: Seconds; no command of a test takes longer unless it hangs.
LONGEST = 90


@dataclass(frozen=True)
class Done:
    """How a command ended, and all that it said."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, object]:
        """The JSON document on standard output."""
        return cast("dict[str, object]", json.loads(self.out))


@dataclass
class Running:
    """A command that still runs."""

    process: subprocess.Popen[str]
    sign: Path | None = None

    def at_work(self) -> bool:
        """Wait until it has asked the repository for something; False if it ended before."""
        assert self.sign is not None, "it was not told to leave a sign"
        until = time.monotonic() + LONGEST
        while not self.sign.exists():
            if self.process.poll() is not None:
                return self.sign.exists()
            assert time.monotonic() < until, "it does not begin"
            time.sleep(0.002)
        return True

    def kill(self) -> Done:
        """SIGKILL, as the kernel does when memory runs out."""
        self.process.kill()
        return self.wait()

    def kill_after(self, seconds: float) -> Done:
        """SIGKILL, unless it has ended before."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
        return self.wait()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> Done:
        """Wait for its end."""
        try:
            out, err = self.process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"it does not end; it said:\n{out}\n{err}") from None
        return Done(self.process.returncode, out, err)


@dataclass
class Coldhouse:
    """``python -m coldhouse`` with an environment of the test's own; nothing of the user's configuration is read."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, **variables: str) -> Running:
        """Begin to run it."""
        return self._start(["-m", "coldhouse", *arguments], variables)

    def _start(self, arguments: Sequence[str], variables: Mapping[str, str], sign: Path | None = None) -> Running:
        return Running(
            subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.home,
                env=self._whole_environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ),
            sign,
        )

    def start_signalling(self, *arguments: str, **variables: str) -> Running:
        """Begin to run it; it can be told when it is at work (on a repository in a folder)."""
        sign = self.home / "sign of work"
        sign.unlink(missing_ok=True)
        program = str(CHECKOUT / "tests" / "support" / "signalling.py")
        return self._start([program, *arguments], variables | {"SIGN_OF_WORK": str(sign)}, sign)

    def run(self, *arguments: str, **variables: str) -> Done:
        """Run it to its end."""
        return self.start(*arguments, **variables).wait()

    def _whole_environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COLDHOUSE_")}
        # At its usual low priority a command could wait for long while other tests keep all cores busy.
        home = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config"), "COLDHOUSE_NICE": "0"}
        path = os.pathsep.join(filter(None, [str(CHECKOUT / "src"), os.environ.get("PYTHONPATH", "")]))
        return kept | home | {"PYTHONPATH": path} | self.environment | dict(variables)
