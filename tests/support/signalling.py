"""Coldhouse's command line, which leaves a sign when it first asks a folder for something: by then it is at work.

Run as a script, with the file to make in the variable SIGN_OF_WORK.
"""

from __future__ import annotations

import os
import runpy
import sys

FIRST_ASKED_FOR = "config"


def leave_sign(path: str) -> None:
    """Make a file at the first opening of a repository's config."""
    left = False

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if not left and event == "open" and arguments[0] == FIRST_ASKED_FOR:
            left = True
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))

    sys.addaudithook(hear)


if __name__ == "__main__":
    del sys.path[0]  # this folder
    leave_sign(os.environ["SIGN_OF_WORK"])
    runpy.run_module("coldhouse", run_name="__main__", alter_sys=True)
