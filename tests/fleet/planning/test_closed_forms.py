"""The simulator against closed forms: within four standard errors, which must themselves be small."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from beampipe.fleet.planning.simulator import (
    Arrivals,
    ClosedLoop,
    FleetFigures,
    FleetShape,
    Load,
    MeasuredSizes,
    ParetoSizes,
    Poisson,
    ServiceTimes,
    Sizes,
    run_fleet,
)
from beampipe.units import Estimate
from tests.fleet.planning import closed_forms

WORK = ServiceTimes.affine(0.0, 1.0)
"""A size is a service time."""
REPLICAS = 6


class Exponential:
    """Exponential sizes of mean 1."""

    def draw(self, random: np.random.Generator, n: int) -> np.ndarray:
        return random.exponential(1.0, n)


def run(arrivals: Arrivals, shape: FleetShape, sizes: Sizes | None = None, requests: int = 4_000) -> FleetFigures:
    return run_fleet(Load(arrivals, sizes or Exponential(), WORK), shape, requests=requests, replicas=REPLICAS, seed=7)


def server(**how: int | None) -> FleetShape:
    return FleetShape(**{"servers": 1, "in_flight": None, "queue": None, **how})  # type: ignore[arg-type]


def agree(estimate: Estimate, expected: float, precision: float = 0.05) -> None:
    assert estimate.error < precision * expected, "too few requests to tell anything"
    assert abs(estimate.value - expected) < 4 * estimate.error, f"{estimate}, expected {expected:.4g}"


def test_one_server() -> None:
    result = run(Poisson(0.5), server(), requests=6_000)
    agree(result.mean, 1 / 0.5)
    agree(result.working, 0.5)
    agree(result.throughput, 0.5)
    # The latency of M/M/1 is exponential.
    agree(result.p50, log(2) / 0.5)
    agree(result.p95, log(20) / 0.5, precision=0.1)
    agree(result.p99, log(100) / 0.5, precision=0.15)


@pytest.mark.parametrize(
    "shape",
    [
        server(instances=4, cores=4),
        server(servers=4, in_flight=1),  # requests wait before the servers, in one queue: the same
    ],
)
def test_several_instances_are_erlang_c(shape: FleetShape) -> None:
    result = run(Poisson(3.0), shape)
    agree(result.mean, 1 + closed_forms.wait_in_queue(4, 3.0, 1.0))
    agree(result.busy, 0.75)


def test_one_server_with_equal_sizes_is_pollaczek_khinchine() -> None:
    result = run(Poisson(0.6), server(), MeasuredSizes(np.ones(1)))
    agree(result.mean, 1 + closed_forms.pollaczek_khinchine(0.6, 1.0, 1.0))


def test_one_server_with_a_heavy_tail_is_pollaczek_khinchine() -> None:
    mean, square = (closed_forms.pareto_moment(0.4, 1.5, 20.0, power) for power in (1, 2))
    result = run(Poisson(0.5 / mean), server(), ParetoSizes(0.4, 1.5, 20.0), requests=8_000)
    agree(result.mean, mean + closed_forms.pollaczek_khinchine(0.5 / mean, mean, square), precision=0.08)


def test_shared_cores_are_processor_sharing() -> None:
    """M/G/1-PS: the mean latency knows nothing of the shape of the sizes."""
    mean = closed_forms.pareto_moment(0.4, 1.5, 20.0, 1)
    result = run(Poisson(0.6 / mean), server(instances=1_000), ParetoSizes(0.4, 1.5, 20.0))
    agree(result.mean, mean / (1 - 0.6))


def test_servers_share_the_cores_of_a_machine() -> None:
    apart = run(Poisson(1.2), server(servers=2, instances=50, cores=1))
    together = run(Poisson(1.2), server(servers=2, instances=50, cores=2, servers_per_machine=2))
    assert together.mean.value < apart.mean.value
    # M/M/2, whatever the order of service, as long as no core idles while a request waits.
    agree(together.mean, 1 + closed_forms.wait_in_queue(2, 1.2, 1.0))


def test_a_full_fleet_refuses_as_erlang_b() -> None:
    result = run(Poisson(4.0), server(servers=4, in_flight=1, queue=0))
    agree(result.refused, closed_forms.erlang_b(4, 4.0))
    agree(result.mean, 1.0)
    agree(result.throughput, 4.0 * (1 - closed_forms.erlang_b(4, 4.0)))


def test_bursts_wait_for_each_other() -> None:
    agree(run(Poisson(0.5, 4), server()).mean, closed_forms.batch_latency(0.5, 4, 1.0))


@pytest.mark.parametrize(("clients", "servers"), [(6, 1), (12, 3)])
def test_a_closed_loop_is_machine_repair(clients: int, servers: int) -> None:
    result = run(ClosedLoop(clients, think=4.0), server(instances=servers, cores=servers))
    throughput, latency = closed_forms.machine_repair(clients, servers, 4.0, 1.0)
    agree(result.throughput, throughput)
    agree(result.mean, latency)


def test_clients_without_a_pause_keep_every_instance_at_work() -> None:
    result = run(ClosedLoop(5), server(instances=2, cores=2))
    agree(result.throughput, 2.0)
    assert result.working.value == pytest.approx(1.0)


def test_time_on_the_way_is_added() -> None:
    load = Load(Poisson(0.5), Exponential(), ServiceTimes.affine(0.0, 1.0, overhead=3.0))
    result = run_fleet(load, server(), requests=4_000, replicas=REPLICAS)
    agree(result.mean, 1 / 0.5 + 3.0)


def test_time_on_the_way_has_its_own_scatter() -> None:
    service = ServiceTimes(np.ones(1), np.zeros(1), overhead=2.0, overhead_ratios=np.array([0.5, 1.5]))
    result = run_fleet(Load(Poisson(0.5), Exponential(), service), server(), requests=500, replicas=REPLICAS)
    agree(result.mean, 2.0)
    assert (result.p95.value, result.p99.value) == (3.0, 3.0)


def test_contention_slows_busy_cores() -> None:
    service = ServiceTimes(np.array([0.0, 1.0]), np.array([0.0, 1.0]), contention=0.25)
    result = run_fleet(
        Load(ClosedLoop(2), MeasuredSizes(np.ones(1)), service), server(instances=2, cores=2), requests=300
    )
    assert result.throughput.value == pytest.approx(2 / 1.25, rel=1e-3)
    assert result.p50.value == pytest.approx(1.25)
