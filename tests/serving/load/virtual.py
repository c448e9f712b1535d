"""A sender and a clock that agree on a time of their own: what a loop measures can be compared with closed forms."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from beampipe.serving.load import Arrival, Workload
from beampipe.tracking import Hits

TINY = 1e-9


def workload_of(*sizes: int) -> Workload:
    """Events of those sizes; hit i of event k has label k + i."""
    hits = tuple(Hits(np.full((n, 3), k + 1, np.float32)) for k, n in enumerate(sizes))
    return Workload(hits, tuple(np.arange(k, k + n, dtype=np.int64) for k, n in enumerate(sizes)))


class VirtualServer:
    """Some servers behind one queue, first come first served, in time that passes only while the loop waits.

    Args:
        workload: the events.
        service: seconds of service of the n-th request.
        servers: how many work side by side.
    """

    def __init__(self, workload: Workload, service: Callable[[int], float], servers: int = 1) -> None:
        self._workload, self._service = workload, service
        self._free = [0.0] * servers
        self._coming: list[tuple[float, int, int]] = []
        self.now = 0.0
        self.most = 0

    def clock(self) -> float:
        return self.now

    def send(self, ticket: int, event: int) -> None:
        start = max(self.now, heapq.heappop(self._free))
        finished = start + self._service(ticket)
        heapq.heappush(self._free, finished)
        heapq.heappush(self._coming, (finished, ticket, event))
        self.most = max(self.most, len(self._coming))

    def answers(self, timeout: float) -> Sequence[Arrival]:
        if not self._coming or self._coming[0][0] > self.now + timeout:
            self.now += max(timeout, TINY)
            return []
        self.now = max(self.now, self._coming[0][0])
        out = []
        while self._coming and self._coming[0][0] <= self.now:
            finished, ticket, event = heapq.heappop(self._coming)
            out.append(self.answer(ticket, event, finished))
        return out

    def answer(self, ticket: int, event: int, finished: float) -> Arrival:
        return Arrival(ticket, finished, self._workload.labels[event])

    def close(self) -> None:
        pass
