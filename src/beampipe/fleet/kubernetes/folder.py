"""The folder of `beampipe fleet k8s`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from beampipe.fleet.containers.gateway import gateway_text
from beampipe.fleet.containers.generated import Files, write_files, yaml_text
from beampipe.fleet.kubernetes.gateway import (
    GATEWAY,
    gateway_configuration,
    gateway_deployment,
    gateway_papers,
    gateway_places,
    gateway_service,
    network_policies,
)
from beampipe.fleet.kubernetes.labels import gateway_name, labels, metadata, release, running_groups
from beampipe.fleet.kubernetes.monitoring import gateway_monitor, prometheus_rule, server_monitor
from beampipe.fleet.kubernetes.scaling import scaled_group, scaled_object
from beampipe.fleet.kubernetes.servers import SERVER, deployment, disruption_budget, service
from beampipe.fleet.kubernetes.supersonic import CONFIG_MAP, chart_envoy, values
from beampipe.fleet.specification import Fleet

__all__ = ["COMMAND", "kubernetes_files", "kubernetes_notes", "write_kubernetes"]

COMMAND: Final = "beampipe fleet k8s"


def kubernetes_files(fleet: Fleet) -> Files:
    """The files for Kubernetes, by their path: ``supersonic/`` for Helm, ``manifests/`` for `kubectl apply`.

    Args:
        fleet: the specification.

    Raises:
        ConfigError: the specification asks for what cannot be done in Kubernetes, or leaves out what must be known.
    """
    return {
        **{f"supersonic/{name}": text for name, text in _supersonic(fleet).items()},
        **{f"manifests/{name}": text for name, text in _manifests(fleet).items()},
    }


def write_kubernetes(fleet: Fleet, folder: Path) -> list[Path]:
    """Write the files for Kubernetes.

    Args:
        fleet: the specification.
        folder: where to; files that an earlier call made and that are no longer needed are removed.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: the specification asks for what cannot be done in Kubernetes, or leaves out what must be known.
        FileError: a file cannot be written, or one of another origin is in its place.
    """
    return write_files(folder, kubernetes_files(fleet), COMMAND)


def kubernetes_notes(fleet: Fleet) -> Iterator[str]:
    """What the specification asks for and these files do not do, a sentence each."""
    gateway, settings = fleet.gateway, fleet.kubernetes
    if gateway.balancing == "least_hits":
        yield "gateway.balancing: these gateways know no sizes; they take the server with the fewest requests"
    if gateway.athena is not None:
        yield "gateway.athena: there is no door without TLS; jobs need a sidecar of their own that adds TLS and token"
    if gateway.tokens is not None or gateway.tls is not None:
        yield "gateway.tokens, gateway.tls: SuperSONIC's Envoy asks for neither; its ingress must, or take manifests/"
    if gateway.tls is None:
        yield f"gateway.tls: the gateway of manifests/ has TLS all the same, from the secret {settings.tls_secret}"
    if settings.storage == "cvmfs-pvc" and settings.claim != "cvmfs":
        yield f"kubernetes.claim: SuperSONIC mounts the claim cvmfs, not {settings.claim}"
    if any(group.device == "gpu" and group.weight == 10 for group in fleet.servers.values()) and len(fleet.servers) > 1:
        yield "servers: groups with and without GPU have the same weight; a faster server should have a larger one"


def _supersonic(fleet: Fleet) -> dict[str, str]:
    groups = running_groups(fleet)
    configuration = yaml_text(chart_envoy(fleet))
    files = {f"values-{group.name}.yaml": yaml_text(values(fleet, group)) for group in groups}
    if len(groups) == 1:
        files = {"values.yaml": next(iter(files.values()))}
    monitors = [server_monitor(fleet, group, _chart_labels(release(fleet, group))) for group in groups]
    return {
        **files,
        "envoy.yaml": configuration,
        "envoy-configmap.yaml": yaml_text(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": metadata(fleet, f"{fleet.name}-{CONFIG_MAP}", GATEWAY),
                "data": {"envoy.yaml": configuration},
            }
        ),
        "monitors.yaml": yaml_text(*monitors),
    }


def _chart_labels(name: str) -> dict[str, str]:
    """Labels of the Service of the servers that the chart makes."""
    return {
        "app.kubernetes.io/name": "supersonic",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "triton",
    }


def _manifests(fleet: Fleet) -> dict[str, str]:
    text = gateway_text(fleet, gateway_places(fleet), gateway_papers(fleet))
    files = {
        "namespace.yaml": yaml_text(_namespace(fleet)),
        "network.yaml": yaml_text(*network_policies(fleet)),
        "gateway.yaml": yaml_text(
            gateway_configuration(fleet, text),
            gateway_deployment(fleet, text),
            gateway_service(fleet),
            disruption_budget(fleet, gateway_name(fleet), GATEWAY),
        ),
        "monitoring.yaml": yaml_text(
            *(
                server_monitor(fleet, group, labels(fleet, release(fleet, group), SERVER))
                for group in running_groups(fleet)
            ),
            gateway_monitor(fleet),
            prometheus_rule(fleet),
        ),
    }
    for group in running_groups(fleet):
        files[f"servers-{group.name}.yaml"] = yaml_text(
            deployment(fleet, group),
            service(fleet, group),
            disruption_budget(fleet, release(fleet, group), SERVER),
        )
    scaled = scaled_group(fleet)
    if scaled is not None and fleet.scaling is not None:
        files["scaling.yaml"] = yaml_text(scaled_object(fleet, scaled, fleet.scaling))
    return files


def _namespace(fleet: Fleet) -> dict[str, Any]:
    # The strictest standard that lets the models be mounted.
    level = {"nfs": "baseline", "cvmfs-hostPath": "privileged"}.get(fleet.kubernetes.storage, "restricted")
    enforced = {"pod-security.kubernetes.io/enforce": level}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": fleet.kubernetes.namespace, "labels": enforced},
    }
