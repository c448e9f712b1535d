"""Policies: whom each chooses, and their order where sizes have a heavy tail."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.fleet.planning.simulator import (
    POLICIES,
    Balancer,
    FleetFigures,
    FleetShape,
    Load,
    ParetoSizes,
    Poisson,
    Policy,
    ServiceTimes,
    run_fleet,
    simulate,
)

LOAD = Load(Poisson(2.6), ParetoSizes(0.3, 1.3, 60.0), ServiceTimes.affine(0.0, 1.0))
"""Four servers are busy for 70 % of the time: the mean size is 1.08."""


def balancer(policy: Policy, servers: int = 3, in_flight: int | None = None) -> Balancer:
    return Balancer(policy, servers, in_flight, np.random.default_rng(0))


def test_round_robin_skips_the_full() -> None:
    books = balancer("round_robin", in_flight=2)
    assert [books.take(1.0) for _ in range(4)] == [0, 1, 2, 0]
    books.give_back(2, 1.0)
    assert [books.take(1.0) for _ in range(4)] == [1, 2, 2, None]


def test_least_connections_takes_the_one_that_waited_longest() -> None:
    books = balancer("least_connections")
    assert [books.take(1.0) for _ in range(3)] == [0, 1, 2]
    books.give_back(1, 1.0)
    books.give_back(0, 1.0)
    assert [books.take(1.0) for _ in range(3)] == [1, 0, 2]


def test_least_hits_looks_at_sizes() -> None:
    books = balancer("least_hits")
    assert [books.take(size) for size in (100.0, 1.0, 2.0, 1.0, 1.0)] == [0, 1, 2, 1, 2]
    books.give_back(0, 100.0)
    assert books.take(5.0) == 0


def test_an_idle_server_has_no_hits() -> None:
    books = balancer("least_hits", servers=1)
    for size in (0.1, 0.2, 0.3):
        books.take(size)
    for size in (0.1, 0.2, 0.3):
        books.give_back(0, size)
    assert books.hits[0] == 0.0


def test_two_choices_never_take_the_fullest() -> None:
    books = balancer("power_of_two")
    books.requests[:] = (99, 1, 2)
    assert {books.take(0.0) for _ in range(50)} == {1, 2}
    assert balancer("power_of_two", servers=1).take(1.0) == 0


@pytest.fixture(scope="module")
def compared() -> dict[Policy, FleetFigures]:
    return {
        policy: run_fleet(LOAD, FleetShape(4, in_flight=None, queue=None, policy=policy), requests=3_000, replicas=5)
        for policy in POLICIES
    }


@pytest.mark.parametrize(
    ("better", "worse"),
    [("least_connections", "power_of_two"), ("power_of_two", "round_robin"), ("least_hits", "round_robin")],
)
def test_who_looks_waits_less(compared: dict[Policy, FleetFigures], better: Policy, worse: Policy) -> None:
    ahead, behind = compared[better].mean, compared[worse].mean
    assert behind.value - ahead.value > 2 * (ahead.error**2 + behind.error**2) ** 0.5


def test_looking_cuts_the_tail(compared: dict[Policy, FleetFigures]) -> None:
    for policy in ("least_connections", "least_hits"):
        assert compared[policy].p99.value < 0.7 * compared["round_robin"].p99.value


def test_every_policy_does_the_same_work(compared: dict[Policy, FleetFigures]) -> None:
    assert {figures.refused.value for figures in compared.values()} == {0.0}
    throughput = [figures.throughput.value for figures in compared.values()]
    assert max(throughput) < 1.02 * min(throughput)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_decides_everything(policy: Policy) -> None:
    shape = FleetShape(3, in_flight=2, queue=4, policy=policy)
    one, again, other = (simulate(LOAD, shape, requests=500, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.latency, again.latency)
    assert (one.refused, one.answers, one.busy) == (again.refused, again.answers, again.busy)
    assert not np.array_equal(one.latency, other.latency)
