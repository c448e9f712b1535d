"""Plain manifests: each is valid for two releases of Kubernetes or for its operator, and all of them fit together.

The definitions of the operators are downloaded from GitHub once; their tests are skipped if it is unreachable.
`BEAMPIPE_CRDS` may name a folder that has them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from beampipe.fleet.deploy.kubernetes import kubernetes_files, server_monitors, write_kubernetes
from tests.fleet.deploy.test_supersonic import VERSIONS
from tests.fleet.specimens import LEAST, NFS, SPECIMENS, WHOLE, specimen, write_model


@cache
def documents(text: str, below: str = "manifests/") -> tuple[dict[str, Any], ...]:
    """The documents of a specification; nobody changes them."""
    with TemporaryDirectory() as folder:
        files = kubernetes_files(specimen(Path(folder), text))
    chosen = [text for name, text in files.items() if name.startswith(below) and "values" not in name]
    return tuple(document for text in chosen for document in yaml.safe_load_all(text) if "kind" in document)


PROMETHEUS = (
    "https://raw.githubusercontent.com/prometheus-operator/prometheus-operator/v0.93.0/example/prometheus-operator-crd"
)
SOURCES = {
    "ScaledObject": "https://raw.githubusercontent.com/kedacore/keda/v2.20.2/config/crd/bases/keda.sh_scaledobjects.yaml",
    "ServiceMonitor": f"{PROMETHEUS}/monitoring.coreos.com_servicemonitors.yaml",
    "PodMonitor": f"{PROMETHEUS}/monitoring.coreos.com_podmonitors.yaml",
    "PrometheusRule": f"{PROMETHEUS}/monitoring.coreos.com_prometheusrules.yaml",
}
"""By kind: where its definition (CustomResourceDefinition) is."""


def definition_file(kind: str) -> Path:
    """The definition of a kind; skips the test if it cannot be had."""
    source = SOURCES[kind]
    cached = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "beampipe" / "crds"
    folder = Path(os.environ.get("BEAMPIPE_CRDS", cached))
    path = folder / source.rpartition("/")[2]
    if not path.is_file():
        try:
            with urllib.request.urlopen(source, timeout=5) as answer:
                content = answer.read()
        except OSError as error:
            pytest.skip(f"the definition of {kind} is out of reach: {error}")
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return path


@cache
def schema_of(kind: str, version: str) -> dict[str, Any]:
    """The schema of a kind in an API version, which refuses unknown fields as strict validation does."""
    definition = yaml.safe_load(definition_file(kind).read_text(encoding="utf-8"))["spec"]
    assert definition["names"]["kind"] == kind
    schema = next(
        item["schema"]["openAPIV3Schema"]
        for item in definition["versions"]
        if f"{definition['group']}/{item['name']}" == version and item["served"]
    )
    strict = closed(deepcopy(schema))
    strict["properties"]["metadata"] = {"type": "object"}  # checked by Kubernetes itself
    return strict


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without room for unknown fields, except where the definition preserves them."""
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    if "(?i)" in schema.get("pattern", ""):
        del schema["pattern"]  # Go's syntax, refused by Python; we write no such field
    for below in schema.get("properties", {}).values():
        closed(below)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            closed(schema[key])
    return schema


def whole(kind: str, name: str) -> dict[str, Any]:
    result = {(document["kind"], document["metadata"]["name"]): document for document in documents(WHOLE)}
    return result[kind, name]


