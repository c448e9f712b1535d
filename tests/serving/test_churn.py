"""A small run of ``benchmarks/serving/churn.py``: clients that leave early cost the others nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from beampipe.triton.engine import ENGINE_VARIABLE, Engine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "serving"


def test_clients_that_leave_early_cost_the_others_nothing(engine: Engine, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "churn.py"), "--requests", "800", "--visitors", "2", "--every", "0.2"]
    environment = {**os.environ, ENGINE_VARIABLE: str(engine.folder), "OMP_NUM_THREADS": "1"}
    command += ["--output", "churn.json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    body = json.loads((tmp_path / "churn.json").read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    details, figures = body["details"], {figure["name"]: figure["value"] for figure in body["figures"]}
    assert figures["requests"] >= 800
    assert figures["wrong labels"] == figures["requests without an answer"] == 0
    assert details["answered"]["http"] > 100
    assert details["answered"]["grpc"] > 100
    assert len(details["left"]) == 5  # each way of leaving over HTTP
