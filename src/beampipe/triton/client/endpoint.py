"""Where a service is, and how to prove that one may use it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.triton.door.door import Door, find_door

__all__ = ["Endpoint", "Security", "WireProtocol", "door_of", "parse_endpoint"]

WireProtocol = Literal["auto", "grpc", "http", "shm"]
"""``auto`` and ``shm`` speak what the URL says; ``shm`` has all tensors in shared memory, ``auto`` large ones."""

_SCHEMES: Final[dict[str, tuple[Literal["grpc", "http"], bool]]] = {
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
}


@dataclass(frozen=True)
class Endpoint:
    """The address of one server.

    Attributes:
        protocol: what the server speaks at that address.
        tls: whether the connection is encrypted.
        host: name or address of the machine, an IPv6 address without brackets.
        port: number of the TCP port.
        path: what stands in front of ``/v2``, for HTTP behind a gateway.
    """

    protocol: Literal["grpc", "http"]
    tls: bool
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether the address is of this machine's loopback."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"{self.protocol}{'s' if self.tls else ''}://{self.authority}{self.path}"


@dataclass(frozen=True)
class Security:
    """What a client shows and what it trusts.

    Attributes:
        token: secret that is sent as ``authorization: Bearer TOKEN``, None for none.
        roots: PEM file of the certificates to trust, None for those of the system.

    Raises:
        ConfigError: the token holds something that no header can.
        FileError: there is no such file of certificates.
    """

    token: str | None = None
    roots: Path | None = None

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise ConfigError("token: got an empty one or one with line breaks or non-ASCII characters; strip it first")
        if self.roots is not None and not self.roots.is_file():
            raise FileError(f"{self.roots}: no such file, expected root certificates in PEM")

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers to send with each request."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def __repr__(self) -> str:
        return f"Security(token={'None' if self.token is None else '...'}, roots={self.roots})"


def door_of(endpoint: Endpoint) -> Door | None:
    """How this user is let in to a server of this machine; None for others' servers, and behind a gateway."""
    if endpoint.tls or endpoint.path:
        return None
    return find_door(endpoint.host, endpoint.port, local=endpoint.local)


def parse_endpoint(url: str, protocol: WireProtocol = "auto", *, tls: bool = False) -> Endpoint:
    """The endpoint that a URL names.

    Args:
        url: ``grpc://host:8001``, ``grpcs://``, ``http://host:8000``, ``https://``, or a bare ``host:8001``.
        protocol: ``grpc`` or ``http`` says what a bare address speaks (else gRPC), and must agree with a scheme.
        tls: a bare address is encrypted.

    Raises:
        UnknownNameError: no such scheme or protocol.
        ConfigError: no port, or the scheme and `protocol` or `tls` contradict each other.
    """
    if protocol not in get_args(WireProtocol):
        raise UnknownNameError("protocol", protocol, get_args(WireProtocol))
    scheme, colon, rest = url.partition("://")
    if not colon:
        scheme, rest = ("http" if protocol == "http" else "grpc") + ("s" if tls else ""), url
    if scheme not in _SCHEMES:
        raise UnknownNameError("scheme of a URL", scheme, _SCHEMES)
    spoken, encrypted = _SCHEMES[scheme]
    if protocol in ("grpc", "http") and protocol != spoken:
        raise ConfigError(f"{url}: got protocol {protocol!r}, expected {spoken!r} as the URL says; leave one out")
    if tls and not encrypted:
        raise ConfigError(f"{url}: got an address without TLS, expected {scheme}s://; change the URL or leave tls out")
    parts = urlsplit(f"//{rest}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None or parts.username is not None:
        raise ConfigError(f"{url!r}: expected SCHEME://HOST:PORT, such as grpc://127.0.0.1:8001")
    path = parts.path.rstrip("/")
    if path and spoken == "grpc":
        raise ConfigError(f"{url}: got a path, expected none for gRPC")
    return Endpoint(spoken, encrypted, parts.hostname, port, path)
