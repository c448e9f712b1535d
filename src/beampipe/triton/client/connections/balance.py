"""Which of several servers to ask: the one with the fewest requests of ours, leaving out those that failed lately."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from typing import Final, Generic, TypeVar

from beampipe.errors import DeadlineError, ServiceUnavailableError
from beampipe.triton.pausing import Backoff

__all__ = ["Balance"]

_Server = TypeVar("_Server")
"""Whatever stands for a server; hashable."""


_LEFT_OUT: Final = Backoff(longest=5.0)
"""How long a server that failed is left out."""


class _State:
    """What is known of one server."""

    def __init__(self) -> None:
        self.asked = 0
        self.waiting = 0
        self.failures = 0
        self.back_at = float("-inf")


class Balance(Generic[_Server]):
    """Shares requests out among servers.

    Args:
        servers: those to share out among, one or more.
        clock: gives the time [s], for tests.

    Attributes:
        servers: those that are shared out among at this moment.
    """

    def __init__(self, servers: Sequence[_Server], clock: Callable[[], float] = monotonic) -> None:
        self.servers = tuple(servers)
        self._states = {server: _State() for server in self.servers}
        self._clock = clock
        self._lock = threading.Lock()

    def replace(self, servers: Sequence[_Server]) -> None:
        """Share out among others from now on; of those that stay, what is known is kept."""
        with self._lock:
            self._states = {server: self._states.get(server) or _State() for server in servers}
            self.servers = tuple(servers)

    def pick(self, tried: Sequence[_Server] = ()) -> _Server:
        """The server to ask next; one of `tried`, or one that is left out for a while, only if there is no other."""

        def cost(server: _Server) -> tuple[bool, bool, float, int, int]:
            state = self._states[server]
            away = state.back_at > now
            return server in tried, away, state.back_at if away else 0.0, state.waiting, state.asked

        if len(self.servers) == 1:
            return self.servers[0]
        now = self._clock()
        with self._lock:
            server = min(self.servers, key=cost)
            self._states[server].asked += 1
            return server

    def asking(self, server: _Server) -> AbstractContextManager[None]:
        """While a request is on its way; leaves the server out for a while if it turns out to be down."""
        state = self._states.get(server) or _State()  # it may have been replaced since it was picked
        return _Asking(state, self._lock, self._clock)


class _Asking:
    """A request on its way; a generator as context would take twice the time."""

    def __init__(self, state: _State, lock: threading.Lock, clock: Callable[[], float]) -> None:
        self._state, self._lock, self._clock = state, lock, clock
        self._begin = 0.0

    def __enter__(self) -> None:
        self._begin = self._clock()
        with self._lock:
            self._state.waiting += 1

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        state = self._state
        with self._lock:
            state.waiting -= 1
            if kind is None:
                state.failures, state.back_at = 0, float("-inf")
            elif issubclass(kind, (ServiceUnavailableError, DeadlineError)):
                now, pause = self._clock(), _LEFT_OUT.pause(state.failures)
                if issubclass(kind, DeadlineError):
                    pause = max(pause, now - self._begin)  # who kept one waiting is left out for as long
                state.back_at = now + pause
                state.failures += 1
