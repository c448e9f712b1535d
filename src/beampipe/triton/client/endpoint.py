"""Address of a server (URL, host, port, TLS) and the credentials that a client shows."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from beampipe.errors import ConfigError, FileError, UnknownNameError, look_up
from beampipe.triton.connection_file import ConnectionInfo, find_connection

LOOPBACK: Final = "127.0.0.1"
"""The loopback address."""


def is_loopback(host: str) -> bool:
    """Whether a name or address is of the loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def authority(host: str, port: int) -> str:
    """Host and port in URL notation: an IPv6 address in brackets.

    >>> authority("127.0.0.1", 8000), authority("::1", 8000)
    ('127.0.0.1:8000', '[::1]:8000')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


WireProtocol = Literal["auto", "grpc", "http", "shm"]
"""``auto`` and ``shm`` use the protocol of the URL; ``shm`` puts all tensors in shared memory, ``auto`` large ones."""

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
        protocol: protocol of the server at that address.
        tls: whether the connection is encrypted.
        host: name or address of the machine, an IPv6 address without brackets.
        port: number of the TCP port.
        path: prefix of ``/v2``, for HTTP behind a gateway.
        address: the one to connect to of several addresses that the host's name has; empty for any. A certificate must
            be for the name all the same.
    """

    protocol: Literal["grpc", "http"]
    tls: bool
    host: str
    port: int
    path: str = ""
    address: str = ""

    @property
    def authority(self) -> str:
        """Host and port in URL notation."""
        return authority(self.host, self.port)

    @property
    def local(self) -> bool:
        """Whether the address is of this machine's loopback."""
        return is_loopback(self.address or self.host)

    @property
    def named(self) -> bool:
        """Whether the host is a name that has to be looked up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return self.host != "localhost"
        return False

    def __str__(self) -> str:
        return f"{self.protocol}{'s' if self.tls else ''}://{self.authority}{self.path}"


@dataclass(frozen=True)
class Security:
    """The credentials of a client, and what it trusts.

    The token is in no repr and in no pickle: a copy in another process reads the file again.

    Attributes:
        token: sent as ``authorization: Bearer TOKEN``, or the file that holds it; None for none.
        roots: PEM file of the certificates to trust, None for those of the system.
        certificate: PEM file with the client's certificate and key, None for none.
        headers: headers of each request.

    Raises:
        ConfigError: the token is not allowed in a header, or would be pickled.
        FileError: there is no such file of certificates, or no token in its file.
    """

    token: str | Path | None = field(default=None, repr=False)
    roots: Path | None = None
    certificate: Path | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        token = self.token
        if isinstance(token, Path):
            try:
                words = token.read_text(encoding="ascii").split()
            except (OSError, ValueError) as error:
                raise FileError(f"{token}: {error}; expected a file with a token", path=token) from None
            if len(words) != 1:
                raise FileError(f"{token}: got {len(words)} words, expected one token", path=token)
            token = words[0]
        if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
            raise ConfigError("token: got an empty one or one with line breaks or non-ASCII characters; strip it first")
        for path, content in ((self.roots, "root certificates"), (self.certificate, "a certificate and its key")):
            try:
                if path is not None:
                    path.open("rb").close()
            except OSError as error:
                raise FileError(f"{path}: {error.strerror}, expected {content} in PEM", path=path) from None
        headers = () if token is None else (("authorization", f"Bearer {token}"),)
        object.__setattr__(self, "headers", headers)

    def context(self) -> ssl.SSLContext:
        """Settings of TLS for Python's own sockets."""
        context = ssl.create_default_context(cafile=self.roots)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate)
        return context

    def __reduce__(self) -> tuple[type[Security], tuple[Path | None, Path | None, Path | None]]:
        if isinstance(self.token, str):
            raise ConfigError(
                "token: got a client with its token as text to pickle, expected none: a secret stays out of pickles;"
                " give the file that holds it (token=Path(...)), which a copy in another process reads again"
            )
        return Security, (self.token, self.roots, self.certificate)


def connection_of(endpoint: Endpoint) -> ConnectionInfo | None:
    """Secret and inner ports of this user's own server; None for other servers, and behind a gateway."""
    if endpoint.tls or endpoint.path:
        return None
    return find_connection(endpoint.host, endpoint.port, local=endpoint.local)


def parse_endpoint(url: str, protocol: WireProtocol = "auto", *, tls: bool = False) -> Endpoint:
    """The endpoint that a URL names.

    Args:
        url: ``grpc://host:8001``, ``grpcs://``, ``http://host:8000``, ``https://``, or a bare ``host:8001``.
        protocol: ``grpc`` or ``http`` is the protocol of a bare address (else gRPC), and must agree with a scheme.
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
    scheme_protocol, encrypted = look_up("scheme of a URL", scheme, _SCHEMES)
    if protocol in ("grpc", "http") and protocol != scheme_protocol:
        raise ConfigError(
            f"{url}: got protocol {protocol!r}, expected {scheme_protocol!r} as the URL says; leave one out"
        )
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
    if path and scheme_protocol == "grpc":
        raise ConfigError(f"{url}: got a path, expected none for gRPC")
    return Endpoint(scheme_protocol, encrypted, parts.hostname, port, path)
