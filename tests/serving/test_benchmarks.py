"""Small runs of ``benchmarks/serving``: labels served in every way, and requests that no sane client sends."""

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


def test_absurd_requests_are_refused_and_break_nothing(engine: Engine, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "fuzz.py"), "--requests", "320", "--seed", "7"]
    command += ["--clients", "4", "--models", "exatrkx", "exatrkx_ragged", "--output", "fuzz.json"]
    environment = {**os.environ, ENGINE_VARIABLE: str(engine.folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    body = json.loads((tmp_path / "fuzz.json").read_text())
    figures, by_attack = {figure["name"]: figure["value"] for figure in body["figures"]}, body["details"]["by_attack"]
    assert figures["requests"] == 320
    assert figures["bad replies"] == 0
    assert len(by_attack) == 17
    statuses = [status for replies in by_attack.values() for status in replies]
    # Refusals and answers of both protocols, or little was tried.
    assert {"400", "404", "INVALID_ARGUMENT", "NOT_FOUND", "200, right labels", "OK, right labels"} <= set(statuses)
