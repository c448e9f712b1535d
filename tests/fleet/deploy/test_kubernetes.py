"""Manifests, values for SuperSONIC's chart, and the query by which Kubernetes scales."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from beampipe.errors import ConfigError
from beampipe.fleet.deploy.kubernetes import (
    growth_query,
    kubernetes_files,
    running_groups,
    server_monitors,
    supersonic_values,
    write_kubernetes,
)
from tests.fleet.specimens import LEAST, NFS, SPECIMENS, WHOLE, specimen, write_model

CHART_VERSION = "0.3.1"
"""The release of the chart for which values are written."""

KEYS = Path(__file__).with_name(f"supersonic-{CHART_VERSION}.json")
"""File of the keys that the chart reads, from its schema and templates: path -> type of the value."""

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "open": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}

VARIABLE = "BEAMPIPE_SUPERSONIC"
"""Name of the environment variable with a folder of the chart, ``helm/supersonic`` of a clone at its tag."""

SOURCE = f"https://github.com/fastmachinelearning/SuperSONIC/archive/refs/tags/supersonic-{CHART_VERSION}.tar.gz"
SCHEMA = "cc6067a9fd1cfbc9d5398a327e22fb022d78bec04055a5af2bd44a5e1b9d53e8"
"""Where the chart is fetched, and the sha256 of its schema: an archive of GitHub's is not the same for ever."""


def find_chart() -> Path | None:
    """A folder of the chart of the version that we write for, or None."""
    for folder in (os.environ.get(VARIABLE), _cache()):
        if folder is not None and (Path(folder) / "Chart.yaml").is_file():
            described = (Path(folder) / "Chart.yaml").read_text(encoding="utf-8")
            if re.search(rf"^version: {re.escape(CHART_VERSION)}$", described, re.M):
                return Path(folder)
    return None


def fetch_chart() -> Path | None:
    """Fetch the chart into the cache; None if it is out of reach."""
    try:
        with urllib.request.urlopen(SOURCE, timeout=5) as answer:
            archive = answer.read()
    except OSError:
        return None
    folder = _cache()
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for file in files.getmembers():
            _, result, name = file.name.partition("/helm/supersonic/")
            content = files.extractfile(file) if result and file.isfile() else None
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content.read())
    assert hashlib.sha256((folder / "values.schema.json").read_bytes()).hexdigest() == SCHEMA
    return find_chart()


def _cache() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    return Path(cache) / "beampipe" / f"supersonic-{CHART_VERSION}"


@cache
def listed_keys() -> dict[str, str]:
    """The keys of the file."""
    keys: dict[str, str] = json.loads(KEYS.read_text(encoding="utf-8"))["keys"]
    return keys


