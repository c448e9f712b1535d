"""The files for containers: what they ask for is there, and each is read by a program that knows its kind."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from spython.main.parse.parsers import DockerParser, SingularityParser
from typer.testing import CliRunner

from beampipe.errors import ConfigError, FileError
from beampipe.fleet.cli import app
from beampipe.fleet.deploy.containers import compose_files, compose_notes, fleet_models, server_script, write_compose
from beampipe.fleet.deploy.kubernetes import kubernetes_notes
from beampipe.triton.engine import CONTAINER
from beampipe.triton.server.launch import TelemetrySettings
from tests.fleet.specimens import LEAST, SPECIMENS, WHOLE, specimen, write_model

SPECIFICATION = jsonschema.Draft7Validator(
    json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8"))
)
"""The published specification of Compose."""


def compose(folder: Path, text: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(compose_files(specimen(folder, text))["docker-compose.yaml"])
    return document


@pytest.mark.parametrize("name", SPECIMENS)
def test_compose_is_of_its_specification(name: str, tmp_path: Path) -> None:
    document = compose(tmp_path, SPECIMENS[name])
    SPECIFICATION.validate(document)
    for service in document["services"].values():
        assert set(service["networks"]) <= set(document["networks"])
        assert set(service.get("secrets", ())) <= set(document.get("secrets", ()))
        assert set(service.get("depends_on", ())) <= set(document["services"])
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


def test_only_the_gateway_has_a_port_for_others(tmp_path: Path) -> None:
    document = compose(tmp_path, WHOLE)
    ports = {name: service.get("ports") for name, service in document["services"].items()}
    assert ports == {
        "cpu-0": None,
        "cpu-1": None,
        "gpu-0": None,
        "gateway": ["127.0.0.1:8000:8443"],
        "prometheus": ["127.0.0.1:9090:9090"],
    }
    assert document["networks"]["servers"] == {"internal": True}


def test_each_server_with_a_gpu_has_one_of_its_own(tmp_path: Path) -> None:
    document = compose(tmp_path, WHOLE.replace("count = 1\nmost = 8", "count = 3\nmost = 8"))
    devices = {
        name: service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in document["services"].items()
        if name.startswith("gpu")
    }
    assert devices == {"gpu-0": ["0"], "gpu-1": ["1"], "gpu-2": ["2"]}
    assert "reservations" not in document["services"]["cpu-0"]["deploy"]["resources"]


def test_compose_replaces_nothing_in_a_script(tmp_path: Path) -> None:
    script = compose(tmp_path, WHOLE)["services"]["cpu-0"]["command"][2]
    assert not re.search(r"(?<!\$)\$(?!\$)", script)
    assert '"--http-restricted-api=shared-memory,logging,trace:beampipe-secret=$$secret"' in script


@pytest.mark.parametrize("name", SPECIMENS)
def test_the_definitions_are_read_by_what_converts_them(name: str, tmp_path: Path) -> None:
    paths = {path.name: path for path in write_compose(specimen(tmp_path, SPECIMENS[name]), tmp_path / "out")}
    for path in (path for path in paths.values() if path.suffix == ".def"):
        recipe = SingularityParser(str(path)).recipe["spython-base"]
        assert recipe.fromHeader == CONTAINER
        assert len(recipe.files) == 7
        assert any("pip install" in line for line in recipe.install)
        assert any("--model-repository=" in line for line in recipe.install)  # a runscript becomes a file
        assert recipe.test
    stages = DockerParser(str(paths["Dockerfile"])).recipe
    assert next(iter(stages)) == "build"
    assert all(stage.fromHeader.startswith(CONTAINER) for stage in stages.values())
    hadolint = Path(sys.executable).with_name("hadolint")
    # DL3008 wants versions of Debian's packages, which the release of the base image fixes.
    command: list[str | Path] = [hadolint, "--ignore", "DL3008", paths["Dockerfile"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_has_the_files_of_a_clone_and_torch_for_gpus(tmp_path: Path) -> None:
    for text, extras in ((LEAST, "[tracking]"), (WHOLE, "[train]")):
        made = compose_files(specimen(tmp_path, text))
        copied = re.findall(r"^    (\S+) /source/\S+$", made["apptainer/cpu.def"], re.M)
        assert {"release", ".git"} <= set(copied)  # the build's own backend, and what states the version
        assert all((Path(__file__).parents[3] / name).exists() for name in copied)
        assert all(f"beampipe{extras} @ file" in made[name] for name in ("Dockerfile", "apptainer/cpu.def"))


def test_scripts_of_the_definitions_are_shell(tmp_path: Path) -> None:
    text = compose_files(specimen(tmp_path, WHOLE))["apptainer/gpu.def"]
    for section in ("post", "runscript", "test", "environment"):
        script = re.search(rf"^%{section}\n(.*?)(?=^%|\Z)", text, re.M | re.S)
        assert script is not None
        subprocess.run(["/bin/sh", "-n", "-c", script[1]], check=True)


def test_the_wish_list_has_one_line_for_the_image(tmp_path: Path) -> None:
    text = 'repository = "m"\nmodels = ["one"]\n[servers.cpu]\n[container]\nimage = "ghcr.io/hep/tracks:1"\n'
    wish = yaml.safe_load(compose_files(specimen(tmp_path, text))["cvmfs-wish-list.yaml"])
    assert wish["version"] == 1
    assert wish["cvmfs_repo"] == "unpacked.cern.ch"
    assert wish["input"] == ["https://ghcr.io/hep/tracks:1"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
def test_prometheus_takes_its_file(tmp_path: Path) -> None:
    write_compose(specimen(tmp_path, WHOLE), tmp_path / "out")
    path = tmp_path / "out" / "prometheus.yml"
    path.write_text(path.read_text().replace("/etc/prometheus/", f"{path.parent}/"))
    subprocess.run(["promtool", "check", "config", path], check=True, capture_output=True)


def test_prometheus_is_told_of_chains(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, LEAST)
    assert "metric_relabel_configs" not in compose_files(fleet)["prometheus.yml"]
    write_model(fleet.repository, "module_map_athena", "module_map")
    (rule,) = yaml.safe_load(compose_files(fleet)["prometheus.yml"])["scrape_configs"][0]["metric_relabel_configs"]
    assert (rule["regex"], rule["target_label"], rule["replacement"]) == ("module_map_athena", "role", "chain")


def test_what_somebody_else_wrote_stays(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM mine\n")
    (folder / "notes.txt").write_text("mine\n")
    with pytest.raises(FileError, match="did not make"):
        write_compose(specimen(tmp_path, LEAST), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["Dockerfile", "notes.txt"]
    (folder / "Dockerfile").unlink()
    write_compose(specimen(tmp_path, LEAST), folder)
    assert (folder / "notes.txt").read_text() == "mine\n"


def test_a_server_sends_traces_to_the_collector_of_the_specification(tmp_path: Path) -> None:
    fleet = replace(specimen(tmp_path, LEAST), telemetry=TelemetrySettings("http://collector:4318", 100))
    group = next(iter(fleet.servers.values()))
    script = server_script(fleet, group, "/models")
    assert '"--trace-config=opentelemetry,url=http://collector:4318/v1/traces"' in script
    assert '"--trace-config=rate=100"' in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert "trace-config" not in server_script(replace(fleet, telemetry=None), group, "/models")


@pytest.mark.parametrize(
    ("command", "file", "note"),
    [
        ("k8s", "supersonic/values-cpu.yaml", "SuperSONIC's Envoy asks for neither"),
        ("compose", "docker-compose.yaml", "does not scale"),
    ],
)
def test_the_commands_say_what_they_wrote_and_what_is_left_out(
    command: str, file: str, note: str, tmp_path: Path
) -> None:
    specimen(tmp_path, WHOLE)
    done = CliRunner().invoke(app, [command, "-f", str(tmp_path / "fleet.toml"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    written = [Path(line) for line in done.stdout.splitlines()]
    assert tmp_path / "out" / file in written
    assert all(path.is_file() for path in written)
    assert note in done.stderr


def test_what_a_specification_asks_for_in_vain_is_said(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    plain = specimen(tmp_path, LEAST)
    asking = specimen(tmp_path, LEAST + '[gateway]\nbalancing = "least_hits"\n[gateway.athena]\n')
    assert not list(compose_notes(plain))
    assert [note.partition(":")[0] for note in compose_notes(asking)] == ["gateway.athena"]
    assert [note.partition(":")[0] for note in kubernetes_notes(plain)] == ["gateway.tls"]
    assert len(list(kubernetes_notes(asking))) == 3
    patient = replace(plain, patience=20.0)
    assert [note.partition(":")[0] for note in compose_notes(patient)] == ["patience"]
    assert [note.partition(":")[0] for note in kubernetes_notes(patient)] == ["patience", "gateway.tls"]


def test_all_models_of_a_repository_are_known(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, LEAST.replace('models = ["one"]\n', ""))
    with pytest.raises(ConfigError, match="no repository on this machine"):
        fleet_models(fleet)
    write_model(fleet.repository, "b")
    write_model(fleet.repository, "a")
    assert fleet_models(fleet) == ("a", "b")
    (fleet.repository / ".beampipe.json").write_text('{"models": ["c"]}')
    assert fleet_models(fleet) == ("c",)
