"""Exported tasks have Harbor's layout; their verifier gives the reference's answer 1, and none 0."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.analysisops.harbor import export_task, verify
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import shipped_task
from beampipe.errors import ConfigError

TASKS = ("operations", "zmumu", "tracks")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Instances of a task with words, of one with a histogram, and of one with labels."""
    output = tmp_path_factory.mktemp("harbor")
    for name in TASKS:
        export_task(shipped_task(name), Seeds((1,)).of(name, 3)[0], 3, output, "beampipe[analysisops]==1.0")
    return output


def reward(folder: Path, app: Path) -> dict[str, float]:
    """What the script of the verifier writes for the files in `app`."""
    app.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "APP": str(app), "LOGS": str(app / "logs")}
    subprocess.run(["sh", str(folder / "tests" / "test.sh")], env=environment, check=True)
    return dict(json.loads((app / "logs" / "reward.json").read_text()))


def test_the_layout_is_that_of_harbor(exported: Path) -> None:
    folder = exported / "zmumu-dev-1"
    settings = tomllib.loads((folder / "task.toml").read_text())
    assert settings["schema_version"] == "1.4"
    assert settings["artifacts"] == ["/app/answer.json"]
    assert settings["task"]["name"] == "beampipe/zmumu-dev-1"
    assert settings["verifier"]["environment_mode"] == "separate"
    assert settings["environment"]["network_mode"] == "no-network"
    assert settings["agent"]["timeout_sec"] == 600.0
    instruction = (folder / "instruction.md").read_text()
    assert instruction.startswith("# What is the mass of the resonance?")
    assert '"mass": {"edges": [], "values": []}' in instruction
    assert "beampipe[analysisops]==1.0" in (folder / "tests" / "Dockerfile").read_text()
    for script in ("tests/test.sh", "solution/solve.sh"):
        assert os.access(folder / script, os.X_OK)


def test_the_agent_gets_data_and_no_truth(exported: Path) -> None:
    folder = exported / "zmumu-dev-1"
    manifest = json.loads((folder / "environment" / "data" / "manifest.json").read_text())
    listed = {file["name"] for file in manifest["files"]}
    assert {path.name for path in (folder / "environment" / "data").iterdir()} == {*listed, "manifest.json"}
    hidden = json.loads((folder / "tests" / "instance" / "hidden.json").read_text())["hidden"]
    assert hidden["seed"] == 0
    mass = repr(hidden["truth"]["mass"])
    for path in [folder / "instruction.md", folder / "task.toml", *(folder / "environment").rglob("*")]:
        assert path.is_dir() or mass.encode() not in path.read_bytes()


@pytest.mark.parametrize("name", TASKS)
def test_the_solution_earns_all_and_no_answer_nothing(exported: Path, name: str, tmp_path: Path) -> None:
    folder = exported / f"{name}-dev-1"
    assert set(verify(folder / "tests", tmp_path / "nothing").values()) == {0.0}
    app = tmp_path / "oracle"
    app.mkdir()
    subprocess.run(["sh", str(folder / "solution" / "solve.sh")], env={**os.environ, "APP": str(app)}, check=True)
    by_script = name == TASKS[0]  # one process is enough
    assert (reward(folder, app) if by_script else verify(folder / "tests", app))["reward"] == 1.0


def test_a_bad_answer_earns_nothing(exported: Path, tmp_path: Path) -> None:
    for answer in ("", "[]", '{"answers": {"mass": {"value": 91.19, "uncertainty": 0.002}}}'):
        (tmp_path / "answer.json").write_text(answer)
        assert verify(exported / "zmumu-dev-1" / "tests", tmp_path)["reward"] == 0.0
    assert reward(exported / "zmumu-dev-1", tmp_path)["reward"] == 0.0  # a process whose answer is wrong ends well


def test_only_tasks_with_data_of_their_own(tmp_path: Path) -> None:
    task = shipped_task("operations")
    public = replace(task, spec=replace(task.spec, family=""))
    with pytest.raises(ConfigError, match="open data"):
        export_task(public, Seeds((1,)).of(task.id, 3)[0], 3, tmp_path, "beampipe")
