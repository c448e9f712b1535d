"""A small run of ``benchmarks/serving/fuzz.py``: requests that no sane client sends leave the server as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from beampipe.triton.engine import ENGINE_VARIABLE, Engine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "serving"


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
