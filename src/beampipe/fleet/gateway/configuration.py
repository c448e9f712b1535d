"""The text of HAProxy's configuration for a gateway.

Rules stand in the order in which they are cheap and safe: who asks, how often, for what, whether there is room, and
only then what the body holds. gRPC clients get a status of gRPC, others one of HTTP; the words are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from beampipe.fleet.gateway.allowed import HTTP_PATHS, INDEX, INFER, RPCS
from beampipe.fleet.gateway.plan import CanaryShare, GatewayPlan, Place
from beampipe.fleet.specification import Balancing
from beampipe.triton.client.codec import SIZE_HEADER
from beampipe.triton.door.door import HEADER
from beampipe.triton.hosts import authority

__all__ = ["GRPC", "HTTP", "OPEN", "TRIAL", "configuration"]

GRPC: Final = "grpc"
"""Name of the backend for gRPC."""
HTTP: Final = "http"
"""Name of the backend for HTTP, whose health counts for both."""
_BUFFER: Final = 64 << 10
"""Bytes of a request that are kept, to be sent once more if its server dies: events of 5000 hits fit."""
TRIAL: Final = "trial"
"""Name of what is there while a server is on trial: a table of replies by server, all of them and those that say that
the request failed; and `OPEN`."""
OPEN: Final = "open"
"""Name of a server that nobody asks: the one on trial gets requests while this one is up. Draining would not do, since
HAProxy sends a drained server what a rule names it for."""
_PARTS: Final = 10_000
"""Parts in which the share of a server on trial is counted."""
_OTHERS: Final = 500
"""Open files of HAProxy beside connections: sockets, pipes, threads."""
_NAMES: Final = "names"
_NOWHERE: Final = "127.0.0.1:1"
"""Address of a place that nobody has."""
_BALANCE: Final[dict[Balancing, str]] = {
    "least_connections": "leastconn",
    "least_hits": "leastconn",  # for requests that state no size
    "round_robin": "roundrobin",
}


def configuration(plan: GatewayPlan) -> str:
    """The configuration of a gateway, one section after the other.

    Args:
        plan: the gateway, with the servers that are there now.
    """
    sections = [_global(plan), _defaults(plan), _status(plan), _frontend(plan)]
    if plan.resolved:
        sections.append(_resolvers())
    if plan.fleet.gateway.athena is not None:
        sections.append(_athena(plan))
    if plan.tokens is not None:
        sections.append(
            iter(["backend users", "  stick-table type string len 64 size 10k expire 1m store http_req_rate(10s)"])
        )
    if plan.canary is not None:
        table = "  stick-table type string len 64 size 1k store gpc(2)"
        sections.append(iter([f"backend {TRIAL}", table, f"  server {OPEN} {_NOWHERE}"]))
    sections += [_backend(plan, GRPC), _backend(plan, HTTP)]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _global(plan: GatewayPlan) -> Iterator[str]:
    yield "# Made by `beampipe fleet` from the specification of the fleet; not to be edited."
    yield "global"
    # From it HAProxy finds how many clients it may take, and keeps as many connections for servers. Told a number of
    # clients that the system does not allow, it would take them until nothing is left to reach a server with.
    yield f"  fd-hard-limit {2 * plan.fleet.gateway.connections + _OTHERS}"
    yield f"  nbthread {plan.threads}"
    yield f"  hard-stop-after {_time(plan.fleet.gateway.answer)}"
    yield f"  stats socket {plan.socket} mode 600 level admin expose-fd listeners"
    yield f"  tune.bufsize {_BUFFER}"
    yield "  tune.h2.initial-window-size 1048576"
    yield "  tune.h2.be.max-concurrent-streams 256"
    yield "  ssl-default-bind-options ssl-min-ver TLSv1.2"
    if plan.hits is not None:
        yield f"  lua-load {plan.hits}"


def _defaults(plan: GatewayPlan) -> Iterator[str]:
    gateway = plan.fleet.gateway
    yield "defaults"
    yield "  mode http"
    yield "  timeout connect 1s"
    yield "  timeout check 1s"
    yield f"  timeout http-request {_time(gateway.arrival)}"
    yield f"  timeout client {_time(gateway.arrival)}"
    yield "  timeout http-keep-alive 300s"
    yield f"  timeout queue {_time(gateway.waiting)}"
    yield f"  timeout server {_time(gateway.answer)}"
    yield "  option redispatch 1"
    yield "  option abortonclose"
    # A request that has gone out may be what has ended its server: it gets one more, not all of them.
    yield "  retries 2"
    # Over HTTP the shield of a server says 503 where its Triton is gone, and 502 where that ended before it answered.
    yield "  retry-on conn-failure empty-response 502 503"


def _status(plan: GatewayPlan) -> Iterator[str]:
    yield "frontend status"
    yield f"  bind {authority(plan.status_host, plan.status_port)}"
    yield "  monitor-uri /healthy"
    yield "  http-request use-service prometheus-exporter if { path /metrics }"
    yield "  http-request return status 404"


def _resolvers() -> Iterator[str]:
    yield f"resolvers {_NAMES}"
    yield "  parse-resolv-conf"
    yield "  accepted_payload_size 8192"
    yield "  hold valid 2s"
    yield "  hold obsolete 0s"


def _frontend(plan: GatewayPlan) -> Iterator[str]:
    gateway = plan.fleet.gateway
    yield "frontend fleet"
    address = authority(plan.host or gateway.host, gateway.port)
    if gateway.tls is None:
        yield f"  bind {address}"
    else:
        ca = "" if gateway.tls.client_ca is None else f" ca-file {gateway.tls.client_ca} verify required"
        yield f"  bind {address} ssl crt {gateway.tls.certificate} alpn h2,http/1.1{ca}"
    yield f"  maxconn {gateway.connections}"
    yield "  acl grpc req.hdr(content-type) -m beg application/grpc"
    yield "  http-request del-header x-beampipe-user"
    yield f"  http-request del-header {HEADER}"
    if plan.tokens is not None:
        yield f"  http-request set-var(txn.user) http_auth_bearer,sha2(256),hex,lower,map({plan.tokens})"
        yield from _refuse(
            "!{ var(txn.user) -m found }", 16, 401, "got no token that is known, expected one in authorization: Bearer"
        )
        yield "  http-request del-header authorization"
        if gateway.rate is not None:
            yield "  http-request track-sc0 var(txn.user) table users"
            yield from _refuse(
                f"{{ sc_http_req_rate(0) gt {gateway.rate} }}",
                8,
                429,
                f"got more than {gateway.rate} requests of this token in 10 s; try again later",
            )
    yield f"  acl known path {' '.join(RPCS)}"
    yield from (f"  acl known_url path_reg {path.pattern}" for path in HTTP_PATHS)
    yield from _refuse("!known", 7, None, "got a call that is not for clients of a fleet")
    yield from _refuse("!known_url", None, 403, "got a path that is not for clients of a fleet")
    yield f"  acl index path {INDEX}"
    yield f"  http-request set-header {HEADER} {plan.secret} if index"
    yield from _room(plan)
    yield from _bodies(plan)
    yield from _choice(plan)
    yield f"  use_backend {GRPC} if grpc"
    yield f"  default_backend {HTTP}"


def _athena(plan: GatewayPlan) -> Iterator[str]:
    athena, tls = plan.fleet.gateway.athena, plan.fleet.gateway.tls
    assert athena is not None
    spoken = f"ssl crt {tls.certificate} alpn h2" if athena.tls and tls is not None else "proto h2"
    yield "frontend athena"
    yield f"  bind {authority(athena.host, athena.port)} {spoken}"
    yield f"  maxconn {plan.fleet.gateway.connections}"
    yield "  acl grpc req.hdr(content-type) -m beg application/grpc"
    yield f"  acl near src {' '.join(athena.networks)}"
    yield f"  acl known path {INFER}"
    yield f"  http-request del-header {HEADER}"
    yield "  http-request deny deny_status 403 if !grpc"
    yield from _refuse("!near", 7, None, "got a call from a network that is not among those of gateway.athena")
    yield from _refuse("!known", 7, None, "got another call than ModelInfer at the door for Athena")
    yield from _room(plan)
    yield from _bodies(plan)
    yield from _choice(plan)
    yield f"  default_backend {GRPC}"


def _room(plan: GatewayPlan) -> Iterator[str]:
    queue = plan.fleet.gateway.queue
    said = f"got {queue} waiting requests, expected fewer; try again"
    yield from _refuse(f"{{ queue({GRPC}) ge {queue} }}", 8, None, said)
    yield from _refuse(f"{{ queue({HTTP}) ge {queue} }}", None, 429, said)
    yield from _refuse(f"{{ nbsrv({GRPC}) eq 0 }}", 14, None, "got no server that answers; try again later")
    yield from _refuse(f"{{ nbsrv({HTTP}) eq 0 }}", None, 503, "got no server that answers; try again later")


def _bodies(plan: GatewayPlan) -> Iterator[str]:
    """A message of gRPC has no header with its length, but begins with it: five bytes, flag and number.

    A body is awaited whole, or as far as it is kept, before its request takes a place at a server or in the queue.
    """
    gateway = plan.fleet.gateway
    too_long = f"got a larger request, expected at most {gateway.body} bytes"
    yield f"  http-request wait-for-body time {_time(gateway.arrival)} at-least 5 if grpc"
    yield from _refuse(f"{{ req.body,bytes(1,4),be2dec(,4) -m int gt {gateway.body} }}", 8, None, too_long)
    if not gateway.compressed:
        compressed = "got a compressed request, expected a plain one, or a fleet with gateway.compressed"
        yield from _refuse("{ req.body,bytes(0,1),hex -m str 01 }", 12, None, compressed)
        yield from _refuse("{ req.hdr(content-encoding) -m found }", None, 415, compressed)
    yield from _refuse(f"{{ req.hdr(content-length) -m int gt {gateway.body} }}", None, 413, too_long)
    yield from _refuse(
        "{ req.hdr(transfer-encoding) -m found }", None, 411, "got a body in chunks, expected one with Content-Length"
    )
    yield f"  http-request wait-for-body time {_time(gateway.arrival)}"


def _choice(plan: GatewayPlan) -> Iterator[str]:
    if plan.hits is not None:
        yield f"  http-request lua.least_hits if {{ req.hdr({SIZE_HEADER}) -m found }}"
        yield "  http-response lua.give_back if { var(txn.beampipe_server) -m found }"


def _backend(plan: GatewayPlan, name: str) -> Iterator[str]:
    gateway = plan.fleet.gateway
    yield f"backend {name}"
    yield f"  balance {_BALANCE[gateway.balancing]}"
    if plan.canary is not None:
        yield from _canary(plan.canary, name)
    if plan.hits is not None:
        yield "  use-server %[var(txn.beampipe_server)] if { var(txn.beampipe_server) -m found }"
    shared = f"maxconn {gateway.in_flight} on-marked-down shutdown-sessions"
    shared += f" resolvers {_NAMES} init-addr none" if plan.resolved else ""
    several = [place for place in plan.places if place.several]
    if name == HTTP or several:
        yield "  option httpchk"
        # Of servers behind one name nobody knows which is which: each is asked over HTTP by both backends.
        connect = f"connect port {several[0].address.http} proto h1" if several and several[0].address else "connect"
        for path in ("/v2/health/ready", *(f"/v2/models/{model}/ready" for model in plan.models)):
            yield f"  http-check {connect}"
            yield f"  http-check send meth GET uri {path} ver HTTP/1.1 hdr Host triton"
            yield "  http-check expect status 200"
        shared = f"check inter 500ms fall 2 rise 1 {shared}"
    yield f"  default-server {'proto h2 ' if name == GRPC else ''}{shared}"
    on_trial = "" if plan.canary is None else plan.canary.server
    yield from (_server(place, name, 0 if place.server == on_trial else place.weight) for place in plan.places)


def _canary(canary: CanaryShare, backend: str) -> Iterator[str]:
    """A server on trial weighs nothing, so that it gets its share and no more; one that is full gets none."""
    open_to_all = f"{{ srv_is_up({TRIAL}/{OPEN}) }} {{ srv_queue({backend}/{canary.server}) eq 0 }}"
    parts = round(canary.share * _PARTS)
    yield f"  use-server {canary.server} if {{ rand({_PARTS}) lt {parts} }} {open_to_all}"
    # Triton counts what a Python model answers with an error as a success: only who forwards the answers can tell.
    yield f"  http-response track-sc1 srv_name table {TRIAL}"
    yield "  http-response sc-inc-gpc(0,1)"
    refused = "{ res.hdr(grpc-status) -m found } !{ res.hdr(grpc-status) 0 }"
    yield f"  http-response sc-inc-gpc(1,1) if {{ status ge 400 }} or {refused}"


def _server(place: Place, backend: str, weight: int) -> str:
    if (at := place.address) is None:
        address, state = _NOWHERE, " disabled"
    else:
        address, state = authority(at.host, at.http if backend == HTTP else at.grpc), ""
    if place.several:
        return f"  server-template {place.server} 0-{place.several - 1} {address} weight {weight}"
    track = "" if backend == HTTP else f" track {HTTP}/{place.server}"
    return f"  server {place.server} {address} weight {weight}{track}{state}"


def _refuse(condition: str, grpc: int | None, http: int | None, said: str) -> Iterator[str]:
    """Rules that refuse a request, with a status of gRPC or of HTTP, whichever it came by; None for neither."""
    if grpc is not None:
        status = f'status 200 hdr grpc-status {grpc} hdr grpc-message "fleet: {said}"'
        yield f"  http-request return {status} if grpc {condition}"
    if http is not None:
        more = {401: " hdr WWW-Authenticate Bearer", 429: " hdr Retry-After 1", 503: " hdr Retry-After 1"}.get(http, "")
        yield (
            f"  http-request return status {http} content-type application/json{more}"
            f""" string '{{"error":"fleet: {said}"}}' if !grpc {condition}"""
        )


def _time(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"
