"""KServe v2, the protocol of Triton: requests and answers, as HTTP and as gRPC.

Each message has a form for both; a transport only carries it. Over HTTP it is a JSON header with the tensors as raw
bytes behind it (the protocol's binary extension), over gRPC one of NVIDIA's protobuf messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar, runtime_checkable
from urllib.parse import quote

import numpy as np
from numpy import ndarray

from beampipe.errors import ServiceError
from beampipe.triton.model.contract import TensorSpec

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""HTTP header with the length [bytes] of the JSON in front of the raw tensors."""

SIZE_HEADER: Final = "beampipe-size"
"""Header with the count of the numbers in a request, by which a gateway can balance the load."""

_NONE: Final[Mapping[str, str]] = {}
_TO_JSON: Final = json.JSONEncoder(separators=(",", ":"))  # made once: `json.dumps` would make one for each request

_Reply = TypeVar("_Reply", covariant=True)


class HttpCall(NamedTuple):
    """A message as HTTP carries it.

    Attributes:
        method: of HTTP.
        path: from the root of the server on.
        body: parts that are sent one after the other, none for a request without a body.
        headers: beside those that each request has.
    """

    method: str
    path: str
    body: Sequence[bytes | memoryview] = ()
    headers: Mapping[str, str] = _NONE


class HttpReply(NamedTuple):
    """An answer as HTTP carries it.

    Attributes:
        status: of HTTP.
        data: the body.
        header_length: bytes of JSON in front of the raw tensors, None if the server states none.
    """

    status: int
    data: bytes
    header_length: int | None = None


@runtime_checkable
class Message(Protocol[_Reply]):
    """A request to a server, and how to read its answer.

    Attributes:
        rpc: name of the gRPC method.
        guarded: whether the server's secret, which all messages carry, is read again before.
        numbers: count of the numbers in its tensors; 0 for none.
    """

    rpc: ClassVar[str]
    guarded: ClassVar[bool]

    @property
    def numbers(self) -> int:
        """Count of the numbers in its tensors."""

    def to_http(self, timeout: float | None = None) -> HttpCall:
        """The message for HTTP; `timeout` [s], how long the client waits, is passed to the model."""

    def from_http(self, reply: HttpReply, url: str) -> _Reply:
        """The content of an answer with status 200; `ServiceError` if it is not KServe v2."""

    def to_grpc(self, protobuf: Any, timeout: float | None = None) -> Any:
        """The message for gRPC, by the module of NVIDIA's generated classes; `timeout` as in `to_http`."""

    def from_grpc(self, answer: Any) -> _Reply:
        """The content of an answer."""


@dataclass(frozen=True, eq=False)
class Tensor:
    """An array to send.

    Attributes:
        spec: name and type.
        array: C-contiguous, of the wire's shape.
    """

    spec: TensorSpec
    array: ndarray


