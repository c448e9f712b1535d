"""The tensors of a model as its configuration declares them, and the messages that carry them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from beampipe.errors import DtypeError, InputError, ServiceError, ShapeError, UnknownNameError
from beampipe.triton.client.codec import ConfigRequest, InferRequest, Output, Placed, Tensor
from beampipe.triton.client.shared_memory import MappedRegions, MapRegion, UnmapRegion
from beampipe.triton.client.signature import signature_of
from beampipe.triton.model.contract import TensorSpec

CONFIG: dict[str, Any] = {
    "name": "m",
    "max_batch_size": 0,
    "input": [
        {"name": "X", "data_type": "TYPE_FP32", "dims": ["-1", "3"]},  # as gRPC has it
        {"name": "OFFSET", "data_type": "TYPE_INT64", "dims": [1], "optional": True},
    ],
    "output": [
        {"name": "LABELS", "data_type": "TYPE_INT64", "dims": [-1]},
        {"name": "FIT", "data_type": "TYPE_FP64", "dims": [2, 2]},
    ],
    "parameters": {"UNIT": {"string_value": "mm"}},
}
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_configuration_says_what_a_model_takes_and_gives() -> None:
    signature = signature_of(CONFIG, "s")
    assert (signature.model, signature.url, signature.batched) == ("m", "s", False)
    assert list(signature.inputs.values()) == [
        TensorSpec("X", "FP32", np.float32, (-1, 3)),
        TensorSpec("OFFSET", "INT64", np.int64, (1,)),
    ]
    assert list(signature.outputs) == ["LABELS", "FIT"]
    assert signature.optional == {"OFFSET"}
    assert signature.parameters == {"UNIT": "mm"}


@pytest.mark.parametrize("batched", [False, True])
def test_a_request_holds_the_arrays_as_the_wire_wants_them(batched: bool) -> None:
    signature = signature_of({**CONFIG, "max_batch_size": 4 * batched}, "s")
    due = signature.due({"LABELS": (2,), "FIT": None})
    assert due == {"LABELS": (2,), "FIT": (2, 2)}
    assert signature.sizes(due) == {"LABELS": 16, "FIT": 32}
    assert signature.sizes(signature.due({"LABELS": None})) == {}
    request = signature.request({"X": np.asfortranarray(X)}, due)
    (tensor,) = request.inputs
    assert tensor.array.shape == ((1, 2, 3) if batched else (2, 3))
    assert tensor.array.flags.c_contiguous
    assert [spec.name for spec in request.outputs] == ["LABELS", "FIT"]
    assert np.shares_memory(signature.request({"X": X}, due).inputs[0].array, X)


@pytest.mark.parametrize(
    ("arrays", "kind", "message"),
    [
        ({}, InputError, r"m: got no X, expected FP32 \[-1, 3\]"),
        ({"X": X.astype(float)}, DtypeError, r"X of float64, expected float32, as FP32 \[-1, 3\]; convert it"),
        ({"X": X.astype(">f4")}, DtypeError, "X of >f4, expected float32"),
        ({"X": X.T}, ShapeError, r"got X \[3, 2\], expected FP32 \[-1, 3\]"),
        ({"X": X[0]}, ShapeError, r"got X \[3\]"),
        ({"X": X, "OFSET": X}, UnknownNameError, "did you mean 'OFFSET'"),
    ],
)
def test_what_a_model_does_not_take_is_not_sent(arrays: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        signature_of(CONFIG, "s").request(arrays, {})


@pytest.mark.parametrize("batched", [False, True])
def test_arrays_come_in_the_shape_of_the_model_and_in_memory_of_their_own(batched: bool) -> None:
    signature = signature_of({**CONFIG, "max_batch_size": 4 * batched}, "s")
    fit = np.arange(4.0).reshape(2, 2)
    shape = (1, 2, 2) if batched else (2, 2)
    result = signature.arrays({"FIT": Output("FP64", shape, fit.tobytes())}, {"FIT": None})["FIT"]
    np.testing.assert_array_equal(result, fit)
    assert result.flags.writeable


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (Output("INT32", (2,), b"0" * 8), r"INT32 \[2\], expected INT64 \[2\]"),
        (Output("INT64", (3,), b"0" * 24), r"INT64 \[3\], expected INT64 \[2\]"),
        (Output("INT64", (1, 2), b"0" * 16), r"INT64 \[1, 2\], expected INT64 \[2\]"),
        (Output("INT64", (2,), b""), "0 bytes of LABELS, expected 2 values"),
        (Output("INT64", (2,), None), "0 bytes of LABELS, expected 2 values"),
        (Output("INT64", (2,), b"0" * 15), "15 bytes of LABELS"),
    ],
)
def test_an_answer_that_cannot_be_right_is_no_answer(output: Output, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        signature_of(CONFIG, "s").arrays({"LABELS": output}, {"LABELS": (2,)})
    assert (caught.value.url, caught.value.model) == ("s", "m")


@pytest.mark.parametrize(
    "change",
    [
        {"input": [{"name": "X"}]},
        {"input": 7},
        {"output": [{"name": "WORDS", "data_type": "TYPE_STRING", "dims": [1]}]},
        {"max_batch_size": "many"},
    ],
)
def test_what_is_no_configuration_is_told(change: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match=r"s: got a configuration of 'm' with .*, expected tensors of BOOL"):
        signature_of({**CONFIG, **change}, "s")


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


def test_the_service_has_the_methods_that_are_called() -> None:
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for message in MESSAGES:
        method = methods[message.rpc]
        assert method.input_type.full_name == message.to_grpc(service_pb2).DESCRIPTOR.full_name
        assert not method.client_streaming
        assert not method.server_streaming
