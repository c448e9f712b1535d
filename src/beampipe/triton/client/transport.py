"""The seam between a client and a server: one verb, and the future of whoever waits for the answer.

`HttpTransport` and `GrpcTransport` speak to servers, `FakeTransport` answers for tests. One more only needs to answer a
`ConfigRequest` and an `InferRequest`, and to raise `ServiceError` for other messages: it then has no shared memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from beampipe.errors import CancelledError
from beampipe.triton.client.codec import Message

__all__ = ["CONNECTING", "PendingAnswer", "Transport"]

CONNECTING: Final = 5.0
"""Longest time [s] until a connection stands; a server that takes longer hangs, or is out of reach."""

_Result = TypeVar("_Result")
_Reply = TypeVar("_Reply")


@runtime_checkable
class Transport(Protocol):
    """Carries messages to one server and answers back; used by several threads at once."""

    def send(self, message: Message[_Reply], timeout: float, pending: PendingAnswer[Any] | None = None) -> _Reply:
        """Ask, and wait for the answer.

        Args:
            message: what is asked.
            timeout: longest wait [s].
            pending: who waits for the answer and may stop to; None if nobody can.

        Raises:
            InputError: the server refuses the data.
            ServiceUnavailableError: the server is down, stopping or out of reach.
            DeadlineError: no answer in time.
            ServiceError: the server refuses for another reason, or gives what is no answer.
        """

    def close(self) -> None:
        """Drop the connections."""


class PendingAnswer(Future[_Result]):
    """What a server answers, later.

    Other than an executor's future, it stays pending while the request is on its way, so that `cancel` works until the
    answer is there; the request is then cancelled too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.RLock()  # a callback may cancel again
        self._abort: Callable[[], Any] | None = None

    def on_cancel(self, abort: Callable[[], Any], /) -> None:
        """Set what ends the request that is now on its way; it is called at once if nobody waits any more."""
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

    def check(self) -> None:
        """Raise if nobody waits.

        Raises:
            CancelledError: nobody waits any more.
        """
        if self.cancelled():
            raise CancelledError("client: nobody waits for the answer any more")

    def settle(self, work: Callable[[], _Result]) -> None:
        """Set what `work` gives or raises, unless nobody waits."""
        if self.cancelled():
            return
        with suppress(InvalidStateError):  # nobody waits any more
            try:
                self.set_result(work())
            except BaseException as error:
                self.set_exception(error)
