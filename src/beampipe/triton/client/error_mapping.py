"""Maps replies and broken connections to `beampipe.errors`: same class and message over HTTP and gRPC.

Messages about the data are passed on. Details of the server itself (paths, names of memory) are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from beampipe.errors import (
    BeampipeError,
    DeadlineError,
    RegionLostError,
    ServiceError,
    ServiceUnavailableError,
    TooLargeError,
    UnknownModelError,
    from_wire,
)
from beampipe.triton.client.codec import HttpReply, reason_of

_CODES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    429: "UNAVAILABLE",
    431: "INVALID_ARGUMENT",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Name of the gRPC status that means what an HTTP status does."""

_FULL: Final = "try again"
"""Phrase of gateways with too many requests; its gRPC status is that of a request that is too large."""

_BROKEN: Final = re.compile(
    "failed to connect|dns resolution failed|errors resolving|connection (reset|refused)|socket closed|broken pipe"
    "|goaway|rst_stream|stream removed|end of tcp stream|recvmsg|sendmsg|transport closed|handshake|unwrap failed"
    r"|\[ssl\b",
    re.I,
)
"""Phrases for a broken connection in messages of gRPC, which no server uses for its own errors."""

_TRACEBACK: Final = re.compile(r"\s+At:\n.*", re.DOTALL)
"""Location in the files of a model of Triton's Python backend, which is removed from messages."""

_OUR_MEMORY: Final = re.compile(r"/?beampipe_client_\w+")


def is_broken(code: str, details: str) -> bool:
    """Whether a gRPC call failed by its connection: by name and message of its status."""
    return code in ("UNAVAILABLE", "INTERNAL", "UNKNOWN") and _BROKEN.search(details) is not None


def grpc_error(url: str, code: str, details: str, certificate: Path | None = None) -> BeampipeError:
    """The error for a gRPC call that failed: by its connection, or because the server refuses.

    Args:
        url: address of the server.
        code: name of the gRPC status.
        details: message of the status, or of the TLS handshake.
        certificate: the client's certificate; None for none.
    """
    if is_broken(code, details):
        return connection_error(url, details, certificate)
    return reply_error(url, code, details)


def http_reply_error(url: str, reply: HttpReply) -> BeampipeError:
    """The error for an HTTP status other than 200."""
    return reply_error(url, _CODES.get(reply.status, "UNKNOWN"), reason_of(reply))


def reply_error(url: str, code: str, message: str) -> BeampipeError:
    """The error for a refusal: of the data, of the request or of the service, and whether a retry makes sense.

    Args:
        url: address of the server.
        code: name of the gRPC status.
        message: message of the server.
    """
    message = _OUR_MEMORY.sub("of this client", _TRACEBACK.sub("", message))
    text = f"{url}: {message or code}"
    if (error := _meaning_of(_REFUSALS, message, url, text)) is not None:
        return error
    match code:
        case "INVALID_ARGUMENT" | "OUT_OF_RANGE":
            return from_wire(message or text)
        case "RESOURCE_EXHAUSTED" if _FULL not in message.lower():
            return too_large_error(url)
        case "RESOURCE_EXHAUSTED" | "UNAVAILABLE" | "CANCELLED" | "ABORTED":
            return ServiceUnavailableError(f"{text}; the server may answer later", url=url)
        case "DEADLINE_EXCEEDED":
            return deadline_error(url)
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            expected = "got no token that it accepts, expected one (token=..., --token-file)"
            return ServiceError(f"{text}; {expected}", url=url)
        case "UNIMPLEMENTED" | "NOT_FOUND":
            expected = "expected the KServe v2 protocol there; check the URL and its scheme"
            return ServiceError(f"{text}; {expected}", url=url)
    return ServiceError(f"{text} ({code})", url=url)


def deadline_error(url: str) -> DeadlineError:
    """The error for a missed deadline."""
    return DeadlineError(_TOO_LATE.format(url=url), url=url)


def too_large_error(url: str) -> TooLargeError:
    """The error for a request that is larger than the server or the protocol accepts."""
    return TooLargeError(f"{url}: got a larger request than is taken there; send less at once, or raise the limit")


