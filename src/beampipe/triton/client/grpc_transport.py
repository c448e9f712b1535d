"""gRPC, by the stubs that NVIDIA generates from the protocol (`tritonclient.grpc`).

The client class of `tritonclient` around those stubs is left out: it adds 80 us to each small event and its blocking
call cannot be cancelled.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Any, Final, TypeVar

from beampipe.errors import BeampipeError
from beampipe.triton.client.codec import SIZE_HEADER, Message
from beampipe.triton.client.endpoint import Endpoint, Security, door_of
from beampipe.triton.client.refusals import broken, refusal, too_large
from beampipe.triton.client.transport import CONNECTING, PendingAnswer

__all__ = ["GrpcTransport"]

_OPTIONS: Final = (
    # Events have no natural limit; the server and its gateway state theirs.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within half a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # What gRPC calls the shortest pause is the longest time that it gives a connection to stand.
    ("grpc.min_reconnect_backoff_ms", int(1000 * CONNECTING)),
    # Clients do not share connections: closing one leaves the others alone.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy of the environment is for the web, never for a server that was named.
    ("grpc.enable_http_proxy", 0),
)

_LONGEST: Final = (1 << 31) - 1
"""Most bytes of one message of protobuf."""

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
"""What gRPC itself says of a connection, and no server of its work."""

_OF_CONNECTIONS: Final = ("UNAVAILABLE", "INTERNAL", "UNKNOWN")
"""Names of the statuses with which gRPC says that a connection broke; a server says other things with them, too."""

_GRACE: Final = 0.1
"""Time [s] that a server gets to answer a request that nobody waits for, before it is told so.

Triton before 2.59 can crash on a cancellation that meets its answer (issue 7368 of its server, fixed in 2.54, 2.57 and
2.59), and small events are answered within a millisecond. What takes longer is worth cancelling, and seldom meets."""

_Reply = TypeVar("_Reply")


class GrpcTransport:
    """One gRPC channel to a server.

    Args:
        endpoint: address of the server.
        security: token to show and certificates to trust.

    Raises:
        MissingExtraError: `tritonclient` is not installed.
    """

    def __init__(self, endpoint: Endpoint, security: Security) -> None:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self._grpc = grpc
        self._protobuf = service_pb2
        self._url = str(endpoint)
        self._endpoint = endpoint
        self._metadata = security.headers
        target, options = _target(endpoint)
        if endpoint.tls:
            # Without a file gRPC would trust a list of its own, which knows nothing of a site's authority.
            roots = security.roots or ssl.get_default_verify_paths().cafile
            shown = None if security.certificate is None else security.certificate.read_bytes()
            trusted = None if roots is None else Path(roots).read_bytes()
            credentials = grpc.ssl_channel_credentials(trusted, shown, shown)
            self._channel = grpc.secure_channel(target, credentials, (*_OPTIONS, *options))
        else:
            self._channel = grpc.insecure_channel(target, (*_OPTIONS, *options))
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._awaited = 0
        self._one_less = threading.Condition()

    def send(self, message: Message[_Reply], timeout: float, pending: PendingAnswer[Any] | None = None) -> _Reply:
        method, request = getattr(self._stub, message.rpc), message.to_grpc(self._protobuf)
        if request.ByteSize() > _LONGEST:
            raise too_large(self._url)
        metadata = (*self._metadata, (SIZE_HEADER, str(numbers))) if (numbers := message.numbers) else self._metadata
        if message.guarded and (door := door_of(self._endpoint)) is not None:
            metadata = (*metadata, *door.headers)  # looked for each time: a server that was restarted has another
        try:
            if pending is None:
                answer = method(request, timeout=timeout, metadata=metadata)
            else:
                answer = self._answer(method.future(request, timeout=timeout, metadata=metadata), pending)
        except self._grpc.FutureCancelledError:
            raise refusal(self._url, "CANCELLED", "cancelled here") from None
        except self._grpc.RpcError as error:
            raise _failed(self._url, error.code().name, error.details() or "") from None
        except ValueError as error:  # what gRPC says of a closed channel
            raise broken(self._url, str(error)) from None
        return message.from_grpc(answer)

    def _answer(self, call: Any, pending: PendingAnswer[Any]) -> Any:
        """What the server answers to a call that nobody may wait for any more."""
        with self._one_less:
            self._awaited += 1
        try:
            pending.on_cancel(lambda: _cancel_later(call))
            return call.result()
        finally:
            with self._one_less:
                self._awaited -= 1
                self._one_less.notify_all()

    def close(self) -> None:
        with self._one_less:
            self._one_less.wait_for(lambda: not self._awaited, _GRACE)
        self._channel.close()


def _cancel_later(call: Any) -> None:
    """Tell the server that nobody waits, unless it has answered by then."""
    timer = threading.Timer(_GRACE, call.cancel)
    timer.daemon = True
    timer.start()


def _target(endpoint: Endpoint) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What gRPC connects to, and options for a host of which one address is meant."""
    if not endpoint.address:
        return endpoint.authority, ()
    options = (("grpc.default_authority", endpoint.authority), ("grpc.ssl_target_name_override", endpoint.host))
    if ":" in endpoint.address:
        return f"ipv6:[{endpoint.address}]:{endpoint.port}", options
    return f"ipv4:{endpoint.address}:{endpoint.port}", options


def _failed(url: str, code: str, details: str) -> BeampipeError:
    """The error for a call that failed: by its connection, or because the server refuses."""
    if code in _OF_CONNECTIONS and any(part in details.lower() for part in _OF_GRPC):
        return broken(url, details)
    return refusal(url, code, details)
