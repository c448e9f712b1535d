"""What a server's refusal means: the data, the request or the service is at fault, and may one ask again?"""

from __future__ import annotations

from typing import Final

from beampipe.errors import (
    BeampipeError,
    DeadlineError,
    InputError,
    ServiceError,
    ServiceUnavailableError,
    TooLargeError,
)

__all__ = ["RegionLostError", "UnknownModelError", "failure", "from_grpc", "from_http"]


class RegionLostError(ServiceUnavailableError):
    """The server does not know our shared memory region (any more): it is another one, or has been restarted."""


class UnknownModelError(ServiceError):
    """The server has no such model."""


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

# Triton says the same thing with different codes over HTTP and gRPC, and in different versions.
_REGION: Final = ("unable to find shared memory region", "unable to find system shared memory region")
_STOPPING: Final = ("no available versions", "is not ready", "unloading", "is not healthy", "server is stopping")
_UNKNOWN: Final = ("unknown model", "failed to find model", "is not found")


def failure(where: str, code: str, message: str) -> BeampipeError:
    """The error to raise.

    Args:
        where: the server.
        code: name of the gRPC status.
        message: the server's.
    """
    text = message.lower()
    said = f"{where}: {message or code}"
    if any(part in text for part in _REGION):
        return RegionLostError(said)
    if any(part in text for part in _STOPPING):
        return ServiceUnavailableError(f"{said}; the model is starting, stopping or has lost its process")
    if any(part in text for part in _UNKNOWN):
        return UnknownModelError(f"{said}; expected one that is loaded there")
    match code:
        case "INVALID_ARGUMENT" | "OUT_OF_RANGE":
            return InputError(message or said)
        case "RESOURCE_EXHAUSTED":
            return TooLargeError(f"{said}; cut the event into regions in phi or z, or raise the limit there")
        case "UNAVAILABLE" | "CANCELLED" | "ABORTED":
            return ServiceUnavailableError(f"{said}; is a server running there?")
        case "DEADLINE_EXCEEDED":
            return DeadlineError(f"{said}; allow more time, or send less at once")
        case "UNAUTHENTICATED" | "PERMISSION_DENIED":
            return ServiceError(f"{said}; got no token that it accepts, expected one (token=..., --token-file)")
        case "UNIMPLEMENTED" | "NOT_FOUND":
            return ServiceError(f"{said}; expected the KServe v2 protocol there; check the URL and its scheme")
    return ServiceError(f"{said} ({code})")


def from_grpc(where: str, code: str, details: str | None) -> BeampipeError:
    """For a gRPC status."""
    return failure(where, code, details or "")


def from_http(where: str, status: int, message: str) -> BeampipeError:
    """For an HTTP status other than 200; Triton's message is the ``error`` of a JSON body."""
    return failure(where, _CODES.get(status, "UNKNOWN"), message or f"HTTP status {status}")
