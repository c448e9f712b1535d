"""The servers in plain manifests: a Deployment for each group, its Service, and how many may be away at once."""

from __future__ import annotations

import math
from typing import Any, Final

from beampipe.fleet.containers.server import (
    DRAIN,
    GRPC,
    HTTP,
    METRICS,
    fleet_models,
    memory,
    readiness,
    server_script,
)
from beampipe.fleet.kubernetes.labels import labels, metadata, release
from beampipe.fleet.kubernetes.pods import CONTAINER_SECURITY, GPU_TOLERATIONS, pod_security, probe, spread
from beampipe.fleet.specification import Fleet, ServerGroup

__all__ = ["SERVER", "deployment", "disruption_budget", "service"]

SERVER: Final = "server"
"""Component in the labels of servers."""

_USER: Final = 1000
"""Number of the user ``triton-server`` in NVIDIA's image."""
_LOOK: Final = 5
_LOST: Final = 12
"""Looks in a row after which a server whose models are not ready is started again: a minute."""


def deployment(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """The Deployment of a group."""
    chosen = labels(fleet, release(fleet, group), SERVER)
    scaled = fleet.scaling is not None and fleet.scaling.group == group.name
    # A GPU is seldom free for one more server.
    pace = {"maxSurge": 0, "maxUnavailable": 1} if group.device == "gpu" else {"maxSurge": 1, "maxUnavailable": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(fleet, release(fleet, group), SERVER),
        "spec": {
            # Who scales says how many.
            **({} if scaled else {"replicas": group.count}),
            "selector": {"matchLabels": chosen},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": pace},
            "template": {"metadata": {"labels": chosen}, "spec": _pod(fleet, group, chosen)},
        },
    }


def service(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """The Service of a group: one name for the addresses of all its servers that are ready, for both protocols."""
    ports = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP", **more}
        for name, port, more in (
            ("http", HTTP, {"appProtocol": "http"}),
            ("grpc", GRPC, {"appProtocol": "kubernetes.io/h2c"}),
            ("metrics", METRICS, {}),
        )
    ]
    selector = labels(fleet, release(fleet, group), SERVER)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(fleet, release(fleet, group), SERVER),
        "spec": {"clusterIP": "None", "selector": selector, "ports": ports},
    }


def disruption_budget(fleet: Fleet, name: str, component: str) -> dict[str, Any]:
    """A PodDisruptionBudget: one at a time may be taken away by maintenance.

    Args:
        fleet: the specification.
        name: name of what is kept.
        component: component in its labels.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(fleet, name, component),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels(fleet, name, component)},
        },
    }


def _pod(fleet: Fleet, group: ServerGroup, chosen: dict[str, str]) -> dict[str, Any]:
    product = fleet.kubernetes.gpu_product
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(_USER),
        "terminationGracePeriodSeconds": DRAIN + fleet.exit_timeout + 5,
        "topologySpreadConstraints": spread(chosen),
        "containers": [_container(fleet, group)],
        "volumes": [
            {"name": "models", **_source(fleet)},
            {"name": "tmp", "emptyDir": {}},
            # Tensors on their way to the processes of Python models; counts as memory of the container.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{math.ceil(512 * group.memory)}Mi"}},
        ],
    }
    if group.device == "gpu":
        pod["tolerations"] = GPU_TOLERATIONS
        pod |= {"nodeSelector": {"nvidia.com/gpu.product": product}} if product else {}
    return pod


def _container(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    share: dict[str, Any] = {"cpu": str(group.cores), "memory": memory(group)}
    if group.device == "gpu":
        share["nvidia.com/gpu"] = "1"
    look = {"exec": {"command": ["/bin/sh", "-c", readiness(fleet_models(fleet))]}}
    cvmfs = fleet.kubernetes.storage.startswith("cvmfs")
    return {
        "name": "triton",
        "image": fleet.container.image,
        "command": ["/bin/sh", "-c", server_script(fleet, group, fleet.kubernetes.mount)],
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in (("http", HTTP), ("grpc", GRPC), ("metrics", METRICS))
        ],
        "resources": {"limits": share, "requests": dict(share)},
        "securityContext": CONTAINER_SECURITY,
        "startupProbe": probe(look, _LOOK, math.ceil(fleet.start_timeout / _LOOK)),
        "readinessProbe": probe(look, _LOOK, 2),
        "livenessProbe": probe(look, _LOOK, _LOST),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN}}},
        "volumeMounts": [
            {
                "name": "models",
                "mountPath": "/cvmfs" if cvmfs else fleet.kubernetes.mount,
                "readOnly": True,
                **({"mountPropagation": "HostToContainer"} if cvmfs else {}),
            },
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _source(fleet: Fleet) -> dict[str, Any]:
    settings = fleet.kubernetes
    if settings.storage == "nfs":
        return {"nfs": {"server": settings.nfs_server, "path": settings.nfs_path, "readOnly": True}}
    if settings.storage == "cvmfs-hostPath":
        return {"hostPath": {"path": "/cvmfs", "type": "Directory"}}
    return {"persistentVolumeClaim": {"claimName": settings.claim, "readOnly": True}}
