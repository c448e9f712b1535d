"""How many servers a load needs: against queueing theory, with what makes it impossible refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import BeampipeError, ConfigError
from beampipe.fleet.planning.servers import Bound, Effort, least_servers, make_shape, plan_servers
from beampipe.fleet.planning.simulator import (
    POLICIES,
    ClosedLoop,
    FleetShape,
    Load,
    MeasuredSizes,
    Poisson,
    ServiceTimes,
)
from tests.fleet.planning.closed_forms import erlang_b

LOAD = Load(Poisson(200.0), MeasuredSizes(np.ones(1)), ServiceTimes.affine(0.01, 0.0))
"""Two servers' worth of work; each event takes 10 ms."""
QUICK = Effort(requests=1_500, replicas=3)


def test_no_fewer_servers_than_the_work_needs() -> None:
    assert least_servers(LOAD, FleetShape(1), Bound(1.0), effort=QUICK) == 3  # 2 / 0.9, rounded up


def test_a_tighter_bound_needs_more() -> None:
    results = [least_servers(LOAD, FleetShape(1), Bound(p95), effort=QUICK) for p95 in (0.05, 0.0135, 0.0101)]
    assert results == sorted(results)
    assert results[0] < results[-1]


def test_refusals_decide_as_erlang_b_says() -> None:
    shape = FleetShape(1, in_flight=1, queue=0)
    expected = next(n for n in range(1, 20) if erlang_b(n, 2.0) <= 0.05)
    result = least_servers(LOAD, shape, Bound(1.0, refused=0.05), effort=Effort(requests=5_000))
    assert abs(result - expected) <= 1
    assert erlang_b(result, 2.0) == pytest.approx(erlang_b(expected, 2.0), rel=1.5)


def test_what_is_told_is_what_is_tried() -> None:
    tried: list[int] = []
    result = least_servers(LOAD, FleetShape(1), Bound(0.011), effort=QUICK, progress=tried.append)
    assert result in tried
    assert result - 1 in tried
    assert len(tried) == len(set(tried))


def test_a_plan_has_an_error_and_all_policies() -> None:
    load = replace(LOAD, arrivals=ClosedLoop(400, think=2.0))
    progress: list[str] = []
    plan = plan_servers(load, FleetShape(1), Bound(0.03), uncertainty=0.3, effort=QUICK, progress=progress.append)
    assert plan.low <= plan.shape.servers <= plan.high
    assert plan.low < plan.high
    assert tuple(plan.figures) == POLICIES
    assert plan.figures["least_connections"].throughput.value == pytest.approx(200.0, rel=0.05)
    assert any("x 0.7" in text for text in progress)


@pytest.mark.parametrize(
    ("bound", "message"),
    [(Bound(0.009), "on an idle server"), (Bound(0.01, refused=0.0), "do not keep")],
)
def test_what_no_fleet_keeps_is_refused(bound: Bound, message: str) -> None:
    # Bursts of one instant: some always wait for others, and are refused by a queue of none.
    shape = FleetShape(1, in_flight=1, queue=0)
    with pytest.raises(ConfigError, match=message):
        least_servers(replace(LOAD, arrivals=ClosedLoop(200)), shape, bound, effort=Effort(100, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bound(0.0),
        lambda: Bound(1.0, busy=1.0),
        lambda: plan_servers(LOAD, FleetShape(1), Bound(1.0), uncertainty=1.0),
    ],
)
def test_what_means_nothing_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ConfigError):
        make()


def test_a_specification_is_simulated_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "fleet.toml"
    path.write_text(
        'repository = "models"\n[servers.cpu]\ncores = 4\n[servers.gpu]\n'
        '[gateway]\nin_flight = 5\nqueue = 7\nbalancing = "least_hits"\n'
    )
    shape = make_shape(path, None, 3, 2, per_machine=2)
    assert shape == FleetShape(3, 2, 8, 2, in_flight=5, queue=7, policy="least_hits")
    assert make_shape(path, "gpu", 3, 2, cores=2, queue=0) == FleetShape(
        3, 2, 2, in_flight=5, queue=0, policy="least_hits"
    )
    assert make_shape(None, None, 1, 2) == FleetShape(1, 2, 2)
    assert make_shape(None, None, 1, 16).in_flight == 32
    with pytest.warns(UserWarning, match="3 instances never work"):
        make_shape(path, None, 1, 8)
    for fleet, group in ((path, "tpu"), (None, "cpu")):
        with pytest.raises(BeampipeError):
            make_shape(fleet, group, 1, 1)
