from __future__ import annotations

import pytest

from beampipe.errors import BeampipeError
from beampipe.triton.metrics import Counters, parse_metrics

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
