"""The Envoy before the servers, where SuperSONIC's chart brings one: health checks, ejection, retries, nine RPCs.

The file that the chart makes by itself has none of these: a server that dies takes its requests along, and goes on
being asked until Kubernetes has noticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from beampipe.fleet.gateway.allowed import RPCS
from beampipe.fleet.specification import Fleet

__all__ = ["ENVOY", "STATUS", "Address", "EnvoyPlan", "Upstream", "envoy"]

STATUS: Final = 9901
"""Port at which the chart's Service expects Envoy's metrics."""

ENVOY: Final = "1.40.0"
"""The release of Envoy that the file is made for and tested with; older ones take one health check only."""
_API: Final = "type.googleapis.com/envoy"
_RETRIED: Final = "connect-failure,refused-stream,reset,unavailable,internal"
_RETRIES: Final = 3
_CHECK: Final[dict[str, Any]] = {
    "timeout": "2s",
    "interval": "1s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    # A Triton that is told to end waits for connections over HTTP until its time is over.
    "reuse_connection": False,
}


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


def envoy(fleet: Fleet, plan: EnvoyPlan, models: Sequence[str]) -> dict[str, Any]:
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
        "host_selection_retry_max_attempts": 5,
    }
    route = {"cluster": "servers", "timeout": f"{fleet.gateway.answer:g}s", "retry_policy": policy}
    return {"match": {"path": path}, "route": route}


def _servers(fleet: Fleet, upstreams: Sequence[Upstream], models: Sequence[str]) -> dict[str, Any]:
    gateway = fleet.gateway
    most = gateway.queue + gateway.in_flight * sum(group.places for group in fleet.servers.values())
    options = {
        "@type": f"{_API}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
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
        "health_checks": [_check("server", "/v2/health/ready"), *(_check(*_model(name)) for name in models)],
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


def _check(name: str, path: str) -> dict[str, Any]:
    """One look over HTTP/1.1: in gRPC a model's readiness has no answer by status. Several need `ENVOY`."""
    return {"name": name, **_CHECK, "http_health_check": {"path": path, "host": "triton"}}


def _model(name: str) -> tuple[str, str]:
    return f"model {name}", f"/v2/models/{name}/ready"


def _assignment(name: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
