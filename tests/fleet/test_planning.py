"""`beampipe fleet plan`: the simulation against closed forms, the search, what it reads, and what it prints."""

from __future__ import annotations

import json
from math import factorial, log
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner, Result

from beampipe.errors import BeampipeError, ConfigError
from beampipe.fleet.cli import app
from beampipe.fleet.planning import (
    Figures,
    Load,
    Measured,
    Shape,
    make_shape,
    plan_servers,
    simulate,
)
from beampipe.fleet.server import read_settings
from beampipe.fleet.specification import Balancing, GatewaySettings
from beampipe.units import Estimate

EXPONENTIAL = Measured((1.0,) * 5000, tuple(-log((at + 0.5) / 5000) for at in range(5000)))
"""Service times with a mean of 1 s."""
TAIL = tuple(0.3 * (1 - (at + 0.5) / 5000 * (1 - 200**-1.3)) ** (-1 / 1.3) for at in range(5000))
HEAVY = Measured(TAIL, TAIL)
"""Sizes and times with a tail that falls as a power, up to 60; the mean is 1.08."""


def agree(estimate: Estimate, expected: float, precision: float = 0.05) -> None:
    assert estimate.error < precision * expected, "too few requests"
    assert abs(estimate.value - expected) < 4 * max(estimate.error, 0.003 * expected), (
        f"{estimate}, expected {expected:.4g}"
    )


def machine_repair(clients: int, servers: int, pause: float) -> tuple[float, float]:
    """Throughput [1/s] and mean latency [s] of M/M/c//N with a mean service time of 1 s.

    Source: L. Kleinrock, *Queueing Systems* I (1975), chapter 3.8.
    """
    weights = [1.0]
    for n in range(1, clients + 1):
        weights.append(weights[-1] * (clients - n + 1) / pause / min(n, servers))
    inside = sum(n * weight for n, weight in enumerate(weights)) / sum(weights)
    throughput = (clients - inside) / pause
    return throughput, inside / throughput


@pytest.mark.parametrize(
    "shape",
    [
        Shape(1, 1, in_flight=100),
        Shape(1, 4, in_flight=100),
        Shape(4, 1, in_flight=1),  # requests wait before the servers, in one queue: the same
        Shape(2, 2, in_flight=2),
    ],
)
def test_clients_that_wait_are_machines_that_are_repaired(shape: Shape) -> None:
    servers = shape.servers * shape.parallel
    result = simulate(Load(EXPONENTIAL, 8 * servers, 10.0), shape, requests=5_000, seed=7)
    throughput, latency = machine_repair(8 * servers, servers, 10.0)
    agree(result.throughput, throughput)
    agree(result.mean, latency)
    agree(result.busy, throughput / servers)


def test_many_clients_are_a_poisson_process() -> None:
    """M/M/1 and M/G/1: mean wait = rate x mean of squares / 2 (1 - busy), Pollaczek and Khinchine."""
    shape = Shape(1, 1, in_flight=10_000)
    result = simulate(Load(EXPONENTIAL, 10_000, 20_000.0), shape, requests=8_000, seed=3)
    agree(result.mean, 1 / 0.5)
    agree(result.p50, log(2) / 0.5)
    agree(result.p95, log(20) / 0.5, precision=0.1)
    constant = Measured((1.0,), (1.0,), overhead=0.25)
    result = simulate(Load(constant, 10_000, 20_000.0), shape, requests=4_000, seed=3)
    agree(result.mean, 0.25 + 1 + 0.5 / (2 * 0.5))


def test_what_finds_no_place_is_refused() -> None:
    """Erlang's loss formula: a refused request comes back after 50 ms, when the server has forgotten it."""
    quick = Measured((1.0,) * 5000, tuple(1e-3 * one for one in EXPONENTIAL.seconds))
    result = simulate(Load(quick, 20_000, 10.0), Shape(1, 4, in_flight=4, queue=0), requests=8_000, seed=5)
    throughput = result.throughput.value
    offered = 1e-3 * throughput / (1 - result.refused.value)
    terms = [offered**k / factorial(k) for k in range(5)]
    agree(result.refused, terms[-1] / sum(terms))
    assert throughput == pytest.approx(2000, rel=0.02)