def pod(document: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = document["spec"]["template"]["spec"]
    return result


@pytest.mark.parametrize("name", SPECIMENS)
def test_every_manifest_is_valid(name: str) -> None:
    result = documents(SPECIMENS[name], "")
    for document in result:
        for version in VERSIONS if document["kind"] not in SOURCES else ():
            kubernetes_validate.validate(document, version, strict=True)
    kinds = {document["kind"] for document in result}
    assert kinds >= {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor"}
    assert ("ScaledObject" in kinds) == ("[scaling]" in SPECIMENS[name])


@pytest.mark.parametrize("kind", SOURCES)
def test_resources_agree_with_the_published_definition(kind: str) -> None:
    resources = [
        document for text in SPECIMENS.values() for document in documents(text, "") if document["kind"] == kind
    ]
    assert resources
    for resource in resources:
        jsonschema.validate(resource, schema_of(kind, resource["apiVersion"]))


def test_no_container_has_rights() -> None:
    for document in documents(WHOLE):
        if document["kind"] == "Deployment":
            assert pod(document)["securityContext"]["runAsNonRoot"]
            assert pod(document)["securityContext"]["runAsUser"] > 0
            assert not pod(document)["automountServiceAccountToken"]
            for container in pod(document)["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert container["resources"]["limits"] == container["resources"]["requests"]


@pytest.mark.parametrize(("text", "level"), [(LEAST, "restricted"), (NFS, "baseline")])
def test_the_namespace_lets_in_what_we_need_and_no_more(text: str, level: str) -> None:
    namespace = next(document for document in documents(text) if document["kind"] == "Namespace")
    assert namespace["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": level}


def test_what_is_mounted_is_there() -> None:
    for document in documents(WHOLE):
        if document["kind"] == "Deployment":
            volumes = {volume["name"] for volume in pod(document)["volumes"]}
            mounted = {mount["name"] for item in pod(document)["containers"] for mount in item["volumeMounts"]}
            assert mounted == volumes
            assert document["spec"]["selector"]["matchLabels"] == document["spec"]["template"]["metadata"]["labels"]


def test_services_budgets_and_monitors_choose_what_there_is() -> None:
    """Whatever chooses by labels chooses pods, or Services, that exist."""
    results = documents(WHOLE)
    pods = [result["spec"]["template"]["metadata"]["labels"] for result in results if result["kind"] == "Deployment"]
    services = [result["metadata"]["labels"] for result in results if result["kind"] == "Service"]
    checked = 0
    for item in results:
        spec = item.get("spec", {})
        chosen = spec.get("podSelector") or spec.get("selector")
        if item["kind"] == "Deployment" or chosen is None:
            continue
        wanted = chosen.get("matchLabels", chosen)
        among = services if item["kind"] == "ServiceMonitor" else pods
        assert any(wanted.items() <= labels.items() for labels in among), item["kind"]
        checked += 1
    assert checked >= 3 + 3 + 2 + 3


def test_chains_of_models_are_marked_for_prometheus(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, WHOLE)
    write_model(fleet.repository, "module_map_athena", "module_map")
    group = fleet.servers["gpu"]
    document = yaml.safe_load(server_monitors(fleet, [(group, {})]))
    (endpoint,) = document["spec"]["endpoints"]
    (rule,) = endpoint["metricRelabelings"]
    assert (rule["sourceLabels"], rule["regex"], rule["replacement"]) == (["model"], "module_map_athena", "chain")


def test_probes_and_the_end_of_a_server() -> None:
    server = pod(whole("Deployment", "trk-gpu"))
    container = server["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert "/v2/models/exatrkx/ready" in container[probe]["exec"]["command"][2]
    # A server is out of the way well before it is started again, and not before its models can be loaded.
    seconds = {
        name: container[name]["periodSeconds"] * container[name]["failureThreshold"]
        for name in container
        if "Probe" in name
    }
    assert seconds["readinessProbe"] < seconds["livenessProbe"]
    assert seconds["startupProbe"] >= 120
    assert server["terminationGracePeriodSeconds"] >= container["lifecycle"]["preStop"]["sleep"]["seconds"] + 20


def test_who_scales_says_how_many() -> None:
    assert "replicas" not in whole("Deployment", "trk-gpu")["spec"]
    assert whole("Deployment", "trk-cpu")["spec"]["replicas"] == 2
    target = whole("ScaledObject", "trk-gpu")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "trk-gpu"}


def test_the_gateway_has_certificate_and_tokens_whatever_a_laptop_needs() -> None:
    result = {
        document["metadata"]["name"]: document for document in documents(LEAST) if document["kind"] == "Deployment"
    }
    secrets = [
        volume["secret"]["secretName"] for volume in pod(result["fleet-gateway"])["volumes"] if "secret" in volume
    ]
    assert secrets == ["beampipe-tls", "beampipe-tokens"]


def test_only_the_gateway_reaches_the_servers() -> None:
    policy = whole("NetworkPolicy", "trk-server")["spec"]
    assert policy["egress"] == []
    doors = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}
    gateway = {"app.kubernetes.io/component": "gateway", "app.kubernetes.io/part-of": "trk"}
    assert doors[8000] == doors[8001] == [{"podSelector": {"matchLabels": gateway}}]


def test_a_name_outside_makes_a_load_balancer() -> None:
    service = whole("Service", "trk-gateway")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"external-dns.alpha.kubernetes.io/hostname": "tracks.example.org"}
    inside = [document for document in documents(LEAST) if document["metadata"]["name"] == "fleet-gateway"]
    assert [item["spec"]["type"] for item in inside if item["kind"] == "Service"] == ["ClusterIP"]


def test_the_gateway_is_rolled_when_its_configuration_changes() -> None:
    texts = [LEAST, LEAST.replace("count = 2", "count = 3"), LEAST.replace("count = 2", "count = 2\nmost = 4")]
    results = [
        {(document["kind"], document["metadata"]["name"]): document for document in documents(text)} for text in texts
    ]
    templates = [result["Deployment", "fleet-gateway"]["spec"]["template"] for result in results]
    assert templates[0] != templates[1]
    assert templates[0] == templates[2]  # twice the count is what there is room for anyway


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: apt-get install prometheus")
def test_alerts_are_rules_that_prometheus_takes(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(whole("PrometheusRule", "trk")["spec"]), encoding="utf-8")
    subprocess.run(["promtool", "check", "rules", rules], check=True, capture_output=True)


def test_a_second_call_writes_the_same_and_removes_what_is_old(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = {path: path.read_bytes() for path in write_kubernetes(specimen(tmp_path, WHOLE), folder)}
    assert {path: path.read_bytes() for path in write_kubernetes(specimen(tmp_path, WHOLE), folder)} == first
    assert all(
        text.startswith(b"# Made by beampipe") and b"Do not edit" in text.splitlines()[0] for text in first.values()
    )
    write_kubernetes(specimen(tmp_path, LEAST), folder)
    assert (folder / "supersonic" / "values.yaml").is_file()
    assert not (folder / "supersonic" / "values-gpu.yaml").exists()
