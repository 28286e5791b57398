"""Memory at hand before every measured run, so that each begins under the same conditions."""

from __future__ import annotations

import os
import subprocess
import sys
import time

#: More than a run with the large shape reads, and makes of new files, in bytes; and what has to be left.
LARGE = 5 << 30
_LEFT = 3 << 30
#: Seconds until a virtual machine has given back to its host what became free: two, and the giving takes some.
_GIVEN_BACK = 3

_TOUCH = """
import mmap, sys
memory = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_HUGEPAGE)
for page in range(0, len(memory), mmap.PAGESIZE):
    memory[page] = 1
"""


def fetch_memory(size: int) -> None:
    """Take so much free memory into use and give it back: what comes next finds it at hand.

    A virtual machine gives free memory back to its host (free page reporting: two seconds after it became free), and
    taking it again costs a second of processor time for a gigabyte. Without this the same restore cost ClickHouse 1.2 s
    of processor time or 3.5 s, as the run before it had ended a second ago or three. What that run freed is given back
    before, and not in the middle of what comes. A machine whose memory is its own loses these seconds.
    """
    if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >= size + _LEFT:
        time.sleep(_GIVEN_BACK)
        subprocess.run([sys.executable, "-c", _TOUCH, str(size)], check=True)
