"""What a loop notes down about every request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import process_time

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.serving.load.sending import Arrival, Workload

__all__ = ["LoadRun", "Recorder"]


@dataclass(frozen=True, eq=False)
class LoadRun:
    """The recorded requests of one loop, in the order in which they were sent. Times [s] by the clock of the loop.

    Attributes:
        event: (n,) number of the event in the workload.
        due: (n,) when it was meant to be sent.
        sent: (n,) when it was sent.
        finished: (n,) when its answer was there.
        released: (n,) when its place in a closed loop was taken by the next request; in an open loop as `finished`.
        good: (n,) bool: labels came, and they equal the direct ones.
        begun: start of the recorded span.
        ended: end of it.
        faults: messages of requests that were not good, and how often each came.
        wrong: number of requests whose labels came and differ from the direct ones.
        concurrency: number of requests in flight (closed loop), or None.
        rate: mean number of arrivals per second that were asked for (open loop), or None.
        cpu_seconds: processor time of this process over all requests that were sent, recorded or not.
        n_all: number of all requests that were sent.
    """

    event: Int64[ndarray, " n"]
    due: Float64[ndarray, " n"]
    sent: Float64[ndarray, " n"]
    finished: Float64[ndarray, " n"]
    released: Float64[ndarray, " n"]
    good: ndarray
    begun: float
    ended: float
    faults: dict[str, int]
    wrong: int
    concurrency: int | None
    rate: float | None
    cpu_seconds: float
    n_all: int

    def __len__(self) -> int:
        return len(self.event)


@dataclass(eq=False)
class _Request:
    event: int
    due: float
    sent: float
    finished: float = np.nan
    released: float = np.nan
    good: bool = False


class Recorder:
    """Notes of a loop; only requests due between `start` and `stop` are kept.

    Args:
        workload: events with the labels that answers are compared with.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._kept: dict[int, _Request] = {}
        self._events: dict[int, int] = {}
        self._faults: Counter[str] = Counter()
        self._wrong = self._n_all = 0
        self._cpu = process_time()
        self.begun, self.ended = np.inf, np.inf
        self.pending = 0

    def __len__(self) -> int:
        return len(self._kept)

    def sent(self, ticket: int, event: int, *, due: float, now: float) -> None:
        self._n_all += 1
        self._events[ticket] = event
        if self.begun <= due < self.ended:
            self._kept[ticket] = _Request(event, due, now)
            self.pending += 1

    def finished(self, answer: Arrival) -> None:
        """Note an answer. Labels are compared for every request, faults counted even in the warm-up."""
        event = self._events.pop(answer.ticket)
        fault = answer.error
        if fault is None and answer.labels is not None:
            fault = self._workload.difference(event, answer.labels)
            self._wrong += fault is not None
        if fault is not None:
            self._faults[fault] += 1
        request = self._kept.get(answer.ticket)
        if request is not None:
            request.finished = request.released = answer.finished
            request.good = fault is None
            self.pending -= 1

    def released(self, ticket: int, time: float) -> None:
        request = self._kept.get(ticket)
        if request is not None:
            request.released = time

    def run(self, *, concurrency: int | None, rate: float | None) -> LoadRun:
        kept = self._kept.values()
        return LoadRun(
            event=np.array([request.event for request in kept], np.int64),
            due=np.array([request.due for request in kept]),
            sent=np.array([request.sent for request in kept]),
            finished=np.array([request.finished for request in kept]),
            released=np.array([request.released for request in kept]),
            good=np.array([request.good for request in kept], np.bool_),
            begun=self.begun,
            ended=self.ended,
            faults=dict(self._faults),
            wrong=self._wrong,
            concurrency=concurrency,
            rate=rate,
            cpu_seconds=process_time() - self._cpu,
            n_all=self._n_all,
        )