def ignored(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Keys of values that the chart does not read, or whose values have another type: Helm accepts and ignores them."""
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        kind = listed_keys().get(key)
        if kind is None:
            yield key
            continue
        if kind != "any" and (not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
            yield f"{key}, {kind}"
        if kind in ("object", "any") and isinstance(value, Mapping):
            yield from ignored(value, key)
        for item in value if isinstance(value, list) else ():
            if isinstance(item, Mapping) and f"{key}[]" in listed_keys():
                yield from ignored(item, f"{key}[]")


@pytest.fixture(scope="session")
def chart() -> Path:
    """SuperSONIC's chart, fetched once; without it what is rendered cannot be looked at."""
    result = find_chart() or fetch_chart()
    if result is None:
        pytest.skip(f"no chart of SuperSONIC, and GitHub is out of reach; set {VARIABLE} to a folder of it")
    return result


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


def values_of_whole(folder: Path, name: str) -> dict[str, Any]:
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
    pod = render(chart, values_of_whole(tmp_path, "gpu"))["Deployment", "trk-gpu-triton"]["spec"]["template"]["spec"]
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


def test_one_envoy_stands_before_all_groups(chart: Path, tmp_path: Path) -> None:
    first, second = (render(chart, values_of_whole(tmp_path, name)) for name in ("cpu", "gpu"))
    assert ("Deployment", "trk-cpu-envoy") in first
    assert ("Deployment", "trk-gpu-envoy") not in second
    ports = {port["name"]: port["port"] for port in first["Service", "trk-cpu"]["spec"]["ports"]}
    assert ports == {"grpc": 8001, "admin": 9901}
    ingress = first["Ingress", "trk-cpu-ingress-grpc"]
    assert ingress["spec"]["rules"][0]["host"] == "tracks.example.org"
    assert ingress["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
    assert values_of_whole(tmp_path, "cpu")["envoy"]["external_config"] == {
        "load_from_configmap": True,
        "configmap_name": "trk-envoy",
        "configmap_key": "envoy.yaml",
    }


def test_the_scaled_group_is_scaled(chart: Path, tmp_path: Path) -> None:
    first, second = (render(chart, values_of_whole(tmp_path, name)) for name in ("cpu", "gpu"))
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
        ("exit_timeout = 50\n" + LEAST, "at most 45 s"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, text: str, message: str) -> None:
    fleet = specimen(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        supersonic_values(fleet, list(fleet.servers.values())[-1])


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


def named(text: str) -> dict[tuple[str, str], Any]:
    return {(document["kind"], document["metadata"]["name"]): document for document in documents(text)}


def whole(kind: str, name: str) -> Any:
    return named(WHOLE)[kind, name]


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
    every = [document for text in SPECIMENS.values() for document in documents(text, "")]
    resources = [document for document in every if document["kind"] == kind]
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
    probes = {name: probe for name, probe in container.items() if "Probe" in name}
    seconds = {name: probe["periodSeconds"] * probe["failureThreshold"] for name, probe in probes.items()}
    assert seconds["readinessProbe"] < seconds["livenessProbe"]
    assert seconds["startupProbe"] >= 120
    assert server["terminationGracePeriodSeconds"] >= container["lifecycle"]["preStop"]["sleep"]["seconds"] + 20


def test_who_scales_says_how_many() -> None:
    assert "replicas" not in whole("Deployment", "trk-gpu")["spec"]
    assert whole("Deployment", "trk-cpu")["spec"]["replicas"] == 2
    target = whole("ScaledObject", "trk-gpu")["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "trk-gpu"}


def test_the_gateway_has_certificate_and_tokens_whatever_a_laptop_needs() -> None:
    volumes = pod(named(LEAST)["Deployment", "fleet-gateway"])["volumes"]
    secrets = [volume["secret"]["secretName"] for volume in volumes if "secret" in volume]
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
    assert named(LEAST)["Service", "fleet-gateway"]["spec"]["type"] == "ClusterIP"


def test_the_gateway_is_rolled_when_its_configuration_changes() -> None:
    texts = [LEAST, LEAST.replace("count = 2", "count = 3"), LEAST.replace("count = 2", "count = 2\nmost = 4")]
    templates = [named(text)["Deployment", "fleet-gateway"]["spec"]["template"] for text in texts]
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


CASES: list[tuple[int, float, float, int]] = [
    # servers, time in the queue [ms], share of time at work, wanted servers
    (1, 30, 0.9, 2),
    (3, 30, 0.9, 4),
    (20, 30, 0.9, 23),  # one more of 20 is a change that Kubernetes ignores
    (3, 10, 0.9, 3),
    (3, 10, 0.1, 2),
    (3, 30, 0.1, 4),  # who waits counts more than who idles
    (20, 0, 0.1, 17),
]


def input_series(servers: int, queue: float, busy: float) -> list[dict[str, str]]:
    """What servers with that queue [ms] and that share of work say, every 10 s: 100 requests in between."""
    steps = {
        "inference_queue_duration_us": 1e5 * queue,
        "inference_request_success": 100,
        "inference_compute_infer_duration_us": 1e7 * busy,
    }
    series = [
        {"series": f'nv_{name}{{release="trk-gpu",instance="{server}"}}', "values": f"0+{step:g}x30"}
        for name, step in steps.items()
        for server in range(servers)
    ]
    # A chain of one step in front of it, of which Triton counts the same again.
    return series + [{**item, "series": item["series"].replace("{", '{role="chain",')} for item in series]


def is_right(folder: Path, cases: list[tuple[int, float, float, int]]) -> bool:
    """Whether the query gives the wanted numbers: Kubernetes takes ceil(servers * factor), if it differs by 10 %."""
    fleet = specimen(folder, WHOLE)
    assert fleet.scaling is not None
    query = growth_query(fleet, fleet.servers["gpu"], replace(fleet.scaling, queue=20.0, busy=0.3))
    tests: list[dict[str, Any]] = []
    for servers, queue, busy, wanted in cases:
        low, high = ((wanted - 0.5) / servers, wanted / servers) if wanted != servers else (1, 1)
        assert wanted == servers or not 0.9 <= high <= 1.1
        assert math.ceil(servers * low) == wanted
        expected = {"expr": f"count(growth >= {low} <= {high})", "eval_time": "4m"}
        samples = {"exp_samples": [{"labels": "{}", "value": 1}]}
        series = {"input_series": input_series(servers, queue, busy), "interval": "10s"}
        tests.append({**series, "promql_expr_test": [{**expected, **samples}]})
    rules = {"groups": [{"name": "g", "rules": [{"record": "growth", "expr": query}]}]}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "10s", "tests": tests}
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=folder, capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.prometheus
def test_a_group_grows_and_shrinks_by_a_step(tmp_path: Path) -> None:
    assert is_right(tmp_path, CASES)
    assert not is_right(tmp_path, [(3, 10, 0.9, 4)]), "this test can fail"
