"""Values for SuperSONIC: every key is one that the chart reads, and what it makes of them is what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from beampipe.errors import ConfigError
from beampipe.fleet.deploy.kubernetes import running_groups, supersonic_values
from tests.fleet.deploy.chart import ignored
from tests.fleet.specimens import LEAST, SPECIMENS, WHOLE, specimen

VERSIONS = ("1.31", "1.37")
"""The oldest and the newest release of Kubernetes that has users."""


def render(chart: Path, table: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """What the chart makes of values: kind and name -> document."""
    import helm_python

    # A chart looks for a ConfigMap in the cluster while it is rendered; here is none.
    table = {**table, "envoy": {**table["envoy"], "external_config": {"load_from_configmap": False}}}
    with helm_python.Chart.load(str(chart)) as loaded:
        files = loaded.render(table, name=table["nameOverride"], namespace="hep")
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    documents = [document for text in texts for document in yaml.safe_load_all(text) if document]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def whole(folder: Path, name: str) -> dict[str, Any]:
    fleet = specimen(folder, WHOLE)
    return supersonic_values(fleet, fleet.servers[name])


@pytest.mark.parametrize("name", SPECIMENS)
def test_the_chart_reads_every_value(name: str, tmp_path: Path) -> None:
    fleet = specimen(tmp_path, SPECIMENS[name])
    for group in running_groups(fleet):
        assert list(ignored(supersonic_values(fleet, group))) == []


@pytest.mark.parametrize("name", SPECIMENS)
def test_what_the_chart_makes_is_valid(chart: Path, name: str, tmp_path: Path) -> None:
    fleet = specimen(tmp_path, SPECIMENS[name])
    kinds = set()
    for group in running_groups(fleet):
        for document in render(chart, supersonic_values(fleet, group)).values():
            kinds.add(document["kind"])
            for version in VERSIONS if document["kind"] != "ScaledObject" else ():
                kubernetes_validate.validate(document, version, strict=True)
    assert kinds >= {"ConfigMap", "Deployment", "Service"}


def test_a_server_of_the_chart(chart: Path, tmp_path: Path) -> None:
    pod = render(chart, whole(tmp_path, "gpu"))["Deployment", "trk-gpu-triton"]["spec"]["template"]["spec"]
    (triton,) = pod["containers"]
    # Models are mounted where they are looked for.
    assert triton["volumeMounts"][0]["mountPath"] == "/cvmfs"
    assert "/cvmfs/unpacked.cern.ch/models/module_map" in triton["args"][0]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "cvmfs"
    resources = triton["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": 2, "memory": "16384Mi", "nvidia.com/gpu": 1}
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A10"}
    # It ends within what the chart grants, by our script: its own hook does nothing of that.
    assert "touch /tmp/shutdown; sleep 10; kill" in triton["args"][0]
    assert "--exit-timeout-secs=20" in triton["args"][0]
    assert pod["terminationGracePeriodSeconds"] > 10 + 20
    assert triton["lifecycle"]["preStop"]["exec"]["command"][2] == "touch"
    # Probes ask for the models and for the end.
    command = triton["readinessProbe"]["exec"]["command"][2]
    assert all(part in command for part in ("/models/module_map/ready", "/models/exatrkx/ready", "! -f /tmp/shutdown"))
    assert triton["startupProbe"]["periodSeconds"] * triton["startupProbe"]["failureThreshold"] >= 120


def test_more_time_to_end_than_the_chart_grants_is_refused(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, "exit_timeout = 50\n" + LEAST)
    with pytest.raises(ConfigError, match="at most 45 s"):
        supersonic_values(fleet, fleet.servers["cpu"])


def test_one_envoy_stands_before_all_groups(chart: Path, tmp_path: Path) -> None:
    first, second = (render(chart, whole(tmp_path, name)) for name in ("cpu", "gpu"))
    assert ("Deployment", "trk-cpu-envoy") in first
    assert ("Deployment", "trk-gpu-envoy") not in second
    assert {port["name"]: port["port"] for port in first["Service", "trk-cpu"]["spec"]["ports"]} == {
        "grpc": 8001,
        "admin": 9901,
    }
    ingress = first["Ingress", "trk-cpu-ingress-grpc"]
    assert ingress["spec"]["rules"][0]["host"] == "tracks.example.org"
    assert ingress["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
    assert whole(tmp_path, "cpu")["envoy"]["external_config"] == {
        "load_from_configmap": True,
        "configmap_name": "trk-envoy",
        "configmap_key": "envoy.yaml",
    }


def test_the_scaled_group_is_scaled(chart: Path, tmp_path: Path) -> None:
    first, second = (render(chart, whole(tmp_path, name)) for name in ("cpu", "gpu"))
    assert not [kind for kind, _ in first if kind == "ScaledObject"]
    spec = second["ScaledObject", "trk-gpu-keda-so"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 8)
    assert spec["scaleTargetRef"]["name"] == "trk-gpu-triton"
    trigger = spec["triggers"][0]
    assert trigger["metadata"]["serverAddress"] == "https://prometheus.example.org:443"
    assert trigger["metadata"]["threshold"] == "1"
    assert "12500" in trigger["metadata"]["query"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WHOLE.replace('mount = "/cvmfs', 'mount = "/data'), "below /cvmfs"),
        (WHOLE.replace('prometheus = "https://prometheus.example.org"', ""), "scales by what it says"),
        (WHOLE.replace("https://prometheus.example.org", "prometheus:9090"), "HOST:PORT"),
        ('repository = "nowhere"\n[servers.cpu]\n', "names of the models"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, text: str, message: str) -> None:
    fleet = specimen(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        supersonic_values(fleet, list(fleet.servers.values())[-1])
