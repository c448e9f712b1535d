"""The examples run as they stand, and stay short."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beampipe.analysisops.evaluation import evaluate
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import load_task
from beampipe.tracking.formats import open_events

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ACTS = ROOT / "tests/tracking/formats/acts"


def run(example: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def serving(example: str, ready: str) -> Iterator[str]:
    """The address of an example that serves at a port; it is ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "examples" / example), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 300
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{ready}", timeout=5.0):
                        break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < until
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_tested_here(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40
    assert f'("{path.name}"' in Path(__file__).read_text()


def test_convert(tmp_path: Path) -> None:
    target = tmp_path / "events.parquet"
    assert run("convert.py", ACTS, target) == f"{target}: 1 events\n"
    assert len(open_events(target)) == 1


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


def test_analysisops_agent(tmp_path: Path) -> None:
    """It selects as the task asks for, so its mass and its spectrum are right."""
    with serving("analysisops_agent.py", "/.well-known/agent-card.json") as url:
        (record,) = evaluate(["zmumu"], [url], Seeds.first(1), tmp_path, levels=(3,), judge="none")
    assert record["grade"]["status"] == "ok", record["grade"]["issues"]
    assert record["grade"]["final"]["normalized_score"] > 0.9


def test_the_task_of_the_documentation(tmp_path: Path) -> None:
    task = ROOT / "examples/plugin/src/beampipe_example/coarse_muons"
    assert not load_task(task).warnings
    records = evaluate([str(task)], ["oracle", "recall"], Seeds.first(1), tmp_path, levels=(1,))
    best, remembered = (record["grade"]["final"]["normalized_score"] for record in records)
    assert best == 1.0
    assert remembered <= 0.1


@pytest.mark.acts
def test_acts_custom_seeder() -> None:
    pytest.importorskip("acts")
    result = int(run("acts_custom_seeder.py").split(" of 40 muons found")[0])
    assert 38 <= result <= 40


@pytest.mark.acts
def test_acts_track_finder() -> None:
    pytest.importorskip("acts")
    result = int(run("acts_track_finder.py").split(" of 40 muons found and fitted")[0])
    assert 38 <= result <= 40