@dataclass(frozen=True)
class Placed:
    """Where in a shared memory region the tensors of one request are.

    Attributes:
        region: name of the region on the server.
        at: offset and length [bytes] by name of tensor, for inputs and outputs.
    """

    region: str
    at: Mapping[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Output:
    """A received tensor, unchecked.

    Attributes:
        datatype: Triton's name of the element type.
        shape: of the tensor, as the server states it.
        data: raw bytes, None if they are in shared memory.
    """

    datatype: str
    shape: tuple[int, ...]
    data: bytes | memoryview | None


@dataclass(frozen=True, eq=False)
class InferRequest:
    """Run a model on some tensors; the answer has an `Output` by name.

    Attributes:
        model: name of the model.
        inputs: tensors to send.
        outputs: tensors to get.
        placed: which of both are in shared memory, None for none.
    """

    rpc: ClassVar[str] = "ModelInfer"
    guarded: ClassVar[bool] = False

    model: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[TensorSpec, ...]
    placed: Placed | None = None

    @property
    def numbers(self) -> int:
        return sum(tensor.array.size for tensor in self.inputs)

    def to_http(self, timeout: float | None = None) -> HttpCall:
        inputs, body = [], []
        for tensor in self.inputs:
            location = self._place(tensor.spec)
            if location is None:
                body.append(memoryview(tensor.array.reshape(-1).view(np.uint8).data))
            inputs.append(
                {
                    "name": tensor.spec.name,
                    "shape": tensor.array.shape,
                    "datatype": tensor.spec.triton_type,
                    "parameters": location or {"binary_data_size": tensor.array.nbytes},
                }
            )
        outputs = [
            {"name": spec.name, "parameters": self._place(spec) or {"binary_data": True}} for spec in self.outputs
        ]
        head: dict[str, Any] = {"inputs": inputs, "outputs": outputs}
        if timeout is not None:
            # Triton does not notice that a client has gone; a model can read this timeout [us].
            head["parameters"] = {"timeout": int(timeout * 1e6)}
        raw = _TO_JSON.encode(head).encode()
        headers = {
            HEADER_LENGTH: str(len(raw)),
            SIZE_HEADER: str(self.numbers),
            "Content-Type": "application/octet-stream",
        }
        return HttpCall("POST", f"/v2/models/{quote(self.model, safe='')}/infer", [raw, *body], headers)

    def from_http(self, reply: HttpReply, url: str) -> dict[str, Output]:
        # An answer without binary data (for example without rows) is JSON alone, and Triton does not state its length.
        length = len(reply.data) if reply.header_length is None else reply.header_length
        rest = memoryview(reply.data)[length:]
        outputs = {}
        try:
            for tensor in parsed(reply.data[:length], url)["outputs"]:
                size = tensor.get("parameters", {}).get("binary_data_size")
                data = None if size is None else rest[:size]
                outputs[tensor["name"]] = Output(tensor["datatype"], tuple(tensor["shape"]), data)
                rest = rest[size or 0 :]
        except (KeyError, TypeError, AttributeError) as error:
            raise ServiceError(f"{url}: got an answer without {error}, expected KServe v2", url=url) from None
        return outputs

    def to_grpc(self, protobuf: Any, timeout: float | None = None) -> Any:
        message = protobuf.ModelInferRequest(model_name=self.model)
        if timeout is not None:
            message.parameters["timeout"].int64_param = int(timeout * 1e6)
        for tensor in self.inputs:
            spec, array = tensor.spec, tensor.array
            made = message.inputs.add(name=spec.name, datatype=spec.triton_type, shape=array.shape)
            if self.placed is None or not self._place_grpc(made, spec):
                message.raw_input_contents.append(array.tobytes())
        for spec in self.outputs:
            made = message.outputs.add(name=spec.name)
            if self.placed is not None:
                self._place_grpc(made, spec)
        return message

    def from_grpc(self, answer: Any) -> dict[str, Output]:
        raw = answer.raw_output_contents
        outputs = {}
        for row, tensor in enumerate(answer.outputs):
            # What is in shared memory has an empty entry among the raw contents.
            shared = self.placed is not None and tensor.name in self.placed.at
            data = None if shared or row >= len(raw) else raw[row]
            outputs[tensor.name] = Output(tensor.datatype, tuple(tensor.shape), data)
        return outputs

    def _place(self, spec: TensorSpec) -> dict[str, Any] | None:
        """Parameters with the place of a tensor in shared memory, None if it is not there."""
        if self.placed is None or spec.name not in self.placed.at:
            return None
        offset, length = self.placed.at[spec.name]
        return {
            "shared_memory_region": self.placed.region,
            "shared_memory_offset": offset,
            "shared_memory_byte_size": length,
        }

    def _place_grpc(self, made: Any, spec: TensorSpec) -> bool:
        """Set the same parameters in a protobuf message; False if the tensor is not in shared memory."""
        location = self._place(spec)
        for key, value in (location or {}).items():
            setattr(made.parameters[key], "string_param" if isinstance(value, str) else "int64_param", value)
        return location is not None


@dataclass(frozen=True)
class ConfigRequest:
    """The configuration of a model, as Triton has completed it; the answer is a dictionary as from JSON.

    Attributes:
        model: name of the model.
    """

    rpc: ClassVar[str] = "ModelConfig"
    guarded: ClassVar[bool] = True
    numbers: ClassVar[int] = 0

    model: str

    def to_http(self, timeout: float | None = None) -> HttpCall:
        return HttpCall("GET", f"/v2/models/{quote(self.model, safe='')}/config")

    def from_http(self, reply: HttpReply, url: str) -> dict[str, Any]:
        config = parsed(reply.data, url)
        if not isinstance(config, dict):
            raise ServiceError(f"{url}: got {str(config)[:40]!r}, expected a model's configuration", url=url)
        return config

    def to_grpc(self, protobuf: Any, timeout: float | None = None) -> Any:
        return protobuf.ModelConfigRequest(name=self.model)

    def from_grpc(self, answer: Any) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict

        config: dict[str, Any] = MessageToDict(answer.config, preserving_proto_field_name=True)
        return config


def parsed(data: bytes, url: str) -> Any:
    """The content of JSON; `ServiceError` if it is not valid."""
    try:
        return json.loads(data)
    except ValueError:
        message = f"{url}: got {data[:40]!r}..., expected JSON; is it a Triton?"
        raise ServiceError(message, url=url) from None


def reason_of(reply: HttpReply) -> str:
    """Reason of a refusal: the ``error`` of Triton's JSON, the text of a gateway, or at least its status."""
    try:
        return str(json.loads(reply.data)["error"])
    except (ValueError, KeyError, TypeError):
        page = reply.data[:200].decode(errors="replace").strip()
        return page if page and not page.startswith("<") else f"HTTP status {reply.status}"
