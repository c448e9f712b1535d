"""Values for SuperSONIC's Helm chart: one release for each group of servers, and one Envoy before all of them.

The chart starts one kind of server. So each group is a release of its own; the first brings the Envoy, whose file
`envoy` makes. What of the chart does not do what it says is worked around here:

- its hook before the end calls ``touch`` without a file, and fails at once: servers end while gateways still send.
  Our script does what the hook was meant to do.
- its query counts executions, not requests, and knows no lower limit: ours is `growth`.
- its probe of readiness asks for the server, not for the models.
"""

from __future__ import annotations

import math
from typing import Any, Final

from beampipe.errors import ConfigError
from beampipe.fleet.containers.server import GRPC, HTTP, METRICS, fleet_models, memory, readiness, server_script
from beampipe.fleet.kubernetes.chart import check_values
from beampipe.fleet.kubernetes.envoy import ENVOY, STATUS, Address, EnvoyPlan, Upstream, envoy
from beampipe.fleet.kubernetes.labels import release, running_groups
from beampipe.fleet.kubernetes.pods import GPU_TOLERATIONS
from beampipe.fleet.kubernetes.scaling import METRIC_THRESHOLD, growth, largest_step, prometheus_address, scaled_group
from beampipe.fleet.specification import Fleet, ServerGroup

__all__ = ["CONFIG_MAP", "GRACE", "chart_envoy", "values"]

CONFIG_MAP: Final = "envoy"
"""End of the name of the ConfigMap with Envoy's file, which must be there before the chart is installed."""
GRACE: Final = 60
"""Time [s] that the chart gives a server to end."""

_CVMFS: Final = "/cvmfs"
_LOOK: Final = 5
_GRPC_INGRESS: Final = {
    "nginx": {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"},
    "haproxy": {"haproxy-ingress.github.io/backend-protocol": "h2"},
}
"""Class of ingress -> what tells it that it passes gRPC on."""


def values(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """The values of the release of one group.

    Raises:
        ConfigError: the specification asks for what the chart cannot do.
    """
    document = {
        "nameOverride": release(fleet, group),
        **_load(fleet, group),
        "triton": _triton(fleet, group),
        "envoy": _envoy(fleet, group),
        "keda": _keda(fleet, group),
        "prometheus": _prometheus(fleet),
    }
    check_values(document)
    return document


def chart_envoy(fleet: Fleet) -> dict[str, Any]:
    """The configuration of the Envoy that the chart brings, with the servers of all groups behind it."""
    namespace = fleet.kubernetes.namespace
    upstreams = [
        Upstream(Address(f"{release(fleet, group)}-triton.{namespace}.svc.cluster.local", GRPC), HTTP, group.weight)
        for group in running_groups(fleet)
    ]
    plan = EnvoyPlan(Address("0.0.0.0", GRPC), Address("0.0.0.0", STATUS), Address("127.0.0.1", 9902), upstreams)
    return envoy(fleet, plan, fleet_models(fleet))


def _load(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    if fleet.scaling is None or scaled_group(fleet) != group:
        return {}
    return {"serverLoadMetric": growth(fleet, group, fleet.scaling), "serverLoadThreshold": METRIC_THRESHOLD}


def _triton(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    models = readiness(fleet_models(fleet))
    share: dict[str, Any] = {"cpu": group.cores, "memory": memory(group)}
    if group.device == "gpu":
        share["nvidia.com/gpu"] = 1
    product = fleet.kubernetes.gpu_product
    if fleet.exit_timeout > GRACE - 15:
        raise ConfigError(
            f"exit_timeout: got {fleet.exit_timeout} s, expected at most {GRACE - 15} s: SuperSONIC ends a server after"
            f" {GRACE} s, and it goes on for 10 s of these"
        )
    return {
        "image": fleet.container.image,
        "command": ["/bin/sh", "-c"],
        "args": [server_script(fleet, group, fleet.kubernetes.mount, drains=True)],
        "replicas": max(1, group.count),
        "resources": {"limits": share, "requests": dict(share)},
        "modelRepository": _repository(fleet),
        "readinessProbe": {
            "reset": False,
            "command": ["/bin/sh", "-c", f"{models} && [ ! -f /tmp/shutdown ]"],
            "initialDelaySeconds": 1,
            "periodSeconds": _LOOK,
            "timeoutSeconds": _LOOK,
            "successThreshold": 1,
            "failureThreshold": 2,
        },
        "startupProbe": {
            "reset": False,
            "httpGet": {"path": "/v2/health/ready", "port": "http"},
            "initialDelaySeconds": 0,
            "periodSeconds": _LOOK,
            "failureThreshold": math.ceil(fleet.start_timeout / _LOOK),
        },
        "service": {
            "ports": [
                {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
                for name, port in (("http", HTTP), ("grpc", GRPC), ("metrics", METRICS))
            ]
        },
        "nodeSelector": {"nvidia.com/gpu.product": product} if product and group.device == "gpu" else {},
        "tolerations": GPU_TOLERATIONS if group.device == "gpu" else [],
    }


def _repository(fleet: Fleet) -> dict[str, Any]:
    settings = fleet.kubernetes
    if settings.storage.startswith("cvmfs"):
        if not settings.mount.startswith(f"{_CVMFS}/"):
            raise ConfigError(
                f"kubernetes.mount: got {settings.mount!r} with storage = {settings.storage!r}, expected the folder of"
                f" the models below {_CVMFS}, where all of it appears"
            )
        return {"enabled": True, "mountPath": _CVMFS, "storageType": settings.storage}
    table: dict[str, Any] = {"enabled": True, "mountPath": settings.mount, "storageType": settings.storage}
    if settings.storage == "nfs":
        return {**table, "nfs": {"server": settings.nfs_server, "path": settings.nfs_path}}
    return {**table, "pvc": {"claimName": settings.claim}}


def _envoy(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    if group != running_groups(fleet)[0]:
        return {"enabled": False}
    host, ingress = fleet.kubernetes.hostname, fleet.kubernetes.ingress_class
    return {
        "enabled": True,
        "image": f"envoyproxy/envoy:v{ENVOY}",
        "replicas": 2,
        "external_config": {
            "load_from_configmap": True,
            "configmap_name": f"{fleet.name}-{CONFIG_MAP}",
            "configmap_key": "envoy.yaml",
        },
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 2, "memory": "2Gi"}},
        "service": {
            "type": "ClusterIP",
            "ports": [
                {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}
                for name, port in (("grpc", GRPC), ("admin", STATUS))
            ],
        },
        "ingress": {
            "enabled": host is not None,
            "hostName": host or "",
            "ingressClassName": ingress if host else "",
            "annotations": _GRPC_INGRESS.get(ingress, {}) if host else {},
        },
    }


def _keda(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    if fleet.scaling is None or scaled_group(fleet) != group:
        return {"enabled": False}
    patience = math.ceil(fleet.scaling.patience)
    pace = {"stabilizationWindowSeconds": patience, "periodSeconds": patience, "stepsize": largest_step(group)}
    return {
        "enabled": True,
        "minReplicaCount": fleet.scaling.least,
        "maxReplicaCount": group.places,
        "zeroIdleReplicas": False,
        "scaleUp": pace,
        "scaleDown": dict(pace),
    }


def _prometheus(fleet: Fleet) -> dict[str, Any]:
    if fleet.kubernetes.prometheus is None:
        return {"enabled": False}
    scheme, host, port = prometheus_address(fleet.kubernetes.prometheus)
    return {"enabled": False, "external": {"enabled": True, "url": host, "port": port, "scheme": scheme}}
