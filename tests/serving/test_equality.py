"""Small runs of ``benchmarks/serving/equality.py``: labels served in every way are those found directly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from beampipe.triton.engine import ENGINE_VARIABLE, Engine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "serving"


def test_labels_served_in_every_way_are_the_direct_ones(engine: Engine, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "equality.py"), "--models", "exatrkx_ragged", "--instances", "2"]
    command += ["--events", "50", "--largest", "3000", "--output", "equality.json"]
    environment = {**os.environ, ENGINE_VARIABLE: str(engine.folder), "OMP_NUM_THREADS": "1"}
    # In a folder of its own it finds no event files and takes the shipped events.
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    body = json.loads((tmp_path / "equality.json").read_text())["details"]
    outcomes: list[dict[str, Any]] = body["outcomes"]
    assert {outcome["way"]["protocol"] for outcome in outcomes} == {"grpc", "http", "shm", "shm-http"}
    assert not body["failed"]
    assert all(outcome["events"] == 50 and outcome["hits"] > 15_000 for outcome in outcomes)
    assert not any(outcome["different"] or outcome["errors"] for outcome in outcomes), outcomes
    # It did batch, or nothing was shown.
    assert max(outcome["batch"] for outcome in outcomes if outcome["way"]["in_flight"] == 64) > 1
