"""Closed loop: a fixed number of requests in flight, each answer followed at once by the next request."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from beampipe.errors import ConfigError, DeadlineError
from beampipe.serving.load.recording import LoadRun, Recorder
from beampipe.serving.load.sending import Arrival, Sender, Workload

__all__ = ["closed_loop"]


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
        sender: what sends the requests; its clock must be `clock`.
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
            # Before anything is sent: the labels may lie in a buffer that the next answer fills.
            self.recorder.finished(answer)
        self._in_flight -= len(answers)
        self.answered += len(answers)
        return answers
