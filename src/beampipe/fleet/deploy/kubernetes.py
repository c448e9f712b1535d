"""A fleet as plain Kubernetes manifests: servers, gateway, network policies, monitoring, and scaling by KEDA."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from beampipe.errors import ConfigError
from beampipe.fleet.deploy.containers import (
    CLIENTS,
    DRAIN,
    GRPC,
    HTTP,
    METRICS,
    STATUS,
    Credentials,
    fleet_models,
    memory_limit,
    readiness_command,
    server_script,
)
from beampipe.fleet.gateway.plan import Address, Slot
from beampipe.fleet.monitoring.prometheus import interval_text, role_relabelings
from beampipe.fleet.specification import Fleet, ScalingSettings, ServerGroup


def release_name(fleet: Fleet, group: ServerGroup) -> str:
    """Name of a group in the cluster; with SuperSONIC the name of its release, and of the label in its metrics."""
    return f"{fleet.name}-{group.name}"


def running_groups(fleet: Fleet) -> list[ServerGroup]:
    """The groups that have servers in the cluster: from the start, or when scaling adds one."""
    scaled = fleet.scaling.group if fleet.scaling else None
    return [group for group in fleet.servers.values() if group.count or group.name == scaled]


def gateway_name(fleet: Fleet) -> str:
    """Name of the gateway in the cluster."""
    return f"{fleet.name}-gateway"


def labels(fleet: Fleet, name: str, component: str) -> dict[str, str]:
    """Labels by which things are chosen.

    Args:
        fleet: the specification.
        name: name of the thing, of `release` or `gateway_name`.
        component: what it is for, such as ``"server"``.
    """
    return {
        "app.kubernetes.io/name": "beampipe",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": fleet.name,
    }


def metadata(fleet: Fleet, name: str, component: str) -> dict[str, Any]:
    """The table ``metadata`` of a manifest; arguments as for `labels`."""
    return {"name": name, "namespace": fleet.kubernetes.namespace, "labels": labels(fleet, name, component)}


CONTAINER_SECURITY: Final[dict[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""What a container may not do."""

GPU_TOLERATIONS: Final = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
"""What lets a pod onto nodes with GPUs, which are kept free of all others."""


def pod_security(user: int) -> dict[str, Any]:
    """As whom a pod runs.

    Args:
        user: number of the user and the group, not 0.
    """
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def probe(action: dict[str, Any], period: int, failures: int, timeout: int = 5) -> dict[str, Any]:
    """A probe.

    Args:
        action: what is done, such as ``{"httpGet": ...}``.
        period: time [s] between two.
        failures: number of failures in a row that count.
        timeout: time [s] without an answer that is a failure.
    """
    return {**action, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}


def spread(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Pods of these labels on different nodes, where there is a choice."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
    ]


SERVER: Final = "server"
"""Component in the labels of servers."""

_TRITON_USER: Final = 1000
"""Number of the user ``triton-server`` in NVIDIA's image."""

_PROBE_PERIOD: Final = 5

_LIVENESS_FAILURES: Final = 12
"""Looks in a row after which a server whose models are not ready is started again: a minute."""


