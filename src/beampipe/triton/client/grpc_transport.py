"""gRPC, by the stubs that NVIDIA generates from the protocol (`tritonclient.grpc`).

The client class of `tritonclient` around those stubs is left out: it adds 80 us to each small event and its blocking
call cannot be cancelled.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final, TypeVar

from beampipe.errors import MissingExtraError, ServiceError
from beampipe.triton.client.codec import Message, refusal
from beampipe.triton.client.endpoint import Endpoint, Security, door_of
from beampipe.triton.client.transport import PendingAnswer

__all__ = ["GrpcTransport"]

_OPTIONS: Final = (
    # Events have no natural limit; the server and its gateway state theirs.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Clients do not share connections: closing one leaves the others alone.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy of the environment is for the web, never for a server that was named.
    ("grpc.enable_http_proxy", 0),
)

_OPEN: Final = ("ModelInfer", "ModelConfig")
"""Calls for which no server asks for its secret; looking for it takes 10 us."""

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
        try:
            import grpc
            from tritonclient.grpc import service_pb2, service_pb2_grpc
        except ImportError as error:
            raise MissingExtraError("tritonclient", "serving", "asking a server over gRPC") from error
        self._grpc = grpc
        self._protobuf = service_pb2
        self._url = str(endpoint)
        self._endpoint = endpoint
        self._token = security.headers
        if endpoint.tls:
            # Without a file gRPC would trust a list of its own, which knows nothing of a site's authority.
            roots = security.roots or ssl.get_default_verify_paths().cafile
            credentials = grpc.ssl_channel_credentials(None if roots is None else Path(roots).read_bytes())
            self._channel = grpc.secure_channel(endpoint.authority, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.authority, _OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def send(self, message: Message[_Reply], timeout: float, pending: PendingAnswer[Any] | None = None) -> _Reply:
        method, request = getattr(self._stub, message.rpc), message.to_grpc(self._protobuf)
        metadata = self._metadata(message.rpc)
        try:
            if pending is None:
                answer = method(request, timeout=timeout, metadata=metadata)
            else:
                call = method.future(request, timeout=timeout, metadata=metadata)
                pending.on_cancel(call.cancel)
                answer = call.result()
        except self._grpc.FutureCancelledError:
            raise refusal(self._url, "CANCELLED", "cancelled here") from None
        except self._grpc.RpcError as error:
            raise refusal(self._url, error.code().name, error.details() or "") from None
        except ValueError as error:  # what gRPC says of a closed channel
            raise ServiceError(f"{self._url}: {error}", url=self._url) from None
        return message.from_grpc(answer)

    def _metadata(self, rpc: str) -> tuple[tuple[str, str], ...]:
        """What is shown with a call: the token, and the secret of a server of this user where one is asked for."""
        if rpc in _OPEN:
            return self._token
        door = door_of(self._endpoint)  # each time: a server that is started again has another secret
        return self._token if door is None else (*self._token, *door.headers)

    def close(self) -> None:
        self._channel.close()
