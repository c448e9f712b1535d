"""Configuration data of a gateway: slots for servers, the calls that clients may make, and files of this run.

Calls are allowed by list: any other is refused, so no alternative spelling of a forbidden call gets through.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from beampipe.fleet.security import VerificationKey, read_jwks
from beampipe.fleet.specification import Fleet
from beampipe.triton.client.endpoint import LOOPBACK
from beampipe.triton.server.haproxy import SLOW_BODIES

_SERVICE: Final = "/inference.GRPCInferenceService/"

INFER: Final = f"{_SERVICE}ModelInfer"
"""Path of the call that sends an event."""

RPCS: Final = (
    INFER,
    *(_SERVICE + name for name in ("ServerLive", "ServerReady", "ServerMetadata")),
    *(_SERVICE + name for name in ("ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics")),
    f"{_SERVICE}RepositoryIndex",  # first call of CMS's client
)
"""Paths of the nine calls over gRPC. Loading, unloading, shared memory, tracing, logging, streams and reflection are
not among them."""

_MODEL: Final = "/v2/models/[A-Za-z0-9_.+-]+(/versions/[0-9]+)?"

HTTP_PATHS: Final = (
    re.compile("^/v2(/health/(live|ready)|/models/stats)?$"),
    re.compile(f"^{_MODEL}(/(ready|config|stats|infer))?$"),
)
"""Paths over HTTP, as HAProxy matches them: as they were sent, before any decoding."""


class Address(NamedTuple):
    """Address of a server.

    Attributes:
        host: host name or IP address.
        http: port for HTTP.
        grpc: port for gRPC.
    """

    host: str
    http: int
    grpc: int


SlotMode = Literal["ready", "drain", "maint"]
"""Administrative state of a slot: in service, without further requests, or out of service."""


@dataclass(frozen=True)
class Slot:
    """A slot for one server in the gateway. HAProxy checks the health of slots only, so all are made at the start.

    Attributes:
        server: name of the server.
        weight: its share of the requests, relative to the weights of the others.
        address: address of the server; None for a free slot.
        several: number of slots if one host name stands for all servers of a group, as in Kubernetes; `server` is
            then the prefix of their names. 0 for the slot of one server.
        drained: whether the server gets no further requests.
    """

    server: str
    weight: int
    address: Address | None = None
    several: int = 0
    drained: bool = False

    @property
    def mode(self) -> SlotMode:
        """Its administrative state in HAProxy."""
        return "maint" if self.address is None else "drain" if self.drained else "ready"


@dataclass(frozen=True)
class CanaryShare:
    """A server on trial, which gets a fixed share of the requests under any balancing.

    Weights cannot fix a share: among idle servers HAProxy's `leastconn` takes each in turn, independent of weights.

    Attributes:
        server: name of the server.
        share: share of all requests that it gets, between 0 and 1.
    """

    server: str
    share: float


STDOUT: Final = Path("/dev/stdout")
"""Where a gateway in a container logs requests."""

TIMES: Final = "/times"
"""Path of the numbers and times of requests, beside the other metrics."""


PROBE_HEADER: Final = "x-beampipe-probe"
"""Header with the servers' secret, by which a probe is recognised."""


@dataclass(frozen=True)
class GatewayPlan:
    """A gateway and the servers behind it.

    Attributes:
        fleet: the fleet.
        slots: slots for servers.
        socket: socket of HAProxy's runtime API.
        status_port: port for metrics.
        models: names of the models that a server must have to get requests.
        secret: the servers' secret.
        jwt_folder: folder of the files of `jwt_keys`, and of keys that were fetched.
        canary: the server on trial; None if there is none.
        hits: Lua program that selects the server with the fewest outstanding hits; None for another balancing.
        slow_bodies: Lua program that ends requests whose large body arrives too slowly.
        access_log: socket of the process that reads the access log, or `STDOUT`; None for no log.
        request_times: Lua program that counts requests by server and time, for a gateway in a container, where no
            program of ours reads its log; with it, requests are logged only if the specification wants that.
        host: address to listen on for clients, in a container; None for that of the specification.
        status_host: address for metrics.
        resolved: whether hosts are names whose address changes when a container restarts: they are resolved
            repeatedly, and need not resolve at the start.
        threads: number of threads of HAProxy.
        probed: whether the gateway itself answers the probes of the process that runs it.
    """

    fleet: Fleet
    slots: tuple[Slot, ...]
    socket: Path
    status_port: int
    models: tuple[str, ...]
    secret: str = field(repr=False)
    jwt_folder: Path = Path()
    canary: CanaryShare | None = None
    hits: Path | None = None
    slow_bodies: Path = SLOW_BODIES
    access_log: Path | None = None
    request_times: Path | None = None
    host: str | None = None
    status_host: str = LOOPBACK
    resolved: bool = False
    threads: int = field(default_factory=lambda: min(4, os.cpu_count() or 1))
    probed: bool = False

    @property
    def jwt_keys(self) -> list[VerificationKey]:
        """Keys by which the signatures of JSON Web Tokens are verified, as they are in the file now.

        Raises:
            FileError: the file of the keys cannot be read.
        """
        jwt = self.fleet.gateway.jwt
        return [] if jwt is None else read_jwks(jwt.file(self.jwt_folder))

    @property
    def canary_slot(self) -> Slot | None:
        """The slot of the server on trial."""
        return next(
            (slot for slot in self.slots if self.canary is not None and slot.server == self.canary.server), None
        )


def slots_of(fleet: Fleet) -> tuple[Slot, ...]:
    """The slots of a fleet, all free."""
    return tuple(
        Slot(group.server_name(number), group.weight)
        for group in fleet.servers.values()
        for number in range(group.slots)
    )
