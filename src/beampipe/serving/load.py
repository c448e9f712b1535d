"""Load generator: closed and open loop against any track finder, with every answer compared.

A loop runs in one thread and uses a `Sender`, which may be a network client or the pipeline itself: it sends events
by number and collects answers. In a closed loop a fixed number of requests is in flight: each answer is followed
at once by the next request. In an open loop arrivals are a Poisson process that does not depend on the server. Latency
counts from the intended arrival, so a stalled server is charged for every event of that time (no "coordinated
omission").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import perf_counter, process_time
from typing import Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.errors import ConfigError, DeadlineError, ShapeError, WrongLabelsError
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
        served = np.frombuffer(answer, np.uint8) if len(answer) else np.empty(0, np.uint8)
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


def send_events(
    find: Callable[[Hits], Tracks], workload: Workload, events: Iterable[int]
) -> Iterator[tuple[float, str | None]]:
    """Send events one after the other, as a simple client does.

    Args:
        find: function that finds the tracks of an event.
        workload: the events, with the labels that each must get.
        events: numbers of the events to send; beyond the end of the workload it starts over.

    Yields:
        Latency of each answer [s], and what is wrong with its labels; None if they are right.
    """
    for number in events:
        event = number % len(workload)
        start = perf_counter()
        tracks = find(workload.hits[event])
        yield perf_counter() - start, workload.difference(event, np.ascontiguousarray(tracks.track_id))


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


def in_threads(find: Callable[[Hits], Tracks], workload: Workload, threads: int) -> FutureSender:
    """A sender that calls a blocking ``find`` from that many threads."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="load")
    return FutureSender(lambda hits: pool.submit(find, hits), workload, pool.shutdown)


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
        begun: start of the recorded span.
        ended: end of it.
        faults: messages of requests that were not good, and how often each came.
        wrong: number of requests whose labels came and differ from the direct ones.
        concurrency: number of requests in flight (closed loop), or None.
        rate: requested mean number of arrivals per second (open loop), or None.
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
    """Records the requests of a loop; only those due between `begun` and `ended` are kept.

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
        """Record an answer. Labels are compared for every request, faults counted even in the warm-up."""
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


@dataclass(frozen=True)
class Summary:
    """Figures of one run. Percentiles are over good answers; NaN where there is none.

    Attributes:
        requests: number of requests that were recorded.
        failed: number of recorded requests without an answer or with wrong labels.
        faults: number of requests that failed, recorded or not.
        wrong: number of requests with labels that differ from the direct ones, recorded or not.
        throughput: good answers per second.
        mean: mean latency [s].
        p50: median latency [s].
        p95: 95th percentile of the latency [s].
        p99: 99th percentile of the latency [s].
        worst: longest latency [s].
        lateness: 99th percentile of how much later than intended requests were sent [s]. In an open loop below
            saturation this is the generator's own error; it is part of the latency.
        generator: processor time of the generator per request [s]; of the whole process, so it means nothing where
            the pipeline runs in it.
        sent: number of all requests, those before and after the recorded span included.
    """

    requests: int
    failed: int
    faults: int
    wrong: int
    throughput: float
    mean: float
    p50: float
    p95: float
    p99: float
    worst: float
    lateness: float
    generator: float
    sent: int


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
    p50, p95, p99 = np.percentile(latency, (50, 95, 99)) if len(latency) else (np.nan,) * 3
    return Summary(
        requests=len(run),
        failed=len(run) - len(latency),
        faults=sum(run.faults.values()),
        wrong=run.wrong,
        throughput=throughput,
        mean=float(latency.mean()) if len(latency) else np.nan,
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        worst=float(latency.max(initial=-np.inf)) if len(latency) else np.nan,
        lateness=float(np.percentile(run.sent - run.due, 99)) if len(run) else np.nan,
        generator=run.cpu_seconds / max(1, run.n_all),
        sent=run.n_all,
    )


def verify(sender: Sender, workload: Workload, *, patience: float = 300.0) -> None:
    """Send each event once, one after the other, and compare its labels byte for byte.

    Raises:
        WrongLabelsError: labels differ, or there are none.
        DeadlineError: no answer came for `patience` seconds.
    """
    for event in range(len(workload)):
        sender.send(event, event)
        answers = sender.answers(patience)
        if not answers:
            raise DeadlineError(f"load: got no answer to event {event} for {patience:g} s")
        fault = answers[0].error
        if answers[0].labels is not None:
            fault = workload.difference(event, answers[0].labels)
        if fault is not None:
            raise WrongLabelsError(fault)


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
    for name, value in (("concurrency", concurrency), ("seconds", seconds), ("patience", patience)):
        if value <= 0:
            raise ConfigError(f"{name}: got {value}, expected more than 0")
    loop = _ClosedLoop(sender, workload, patience, clock)
    for _ in range(concurrency):
        loop.launch()
    start = clock()
    loop.run_until(lambda: clock() >= start + warm_up and loop.answered >= concurrency)
    loop.recorder.begun = clock()
    enough = 2 * concurrency if min_requests is None else min_requests
    loop.run_until(lambda: clock() >= loop.recorder.begun + seconds and len(loop.recorder) >= enough)
    loop.recorder.ended = clock()
    loop.run_until(lambda: loop.recorder.pending == 0)
    loop.drain()
    return loop.recorder.run(concurrency=concurrency, rate=None)


class _ClosedLoop:
    def __init__(self, sender: Sender, workload: Workload, patience: float, clock: Callable[[], float]) -> None:
        self._sender, self._workload, self._patience, self._clock = sender, workload, patience, clock
        self.recorder = Recorder(workload)
        self._next = 0
        self._in_flight = 0
        self.answered = 0

    def run_until(self, done: Callable[[], bool]) -> None:
        while not done():
            for answer in self._answers():
                self.launch()
                self.recorder.released(answer.ticket, self._clock())

    def drain(self) -> None:
        while self._in_flight:
            self._answers()

    def launch(self) -> None:
        ticket, event = self._next, self._next % len(self._workload)
        self._next += 1
        self._in_flight += 1
        now = self._clock()
        self.recorder.sent(ticket, event, due=now, now=now)
        self._sender.send(ticket, event)

    def _answers(self) -> list[Arrival]:
        answers = list(self._sender.answers(self._patience))
        if not answers:
            raise DeadlineError(f"load: got no answer for {self._patience:g} s, {self._in_flight} requests in flight")
        for answer in answers:
            # Before the next request: the labels may be in a buffer that the next answer overwrites.
            self.recorder.finished(answer)
        self._in_flight -= len(answers)
        self.answered += len(answers)
        return answers


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
    for name, value in (("rate", rate), ("seconds", seconds), ("in_flight", in_flight), ("patience", patience)):
        if value <= 0:
            raise ConfigError(f"{name}: got {value}, expected more than 0")
    recorder = Recorder(workload)
    start = clock()
    due = start + poisson_arrivals(rate, warm_up + seconds, seed)
    recorder.begun = start + warm_up
    sent, pending, answered_at = 0, 0, start
    while sent < len(due) or pending:
        now = clock()
        while sent < len(due) and due[sent] <= now and pending < in_flight:
            event = sent % len(workload)
            recorder.sent(sent, event, due=float(due[sent]), now=now)
            sender.send(sent, event)
            sent, pending, now = sent + 1, pending + 1, clock()
        wait = patience
        if sent < len(due) and pending < in_flight:
            wait = max(0.0, float(due[sent]) - now)
        answers = sender.answers(wait)
        for answer in answers:
            recorder.finished(answer)
        pending -= len(answers)
        if answers or not pending:
            answered_at = clock()
        elif clock() - answered_at >= patience:
            raise DeadlineError(f"load: got no answer for {patience:g} s, {pending} requests in flight")
    recorder.ended = recorder.begun + seconds
    return recorder.run(concurrency=None, rate=rate)
