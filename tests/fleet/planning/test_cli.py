"""`plan` and `tune` as commands: what they print, and what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from beampipe.errors import ConfigError, FileError
from beampipe.fleet.planning.cli import plan_command, tune_command
from beampipe.triton import ModelSettings, export_repository
from beampipe.triton.engine import Engine

APP = typer.Typer()
APP.command("plan")(plan_command)
APP.command("tune")(tune_command)


def run(*words: object) -> Result:
    return CliRunner().invoke(APP, [str(word) for word in words])


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({"sizes": [100, 200, 900], "seconds": [0.002, 0.003, 0.01], "overhead": 3e-4}))
    return path


QUICK = ("--requests", 1000, "--replicas", 2)


def test_plan_says_how_many_servers_with_an_error(measured: Path) -> None:
    result = run("plan", measured, "--clients", 500, "--rate", 2, "--p95", 0.03, *QUICK)
    assert result.exit_code == 0, result.output
    for policy in ("round_robin", "least_connections", "least_hits", "power_of_two"):
        assert policy in result.output
    answer = result.output.strip().splitlines()[-1]
    servers, low, high = (int(word) for word in re.findall(r"\b\d+\b(?! %|\.)", answer.replace("0.03", ""))[:3])
    # 1000 events/s x 5 ms = 5 cores
    assert 5 <= low <= servers <= high <= 9


def test_plan_compares_policies_for_a_number_of_servers(measured: Path) -> None:
    words = ("plan", measured, "--clients", 50, "--rate", 2, "--p95", 0.03, "--servers", 2, *QUICK)
    result = run(*words, "--sizes", "lognormal:200,1", "--instances", 2, "--seed", 5)
    assert "2 servers" in result.output
    assert "2 instance(s) on 2 core(s)" in result.output
    assert result.output == run(*words, "--sizes", "lognormal:200,1", "--instances", 2, "--seed", 5).output


def test_plan_refuses_what_no_fleet_keeps(measured: Path) -> None:
    result = run("plan", measured, "--clients", 500, "--rate", 2, "--p95", 0.001, *QUICK)
    assert isinstance(result.exception, ConfigError)
    assert "idle server" in str(result.exception)


@pytest.mark.parametrize(("p95", "verdict", "code"), [(5.0, "best: ", 0), (1e-4, "nearest, though too slow", 1)])
def test_tune_names_a_configuration(engine: Engine, tmp_path: Path, p95: float, verdict: str, code: int) -> None:
    sleeper = Path(__file__).with_name("sleeper.py")
    export_repository(tmp_path / "models", [ModelSettings("sleeper", f"{sleeper}:Sleeper")])
    (tmp_path / "choices.toml").write_text('instances = [1, 2]\nprotocol = ["http"]\n')
    save_file({"X": np.zeros(3, np.float32)}, tmp_path / "request.safetensors")
    words: list[Any] = ["tune", tmp_path / "models", "sleeper", "--p95", p95, "--triton", engine.folder]
    words += ["--choices", tmp_path / "choices.toml", "--recorded", tmp_path / "request.safetensors"]
    result = run(*words, "--seconds", 0.3, "--concurrency", 2)
    assert result.exit_code == code, result.output
    assert verdict in result.output


def test_tune_refuses_files_that_are_no_requests(measured: Path) -> None:
    result = run("tune", measured.parent, "m", "--p95", 1.0, "--recorded", measured)
    assert isinstance(result.exception, FileError)
    assert "safetensors" in str(result.exception)
