"""What Prometheus is told."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from beampipe.errors import FileError
from beampipe.fleet import Fleet
from beampipe.fleet.monitoring.prometheus import (
    SETTINGS,
    prometheus_settings,
    role_relabelings,
    write_settings,
    write_targets,
)
from beampipe.fleet.registry import BEAT
from tests.fleet.monitoring.exporters import record
from tests.fleet.specimens import write_model


@pytest.mark.prometheus
@pytest.mark.parametrize("ports", [{}, {"status_port": 2404, "page_port": 2405}])
def test_prometheus_takes_the_settings(fleet: Fleet, tmp_path: Path, ports: dict[str, int]) -> None:
    write_model(fleet.repository, "athena", "module-map.2")
    folder = tmp_path / 'odd " folder'
    write_settings(fleet, folder, **ports)
    done = subprocess.run(["promtool", "check", "config", folder / SETTINGS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout


def test_the_settings_are_those_of_the_specification(fleet: Fleet, tmp_path: Path) -> None:
    text = prometheus_settings(fleet, tmp_path / "rules.yml", "servers.json", gateway="127.0.0.1:2404")
    assert "scrape_interval: 200ms" in text
    assert "127.0.0.1:2404" in text
    assert "job_name: fleet" not in text
    assert "job_name: gateway" not in prometheus_settings(fleet, tmp_path / "rules.yml", "servers.json")


def test_chains_of_models_and_their_steps_are_marked(fleet: Fleet, tmp_path: Path) -> None:
    assert "role" not in prometheus_settings(fleet, tmp_path / "rules.yml", "servers.json")
    write_model(fleet.repository, "module_map")
    write_model(fleet.repository, "module_map_athena", "module_map")
    write_model(fleet.repository, "exatrkx", "embed", "frnn", "wcc")
    (triton,) = yaml.safe_load(prometheus_settings(fleet, tmp_path / "rules.yml", "servers.json"))["scrape_configs"]
    assert triton["metric_relabel_configs"] == role_relabelings(fleet.repository)
    assert [(rule["regex"], rule["replacement"]) for rule in role_relabelings(fleet.repository)] == [
        ("exatrkx|module_map_athena", "chain"),
        ("embed", "first"),
        ("frnn|wcc", "step"),
    ]


def test_a_configuration_that_is_no_text_is_said(fleet: Fleet, tmp_path: Path) -> None:
    write_model(fleet.repository, "one")
    (fleet.repository / "one" / "config.pbtxt").write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="expected the configuration of a model"):
        prometheus_settings(fleet, tmp_path / "rules.yml", "servers.json")


def test_targets_are_the_servers_that_there_should_be(tmp_path: Path) -> None:
    now = time.time()
    records = {
        "gpu-0": record("gpu-0", 8003),
        "cpu-0": record("cpu-0", 8002, state="hangs", beat=now - 20 * BEAT),
        "cpu-1": record("cpu-1", 8004, state="ending"),
        "cpu-2": record("cpu-2", 8005, beat=now - 3600),
    }
    path = write_targets(tmp_path, records)
    assert json.loads(path.read_text()) == [
        {"targets": ["127.0.0.1:8002"], "labels": {"server": "cpu-0", "group": "cpu"}},
        {"targets": ["127.0.0.1:8003"], "labels": {"server": "gpu-0", "group": "gpu"}},
    ]


def test_targets_that_stay_are_not_written_again(tmp_path: Path) -> None:
    records = {"cpu-0": record("cpu-0", 8002)}
    path = write_targets(tmp_path, records)
    first = path.stat().st_ino
    assert write_targets(tmp_path, records).stat().st_ino == first
    assert write_targets(tmp_path, {}).stat().st_ino != first