def server_deployment(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """The Deployment of a group."""
    chosen = labels(fleet, release_name(fleet, group), SERVER)
    scaled = fleet.scaling is not None and fleet.scaling.group == group.name
    # A GPU is seldom free for one more server.
    pace = {"maxSurge": 0, "maxUnavailable": 1} if group.device == "gpu" else {"maxSurge": 1, "maxUnavailable": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(fleet, release_name(fleet, group), SERVER),
        "spec": {
            # Who scales says how many.
            **({} if scaled else {"replicas": group.count}),
            "selector": {"matchLabels": chosen},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": pace},
            "template": {"metadata": {"labels": chosen}, "spec": _server_pod(fleet, group, chosen)},
        },
    }


def server_service(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """The Service of a group: one name for the addresses of all its servers that are ready, for both protocols."""
    ports = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP", **more}
        for name, port, more in (
            ("http", HTTP, {"appProtocol": "http"}),
            ("grpc", GRPC, {"appProtocol": "kubernetes.io/h2c"}),
            ("metrics", METRICS, {}),
        )
    ]
    selector = labels(fleet, release_name(fleet, group), SERVER)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(fleet, release_name(fleet, group), SERVER),
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


def _server_pod(fleet: Fleet, group: ServerGroup, chosen: dict[str, str]) -> dict[str, Any]:
    product = fleet.kubernetes.gpu_product
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(_TRITON_USER),
        "terminationGracePeriodSeconds": DRAIN + fleet.exit_timeout + 5,
        "topologySpreadConstraints": spread(chosen),
        "containers": [_server_container(fleet, group)],
        "volumes": [
            {"name": "models", **_model_volume(fleet)},
            {"name": "tmp", "emptyDir": {}},
            # Tensors on their way to the processes of Python models; counts as memory of the container.
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{math.ceil(512 * group.memory)}Mi"}},
        ],
    }
    if group.device == "gpu":
        pod["tolerations"] = GPU_TOLERATIONS
        pod |= {"nodeSelector": {"nvidia.com/gpu.product": product}} if product else {}
    return pod


