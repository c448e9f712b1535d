"""The package in `examples/plugin`, installed by pip: its finder, detector and task have their names."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from beampipe.errors import ConfigError
from beampipe.plugins import load_plugin

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"
INSTALL = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source")
    done = subprocess.run(
        [sys.executable, *INSTALL, folder / "site", source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def beampipe(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beampipe", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_finder_is_found_by_its_name(installed: Path, tmp_path: Path) -> None:
    assert beampipe(installed, tmp_path, "tracking", "example", "events.parquet").returncode == 0
    done = beampipe(installed, tmp_path, "tracking", "evaluate", "events.parquet", "-p", "long_tracks", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finders"][0]["name"] == "long_tracks"
    without = beampipe(tmp_path, tmp_path, "tracking", "evaluate", "events.parquet", "-p", "long_tracks")
    assert without.returncode != 0
    assert "long_tracks" in without.stderr


def test_a_task_is_found_by_its_name(installed: Path, tmp_path: Path) -> None:
    arguments = ["-o", "run", "-a", "nop", "-t", "coarse_muons", "-l", "1", "--json"]
    done = beampipe(installed, tmp_path, "analysisops", "run", *arguments)
    assert done.returncode == 0, done.stderr
    records = [path.read_text(encoding="utf-8") for path in (tmp_path / "run").rglob("*.json")]
    assert any(re.search(r'"task_id": ?"coarse_muons"', record) for record in records)


def test_a_detector_is_found_by_its_name(installed: Path) -> None:
    code = (
        "from pathlib import Path; from beampipe.simulation.detector import read_layout;"
        "print(read_layout(Path('six_layers')).name)"
    )
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "six_layers", done.stderr


def test_a_name_that_two_packages_provide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = EntryPoints(EntryPoint("sectors", f"package_{letter}:open", "beampipe.finders") for letter in "ab")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: twice)
    with pytest.raises(ConfigError, match="got 2 plug-ins of this name"):
        load_plugin("finders", "sectors")


def test_a_plugin_that_cannot_be_imported_says_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoints([EntryPoint("sectors", "no_such_package:open", "beampipe.finders")])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: entry)
    with pytest.raises(ConfigError, match="no_such_package:open"):
        load_plugin("finders", "sectors")
