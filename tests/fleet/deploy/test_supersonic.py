"""Values for SuperSONIC: every key is one that the chart reads, and what it makes of them is what was meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from beampipe.errors import ConfigError
from beampipe.fleet.deploy.kubernetes import running_groups, supersonic_values
from tests.fleet.deploy.chart import chart_keys, ignored, listed_keys
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


def container(document: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = document["spec"]["template"]["spec"]["containers"][0]
    return result


def test_the_list_of_keys_is_the_charts(chart: Path) -> None:
    assert listed_keys() == chart_keys(chart)


@pytest.mark.parametrize(
    ("table", "keys"),
    [
        ({"triton": {"replica": 1}}, ["triton.replica"]),
        ({"triton": {"replicas": "1"}}, ["triton.replicas, integer"]),
        ({"triton": {"replicas": True}}, ["triton.replicas, integer"]),
        ({"triton": {"service": {"ports": [{"prot": 1}]}}}, ["triton.service.ports[].prot"]),
        ({"tritn": {}}, ["tritn"]),
    ],
)
def test_what_the_chart_would_ignore_is_found(table: dict[str, Any], keys: list[str]) -> None:
    assert list(ignored(table)) == keys


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


def test_models_are_mounted_where_they_are_looked_for(chart: Path, tmp_path: Path) -> None:
    triton = render(chart, whole(tmp_path, "gpu"))["Deployment", "trk-gpu-triton"]
    assert container(triton)["volumeMounts"][0]["mountPath"] == "/cvmfs"
    assert "/cvmfs/unpacked.cern.ch/models/module_map" in container(triton)["args"][0]
    assert triton["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "cvmfs"


def test_a_server_with_a_gpu_asks_for_one(chart: Path, tmp_path: Path) -> None:
    triton = render(chart, whole(tmp_path, "gpu"))["Deployment", "trk-gpu-triton"]
    resources = container(triton)["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": 2, "memory": "16384Mi", "nvidia.com/gpu": 1}
    assert triton["spec"]["template"]["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A10"}
    assert "nvidia.com/gpu" not in str(render(chart, whole(tmp_path, "cpu"))["Deployment", "trk-cpu-triton"])


def test_a_server_ends_within_what_the_chart_grants(chart: Path, tmp_path: Path) -> None:
    triton = render(chart, whole(tmp_path, "gpu"))["Deployment", "trk-gpu-triton"]
    pod = triton["spec"]["template"]["spec"]
    script = container(triton)["args"][0]
    assert "touch /tmp/shutdown; sleep 10; kill" in script
    assert "--exit-timeout-secs=20" in script
    assert pod["terminationGracePeriodSeconds"] > 10 + 20
    # Its own hook does nothing of that: if this changes, the workaround may go.
    assert container(triton)["lifecycle"]["preStop"]["exec"]["command"][2] == "touch"


def test_more_time_to_end_than_the_chart_grants_is_refused(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, "exit_timeout = 50\n" + LEAST)
    with pytest.raises(ConfigError, match="at most 45 s"):
        supersonic_values(fleet, fleet.servers["cpu"])


def test_probes_ask_for_the_models_and_for_the_end(chart: Path, tmp_path: Path) -> None:
    triton = container(render(chart, whole(tmp_path, "gpu"))["Deployment", "trk-gpu-triton"])
    command = triton["readinessProbe"]["exec"]["command"][2]
    assert all(part in command for part in ("/models/module_map/ready", "/models/exatrkx/ready", "! -f /tmp/shutdown"))
    startup = triton["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120


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
