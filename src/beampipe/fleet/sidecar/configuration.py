"""What a sidecar is, and the text of HAProxy's configuration for it.

Calls of gRPC come in plain on loopback. They go out to the gateway as they are, with a token and through TLS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from beampipe.errors import ConfigError
from beampipe.triton.client.endpoint import Endpoint, Security
from beampipe.triton.hosts import LOOPBACK, authority, is_loopback

__all__ = ["Sidecar", "configuration"]

_BUFFER: Final = 64 << 10
"""Bytes of a request that are kept, to be sent once more if the gateway dies: events of 5000 hits fit."""
_SYSTEM: Final = "@system-ca"
"""HAProxy's name for the authorities that the system trusts."""


@dataclass(frozen=True)
class Sidecar:
    """A door on loopback.

    Attributes:
        gateway: address of the fleet's gateway, for gRPC.
        security: token and certificate to show, and certificates to trust.
        port: port for plain gRPC.
        host: address to listen on, of this machine alone: whoever reaches it asks with the token.
        patience: time [s] for which a gateway that is away is tried again before a client hears of it.
        answer: time [s] that an answer may take.

    Raises:
        ConfigError: other machines reach the address, a token would go over a network without TLS, or the gateway's
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
        if gateway.tls and _is_address(gateway.host):
            raise ConfigError(
                f"{gateway}: got an address, expected the gateway's name: HAProxy finds only names in certificates"
            )
        if not (0 < self.port < 1 << 16):
            raise ConfigError(f"--port: got {self.port}, expected 1 to 65535")


def configuration(sidecar: Sidecar) -> str:
    """The configuration of a sidecar.

    Args:
        sidecar: the door.
    """
    return "\n".join(_lines(sidecar)) + "\n"


def _lines(sidecar: Sidecar) -> Iterator[str]:
    yield "# Made by `beampipe fleet sidecar`; not to be edited."
    yield "global"
    yield "  nbthread 1"
    yield f"  tune.bufsize {_BUFFER}"
    yield "  tune.h2.initial-window-size 1048576"
    yield "  ssl-default-server-options ssl-min-ver TLSv1.2"
    yield "defaults"
    yield "  mode http"
    yield "  timeout connect 1s"
    yield f"  timeout client {round(sidecar.answer)}s"
    yield f"  timeout server {round(sidecar.answer)}s"
    yield "  option abortonclose"
    # One try in a second: those who cannot try again are spared a gateway that restarts.
    yield f"  retries {sidecar.patience}"
    yield "  retry-on conn-failure empty-response"
    yield "frontend here"
    yield f"  bind {authority(sidecar.host, sidecar.port)} proto h2"
    yield "  http-request deny deny_status 403 unless { req.hdr(content-type) -m beg application/grpc }"
    for name, value in sidecar.security.headers:
        yield f'  http-request set-header {name} "{_quoted(value)}"'
    yield "  default_backend fleet"
    yield "backend fleet"
    yield f"  server gateway {sidecar.gateway.authority}{_tls(sidecar)}"


def _tls(sidecar: Sidecar) -> str:
    if not sidecar.gateway.tls:
        return " proto h2"
    host, security = sidecar.gateway.host, sidecar.security
    shown = "" if security.certificate is None else f" crt {security.certificate.absolute()}"
    trusted = _SYSTEM if security.roots is None else security.roots.absolute()
    return f" ssl alpn h2 verify required ca-file {trusted} sni str({host}) verifyhost {host}{shown}"


def _quoted(value: str) -> str:
    """A text between double quotes as HAProxy reads it, in which a percent sign begins a variable."""
    return "".join(f"\\{sign}" if sign in '"\\$' else "%%" if sign == "%" else sign for sign in value)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
