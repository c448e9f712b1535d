from __future__ import annotations

from collections.abc import Mapping

import pytest

from beampipe.triton.metrics import Counters, rates_between


def made(
    stages: Mapping[str, float] | None = None, observed: Mapping[str, float] | None = None, **values: float
) -> Counters:
    return Counters(values, observed or {}, stages or {})


def test_rates_are_differences() -> None:
    before = made(
        {"gnn": 1.0},
        {"events": 10.0, "tracks": 90.0},
        answered=10.0,
        request_us=1e6,
        queue_us=0.0,
        inferences=10.0,
        executions=10.0,
    )
    after = made(
        {"gnn": 1.5},
        {"events": 35.0, "hits": 5000.0, "tracks": 90.0},
        answered=30.0,
        failed=4.0,
        request_us=1.1e6,
        queue_us=4e4,
        compute_us=6e4,
        inferences=40.0,
        executions=15.0,
        pending=3.0,
    )
    result = rates_between(before, after, 2.0)
    assert (result.requests, result.failures, result.inferences, result.batch) == (10.0, 2.0, 15.0, 6.0)
    assert (result.latency, result.queue, result.compute) == pytest.approx((5.0, 2.0, 3.0))
    assert (result.pending, result.per_event) == (3, {"hits": 200.0, "tracks": 0.0})
    assert result.stages == pytest.approx({"gnn": 20.0})


def test_a_counter_that_was_started_again_counts_from_zero() -> None:
    assert rates_between(made(answered=100.0), made(answered=7.0), 1.0).requests == 7.0
    assert rates_between(None, made(answered=7.0), 1.0).requests == 7.0
