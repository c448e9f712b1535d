"""Messages over gRPC: numbers of the fields that we use, as in Triton 2.51 and newer, and as in `tritonclient`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2

from beampipe.triton.client.codec import ConfigRequest, InferRequest, Placed, Tensor
from beampipe.triton.client.shared_memory import MappedRegions, MapRegion, UnmapRegion
from beampipe.triton.model.contract import TensorSpec

NUMBERS = {
    "ModelInferRequest": {"model_name": 1, "inputs": 5, "outputs": 6, "raw_input_contents": 7},
    "ModelInferRequest.InferInputTensor": {"name": 1, "datatype": 2, "shape": 3, "parameters": 4},
    "ModelInferRequest.InferInputTensor.ParametersEntry": {"key": 1, "value": 2},
    "ModelInferRequest.InferRequestedOutputTensor": {"name": 1, "parameters": 2},
    "ModelInferRequest.InferRequestedOutputTensor.ParametersEntry": {"key": 1, "value": 2},
    "ModelInferResponse": {"outputs": 5, "raw_output_contents": 6},
    "ModelInferResponse.InferOutputTensor": {"name": 1, "datatype": 2, "shape": 3},
    "InferParameter": {"int64_param": 2, "string_param": 3},
    "ModelConfigRequest": {"name": 1},
    "ModelConfigResponse": {"config": 1},
    "SystemSharedMemoryRegisterRequest": {"name": 1, "key": 2, "byte_size": 4},
    "SystemSharedMemoryUnregisterRequest": {"name": 1},
    "SystemSharedMemoryStatusResponse": {"regions": 1},
}

FEATURES = TensorSpec("FEATURES", "FP32", np.float32, (-1, 3))
LABELS = TensorSpec("LABELS", "INT64", np.int64, (-1,))
TENSOR = Tensor(FEATURES, np.ones((2, 3), np.float32))
MESSAGES = (
    InferRequest("m", (TENSOR,), (LABELS,)),
    InferRequest("m", (TENSOR,), (LABELS,), Placed("region", {"FEATURES": (0, 24), "LABELS": (24, 16)})),
    ConfigRequest("m"),
    MapRegion("region", "/key", 100),
    UnmapRegion("region"),
    MappedRegions(),
)


def number(message: str, field: str) -> int:
    """Number of a field in the installed `tritonclient`."""
    descriptor: Any = service_pb2.DESCRIPTOR
    for row, name in enumerate(message.split(".")):
        descriptor = (descriptor.nested_types_by_name if row else descriptor.message_types_by_name)[name]
    result: int = descriptor.fields_by_name[field].number
    return result


def fields(message: Message) -> Iterator[tuple[str, str]]:
    """Every field that is set in a message, and in the messages in it: name of the message, name of the field."""
    name = message.DESCRIPTOR.full_name.removeprefix("inference.")
    for field, value in message.ListFields():
        yield name, field.name
        if field.message_type is None:
            continue
        parts = value.values() if isinstance(value, Mapping) else value
        for part in [value] if isinstance(value, Message) else parts:
            yield from fields(part)


@pytest.mark.parametrize("message", NUMBERS)
def test_the_numbers_are_those_of_tritonclient(message: str) -> None:
    assert {field: number(message, field) for field in NUMBERS[message]} == NUMBERS[message]


def test_no_other_field_is_sent() -> None:
    sent = {pair for message in MESSAGES for pair in fields(message.to_grpc(service_pb2))}
    assert ("InferParameter", "string_param") in sent
    assert not {(name, field) for name, field in sent if field not in NUMBERS[name]}


def test_the_service_has_the_methods_that_are_called() -> None:
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for message in MESSAGES:
        method = methods[message.rpc]
        assert method.input_type.full_name == message.to_grpc(service_pb2).DESCRIPTOR.full_name
        assert not method.client_streaming
        assert not method.server_streaming
    assert {methods["ModelInfer"].output_type.name, methods["ModelConfig"].output_type.name} <= NUMBERS.keys()
