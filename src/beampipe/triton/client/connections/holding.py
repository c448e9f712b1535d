"""What a client holds in one process, and what becomes of it when the process is forked or ends."""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from beampipe.triton.client.connections.addresses import Servers
from beampipe.triton.client.connections.threads import WaitingThreads

__all__ = ["Holding"]

_CLOSING: Final = 0.5
"""Longest time [s] that closing waits for a server to let go of shared memory, and for threads to end."""


class Holding:
    """Connections, threads, and requests on their way. They are made when they are needed, and none after `close`.

    Args:
        connect: makes the connections.
        in_flight: largest number of threads that wait for answers.

    Attributes:
        closed: is set when nothing may be asked any more; who pauses waits for it.
        waiting: futures of the requests on their way.
    """

    def __init__(self, connect: Callable[[], Servers], in_flight: int) -> None:
        self.closed = threading.Event()
        self.waiting: set[Future[Any]] = set()
        self._connect, self._in_flight = connect, in_flight
        self._lock = threading.Lock()
        self._servers: Servers | None = None
        self._threads: WaitingThreads | None = None
        _HELD.add(self)

    def servers(self) -> Servers | None:
        """Connections to the servers, None after `close`."""
        if self._servers is None:
            with self._lock:
                if not self.closed.is_set():
                    self._servers = self._servers or self._connect()
        return self._servers

    def threads(self) -> WaitingThreads | None:
        """Threads that wait for answers, None after `close`."""
        if self._threads is None:
            with self._lock:
                # One thread per request waits for its answer. A thread is simple to retry and to cancel in, and a loop
                # of callbacks was measured to be no quicker.
                if not self.closed.is_set():
                    self._threads = self._threads or WaitingThreads(self._in_flight)
        return self._threads

    def close(self, limit: float = _CLOSING) -> None:
        """Cancel what is on its way, free the shared memory and drop the connections, within twice so long [s]."""
        with self._lock:
            self.closed.set()
            threads, self._threads = self._threads, None
            servers, self._servers = self._servers, None
        for pending in list(self.waiting):
            pending.cancel()
        if threads is not None:
            threads.close(limit)
        if servers is not None:
            servers.close(limit)

    def leave(self) -> None:
        """Let go without closing: what is held belongs to the process that this one was forked from."""
        _HELD.discard(self)
        # Kept, unused: gRPC must not close here what works on in the parent.
        _INHERITED.append(self)


_HELD: Final[weakref.WeakSet[Holding]] = weakref.WeakSet()
_INHERITED: Final[list[Holding]] = []


def _at_exit() -> None:
    deadline = monotonic() + _CLOSING
    for holding in list(_HELD):
        with suppress(Exception):
            holding.close(max(0.0, deadline - monotonic()))


atexit.register(_at_exit)
