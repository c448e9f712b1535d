"""The metrics of a Triton: counters, and rates between two readings."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from beampipe.errors import BeampipeError
from beampipe.triton.metrics import Counters, ServerWatch, parse_metrics, rates_between, status_line
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import ask

TEXT = """# HELP nv_inference_request_success Number of successful inference requests
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="exatrkx",version="1"} 10
nv_inference_request_success{model="exatrkx",version="2"} 5
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="exatrkx",reason="BACKEND",version="1"} 1
nv_inference_request_failure{model="exatrkx",reason="OTHER",version="1"} 2
nv_inference_compute_input_duration_us{model="exatrkx",version="1"} 10
nv_inference_compute_infer_duration_us{model="exatrkx",version="1"} 30
nv_inference_compute_output_duration_us{model="exatrkx",version="1"} 2
nv_cpu_utilization 0.5
# TYPE beampipe_stage_seconds_total counter
beampipe_stage_seconds_total{instance="exatrkx_0_0",model="exatrkx",stage="gnn"} 0.25
beampipe_stage_seconds_total{instance="exatrkx_0_1",model="exatrkx",stage="gnn"} 0.5
beampipe_events_total{instance="exatrkx_0_0",model="exatrkx"} 4
"""


def test_versions_reasons_and_instances_are_summed() -> None:
    assert parse_metrics(TEXT) == {
        "exatrkx": Counters({"answered": 15.0, "failed": 3.0, "compute_us": 42.0}, {"events": 4.0}, {"gnn": 0.75})
    }


def test_other_text_is_refused() -> None:
    with pytest.raises(BeampipeError, match="cannot be read"):
        parse_metrics('nv_inference_count{model="a"} fast\n')


def made(stages: Mapping[str, float] | None = None, events: float = 0.0, **values: float) -> Counters:
    return Counters(values, {"events": events}, stages or {})


def test_rates_are_differences() -> None:
    before = made(
        {"gnn": 1.0},
        events=10.0,
        answered=10.0,
        request_us=1e6,
        queue_us=0.0,
        inferences=10.0,
        executions=10.0,
    )
    after = made(
        {"gnn": 1.5},
        events=35.0,
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
    assert (result.requests, result.failures, result.batch) == (10.0, 2.0, 6.0)
    assert (result.latency, result.queue, result.compute) == pytest.approx((5.0, 2.0, 3.0))
    assert result.pending == 3
    assert result.stages == pytest.approx({"gnn": 20.0})


def test_a_counter_that_was_started_again_counts_from_zero() -> None:
    assert rates_between(made(answered=100.0), made(answered=7.0), 1.0).requests == 7.0
    assert rates_between(None, made(answered=7.0), 1.0).requests == 7.0


def test_a_running_server_is_watched(doubler_server: TritonServer) -> None:
    watch = ServerWatch(doubler_server.metrics_url)
    watch.read()
    assert watch.rates == {}
    for _ in range(3):
        assert ask(doubler_server.http_url, "one", 0.01)[0] == 200
    watch.read()
    assert watch.error is None
    assert watch.rates["one"].requests > 0
    assert watch.rates["one"].batch == 1.0
    assert (watch.rates["one"].compute or 0.0) > 10.0, "it slept for 10 ms"
    assert watch.rates["two"].requests == 0
    line = status_line(watch)
    assert "one" in line
    assert "two" not in line, "idle models are left out"


def test_a_server_that_does_not_answer() -> None:
    watch = ServerWatch("127.0.0.1:1")
    watch.read()
    assert watch.error is not None
    assert "expected the metrics port of a Triton" in watch.error
    assert status_line(watch) == "no answer from the server"
