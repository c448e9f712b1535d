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

__all__ = ["Watchdog", "watch_owner"]

_PERIOD: Final = 0.5
"""Time [s] between two looks at the parent."""


class Watchdog:
    """The watchdog of the servers of this process with one prefix, as their owner sees it.

    Args:
        prefix: prefix of the server, from `new_prefix`.
        grace: time [s] that the server gets to end by itself when its owner is gone.
    """

    def __init__(self, prefix: str, grace: float) -> None:
        self._command = [sys.executable, "-m", __name__, prefix, str(grace), str(os.getpid())]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the watchdog, None before it is started and after it is dismissed."""
        return None if self._process is None else self._process.pid

    def keep(self) -> None:
        """Start the process, unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        self.dismiss()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C in the terminal is not meant for it
        )

    def dismiss(self) -> None:
        """End the process without any cleanup; its owner has seen to that."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None


def watch_owner(prefix: str, grace: float, owner: int) -> None:
    """Wait until the owner is gone, then clean up: the work of the process.

    Args:
        prefix: prefix of the server.
        grace: time [s] that the server gets to end by itself.
        owner: process id of the owner.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Forked children of the owner may hold the pipe open: hence the second sign.
    while os.getppid() == owner:
        readable, _, _ = select.select([0], [], [], _PERIOD)
        if readable and not os.read(0, 64):
            break
    remove(prefix, grace, orphaned=True)


if __name__ == "__main__":
    watch_owner(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