@pytest.fixture(scope="module")
def compared() -> dict[Balancing, Figures]:
    load = Load(HEAVY, 2000, 2000 / 2.6)
    return {
        policy: simulate(load, Shape(4, 1, in_flight=1000, policy=policy), requests=3_000)
        for policy in get_args(Balancing)
    }


@pytest.mark.parametrize("better", ["least_connections", "least_hits"])
def test_looking_at_servers_cuts_the_tail(compared: dict[Balancing, Figures], better: Balancing) -> None:
    assert compared[better].p99.value < 0.8 * compared["round_robin"].p99.value
    assert compared[better].throughput.value == pytest.approx(compared["round_robin"].throughput.value, rel=0.02)


@pytest.mark.parametrize("policy", ["round_robin", "least_connections", "least_hits"])
def test_a_seed_decides_everything(policy: Balancing) -> None:
    load, shape = Load(HEAVY, 40, 10.0), Shape(3, 2, in_flight=2, queue=4, policy=policy)
    one, again, other = (simulate(load, shape, requests=500, seed=seed) for seed in (1, 1, 9))
    assert one == again != other


def test_the_smallest_number_that_keeps_the_limit() -> None:
    load, shape = Load(EXPONENTIAL, 1000, 100.0), Shape(1, 4, in_flight=8)
    plan = plan_servers(load, shape, 6.0, requests=2_000)
    servers = plan.shape.servers
    assert 3 <= servers <= 4  # 10 events/s x 1 s = 10 cores
    assert simulate(load, Shape(servers, 4), requests=2_000) == plan.figures[servers]
    assert plan.figures[servers].p95.value <= 6.0 < plan.figures[servers - 1].p95.value
    assert max(plan.figures) == servers + 1


@pytest.mark.parametrize(
    ("measured", "p95", "reason"),
    [
        (EXPONENTIAL, 1.0, r"idle server$"),
        (Measured((1.0,), (145.0,)), 0.5, "in ms"),
        (
            Measured((1.0,) * 100, (0.1,) * 95 + (10.0,) * 5),
            0.6,
            "could do the work",
        ),  # about half of the samples are slower
    ],
)
def test_a_limit_that_no_number_keeps_is_refused(measured: Measured, p95: float, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        plan_servers(Load(measured, 10, 1.0), Shape(1), p95, requests=300)


def test_the_gateway_is_simulated_as_it_is_specified() -> None:
    gateway = GatewaySettings(in_flight=5, queue=7, balancing="least_hits")
    assert make_shape(gateway, 2) == Shape(1, 2, 5, 7, "least_hits")
    assert make_shape(None, 1) == Shape(1, 1, 8, 128, "least_connections")
    assert make_shape(None, 16).in_flight == 32
    with pytest.raises(ConfigError, match=r"got 8 with gateway\.in_flight 5"):
        make_shape(gateway, 8)


MEASURED = {"sizes": [100, 200, 900], "seconds": [0.002, 0.003, 0.01], "overhead": 3e-4}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "expected JSON with the fields of Measured"),
        ("[1, 2]", "a table"),
        (json.dumps({**MEASURED, "second": [1]}), "did you mean 'seconds'"),
        (json.dumps({**MEASURED, "sizes": [1]}), "1 sizes and 3 seconds"),
        (json.dumps({**MEASURED, "seconds": [0, 1, 2]}), "seconds above 0"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "measured.json"
    path.write_text(content)
    with pytest.raises(BeampipeError, match=r"measured\.json") as caught:
        read_settings(Measured, path)
    assert message in str(caught.value)


def run(folder: Path, *words: object) -> Result:
    (folder / "measured.json").write_text(json.dumps(MEASURED))
    common: list[Any] = ["plan", folder / "measured.json", "--rate", 2, "--requests", 1000]
    return CliRunner().invoke(app, [str(word) for word in (*common, *words)])


def test_plan_says_how_many_servers(tmp_path: Path) -> None:
    words = ("--clients", 500, "--p95", 0.03, "--seed", 5)
    result = run(tmp_path, *words)
    assert result.exit_code == 0, result.output
    facts = json.loads(run(tmp_path, *words, "--json").output)
    servers = facts["shape"]["servers"]
    assert result.output.endswith(f"\n{servers} servers for p95 <= 0.03 s\n")
    assert 5 <= servers <= 9  # 1000 events/s x 5 ms = 5 cores
    assert facts["figures"][str(servers - 1)]["p95"]["value"] > facts["figures"][str(servers)]["p95"]["value"]
