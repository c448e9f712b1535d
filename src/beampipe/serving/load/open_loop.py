"""Open loop: events arrive when they arrive, whether or not the server keeps up.

Arrivals are a Poisson process. The latency of a request counts from its intended arrival, not from when the generator
found a free connection for it: a server that stalls is charged for every event that came meanwhile (no "coordinated
omission").
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import ConfigError, DeadlineError
from beampipe.serving.load.recording import LoadRun, Recorder
from beampipe.serving.load.sending import Sender, Workload

__all__ = ["open_loop", "poisson_arrivals"]


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
        sender: what sends the requests; its clock must be `clock`.
        workload: events that are sent in a cycle.
        rate: mean number of arrivals per second.
        seconds: length of the span in which the events arrive that are recorded [s].
        warm_up: length of the time of arrivals before that span [s].
        in_flight: most requests at a time; what is due waits, and its wait counts.
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
    sent, flying, heard = 0, 0, start
    while sent < len(due) or flying:
        now = clock()
        while sent < len(due) and due[sent] <= now and flying < in_flight:
            event = sent % len(workload)
            recorder.sent(sent, event, due=float(due[sent]), now=now)
            sender.send(sent, event)
            sent, flying, now = sent + 1, flying + 1, clock()
        wait = patience
        if sent < len(due) and flying < in_flight:
            wait = max(0.0, float(due[sent]) - now)
        answers = sender.answers(wait)
        for answer in answers:
            recorder.finished(answer)
        flying -= len(answers)
        if answers or not flying:
            heard = clock()
        elif clock() - heard >= patience:
            raise DeadlineError(f"load: got no answer for {patience:g} s, {flying} requests in flight")
    recorder.ended = recorder.begun + seconds
    return recorder.run(concurrency=None, rate=rate)
