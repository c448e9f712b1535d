"""Resources of KEDA and of the Prometheus operator against the definitions that these operators publish.

The definitions are downloaded from GitHub once; the tests are skipped if it is unreachable. `BEAMPIPE_CRDS` may name a
folder that has them.
"""

from __future__ import annotations

import os
import urllib.request
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.fleet.deploy.test_manifests import documents
from tests.fleet.specimens import SPECIMENS, WHOLE

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


@pytest.mark.parametrize("kind", SOURCES)
def test_resources_agree_with_the_published_definition(kind: str) -> None:
    resources = [
        document for text in SPECIMENS.values() for document in documents(text, "") if document["kind"] == kind
    ]
    assert resources
    for resource in resources:
        jsonschema.validate(resource, schema_of(kind, resource["apiVersion"]))


@pytest.mark.parametrize("kind", SOURCES)
def test_an_unknown_field_is_refused(kind: str) -> None:
    resource = next(document for document in documents(WHOLE) if document["kind"] == kind)
    wrong = {**resource, "spec": {**resource["spec"], "endpoint": []}}
    with pytest.raises(jsonschema.ValidationError, match="endpoint"):
        jsonschema.validate(wrong, schema_of(kind, resource["apiVersion"]))