_ALERT: Final = re.compile(
    r"alert[ _]((?:certificate|bad|unsupported|unknown|access|handshake)[ _]"
    r"(?:expired|required|revoked|unknown|certificate|ca|denied|failure))",
    re.I,
)
"""Alerts of TLS by which a server refuses a client, in messages of OpenSSL and BoringSSL."""


def connection_error(url: str, message: str, certificate: Path | None = None) -> ServiceError:
    """The error for a connection that cannot be made, or broke.

    Args:
        url: address of the server.
        message: message of the operating system, TLS or gRPC.
        certificate: the client's certificate; None for none.
    """
    if alert := _ALERT.search(message):
        shown = "a client without a certificate" if certificate is None else f"the certificate {certificate}"
        why = alert[1].replace("_", " ").lower()
        expected = "expected one that is valid now, of an authority that it trusts (certificate=...)"
        return ServiceError(f"{url}: the server refuses {shown} ({why}), {expected}", url=url)
    return _meaning_of(_FAILURES, message, url) or ServiceUnavailableError(f"{url}: {message}, {_IS_IT}", url=url)


_TOO_LATE: Final = "{url}: got no answer in time; allow more, or send less at once"
_IS_IT = "expected a Triton there; is a server running there?"

_Failures = Mapping[str, tuple[type[ServiceError], str]]
"""Error and message by pattern, from the specific to the general."""

# Messages of Triton, since its codes differ between HTTP and gRPC and between versions.
_REFUSALS: Final[_Failures] = {
    "nobody waits for the answer": (DeadlineError, _TOO_LATE),  # the server has noticed the client's deadline first
    "unable to find (system )?shared memory region": (
        RegionLostError,
        "{url}: the server does not know the shared memory of this client (any more)",
    ),
    "is restricted, expecting header": (
        ServiceError,
        "{url}: restricted, expected the secret that the server wrote when it started",
    ),
    "no available versions|is not ready|unloading|is not healthy|server is stopping": (
        ServiceUnavailableError,
        "{text}; the model is starting, stopping or has lost its process",
    ),
    "unknown model|failed to find model|is not found": (UnknownModelError, "{text}; expected one that is loaded there"),
}

# Messages of OpenSSL, BoringSSL, gRPC, Python and the C library about connections; gRPC nests them.
_FAILURES: Final[_Failures] = {
    "hostname mismatch|hostname verification|ip address mismatch|is not in peer certificate": (
        ServiceError,
        "{url}: got the certificate of another host, expected one for {host}; check the URL",
    ),
    "certificate[_ ]verify[_ ]failed": (
        ServiceError,
        "{url}: got a certificate that is not trusted, expected one that tls=FILE or this system trusts",
    ),
    "connection refused": (ServiceUnavailableError, f"{{url}}: the connection was refused, {_IS_IT}"),
    "name or service not known|name resolution|dns resolution failed|no address associated|address lookup failed": (
        ServiceUnavailableError,
        "{url}: got no address for {host}, expected a host; check the URL",
    ),
    "badstatusline|http1.x server|wrong[_ ]version[_ ]number": (
        ServiceError,
        "{url}: another protocol is spoken there, expected the one of the URL; check its scheme and port",
    ),
    "timed out|timeout occurred|failed to connect before the deadline|handshake read failed": (
        ServiceUnavailableError,
        "{url}: got no connection, expected one within seconds; does the server hang?",
    ),
    "broken pipe|closed|eof occurred|goaway|incompleteread|reset|rst_stream|end of tcp stream|stream removed": (
        ServiceUnavailableError,
        "{url}: the connection broke, expected an answer; has the server died, or is that the port of another"
        " protocol?",
    ),
}


def _meaning_of(failures: _Failures, message: str, url: str, text: str = "") -> ServiceError | None:
    """The error that a message means; None for any other message."""
    for pattern, (kind, meaning) in failures.items():
        if re.search(pattern, message, re.I):
            return kind(meaning.format(url=url, host=urlsplit(url).hostname, text=text), url=url)
    return None
