"""A future whose request can be cancelled on the wire."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from beampipe.tracking.events import Tracks

__all__ = ["Answer"]


class Answer(Future[Tracks]):
    """The tracks of one event, later.

    Other than an executor's, it stays pending while the request is on its way, so that `cancel` works until the answer
    is there; the request is then cancelled too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.RLock()  # a callback may cancel again
        self._abort: Callable[[], Any] | None = None

    def on_cancel(self, abort: Callable[[], Any], /) -> None:
        """What ends the request that is now on its way; called at once if nobody waits any more."""
        with self._guard:
            self._abort = abort
            late = self.cancelled()
        if late:
            abort()

    def cancel(self) -> bool:
        """Give up waiting, and end the request; False if the answer was there already."""
        with self._guard:
            if self.done() or not super().cancel():
                return self.cancelled()
            self.set_running_or_notify_cancel()  # wakes those that wait for several futures
            abort = self._abort
        if abort is not None:
            abort()
        return True

    def settle(self, work: Callable[[], Tracks]) -> None:
        """Set what `work` gives or raises, unless nobody waits."""
        if self.cancelled():
            return
        try:
            tracks = work()
        except BaseException as error:
            with suppress(InvalidStateError):
                self.set_exception(error)
        else:
            with suppress(InvalidStateError):
                self.set_result(tracks)
