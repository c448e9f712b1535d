"""The calibration inside other workflow systems: the examples run as they stand, and run nothing again."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.calibration import Configuration, DijetSelection, is_calibrated
from beampipe.calibration.tasks.runtime import FACTORS, LOG
from beampipe.workflow import EventLog
from tests.calibration.campaign import INLINE, Toys, configuration_of, made

EXAMPLES = Path(__file__).parents[2] / "examples/calibration_workflows"
TOML = """
chunk_events = 600
working_points = [0.5]
[bootstrap]
replicas = 5
[samples.nominal]
files = "{0}/nominal/*.root"
[samples.data]
files = "{0}/data/*.root"
kind = "data"
"""

snakemake = pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="no Snakemake: pip install snakemake"
)
law = pytest.mark.skipif(importlib.util.find_spec("law") is None, reason="no law: pip install law")


@pytest.fixture
def calibration(toys: Toys, tmp_path: Path) -> Path:
    path = tmp_path / "dijets.toml"
    path.write_text(TOML.format(toys.folder))
    return path


def run(*command: str | Path) -> str:
    """What a module prints; `beampipe` is that of this interpreter."""
    there = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    path = os.pathsep.join([str(EXAMPLES), *filter(None, sys.path)])
    words = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(
        words, env={**os.environ, **there, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@snakemake
def test_the_rule_of_snakemake(calibration: Path, tmp_path: Path) -> None:
    output = tmp_path / "results"
    settings = ["--config", f"calibration={calibration}", f"output={output}", "workers=2"]
    command = [
        "snakemake",
        "--snakefile",
        f"{EXAMPLES}/Snakefile",
        "--directory",
        f"{tmp_path}",
        "--cores",
        "2",
        *settings,
    ]
    assert "2 of 2 steps" not in run(*command)
    assert (output / FACTORS).exists()
    fills = Counter(
        event["key"] for event in EventLog(output / LOG).read() if event["event"] == "done" and event["stage"] == "fill"
    )
    assert set(fills.values()) == {1}, "two jobs, each chunk once"
    before = made(output)
    assert "Nothing to be done" in run(*command)
    calibration.write_text(calibration.read_text().replace("[0.5]", "[0.6]"))
    assert "Nothing to be done" not in run(*command)
    assert made(output) - before == {"extract": 1, "factors": 1}


@law
def test_the_task_of_law(calibration: Path, tmp_path: Path) -> None:
    output = tmp_path / "results"
    command = ["luigi", "--module", "scale_factors_task", "ScaleFactors", "--local-scheduler"]
    command += ["--calibration", str(calibration), "--folder", str(output)]
    assert "1 ran successfully" in run(*command)
    assert (output / FACTORS).exists()
    before = made(output)
    assert "1 complete ones were encountered" in run(*command)
    calibration.write_text(calibration.read_text().replace("[0.5]", "[0.6]"))
    assert "1 ran successfully" in run(*command), "its parameters are the same, but not what they name"
    assert made(output) - before == {"extract": 1, "factors": 1}


def test_whether_there_is_something_to_do(base: Configuration, toys: Toys, tmp_path: Path) -> None:
    assert not is_calibrated(configuration_of(toys, tmp_path))
    assert list(tmp_path.iterdir()) == [], "asking writes nothing"
    assert INLINE.executor == "inline"
    assert is_calibrated(base)
    assert not is_calibrated(replace(base, selection=DijetSelection(min_n_trk=3)))
    assert not is_calibrated(replace(base, working_points=(0.6,)))
