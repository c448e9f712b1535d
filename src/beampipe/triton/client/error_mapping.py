"""Maps replies and broken connections to `beampipe.errors`: same class and message over HTTP and gRPC.

Messages about the data are passed on. Details of the server itself (paths, names of memory) are left out.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
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
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Name of the gRPC status that means what an HTTP status does."""

# Phrases in Triton's messages, since its codes differ between HTTP and gRPC and between versions.
_REGION: Final = ("unable to find shared memory region", "unable to find system shared memory region")
_RESTRICTED: Final = ("is restricted, expecting header",)
_STOPPING: Final = ("no available versions", "is not ready", "unloading", "is not healthy", "server is stopping")
_FULL: Final = ("try again",)
"""Message of gateways with too many requests; its gRPC status is that of a request that is too large."""
_UNKNOWN: Final = ("unknown model", "failed to find model", "is not found")

# Phrases of OpenSSL, BoringSSL, gRPC, Python and the C library about connections.
_OTHER_NAME: Final = (
    "hostname mismatch",
    "hostname verification",
    "ip address mismatch",
    "is not in peer certificate",
)
_UNTRUSTED: Final = ("certificate_verify_failed", "certificate verify failed")
_NOBODY: Final = ("connection refused",)
_NO_ADDRESS: Final = (
    "name or service not known",
    "name resolution",
    "dns resolution failed",
    "no address associated",
    "address lookup failed",
)
_OTHER_PROTOCOL: Final = ("badstatusline", "http1.x server", "wrong_version_number", "wrong version number")
_CUT: Final = (
    "broken pipe",
    "closed",
    "eof occurred",
    "goaway",
    "incompleteread",
    "reset",
    "rst_stream",
    "end of tcp stream",
    "stream removed",
)
_SILENT: Final = ("timed out", "timeout occurred", "failed to connect before the deadline", "handshake read failed")

_OF_GRPC: Final = (
    "failed to connect",
    "dns resolution failed",
    "errors resolving",
    "connection reset",
    "connection refused",
    "socket closed",
    "broken pipe",
    "goaway",
    "rst_stream",
    "stream removed",
    "end of tcp stream",
    "recvmsg",
    "sendmsg",
    "transport closed",
    "handshake",
)
"""Phrases for a broken connection in messages of gRPC, which no server uses for its own errors."""

_TRACEBACK: Final = re.compile(r"\s+At:\n.*", re.DOTALL)
"""Location in the files of a model of Triton's Python backend, which is removed from messages."""

_OUR_MEMORY: Final = re.compile(r"/?beampipe_client_\w+")


def grpc_error(url: str, code: str, details: str) -> BeampipeError:
    """The error for a gRPC call that failed: by its connection, or because the server refuses.

    Args:
        url: address of the server.
        code: name of the gRPC status.
        details: message of the status.
    """
    if code in ("UNAVAILABLE", "INTERNAL", "UNKNOWN") and any(phrase in details.lower() for phrase in _OF_GRPC):
        return connection_error(url, details)
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
    if (error := _triton_error(url, text, message.lower())) is not None:
        return error
    match code:
        case "INVALID_ARGUMENT" | "OUT_OF_RANGE":
            return from_wire(message or text)
        case "RESOURCE_EXHAUSTED" if not any(part in message.lower() for part in _FULL):
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


def _triton_error(url: str, said: str, text: str) -> ServiceError | None:
    """The error for a known message of Triton, with any code."""
    if any(part in text for part in _REGION):
        return RegionLostError(f"{url}: the server does not know the shared memory of this client (any more)", url=url)
    if any(part in text for part in _RESTRICTED):
        return ServiceError(f"{url}: restricted, expected the secret that the server wrote when it started", url=url)
    if any(part in text for part in _STOPPING):
        return ServiceUnavailableError(f"{said}; the model is starting, stopping or has lost its process", url=url)
    if any(part in text for part in _UNKNOWN):
        return UnknownModelError(f"{said}; expected one that is loaded there", url=url)
    return None


def deadline_error(url: str) -> DeadlineError:
    """The error for a missed deadline."""
    return DeadlineError(f"{url}: got no answer in time; allow more, or send less at once", url=url)


def too_large_error(url: str) -> TooLargeError:
    """The error for a request that is larger than the server or the protocol accepts."""
    return TooLargeError(f"{url}: got a larger request than is taken there; send less at once, or raise the limit")


def connection_error(url: str, message: str) -> ServiceError:
    """The error for a connection that cannot be made, or broke.

    Args:
        url: address of the server.
        message: message of the operating system, TLS or gRPC.
    """
    text = message.lower()
    for failure in _FAILURES:
        if any(phrase in text for phrase in failure.phrases):
            return failure.kind(f"{url}: {failure.message.format(host=urlsplit(url).hostname)}", url=url)
    return ServiceUnavailableError(f"{url}: {message}, {_IS_IT}", url=url)


class _Failure(NamedTuple):
    """One way in which a connection fails."""

    phrases: tuple[str, ...]
    kind: type[ServiceError]
    message: str  # {host} stands for the host of the URL


_IS_IT = "expected a Triton there; is a server running there?"

# From the specific to the general, since gRPC nests messages.
_FAILURES: Final = (
    _Failure(_OTHER_NAME, ServiceError, "got the certificate of another host, expected one for {host}; check the URL"),
    _Failure(
        _UNTRUSTED,
        ServiceError,
        "got a certificate that is not trusted, expected one that tls=FILE or this system trusts",
    ),
    _Failure(_NOBODY, ServiceUnavailableError, f"the connection was refused, {_IS_IT}"),
    _Failure(_NO_ADDRESS, ServiceUnavailableError, "got no address for {host}, expected a host; check the URL"),
    _Failure(
        _OTHER_PROTOCOL,
        ServiceError,
        "another protocol is spoken there, expected the one of the URL; check its scheme and port",
    ),
    _Failure(_SILENT, ServiceUnavailableError, "got no connection, expected one within seconds; does the server hang?"),
    _Failure(
        _CUT,
        ServiceUnavailableError,
        "the connection broke, expected an answer; has the server died, or is that the port of another protocol?",
    ),
)
