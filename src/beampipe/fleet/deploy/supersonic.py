"""Values for SuperSONIC's Helm chart: one release for each group of servers, and one Envoy before all of them.

The chart starts one kind of server, so each group is a release of its own; the first brings the Envoy. Its default
configuration has no health checks, no ejection and no retries: a server that dies takes its requests along, and gets
further ones until Kubernetes has noticed. `envoy_configuration` has all three, and allows nine RPCs.

Helm accepts any key, so a misspelt one would silently do nothing: `check_values` refuses keys that the chart does not
read. What of the chart does not work is worked around here:

- its pre-stop hook calls ``touch`` without a file and fails at once, so servers end while gateways still send. Our
  start script does what the hook was meant to do.
- its load metric counts executions, not requests, and has no lower limit: ours is `growth_query`.
- its readiness probe asks for the server, not for the models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from beampipe.errors import ConfigError, nearest
from beampipe.fleet.deploy.containers import (
    GRPC,
    HTTP,
    METRICS,
    fleet_models,
    memory_limit,
    readiness_command,
    server_script,
)
from beampipe.fleet.deploy.kubernetes import (
    GPU_TOLERATIONS,
    METRIC_THRESHOLD,
    growth_query,
    largest_step,
    prometheus_address,
    release_name,
    running_groups,
    scaled_group,
)
from beampipe.fleet.gateway.plan import RPCS
from beampipe.fleet.specification import Fleet, ServerGroup

CHART_VERSION: Final = "0.3.1"
"""The release of the chart that we write values for."""

KEYS: Final = Path(__file__).with_name("templates") / f"supersonic-{CHART_VERSION}.json"
"""File of the keys that the chart reads: path -> type of the value, as `tests/fleet/deploy/chart.py` found them."""

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "open": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse values that the chart would not read, or that are of another type than it expects.

    Raises:
        ConfigError: there is such a value; says where, and what would fit.
    """
    _check_table(values, "")


@cache
def _keys() -> dict[str, str]:
    keys: dict[str, str] = json.loads(KEYS.read_text(encoding="utf-8"))["keys"]
    return keys


