"""Load generator: closed and open loop against any track finder, with every answer compared.

A loop runs in one thread and uses a `Sender`, which may be a network client or the pipeline itself: it sends events
by number and collects answers. In a closed loop a fixed number of requests is in flight: each answer is followed
at once by the next request. In an open loop arrivals are a Poisson process that does not depend on the server. Latency
counts from the intended arrival, so a stalled server is charged for every event of that time (no "coordinated
omission").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.errors import ConfigError, DeadlineError, ShapeError
from beampipe.events import Hits, Tracks


@dataclass(frozen=True, eq=False)
class Workload:
    """Events to send in a cycle, and the expected labels of each.

    Attributes:
        hits: hits of each event.
        labels: for each event, (n_hits,) int64, of the pipeline when it is run directly.

    Raises:
        ConfigError: there is no event.
        ShapeError: not one label per hit.
    """

    hits: tuple[Hits, ...]
    labels: tuple[Int64[ndarray, " _"], ...]

    def __post_init__(self) -> None:
        if not self.hits:
            raise ConfigError("workload: got no event, expected 1 or more")
        if [len(hits) for hits in self.hits] != [len(labels) for labels in self.labels]:
            raise ShapeError("workload: got labels that do not fit the events, expected one label per hit")

    def __len__(self) -> int:
        return len(self.hits)

    def difference(self, event: int, answer: ndarray | memoryview) -> str | None:
        """How the served labels of an event differ from the expected ones; None if they are equal byte for byte."""
        expected = self.labels[event]
        served = np.ascontiguousarray(answer).view(np.uint8)
        if served.nbytes != expected.nbytes:
            return f"event {event}: got {served.nbytes} bytes of labels, expected {expected.nbytes}"
        wrong = served != expected.view(np.uint8)
        if wrong.any():
            n_wrong = len(np.unique(np.flatnonzero(wrong) // expected.itemsize))
            return f"event {event}: {n_wrong} of {len(expected)} labels differ from the direct ones"
        return None


def direct_workload(hits: Sequence[Hits], find: Callable[[Hits], Tracks]) -> Workload:
    """The events with the labels that `find` gives here and now."""
    return Workload(tuple(hits), tuple(np.ascontiguousarray(find(event).track_id) for event in hits))


@dataclass(frozen=True, eq=False)
class Arrival:
    """The answer for one event: labels, or the reason why there are none.

    Attributes:
        ticket: number under which the event was sent.
        finished: when the whole answer was there, by the clock of the sender [s].
        labels: int64, or their bytes; may be overwritten by the next `Sender.send`. None after an error.
        error: why there are no labels, or None.
    """

    ticket: int
    finished: float
    labels: ndarray | memoryview | None
    error: str | None = None


@runtime_checkable
class Sender(Protocol):
    """Sends events of one workload; used by one thread."""

    def send(self, ticket: int, event: int) -> None:
        """Send event number `event` without waiting for its answer; every ticket gets exactly one answer."""

    def answers(self, timeout: float) -> Sequence[Arrival]:
        """Answers since the last call, waiting for the first for up to `timeout` seconds; empty if there is none."""

    def close(self) -> None:
        """Free connections and threads."""


class FutureSender:
    """A sender for anything with a ``submit``: a client, a pool of threads.

    Args:
        submit: function that sends one event, as `beampipe.tracking.TrackFinder.submit`.
        workload: events that are sent.
        closing: function that is called at the end.
        clock: function that gives the time [s], growing.
    """

    def __init__(
        self,
        submit: Callable[[Hits], Future[Tracks]],
        workload: Workload,
        closing: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._submit, self._workload, self._closing, self._clock = submit, workload, closing, clock
        self._done: SimpleQueue[Arrival] = SimpleQueue()

    def send(self, ticket: int, event: int) -> None:
        try:
            future = self._submit(self._workload.hits[event])
        except Exception as error:  # refused at once: an answer like any other
            self._done.put(Arrival(ticket, self._clock(), None, f"{type(error).__name__}: {error}"))
            return
        future.add_done_callback(lambda done: self._done.put(self._answer(ticket, done)))

    def _answer(self, ticket: int, done: Future[Tracks]) -> Arrival:
        now = self._clock()
        if done.cancelled():
            return Arrival(ticket, now, None, "cancelled")
        error = done.exception()
        if error is not None:
            return Arrival(ticket, now, None, f"{type(error).__name__}: {error}")
        return Arrival(ticket, now, np.ascontiguousarray(done.result().track_id))

    def answers(self, timeout: float) -> Sequence[Arrival]:
        try:
            out = [self._done.get(timeout=max(0.0, timeout))]
        except Empty:
            return []
        while not self._done.empty():
            out.append(self._done.get())
        return out

    def close(self) -> None:
        self._closing()


@dataclass(frozen=True, eq=False)
class LoadRun:
    """The recorded requests of one loop, in the order in which they were sent. Times [s] by the clock of the loop.

    Attributes:
        event: (n,) number of the event in the workload.
        due: (n,) intended time of sending.
        sent: (n,) time of sending.
        finished: (n,) time at which the whole answer was received.
        released: (n,) in a closed loop the time at which the next request replaced it; in an open loop as `finished`.
        good: (n,) bool: whether labels were received and equal the direct ones.
        held: (n,) bool: in an open loop, whether as many requests as are allowed were in flight when it was due.
        begun: start of the recorded span.
        ended: end of it.
        faults: messages of requests that were not good, and how often each came.
        wrong: number of requests whose labels came and differ from the direct ones.
        concurrency: number of requests in flight of a closed loop; None for an open one.
        n_all: number of all requests that were sent.
    """

    event: Int64[ndarray, " n"]
    due: Float64[ndarray, " n"]
    sent: Float64[ndarray, " n"]
    finished: Float64[ndarray, " n"]
    released: Float64[ndarray, " n"]
    good: ndarray
    held: ndarray
    begun: float
    ended: float
    faults: dict[str, int]
    wrong: int
    concurrency: int | None
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
    held: bool = False


class _Loop:
    """Sends events in a cycle, compares every answer, and keeps the requests that are due between `begun` and `ended`.

    Args:
        sender: sends the requests.
        workload: events with the labels that answers are compared with.
        patience: longest wait for any answer [s].
        clock: function that gives the time [s], growing.
    """

    def __init__(self, sender: Sender, workload: Workload, patience: float, clock: Callable[[], float]) -> None:
        self._sender, self._workload, self._patience, self._clock = sender, workload, patience, clock
        self._events: dict[int, int] = {}
        self._faults: Counter[str] = Counter()
        self._wrong = 0
        self._answered_at = clock()
        self.begun, self.ended = np.inf, np.inf
        self.kept: dict[int, _Request] = {}
        self.n_sent = self.n_answered = 0

    @property
    def in_flight(self) -> int:
        """Number of requests without an answer."""
        return self.n_sent - self.n_answered

    @property
    def kept_in_flight(self) -> bool:
        """Whether a kept request has no answer."""
        return any(ticket in self.kept for ticket in self._events)

    def launch(self, due: float | None = None, *, held: bool = False) -> None:
        """Send the next event, which was due at a time [s], or is due now; `held` if it had to wait for others."""
        ticket, event = self.n_sent, self.n_sent % len(self._workload)
        now = self._clock()
        due = now if due is None else due
        self.n_sent += 1
        self._events[ticket] = event
        if self.begun <= due < self.ended:
            self.kept[ticket] = _Request(event, due, now, held=held)
        self._sender.send(ticket, event)

    def collect(self, timeout: float) -> Sequence[Arrival]:
        """Wait for answers and compare them; faults are counted even in the warm-up.

        Raises:
            DeadlineError: requests are in flight, and the last answer came too long ago.
        """
        answers = self._sender.answers(timeout)
        for answer in answers:
            # Before the next request: the labels may be in a buffer that the next answer overwrites.
            event, fault = self._events.pop(answer.ticket), answer.error
            if fault is None and answer.labels is not None:
                fault = self._workload.difference(event, answer.labels)
                self._wrong += fault is not None
            if fault is not None:
                self._faults[fault] += 1
            if (request := self.kept.get(answer.ticket)) is not None:
                request.finished = request.released = answer.finished
                request.good = fault is None
        self.n_answered += len(answers)
        if answers or not self.in_flight:
            self._answered_at = self._clock()
        elif self._clock() - self._answered_at >= self._patience:
            raise DeadlineError(f"load: got no answer for {self._patience:g} s, {self.in_flight} requests in flight")
        return answers

    def run(self, concurrency: int | None = None) -> LoadRun:
        """All that was recorded."""
        times = dict.fromkeys(("due", "sent", "finished", "released"), float)
        types = {"event": np.int64, **times, "good": np.bool_, "held": np.bool_}
        requests = self.kept.values()
        kept: dict[str, Any] = {
            name: np.array([getattr(request, name) for request in requests], kind) for name, kind in types.items()
        }
        return LoadRun(
            **kept,
            begun=self.begun,
            ended=self.ended,
            faults=dict(self._faults),
            wrong=self._wrong,
            concurrency=concurrency,
            n_all=self.n_sent,
        )


@dataclass(frozen=True)
class Summary:
    """Figures of one run. Percentiles are over good answers; NaN where there is none.

    Attributes:
        requests: number of requests that were recorded.
        failed: number of recorded requests without an answer or with wrong labels.
        throughput: good answers per second.
        p50: median latency [s].
        p95: 95th percentile of the latency [s].
        p99: 99th percentile of the latency [s].
        worst: longest latency [s].
    """

    requests: int
    failed: int
    throughput: float
    p50: float
    p95: float
    p99: float
    worst: float


def latencies(run: LoadRun) -> Float64[ndarray, " n_good"]:
    """Seconds from intended sending to answer, of the good answers, in order of sending."""
    seconds: Float64[ndarray, " n_good"] = (run.finished - run.due)[run.good]
    return seconds


def summarise(run: LoadRun) -> Summary:
    """The figures of a run.

    Closed loop: throughput = concurrency x good answers / sum over requests of (released - sent), by Little's law
    without think time. Unlike a count of answers in a span, it has no steps of whole requests if only few fit in. Open
    loop: good answers over the time from the start of the span to its end or to the last answer, whichever is later.
    """
    latency, throughput = latencies(run), 0.0
    if len(run) and run.concurrency is not None:
        throughput = float(run.concurrency * len(latency) / (run.released - run.sent).sum())
    elif len(run):
        throughput = float(len(latency) / (max(run.ended, run.finished.max()) - run.begun))
    good = latency if len(latency) else np.array([np.nan])
    p50, p95, p99 = np.percentile(good, (50, 95, 99))
    return Summary(
        requests=len(run),
        failed=len(run) - len(latency),
        throughput=throughput,
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        worst=float(good.max()),
    )


def _require_positive(**settings: int | float) -> None:
    for name, value in settings.items():
        if value <= 0:
            raise ConfigError(f"{name}: got {value}, expected more than 0")


def closed_loop(
    sender: Sender,
    workload: Workload,
    concurrency: int,
    *,
    seconds: float = 5.0,
    warm_up: float = 1.0,
    min_requests: int | None = None,
    patience: float = 300.0,
    clock: Callable[[], float] = perf_counter,
) -> LoadRun:
    """Keep `concurrency` requests in flight and record those sent in a span of time.

    The load neither starts nor stops with the span: requests before it warm the server up, and others keep it busy
    until the last of the recorded ones is answered, so that none has an empty server to itself. At the end all answers
    are awaited.

    Args:
        sender: sends the requests; its clock must be `clock`.
        workload: events that are sent in a cycle.
        concurrency: number of requests in flight.
        seconds: length of the span of time in which requests are recorded [s].
        warm_up: length of the time before that span [s]; at least `concurrency` answers are awaited in any case.
        min_requests: number of requests until which the span is prolonged; twice `concurrency` if not given.
        patience: longest wait for any answer [s].
        clock: function that gives the time [s], growing.

    Raises:
        ConfigError: a setting is not positive.
        DeadlineError: no answer came for `patience` seconds.
    """
    _require_positive(concurrency=concurrency, seconds=seconds, patience=patience)
    loop = _Loop(sender, workload, patience, clock)

    def keep_busy(done: Callable[[], bool]) -> None:
        while not done():
            for answer in loop.collect(patience):
                loop.launch()
                if (request := loop.kept.get(answer.ticket)) is not None:
                    request.released = clock()

    for _ in range(concurrency):
        loop.launch()
    start = clock()
    keep_busy(lambda: clock() >= start + warm_up and loop.n_answered >= concurrency)
    loop.begun = clock()
    enough = 2 * concurrency if min_requests is None else min_requests
    keep_busy(lambda: clock() >= loop.begun + seconds and len(loop.kept) >= enough)
    loop.ended = clock()
    keep_busy(lambda: not loop.kept_in_flight)
    while loop.in_flight:
        loop.collect(patience)
    return loop.run(concurrency)


def poisson_arrivals(rate: float, seconds: float, seed: int) -> Float64[ndarray, " n"]:
    """Times [s] of a Poisson process between 0 and `seconds`.

    Args:
        rate: mean number of arrivals per second.
        seconds: length of the process [s].
        seed: seed of the random gaps.
    """
    random = np.random.default_rng(seed)
    # Given their number, the arrivals of a Poisson process are uniform in time.
    return np.sort(random.random(random.poisson(rate * seconds)) * seconds)


def open_loop(
    sender: Sender,
    workload: Workload,
    rate: float,
    *,
    seconds: float = 5.0,
    warm_up: float = 1.0,
    in_flight: int = 64,
    seed: int = 0,
    patience: float = 300.0,
    clock: Callable[[], float] = perf_counter,
) -> LoadRun:
    """Send events at a mean rate, with random gaps, and record those due after the warm-up.

    Args:
        sender: sends the requests; its clock must be `clock`.
        workload: events that are sent in a cycle.
        rate: mean number of arrivals per second.
        seconds: length of the span in which the events arrive that are recorded [s].
        warm_up: length of the time of arrivals before that span [s].
        in_flight: largest number of requests at a time; further ones wait, and their wait counts as latency.
        seed: seed of the arrivals.
        patience: longest wait for any answer [s].
        clock: function that gives the time [s], growing.

    Raises:
        ConfigError: a setting is not positive.
        DeadlineError: no answer came for `patience` seconds.
    """
    _require_positive(rate=rate, seconds=seconds, in_flight=in_flight, patience=patience)
    loop = _Loop(sender, workload, patience, clock)
    start = clock()
    due = start + poisson_arrivals(rate, warm_up + seconds, seed)
    loop.begun = start + warm_up
    full_until = -np.inf  # time of the last answer that came while `in_flight` requests were under way
    while loop.n_sent < len(due) or loop.in_flight:
        while loop.n_sent < len(due) and due[loop.n_sent] <= clock() and loop.in_flight < in_flight:
            loop.launch(float(due[loop.n_sent]), held=bool(due[loop.n_sent] < full_until))
        full, wait = loop.in_flight >= in_flight, patience
        if loop.n_sent < len(due) and not full:
            wait = max(0.0, float(due[loop.n_sent]) - clock())
        loop.collect(wait)
        if full:
            full_until = clock()
    loop.ended = loop.begun + seconds
    return loop.run()
