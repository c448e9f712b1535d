"""A small process that outlives the owner of a server for as long as it takes to clean up.

It waits for its standard input to end, or for its parent to change: either means that the owner is gone, however it
went. Then it ends the server with that prefix and removes its shared memory and folders. To remember a process group
would not do (the server may have been restarted since), nor would the kernel's parent-death signal (it follows the
thread that started the child).
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from typing import Final

from beampipe.triton.server.cleanup import remove

__all__ = ["main", "start_guardian"]

_PERIOD: Final = 0.5  # s


def start_guardian(prefix: str, grace: float) -> subprocess.Popen[bytes]:
    """Start one for the server of this process with that prefix; killing it is how it is dismissed.

    Args:
        prefix: of the server.
        grace: how long the server may take to end by itself [s].
    """
    return subprocess.Popen(
        [sys.executable, "-m", "beampipe.triton.server.watchdog", prefix, str(grace), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C in the terminal is not meant for it
    )


def main(prefix: str, grace: float, owner: int) -> None:
    """Wait for the owner to go, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Forked children of the owner may hold the pipe open: hence the second sign.
    while os.getppid() == owner:
        readable, _, _ = select.select([0], [], [], _PERIOD)
        if readable and not os.read(0, 64):
            break
    remove(prefix, grace, orphaned=True)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