def _server_container(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    share: dict[str, Any] = {"cpu": str(group.cores), "memory": memory_limit(group)}
    if group.device == "gpu":
        share["nvidia.com/gpu"] = "1"
    look = {"exec": {"command": ["/bin/sh", "-c", readiness_command(fleet_models(fleet))]}}
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
        "startupProbe": probe(look, _PROBE_PERIOD, math.ceil(fleet.start_timeout / _PROBE_PERIOD)),
        "readinessProbe": probe(look, _PROBE_PERIOD, 2),
        "livenessProbe": probe(look, _PROBE_PERIOD, _LIVENESS_FAILURES),
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


def _model_volume(fleet: Fleet) -> dict[str, Any]:
    settings = fleet.kubernetes
    if settings.storage == "nfs":
        return {"nfs": {"server": settings.nfs_server, "path": settings.nfs_path, "readOnly": True}}
    if settings.storage == "cvmfs-hostPath":
        return {"hostPath": {"path": "/cvmfs", "type": "Directory"}}
    return {"persistentVolumeClaim": {"claimName": settings.claim, "readOnly": True}}


GATEWAY: Final = "gateway"
"""Component in the labels of the gateway."""

_HAPROXY_USER: Final = 99
"""Number of the user ``haproxy`` in HAProxy's image."""

_REPLICAS: Final = 2

_TLS: Final = "/etc/beampipe/tls"

_TOKENS: Final = "/etc/beampipe/tokens"

_CONFIGURATION: Final = "/usr/local/etc/haproxy"

_NAMES: Final = ({"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})


def gateway_credentials(fleet: Fleet) -> Credentials:
    """Where the gateway finds its files, in its pod: certificate and tokens always, since others reach it."""
    asks = fleet.gateway.tls is not None and fleet.gateway.tls.client_ca is not None
    return Credentials(
        Path(_TLS) / "tls.pem",
        Path(_TLS) / "ca.pem" if asks else None,
        Path(_TOKENS) / "tokens" if fleet.gateway.tokens is not None or not asks else None,
    )


def gateway_slots(fleet: Fleet) -> list[Slot]:
    """The servers: one name for each group, which stands for all that are ready."""
    domain = f"{fleet.kubernetes.namespace}.svc.cluster.local"
    return [
        Slot(
            f"{group.name}-",
            group.weight,
            Address(f"{release_name(fleet, group)}.{domain}", HTTP, GRPC),
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
        "securityContext": pod_security(_HAPROXY_USER),
        "terminationGracePeriodSeconds": DRAIN + min(600, math.ceil(fleet.gateway.answer)) + 5,
        "topologySpreadConstraints": spread(chosen),
        "containers": [_gateway_container(fleet)],
        "volumes": _gateway_volumes(fleet),
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


def _gateway_container(fleet: Fleet) -> dict[str, Any]:
    healthy = {"httpGet": {"path": "/healthy", "port": "status"}}
    share = {"cpu": "1", "memory": "1Gi"}
    papers = gateway_credentials(fleet)
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


def _gateway_volumes(fleet: Fleet) -> list[dict[str, Any]]:
    settings, papers = fleet.kubernetes, gateway_credentials(fleet)
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


_MONITORING_API: Final = "monitoring.coreos.com/v1"


def server_monitor(fleet: Fleet, group: ServerGroup, selector: Mapping[str, str]) -> dict[str, Any]:
    """The ServiceMonitor of a group; its metrics get the labels of `beampipe fleet rules`, and that of scaling.

    Args:
        fleet: the specification.
        group: group of servers.
        selector: labels of its Service.
    """
    name = release_name(fleet, group)
    endpoint: dict[str, Any] = {
        "port": "metrics",
        "path": "/metrics",
        "interval": interval_text(fleet.monitoring.interval),
        "relabelings": [
            {"action": "replace", "targetLabel": "release", "replacement": name},
            {"action": "replace", "targetLabel": "group", "replacement": group.name},
            {"action": "replace", "targetLabel": "server", "sourceLabels": ["__meta_kubernetes_pod_name"]},
        ],
    }
    if roles := role_relabelings(fleet.repository):
        endpoint["metricRelabelings"] = [
            {
                "action": "replace",
                "sourceLabels": role["source_labels"],
                "regex": role["regex"],
                "targetLabel": role["target_label"],
                "replacement": role["replacement"],
            }
            for role in roles
        ]
    return _monitoring_document(
        "ServiceMonitor", metadata(fleet, name, "monitoring"), _watched(fleet, endpoint, selector)
    )


def gateway_monitor(fleet: Fleet) -> dict[str, Any]:
    """The PodMonitor of the gateway: its Service does not show the status port."""
    endpoint = {"port": "status", "path": "/metrics", "interval": interval_text(fleet.monitoring.interval)}
    spec = {
        "namespaceSelector": {"matchNames": [fleet.kubernetes.namespace]},
        "selector": {"matchLabels": labels(fleet, gateway_name(fleet), GATEWAY)},
        "podMetricsEndpoints": [endpoint],
    }
    return _monitoring_document("PodMonitor", metadata(fleet, gateway_name(fleet), "monitoring"), spec)


def prometheus_rule(fleet: Fleet) -> dict[str, Any]:
    """The PrometheusRule of the fleet, with two alerts: too few servers, and events that wait."""
    spec = {"groups": [{"name": fleet.name, "rules": _rules(fleet)}]}
    return _monitoring_document("PrometheusRule", metadata(fleet, fleet.name, "monitoring"), spec)


def _rules(fleet: Fleet) -> list[dict[str, Any]]:
    names = "|".join(release_name(fleet, group) for group in running_groups(fleet))
    steps, asked = (f'{{release=~"{names}", {role}}}' for role in ('role!="chain"', 'role=~"|first"'))
    waiting = (
        f"sum(rate(nv_inference_queue_duration_us{steps}[2m])) / sum(rate(nv_inference_request_success{asked}[2m]))"
    )
    limit = fleet.scaling.queue if fleet.scaling else 100.0
    namespace = f'namespace="{fleet.kubernetes.namespace}"'
    deployments = f'{{{namespace},deployment=~"{names}"}}'
    return [
        {
            "alert": "FleetServersMissing",
            # Of kube-state-metrics; a server that is gone has no metrics of its own.
            "expr": " < ".join(
                f"kube_deployment_{count}{deployments}" for count in ("status_replicas_available", "spec_replicas")
            ),
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "{{ $labels.deployment }} has {{ $value }} servers that answer, fewer than asked"
            },
        },
        {
            "alert": "FleetEventsWait",
            "expr": f"{waiting} > {2000 * limit:g}",
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "events wait {{ $value }} us for a server; add servers"},
        },
    ]


def _watched(fleet: Fleet, endpoint: dict[str, Any], selector: Mapping[str, str]) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchNames": [fleet.kubernetes.namespace]},
        "selector": {"matchLabels": dict(selector)},
        "endpoints": [endpoint],
    }


def _monitoring_document(kind: str, described: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _MONITORING_API, "kind": kind, "metadata": described, "spec": spec}


METRIC_THRESHOLD: Final = 1
"""The factor at which nothing changes."""

_SERVERS_PER_STEP: Final = 8
"""One server in so many is added or taken away at once. Kubernetes ignores factors between 0.9 and 1.1: for a fleet of
20 servers one more is no change at all."""

_ROUNDED: Final = 0.1
"""A tenth of a server: Kubernetes rounds up what is a little more than a whole number of servers."""


def scaled_group(fleet: Fleet) -> ServerGroup | None:
    """The group that grows and shrinks, None if none does.

    Raises:
        ConfigError: one should, but where Prometheus is is not said.
    """
    if fleet.scaling is None:
        return None
    if fleet.kubernetes.prometheus is None:
        raise ConfigError(
            "kubernetes.prometheus: got none with [scaling], expected the address of the cluster's Prometheus, such as"
            ' "http://prometheus.monitoring:9090": Kubernetes scales by what it says'
        )
    return fleet.servers[fleet.scaling.group]


def prometheus_address(text: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address such as ``http://prometheus.monitoring:9090``.

    Raises:
        ConfigError: it is another address.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigError(f"kubernetes.prometheus: got {text!r}, expected http://HOST:PORT or https://HOST:PORT")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def growth_query(fleet: Fleet, group: ServerGroup, scaling: ScalingSettings) -> str:
    """The query to Prometheus: the factor by which the number of servers should change.

    With n servers and a step of s = ceil(n / 8): (n + s) / n where events wait longer than `ScalingSettings.queue`,
    else (n - s) / n where servers work less than `ScalingSettings.busy` of the time, else 1. Each a little less,
    since Kubernetes rounds up. Work is the time in models, per core of a server without GPU. A request to a chain of
    models counts once where the label `role` of `role_relabelings` is there.
    """
    of_group, window = f'release="{release_name(fleet, group)}"', f"[{max(30, math.ceil(scaling.patience))}s]"
    chosen, asked, steps = (f"{{{of_group}{role}}}" for role in ("", ', role=~"|first"', ', role!="chain"'))
    servers = f"count(count by (instance) (nv_inference_request_success{chosen}))"
    step = f"ceil({servers} / {_SERVERS_PER_STEP})"
    slots = group.cores if group.device == "cpu" else 1
    waiting = (
        f"sum(rate(nv_inference_queue_duration_us{steps}{window}))"
        f" / sum(rate(nv_inference_request_success{asked}{window}))"
    )
    working = f"sum(rate(nv_inference_compute_infer_duration_us{steps}{window})) / ({servers} * {1_000_000 * slots})"
    more = f"(({waiting}) > bool {1000 * scaling.queue:g})"
    fewer = f"((1 - {more}) * (({working}) < bool {scaling.busy:g}))"
    return f"1 + ({more} * ({step} - {_ROUNDED}) - {fewer} * ({step} + {_ROUNDED})) / {servers}"


def largest_step(group: ServerGroup) -> int:
    """Number of servers that are added or taken away at once where a group is at its largest: the step of `growth`."""
    return math.ceil(group.places / _SERVERS_PER_STEP)


def scaled_object(fleet: Fleet, group: ServerGroup, scaling: ScalingSettings) -> dict[str, Any]:
    """KEDA's ScaledObject for the Deployment of a group."""
    patience, step = math.ceil(scaling.patience), largest_step(group)
    scheme, host, port = prometheus_address(str(fleet.kubernetes.prometheus))
    behaviour = {
        "stabilizationWindowSeconds": patience,
        "policies": [{"type": "Pods", "value": step, "periodSeconds": patience}],
    }
    query = {"serverAddress": f"{scheme}://{host}:{port}", "query": growth_query(fleet, group, scaling)}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(fleet, release_name(fleet, group), "scaling"),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": release_name(fleet, group)},
            "pollingInterval": max(5, min(30, patience)),
            "minReplicaCount": scaling.least,
            "maxReplicaCount": group.places,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": behaviour, "scaleDown": behaviour}}},
            "triggers": [
                {
                    "type": "prometheus",
                    "metricType": "Value",
                    "metadata": {**query, "threshold": str(METRIC_THRESHOLD), "ignoreNullValues": "false"},
                }
            ],
        },
    }
