"""gRPC, by the stubs that NVIDIA generates from the protocol (`tritonclient.grpc`).

The client class of `tritonclient` around those stubs is left out: it adds 80 us to each small event and its blocking
call cannot be cancelled.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from beampipe.errors import MissingExtraError, ServiceError
from beampipe.triton.client.endpoint import Endpoint, Security
from beampipe.triton.client.failures import from_grpc
from beampipe.triton.client.wire import Call, Output, Request, Tensor
from beampipe.triton.model.contract import TensorSpec

__all__ = ["GrpcTransport"]

_OPTIONS: Final = (
    # Events have no natural limit; the server and its gateway state theirs.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # Finders do not share connections: closing one leaves the others alone.
    ("grpc.use_local_subchannel_pool", 1),
    # A proxy of the environment is for the web, never for a server that was named.
    ("grpc.enable_http_proxy", 0),
)


class GrpcTransport:
    """One gRPC channel.

    Args:
        endpoint: where.
        security: token and certificates.

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
        self._messages = service_pb2
        self._where = str(endpoint)
        self._metadata = security.headers
        if endpoint.tls:
            # Without a file gRPC would trust a list of its own, which knows nothing of a site's authority.
            roots = security.roots or ssl.get_default_verify_paths().cafile
            credentials = grpc.ssl_channel_credentials(None if roots is None else Path(roots).read_bytes())
            self._channel = grpc.secure_channel(endpoint.authority, credentials, _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(endpoint.authority, _OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def config(self, model: str, timeout: float) -> Mapping[str, Any]:
        from google.protobuf.json_format import MessageToDict

        answer = self._blocking(self._stub.ModelConfig, self._messages.ModelConfigRequest(name=model), timeout)
        config: dict[str, Any] = MessageToDict(answer.config, preserving_proto_field_name=True)
        return config

    def infer(self, request: Request, timeout: float, call: Call | None) -> dict[str, Output]:
        message = self._message(request)
        if call is None:
            answer = self._blocking(self._stub.ModelInfer, message, timeout)
        else:
            answer = self._cancellable(message, timeout, call)
        raw = answer.raw_output_contents
        outputs = {}
        for row, tensor in enumerate(answer.outputs):
            # What is in shared memory has an empty entry among the raw contents.
            shared = request.placed is not None and tensor.name in request.placed.at
            data = None if shared or row >= len(raw) else raw[row]
            outputs[tensor.name] = Output(tensor.datatype, tuple(tensor.shape), data)
        return outputs

    def register(self, region: str, key: str, size: int, timeout: float) -> None:
        message = self._messages.SystemSharedMemoryRegisterRequest(name=region, key=key, offset=0, byte_size=size)
        self._blocking(self._stub.SystemSharedMemoryRegister, message, timeout)

    def registered(self, timeout: float) -> list[str]:
        message = self._messages.SystemSharedMemoryStatusRequest()
        return list(self._blocking(self._stub.SystemSharedMemoryStatus, message, timeout).regions)

    def unregister(self, region: str, timeout: float) -> None:
        message = self._messages.SystemSharedMemoryUnregisterRequest(name=region)
        self._blocking(self._stub.SystemSharedMemoryUnregister, message, timeout)

    def close(self) -> None:
        self._channel.close()

    def _message(self, request: Request) -> Any:
        message = self._messages.ModelInferRequest(model_name=request.model)
        for tensor in request.inputs:
            made = message.inputs.add(name=tensor.spec.name, datatype=tensor.spec.triton_type, shape=tensor.array.shape)
            if not self._place(made, tensor.spec, request):
                message.raw_input_contents.append(_bytes(tensor))
        for spec in request.outputs:
            self._place(message.outputs.add(name=spec.name), spec, request)
        return message

    @staticmethod
    def _place(made: Any, spec: TensorSpec, request: Request) -> bool:
        """Say where in shared memory a tensor is, if it is there."""
        if request.placed is None or spec.name not in request.placed.at:
            return False
        offset, length = request.placed.at[spec.name]
        made.parameters["shared_memory_region"].string_param = request.placed.region
        made.parameters["shared_memory_offset"].int64_param = offset
        made.parameters["shared_memory_byte_size"].int64_param = length
        return True

    def _blocking(self, method: Any, message: Any, timeout: float) -> Any:
        try:
            return method(message, timeout=timeout, metadata=self._metadata)
        except self._grpc.RpcError as error:
            raise from_grpc(self._where, error.code().name, error.details()) from None
        except ValueError as error:  # what gRPC says of a closed channel
            raise ServiceError(f"{self._where}: {error}") from None

    def _cancellable(self, message: Any, timeout: float, call: Call) -> Any:
        try:
            pending = self._stub.ModelInfer.future(message, timeout=timeout, metadata=self._metadata)
            call.on_cancel(pending.cancel)
            return pending.result()
        except self._grpc.FutureCancelledError:
            raise from_grpc(self._where, "CANCELLED", "cancelled here") from None
        except self._grpc.RpcError as error:
            raise from_grpc(self._where, error.code().name, error.details()) from None
        except ValueError as error:
            raise ServiceError(f"{self._where}: {error}") from None


def _bytes(tensor: Tensor) -> bytes:
    return tensor.array.tobytes()
