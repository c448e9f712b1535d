"""HAProxy before servers in containers: gRPC and HTTP on one port, nine RPCs, and refusals at once.

The order of the rules is that of a visitor: who is it, may they ask this, is there room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from beampipe.fleet.containers.server import GRPC, HTTP
from beampipe.fleet.specification import Fleet, GatewaySettings

__all__ = ["RPCS", "SERVICE", "Backends", "GatewayPlan", "haproxy_text"]

SERVICE: Final = "inference.GRPCInferenceService"
"""Name of Triton's service of gRPC."""
RPCS: Final = (
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "ModelInfer",
)
"""Names of the RPCs that clients may call; all others manage a server."""

_URLS: Final = (
    r"^/v2(/health/(live|ready))?$",
    r"^/v2/models/[A-Za-z0-9_.-]+(/versions/[0-9]+)?(/(ready|config|stats|infer))?$",
)


@dataclass(frozen=True)
class Backends:
    """Servers of one group, as HAProxy is told of them.

    Attributes:
        group: name of the group.
        host: name of the host of each of them; or one name that stands for all.
        places: number of places, for one name that stands for all; 0 if each has its own name.
        weight: weight of each server.
    """

    group: str
    hosts: tuple[str, ...]
    places: int
    weight: int

    def lines(self, port: int, options: str) -> list[str]:
        """The lines of a backend.

        Args:
            port: port of the servers.
            options: what follows the address.
        """
        options = f"weight {self.weight} {options}"
        if self.places:
            address = f"{self.hosts[0]}:{port}"
            return [f"  server-template {self.group}- 0-{self.places - 1} {address} {options}"]
        return [f"  server {host} {host}:{port} {options}" for host in self.hosts]


@dataclass(frozen=True)
class GatewayPlan:
    """Where a gateway in a container finds what it needs.

    Attributes:
        port: port for clients.
        status_port: port of its own metrics and of ``/healthy``.
        backends: the servers.
        certificate: PEM file of certificate and key, or of the certificate with the key beside it in ``.key``; None
            for plain connections.
        client_ca: PEM file of the authority of the clients' certificates; None if none are asked for.
        tokens: file of tokens; None if none are asked for.
        dynamic: whether the addresses of the servers' names change, and are asked for again and again.
    """

    port: int
    status_port: int
    backends: Sequence[Backends]
    certificate: str | None = None
    client_ca: str | None = None
    tokens: str | None = None
    dynamic: bool = False


def haproxy_text(fleet: Fleet, plan: GatewayPlan, models: Sequence[str]) -> str:
    """The configuration of HAProxy.

    Args:
        fleet: the specification.
        plan: where things are.
        models: names of the models of which each server must say that they are ready.
    """
    rooms = [_general(fleet.gateway), _resolvers() if plan.dynamic else "", _clients(fleet.gateway, plan)]
    rooms += [_backend(name, fleet, plan, models) for name in ("triton_grpc", "triton_http")]
    rooms.append(_status(plan))
    return "\n".join(filter(None, rooms))


def _general(gateway: GatewaySettings) -> str:
    return f"""global
  log stdout format raw local0 notice
  maxconn {gateway.connections}
  hard-stop-after {_time(gateway.answer)}
defaults
  log global
  mode http
  timeout connect 2s
  timeout check 2s
  timeout http-request {_time(gateway.arrival)}
  timeout queue {_time(gateway.waiting)}
  timeout client {_time(gateway.answer)}
  timeout server {_time(gateway.answer)}
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response 502 503
"""


def _resolvers() -> str:
    return """resolvers cluster
  parse-resolv-conf
  accepted_payload_size 8192
  hold valid 2s
  hold obsolete 0s
"""


