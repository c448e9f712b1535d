"""Figures of a simulated fleet with their errors: the same fleet is run several times, with other random numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from beampipe.errors import ConfigError
from beampipe.fleet.planning.simulator.simulation import FleetShape, Load, SimulatedRun, simulate

__all__ = ["Estimate", "FleetFigures", "figures_of", "run_fleet"]


@dataclass(frozen=True)
class Estimate:
    """A figure with its statistical error.

    Attributes:
        value: mean over the runs.
        error: standard error of that mean; NaN for a single run.
    """

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.error:.1g}"


@dataclass(frozen=True)
class FleetFigures:
    """What a fleet does under a load. Percentiles are over answered requests, NaN where there is none.

    Attributes:
        throughput: answers per second.
        mean: mean latency [s].
        p50: median latency [s].
        p95: 95th percentile of the latency [s].
        p99: 99th percentile of the latency [s].
        refused: share of the requests that were refused.
        working: share of the instances that work.
        busy: share of the cores that are busy.
    """

    throughput: Estimate
    mean: Estimate
    p50: Estimate
    p95: Estimate
    p99: Estimate
    refused: Estimate
    working: Estimate
    busy: Estimate


def run_fleet(
    load: Load,
    shape: FleetShape,
    *,
    requests: int = 20_000,
    replicas: int = 5,
    seed: int = 0,
    step: Callable[[], None] = lambda: None,
) -> FleetFigures:
    """Simulate a fleet several times.

    Args:
        load: what is asked of it.
        shape: what it consists of.
        requests: number of requests that are recorded in each run.
        replicas: number of runs.
        seed: seed of the first run; the others have the following ones.
        step: function that is called after each run.

    Raises:
        ConfigError: a number is not positive.
    """
    if replicas < 1:
        raise ConfigError(f"replicas: got {replicas}, expected 1 or more; from 3 on the errors mean something")
    runs = []
    for number in range(replicas):
        runs.append(simulate(load, shape, requests=requests, seed=seed + number))
        step()
    return figures_of(runs)


def figures_of(runs: Sequence[SimulatedRun]) -> FleetFigures:
    """Means and standard errors over runs that differ by their seeds only."""
    p50, p95, p99 = zip(*(_percentiles(run) for run in runs), strict=True)
    return FleetFigures(
        throughput=_estimate([run.answers / run.seconds if run.seconds else np.nan for run in runs]),
        mean=_estimate([float(run.latency.mean()) if len(run.latency) else np.nan for run in runs]),
        p50=_estimate(p50),
        p95=_estimate(p95),
        p99=_estimate(p99),
        refused=_estimate([run.refused / (run.refused + len(run.latency)) for run in runs]),
        working=_estimate([run.working for run in runs]),
        busy=_estimate([run.busy for run in runs]),
    )


def _percentiles(run: SimulatedRun) -> tuple[float, float, float]:
    if not len(run.latency):
        return np.nan, np.nan, np.nan
    p50, p95, p99 = np.percentile(run.latency, (50, 95, 99)).tolist()
    return p50, p95, p99


def _estimate(values: Sequence[float]) -> Estimate:
    n = len(values)
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan"))
