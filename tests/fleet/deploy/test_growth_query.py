"""The query by which Kubernetes scales, asked of Prometheus itself with made-up metrics."""

from __future__ import annotations

import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from beampipe.fleet.deploy.kubernetes import growth_query
from tests.fleet.specimens import WHOLE, specimen

CASES: list[tuple[int, float, float, int]] = [
    # servers, time in the queue [ms], share of time at work, wanted servers
    (1, 30, 0.9, 2),
    (3, 30, 0.9, 4),
    (20, 30, 0.9, 23),  # one more of 20 is a change that Kubernetes ignores
    (3, 10, 0.9, 3),
    (3, 10, 0.1, 2),
    (3, 30, 0.1, 4),  # who waits counts more than who idles
    (20, 0, 0.1, 17),
]


def input_series(servers: int, queue: float, busy: float) -> list[dict[str, str]]:
    """What servers with that queue [ms] and that share of work say, every 10 s: 100 requests in between."""
    steps = {
        "inference_queue_duration_us": 1e5 * queue,
        "inference_request_success": 100,
        "inference_compute_infer_duration_us": 1e7 * busy,
    }
    series = [
        {"series": f'nv_{name}{{release="trk-gpu",instance="{server}"}}', "values": f"0+{step:g}x30"}
        for name, step in steps.items()
        for server in range(servers)
    ]
    # A chain of one step in front of it, of which Triton counts the same again.
    return series + [{**item, "series": item["series"].replace("{", '{role="chain",')} for item in series]


def is_right(folder: Path, cases: list[tuple[int, float, float, int]]) -> bool:
    """Whether the query gives the wanted numbers: Kubernetes takes ceil(servers * factor), if it differs by 10 %."""
    fleet = specimen(folder, WHOLE)
    assert fleet.scaling is not None
    query = growth_query(fleet, fleet.servers["gpu"], replace(fleet.scaling, queue=20.0, busy=0.3))
    tests: list[dict[str, Any]] = []
    for servers, queue, busy, wanted in cases:
        low, high = ((wanted - 0.5) / servers, wanted / servers) if wanted != servers else (1, 1)
        assert wanted == servers or not 0.9 <= high <= 1.1
        assert math.ceil(servers * low) == wanted
        expected = {"expr": f"count(growth >= {low} <= {high})", "eval_time": "4m"}
        samples = {"exp_samples": [{"labels": "{}", "value": 1}]}
        series = {"input_series": input_series(servers, queue, busy), "interval": "10s"}
        tests.append({**series, "promql_expr_test": [{**expected, **samples}]})
    rules = {"groups": [{"name": "g", "rules": [{"record": "growth", "expr": query}]}]}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "10s", "tests": tests}
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.prometheus
def test_a_group_grows_and_shrinks_by_a_step(tmp_path: Path) -> None:
    assert is_right(tmp_path, CASES)
    assert not is_right(tmp_path, [(3, 10, 0.9, 4)]), "this test can fail"
