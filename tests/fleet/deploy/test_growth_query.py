"""The query by which Kubernetes scales, asked of Prometheus itself with made-up metrics."""

from __future__ import annotations

import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from beampipe.fleet.deploy.kubernetes import growth_query
from tests.fleet.specimens import WHOLE, specimen

PROMTOOL = shutil.which("promtool")


def factor_fits(folder: Path, servers: int, queue: float, busy: float, low: float, high: float) -> bool:
    """Whether the query gives a factor in [low, high] for servers of that queue [ms] and that share of work."""
    fleet = specimen(folder, WHOLE)
    assert fleet.scaling is not None
    query = growth_query(fleet, fleet.servers["gpu"], replace(fleet.scaling, queue=20.0, busy=0.3))
    # A sample each 10 s: 100 requests.
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
    series += [{**item, "series": item["series"].replace("{", '{role="chain",')} for item in series]
    rule = {"record": "fits", "expr": f"({query}) >= {low} <= {high}"}
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": [rule]}]}))
    test = {
        "input_series": series,
        "interval": "10s",
        "promql_expr_test": [{"expr": "count(fits)", "eval_time": "4m", "exp_samples": [{"labels": "{}", "value": 1}]}],
    }
    (folder / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "10s", "tests": [test]})
    )
    done = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: apt-get install prometheus")
@pytest.mark.parametrize(
    ("servers", "queue", "busy", "wanted"),
    [
        (1, 30, 0.9, 2),
        (3, 30, 0.9, 4),
        (20, 30, 0.9, 23),  # one more of 20 is a change that Kubernetes ignores
        (3, 10, 0.9, 3),
        (3, 10, 0.1, 2),
        (3, 30, 0.1, 4),  # who waits counts more than who idles
        (20, 0, 0.1, 17),
    ],
)
def test_a_group_grows_and_shrinks_by_a_step(
    tmp_path: Path, servers: int, queue: float, busy: float, wanted: int
) -> None:
    """Kubernetes takes ceil(servers * factor), and nothing for a factor between 0.9 and 1.1."""
    low, high = ((wanted - 0.5) / servers, wanted / servers) if wanted != servers else (1, 1)
    assert factor_fits(tmp_path, servers, queue, busy, low, high)
    assert wanted == servers or not 0.9 <= high <= 1.1
    assert math.ceil(servers * low) == wanted


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool: apt-get install prometheus")
def test_the_test_can_fail(tmp_path: Path) -> None:
    assert not factor_fits(tmp_path, 3, 10, 0.9, 1.1, 2)
