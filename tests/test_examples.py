"""The examples run as they stand, and stay short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from beampipe.tracking.formats import count_events

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ACTS = ROOT / "tests/tracking/formats/acts"


def run(example: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_tested_here(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 40
    assert f'run("{path.name}"' in Path(__file__).read_text()


def test_convert(tmp_path: Path) -> None:
    target = tmp_path / "events.parquet"
    assert run("convert.py", ACTS, target) == f"{target}: 1 events\n"
    assert count_events(target) == 1


def test_own_finder() -> None:
    out = run("own_finder.py")
    assert "sectors" in out


def test_own_stage() -> None:
    out = run("own_stage.py")
    assert "whole" in out
    assert "flat" in out


def test_track_a_file() -> None:
    assert "tracks\ntrack 0: r [mm] = [" in run("track_a_file.py")


def test_ask_a_server_that_is_not_there() -> None:
    assert "0 answered by a server, 20 here" in run("ask_a_server.py", "grpc://127.0.0.1:1")


def test_scale_factors(tmp_path: Path) -> None:
    out = run("scale_factors.py", tmp_path)
    assert "SF_q at 700 GeV: " in out
    assert "parton_shower: 0." in out


@pytest.mark.acts
def test_acts_custom_seeder() -> None:
    pytest.importorskip("acts")
    found = int(run("acts_custom_seeder.py").split(" of 40 muons found")[0])
    assert 38 <= found <= 40