def _clients(gateway: GatewaySettings, plan: GatewayPlan) -> str:
    bind = f"bind :{plan.port}"
    if plan.certificate:
        bind += f" ssl crt {plan.certificate} alpn h2,http/1.1"
        bind += f" ca-file {plan.client_ca} verify required" if plan.client_ca else ""
    lines = [bind, "acl grpc req.hdr(content-type) -m beg application/grpc"]
    if plan.tokens:
        lines += [
            f"http-request set-var(txn.user) http_auth_bearer,sha2(256),hex,lower,map({plan.tokens})",
            *_refusal("grpc", "!{ var(txn.user) -m found }", 16, "unauthenticated", 401),
        ]
    if plan.tokens and gateway.rate:
        lines += [
            "http-request track-sc0 var(txn.user) table users",
            *_refusal(
                "grpc", f"{{ sc_http_req_rate(0) gt {gateway.rate} }}", 8, "too many requests of this token", 429
            ),
        ]
    lines += [
        f"acl rpc path {' '.join(f'/{SERVICE}/{name}' for name in RPCS)}",
        *(f"acl url path_reg {pattern}" for pattern in _URLS),
        *_refusal("grpc", "!rpc", 7, "not for clients", None),
        "http-request deny deny_status 403 if !grpc !url",
        f"http-request deny deny_status 413 if !grpc {{ req.hdr(content-length) -m int gt {gateway.body} }}",
        f"http-request wait-for-body time {_time(gateway.arrival)} at-least 1 if !grpc METH_POST",
        *_refusal("grpc", f"{{ queue(triton_grpc) ge {gateway.queue} }}", 8, "overloaded", None),
        f"http-request deny deny_status 503 if !grpc {{ queue(triton_http) ge {gateway.queue} }}",
        "http-request del-header authorization",
        "use_backend triton_grpc if grpc",
        "default_backend triton_http",
    ]
    users = "" if not (plan.tokens and gateway.rate) else "\nbackend users\n" + _USERS
    return "frontend clients\n" + "".join(f"  {line}\n" for line in lines) + users


_USERS: Final = "  stick-table type string len 64 size 10k expire 2m store http_req_rate(10s)\n"


def _refusal(grpc: str, condition: str, code: int, words: str, status: int | None) -> list[str]:
    """Refuse in the words of each protocol; `status` None for gRPC alone."""
    answer = f'http-request return status 200 hdr grpc-status {code} hdr grpc-message "{words}" if {grpc} {condition}'
    return [answer, *([f"http-request deny deny_status {status} if {condition}"] if status else [])]


def _backend(name: str, fleet: Fleet, plan: GatewayPlan, models: Sequence[str]) -> str:
    balance = "roundrobin" if fleet.gateway.balancing == "round_robin" else "leastconn"
    grpc = name == "triton_grpc"
    # Servers of gRPC are asked over HTTP/1.1, too: a model's readiness has no answer by status in gRPC.
    lines = [f"balance {balance}", "option httpchk"]
    for url in ("/v2/health/ready", *(f"/v2/models/{model}/ready" for model in models)):
        lines += [
            f"http-check connect port {HTTP} proto h1",
            f"http-check send meth GET uri {url} ver HTTP/1.1 hdr Host triton",
            "http-check expect status 200",
        ]
    options = f"maxconn {fleet.gateway.in_flight} check inter 1s fall 2 rise 1 on-marked-down shutdown-sessions"
    options = f"proto h2 {options}" if grpc else options
    options += " resolvers cluster init-addr none" if plan.dynamic else " init-addr libc,none"
    text = f"backend {name}\n" + "".join(f"  {line}\n" for line in lines)
    servers = (line for group in plan.backends for line in group.lines(GRPC if grpc else HTTP, options))
    return text + "".join(f"{line}\n" for line in servers)


def _status(plan: GatewayPlan) -> str:
    return f"""frontend status
  bind :{plan.status_port}
  monitor-uri /healthy
  http-request use-service prometheus-exporter if {{ path /metrics }}
  http-request deny
"""


def _time(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"