def _check_table(values: Mapping[str, Any], path: str) -> None:
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        kind = _keys().get(key)
        if kind is None:
            known = [one for one in _keys() if one.rpartition(".")[0] == path]
            raise ConfigError(
                f"SuperSONIC {CHART_VERSION}, {key}: got a key that its chart does not read{nearest(key, known)}"
            )
        if kind != "any" and (not isinstance(value, _TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
            raise ConfigError(f"SuperSONIC {CHART_VERSION}, {key}: got {value!r}, expected {kind}")
        if kind in ("object", "any") and isinstance(value, Mapping):
            _check_table(value, key)
        for item in value if isinstance(value, list) else ():
            if isinstance(item, Mapping) and f"{key}[]" in _keys():
                _check_table(item, f"{key}[]")


ENVOY_STATUS: Final = 9901
"""Port at which the chart's Service expects Envoy's metrics."""

ENVOY: Final = "1.40.0"
"""The release of Envoy that the file is made for and tested with; older ones take one health check only."""

_API: Final = "type.googleapis.com/envoy"

_RETRIED: Final = "connect-failure,refused-stream,reset,unavailable,internal"

_RETRIES: Final = 3

_SELECTION_ATTEMPTS: Final = 32
"""Draws for a server other than those that failed. A dead server has the fewest requests of all, and of two servers it
is drawn three times of four: 5 draws lost a request of some hundreds."""

_HEALTH_CHECK: Final[dict[str, Any]] = {
    "timeout": "1s",
    "interval": "1s",
    "no_traffic_interval": "1s",  # else the first look after the start is the only one for a minute
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    # A Triton that is told to end waits for connections over HTTP until its time is over.
    "reuse_connection": False,
}

_PING: Final = {"interval": "2s", "timeout": "3s"}


@dataclass(frozen=True)
class Address:
    """A host and a port.

    Attributes:
        host: name or address.
        port: number of the port.
    """

    host: str
    port: int

    def document(self) -> dict[str, Any]:
        """How Envoy writes it."""
        return {"socket_address": {"address": self.host, "port_value": self.port}}


@dataclass(frozen=True)
class Upstream:
    """Servers to which Envoy sends.

    Attributes:
        grpc: where they answer gRPC; a name may stand for many servers.
        http: port for HTTP, at which they are asked whether they are ready.
        weight: weight of each of them.
    """

    grpc: Address
    http: int
    weight: int


@dataclass(frozen=True)
class EnvoyPlan:
    """Where Envoy listens, and to whom it sends.

    Attributes:
        clients: address for clients.
        status: address at which it shows its metrics and whether it is ready, and nothing else.
        admin: address of its administration, for its own machine alone.
        upstreams: the servers.
    """

    clients: Address
    status: Address
    admin: Address
    upstreams: Sequence[Upstream]


def envoy_configuration(fleet: Fleet, plan: EnvoyPlan, models: Sequence[str]) -> dict[str, Any]:
    """The configuration of Envoy.

    A request is tried again at another server if its connection broke, or if its server refused it or failed. After
    five failures in a row a server gets nothing for a while; of half of the servers at most, since an event may be at
    fault.

    Args:
        fleet: the specification.
        plan: where things are.
        models: names of the models of which each server must say that they are ready.
    """
    routes = [_route(path, fleet) for path in RPCS]
    # A message of gRPC becomes of it that says PERMISSION_DENIED.
    routes.append({"match": {"prefix": "/"}, "direct_response": {"status": 403}})
    status: list[dict[str, Any]] = [
        {"match": {"path": path}, "route": {"cluster": "admin"}} for path in ("/stats/prometheus", "/ready")
    ]
    status.append({"match": {"prefix": "/"}, "direct_response": {"status": 403}})
    return {
        "admin": {"address": plan.admin.document()},
        "static_resources": {
            "listeners": [
                _listener("clients", plan.clients, routes, fleet.gateway.body),
                _listener("status", plan.status, status, 1 << 16),
            ],
            "clusters": [
                _servers(fleet, plan.upstreams, models),
                {
                    "name": "admin",
                    "type": "STATIC",
                    "connect_timeout": "1s",
                    "load_assignment": _assignment("admin", [{"endpoint": {"address": plan.admin.document()}}]),
                },
            ],
        },
    }


def _listener(name: str, address: Address, routes: list[dict[str, Any]], room: int) -> dict[str, Any]:
    """A listener; `room` [bytes] is what it keeps of a request, so that it can be sent again."""
    manager = {
        "@type": f"{_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "use_remote_address": True,
        "stream_idle_timeout": "0s",
        "request_headers_timeout": "5s",
        "route_config": {
            "name": name,
            "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_API}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "name": name,
        "address": address.document(),
        "per_connection_buffer_limit_bytes": room,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _route(path: str, fleet: Fleet) -> dict[str, Any]:
    policy: dict[str, Any] = {
        "retry_on": _RETRIED,
        "num_retries": _RETRIES,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{_API}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        "host_selection_retry_max_attempts": _SELECTION_ATTEMPTS,
    }
    route = {"cluster": "servers", "timeout": f"{fleet.gateway.answer:g}s", "retry_policy": policy}
    return {"match": {"path": path}, "route": route}


def _servers(fleet: Fleet, upstreams: Sequence[Upstream], models: Sequence[str]) -> dict[str, Any]:
    gateway = fleet.gateway
    most = gateway.queue + gateway.in_flight * sum(group.places for group in fleet.servers.values())
    options = {
        "@type": f"{_API}.extensions.upstreams.http.v3.HttpProtocolOptions",
        # A server that hangs answers no ping: what it works on is tried again elsewhere.
        "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": _PING}},
    }
    endpoints = [
        {
            "endpoint": {"address": one.grpc.document(), "health_check_config": {"port_value": one.http}},
            "load_balancing_weight": one.weight,
        }
        for one in upstreams
    ]
    policy = "ROUND_ROBIN" if gateway.balancing == "round_robin" else "LEAST_REQUEST"
    limits = {"max_connections": gateway.connections, "max_pending_requests": most, "max_requests": most}
    return {
        "name": "servers",
        "cluster_type": {
            "name": "envoy.cluster.dns",
            "typed_config": {"@type": f"{_API}.extensions.clusters.dns.v3.DnsCluster", "dns_refresh_rate": "2s"},
        },
        "connect_timeout": "1s",
        "lb_policy": policy,
        # Whoever is no longer in the service's name gets nothing new, although it still answers.
        "ignore_health_on_host_removal": True,
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [{**limits, "max_retries": most}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "health_checks": [
            _health_check("server", "/v2/health/ready"),
            *(_health_check(*_model(name)) for name in models),
        ],
        "outlier_detection": {
            "consecutive_5xx": 5,
            "consecutive_gateway_failure": 5,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_success_rate": 0,
            "interval": "1s",
            "base_ejection_time": f"{max(5, math.ceil(fleet.patience))}s",
            "max_ejection_percent": 50,
        },
        "load_assignment": _assignment("servers", endpoints),
    }


def _health_check(name: str, path: str) -> dict[str, Any]:
    """One look over HTTP/1.1: in gRPC a model's readiness has no answer by status. Several need `ENVOY`."""
    return {"name": name, **_HEALTH_CHECK, "http_health_check": {"path": path, "host": "triton"}}


def _model(name: str) -> tuple[str, str]:
    return f"model {name}", f"/v2/models/{name}/ready"


def _assignment(name: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


CONFIG_MAP: Final = "envoy"
"""End of the name of the ConfigMap with Envoy's file, which must be there before the chart is installed."""

GRACE: Final = 60
"""Time [s] that the chart gives a server to end."""

_CVMFS: Final = "/cvmfs"

_PROBE_PERIOD: Final = 5

_GRPC_INGRESS: Final = {
    "nginx": {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"},
    "haproxy": {"haproxy-ingress.github.io/backend-protocol": "h2"},
}
"""Class of ingress -> what tells it that it passes gRPC on."""


def supersonic_values(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """The values of the release of one group.

    Raises:
        ConfigError: the specification asks for what the chart cannot do.
    """
    document = {
        "nameOverride": release_name(fleet, group),
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
        Upstream(
            Address(f"{release_name(fleet, group)}-triton.{namespace}.svc.cluster.local", GRPC), HTTP, group.weight
        )
        for group in running_groups(fleet)
    ]
    plan = EnvoyPlan(Address("0.0.0.0", GRPC), Address("0.0.0.0", ENVOY_STATUS), Address("127.0.0.1", 9902), upstreams)
    return envoy_configuration(fleet, plan, fleet_models(fleet))


def _load(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    if fleet.scaling is None or scaled_group(fleet) != group:
        return {}
    return {"serverLoadMetric": growth_query(fleet, group, fleet.scaling), "serverLoadThreshold": METRIC_THRESHOLD}


def _triton(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    models = readiness_command(fleet_models(fleet))
    share: dict[str, Any] = {"cpu": group.cores, "memory": memory_limit(group)}
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
            "periodSeconds": _PROBE_PERIOD,
            "timeoutSeconds": _PROBE_PERIOD,
            "successThreshold": 1,
            "failureThreshold": 2,
        },
        "startupProbe": {
            "reset": False,
            "httpGet": {"path": "/v2/health/ready", "port": "http"},
            "initialDelaySeconds": 0,
            "periodSeconds": _PROBE_PERIOD,
            "failureThreshold": math.ceil(fleet.start_timeout / _PROBE_PERIOD),
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
                for name, port in (("grpc", GRPC), ("admin", ENVOY_STATUS))
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
