"""Threads that wait for answers, and that no program waits for."""

from __future__ import annotations

import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

__all__ = ["WaitingThreads"]

_Work = Callable[[], object]

_NAME: Final = "beampipe-client"

_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)


class WaitingThreads:
    """Does work in threads, of which there are as many as needed and no more than allowed.

    Other than an executor's they are daemons: a program that is interrupted ends at once, whatever they wait for. They
    end by `close`, or when nobody holds this object any more. Ctrl-C is for the main thread and never theirs.

    Args:
        most: largest number of threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        end = weakref.finalize(self, _end, self._work, most)
        end.atexit = False

    def submit(self, work: _Work) -> None:
        """Do it as soon as a thread is free; `work` raises nothing."""
        self._work.put(work)
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if len(self._threads) < self._most:
                thread = threading.Thread(target=_run, args=(self._work, self._idle), name=_NAME, daemon=True)
                self._threads.append(thread)
                with _interrupts_blocked():
                    thread.start()

    def close(self, limit: float) -> None:
        """End the threads, and wait for them, at most so long [s]; work that nobody has begun is left undone."""
        deadline = monotonic() + limit
        with suppress(Empty):
            while True:
                self._work.get_nowait()
        _end(self._work, self._most)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - monotonic()))


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Threads that are started here leave interrupts to others, as do those that they start themselves.

    Linux hands a signal to whichever thread first looks for one, and one that is just being born does. Python would
    only note it there, and a main thread that waits for a lock is not woken.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(queue: SimpleQueue[_Work | None], idle: threading.Semaphore) -> None:
    while (work := queue.get()) is not None:
        work()
        del work  # it holds arrays, and the next may be long in coming
        idle.release()


def _end(queue: SimpleQueue[_Work | None], threads: int) -> None:
    for _ in range(threads):
        queue.put(None)
