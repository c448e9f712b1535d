"""Throughput and latency of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.serving.load.recording import LoadRun

__all__ = ["Summary", "latencies", "summarise"]


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

    Closed loop: throughput is concurrency x good answers / sum of the times that requests held their places (Little's
    law without think time). Unlike a count of answers in a span, it does not jump by whole requests where few of them
    fit in. Open loop: good answers over the time from the start of the span to its end or to the last answer,
    whichever is later.
    """
    latency = latencies(run)
    p50, p95, p99 = np.percentile(latency, (50, 95, 99)) if len(latency) else (np.nan,) * 3
    return Summary(
        requests=len(run),
        failed=len(run) - len(latency),
        faults=sum(run.faults.values()),
        wrong=run.wrong,
        throughput=_throughput(run, len(latency)),
        mean=float(latency.mean()) if len(latency) else np.nan,
        p50=float(p50),
        p95=float(p95),
        p99=float(p99),
        worst=float(latency.max(initial=-np.inf)) if len(latency) else np.nan,
        lateness=float(np.percentile(run.sent - run.due, 99)) if len(run) else np.nan,
        generator=run.cpu_seconds / max(1, run.n_all),
        sent=run.n_all,
    )


def _throughput(run: LoadRun, n_good: int) -> float:
    if not len(run):
        return 0.0
    if run.concurrency is not None:
        return float(run.concurrency * n_good / (run.released - run.sent).sum())
    return float(n_good / (max(run.ended, run.finished.max()) - run.begun))
