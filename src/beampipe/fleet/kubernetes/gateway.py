"""The gateway in plain manifests: HAProxy with TLS and tokens, its Service, and who reaches whom."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Final

from beampipe.fleet.containers.gateway import CLIENTS, STATUS, Papers
from beampipe.fleet.containers.server import DRAIN, GRPC, HTTP, METRICS
from beampipe.fleet.gateway.plan import Address, Place
from beampipe.fleet.kubernetes.labels import gateway_name, labels, metadata, release, running_groups
from beampipe.fleet.kubernetes.pods import CONTAINER_SECURITY, pod_security, probe, spread
from beampipe.fleet.kubernetes.servers import SERVER
from beampipe.fleet.specification import Fleet

__all__ = [
    "GATEWAY",
    "gateway_configuration",
    "gateway_deployment",
    "gateway_papers",
    "gateway_places",
    "gateway_service",
    "network_policies",
]

GATEWAY: Final = "gateway"
"""Component in the labels of the gateway."""

_USER: Final = 99
"""Number of the user ``haproxy`` in HAProxy's image."""
_REPLICAS: Final = 2
_TLS: Final = "/etc/beampipe/tls"
_TOKENS: Final = "/etc/beampipe/tokens"
_CONFIGURATION: Final = "/usr/local/etc/haproxy"
_NAMES: Final = ({"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})


def gateway_papers(fleet: Fleet) -> Papers:
    """Where the gateway finds its files, in its pod: certificate and tokens always, since others reach it."""
    asks = fleet.gateway.tls is not None and fleet.gateway.tls.client_ca is not None
    return Papers(
        Path(_TLS) / "tls.pem",
        Path(_TLS) / "ca.pem" if asks else None,
        Path(_TOKENS) / "tokens" if fleet.gateway.tokens is not None or not asks else None,
    )


def gateway_places(fleet: Fleet) -> list[Place]:
    """The servers: one name for each group, which stands for all that are ready."""
    domain = f"{fleet.kubernetes.namespace}.svc.cluster.local"
    return [
        Place(
            f"{group.name}-",
            group.weight,
            Address(f"{release(fleet, group)}.{domain}", HTTP, GRPC),
            several=group.places,
        )
        for group in running_groups(fleet)
    ]


def gateway_configuration(fleet: Fleet, text: str) -> dict[str, Any]:
    """The ConfigMap with HAProxy's configuration."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(fleet, gateway_name(fleet), GATEWAY),
        "data": {"haproxy.cfg": text},
    }


def gateway_deployment(fleet: Fleet, text: str) -> dict[str, Any]:
    """The Deployment of the gateway; it changes, and rolls, with the text of its configuration."""
    chosen = labels(fleet, gateway_name(fleet), GATEWAY)
    digest = hashlib.sha256(text.encode()).hexdigest()
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(_USER),
        "terminationGracePeriodSeconds": DRAIN + min(600, math.ceil(fleet.gateway.answer)) + 5,
        "topologySpreadConstraints": spread(chosen),
        "containers": [_container(fleet)],
        "volumes": _volumes(fleet),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(fleet, gateway_name(fleet), GATEWAY),
        "spec": {
            "replicas": _REPLICAS,
            "selector": {"matchLabels": chosen},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": chosen, "annotations": {"beampipe/configuration": digest}},
                "spec": pod,
            },
        },
    }


def gateway_service(fleet: Fleet) -> dict[str, Any]:
    """The Service of the gateway: both protocols on one port; from outside the cluster if it has a name there."""
    host = fleet.kubernetes.hostname
    described = metadata(fleet, gateway_name(fleet), GATEWAY)
    if host is not None:
        described["annotations"] = {"external-dns.alpha.kubernetes.io/hostname": host}
    ports = [{"name": "clients", "port": fleet.gateway.port, "targetPort": "clients", "protocol": "TCP"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": described,
        "spec": {
            "type": "ClusterIP" if host is None else "LoadBalancer",
            "selector": labels(fleet, gateway_name(fleet), GATEWAY),
            # Not the status port: a load balancer would show it to everybody.
            "ports": ports,
        },
    }


def network_policies(fleet: Fleet) -> list[dict[str, Any]]:
    """Who reaches whom: clients the gateway, the gateway the servers, Prometheus the metrics; nobody anything else."""
    gateway = {"app.kubernetes.io/component": GATEWAY, "app.kubernetes.io/part-of": fleet.name}
    servers = {"app.kubernetes.io/component": SERVER, "app.kubernetes.io/part-of": fleet.name}
    triton = [{"port": HTTP, "protocol": "TCP"}, {"port": GRPC, "protocol": "TCP"}]
    return [
        _policy(
            fleet,
            f"{fleet.name}-{SERVER}",
            servers,
            [
                {"from": [{"podSelector": {"matchLabels": gateway}}], "ports": triton},
                {"from": [{"namespaceSelector": {}}], "ports": [{"port": METRICS, "protocol": "TCP"}]},
            ],
            [],
        ),
        _policy(
            fleet,
            gateway_name(fleet),
            gateway,
            [
                {"ports": [{"port": CLIENTS, "protocol": "TCP"}]},
                {"from": [{"namespaceSelector": {}}], "ports": [{"port": STATUS, "protocol": "TCP"}]},
            ],
            [{"to": [{"podSelector": {"matchLabels": servers}}], "ports": triton}, {"ports": list(_NAMES)}],
        ),
    ]


def _policy(
    fleet: Fleet,
    name: str,
    chosen: dict[str, str],
    ingress: list[dict[str, Any]],
    egress: list[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(fleet, name, "network"),
        "spec": {
            "podSelector": {"matchLabels": chosen},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _container(fleet: Fleet) -> dict[str, Any]:
    healthy = {"httpGet": {"path": "/healthy", "port": "status"}}
    share = {"cpu": "1", "memory": "1Gi"}
    papers = gateway_papers(fleet)
    mounts = {"configuration": _CONFIGURATION, "tls": _TLS, **({"tokens": _TOKENS} if papers.tokens else {})}
    return {
        "name": "haproxy",
        "image": fleet.container.gateway,
        "ports": [
            {"name": "clients", "containerPort": CLIENTS, "protocol": "TCP"},
            {"name": "status", "containerPort": STATUS, "protocol": "TCP"},
        ],
        "resources": {"limits": share, "requests": dict(share)},
        "securityContext": CONTAINER_SECURITY,
        "startupProbe": probe(healthy, 1, 30),
        "readinessProbe": probe(healthy, 2, 2),
        "livenessProbe": probe(healthy, 5, 3),
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN}}},
        "volumeMounts": [
            *({"name": name, "mountPath": path, "readOnly": True} for name, path in mounts.items()),
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }


def _volumes(fleet: Fleet) -> list[dict[str, Any]]:
    settings, papers = fleet.kubernetes, gateway_papers(fleet)
    # HAProxy looks for the key of a certificate in a file beside it.
    items = [{"key": "tls.crt", "path": "tls.pem"}, {"key": "tls.key", "path": "tls.pem.key"}]
    items += [{"key": "ca.crt", "path": "ca.pem"}] if papers.client_ca else []
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {}},
        {"name": "configuration", "configMap": {"name": gateway_name(fleet)}},
        {"name": "tls", "secret": {"secretName": settings.tls_secret, "defaultMode": 0o440, "items": items}},
    ]
    if papers.tokens:
        volumes.append({"name": "tokens", "secret": {"secretName": settings.token_secret, "defaultMode": 0o440}})
    return volumes
