from __future__ import annotations

import json

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from beampipe.errors import ServiceError
from beampipe.triton.client.codec import (
    ConfigRequest,
    HttpReply,
    InferRequest,
    Placed,
    Tensor,
)
from beampipe.triton.model.contract import TensorSpec

X = TensorSpec("X", "FP32", np.float32, (-1, 2))
N = TensorSpec("N", "INT64", np.int64, (-1,))
Y = TensorSpec("Y", "FP32", np.float32, (-1,))
INPUTS = (Tensor(X, np.arange(6, dtype=np.float32).reshape(3, 2)), Tensor(N, np.array([7, 8])))


def test_http_carries_a_json_header_and_the_tensors_as_they_lie_in_memory() -> None:
    call = InferRequest("a/b", INPUTS, (Y,)).to_http(1.5)
    assert (call.method, call.path) == ("POST", "/v2/models/a%2Fb/infer")
    head, *tensors = call.body
    assert call.headers["Inference-Header-Content-Length"] == str(len(head))
    assert json.loads(bytes(head)) == {
        "inputs": [
            {"name": "X", "shape": [3, 2], "datatype": "FP32", "parameters": {"binary_data_size": 24}},
            {"name": "N", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}},
        ],
        "outputs": [{"name": "Y", "parameters": {"binary_data": True}}],
        "parameters": {"timeout": 1_500_000},
    }
    assert [bytes(tensor) for tensor in tensors] == [tensor.array.tobytes() for tensor in INPUTS]
    assert "parameters" not in json.loads(bytes(InferRequest("m", INPUTS, (Y,)).to_http().body[0]))


def test_what_is_in_shared_memory_is_not_sent() -> None:
    placed = Placed("r", {"X": (0, 24), "Y": (64, 12)})
    request = InferRequest("m", INPUTS, (Y,), placed)
    head, *tensors = request.to_http().body
    place = {"shared_memory_region": "r", "shared_memory_offset": 64, "shared_memory_byte_size": 12}
    assert json.loads(bytes(head))["outputs"] == [{"name": "Y", "parameters": place}]
    assert [bytes(tensor) for tensor in tensors] == [INPUTS[1].array.tobytes()]
    message = request.to_grpc(service_pb2)
    assert message.outputs[0].parameters["shared_memory_region"].string_param == "r"
    assert message.outputs[0].parameters["shared_memory_offset"].int64_param == 64
    assert message.inputs[0].parameters["shared_memory_byte_size"].int64_param == 24
    assert list(message.raw_input_contents) == [INPUTS[1].array.tobytes()]


def test_both_protocols_give_the_same_answer() -> None:
    request = InferRequest("m", INPUTS, (Y, N))
    y, n = np.array([0.5, 1.5], np.float32), np.array([3])
    outputs = [("Y", "FP32", y), ("N", "INT64", n)]
    answer = service_pb2.ModelInferResponse()
    described = []
    for name, datatype, array in outputs:
        answer.outputs.add(name=name, datatype=datatype, shape=array.shape)
        answer.raw_output_contents.append(array.tobytes())
        size = {"binary_data_size": array.nbytes}
        described.append({"name": name, "datatype": datatype, "shape": list(array.shape), "parameters": size})
    head = json.dumps({"outputs": described}).encode()
    by_http = request.from_http(HttpReply(200, head + y.tobytes() + n.tobytes(), len(head)), "http://a:1")
    for result in (by_http, request.from_grpc(answer)):
        for name, datatype, array in outputs:
            assert (result[name].datatype, result[name].shape) == (datatype, array.shape)
            assert bytes(result[name].data or b"") == array.tobytes()


@pytest.mark.parametrize("data", [b"<html>", b"[1]", b'{"outputs": 7}', b'{"outputs": [{"name": "Y"}]}'])
def test_an_answer_of_something_else_is_no_answer(data: bytes) -> None:
    with pytest.raises(ServiceError, match=r"http://a:1: got .*, expected") as caught:
        InferRequest("m", INPUTS, (Y,)).from_http(HttpReply(200, data), "http://a:1")
    assert caught.value.url == "http://a:1"


def test_a_configuration_is_asked_for_and_read() -> None:
    assert ConfigRequest("a b").to_http().path == "/v2/models/a%20b/config"
    assert ConfigRequest("m").from_http(HttpReply(200, b'{"name": "m"}'), "u") == {"name": "m"}
    with pytest.raises(ServiceError, match="expected a model's configuration"):
        ConfigRequest("m").from_http(HttpReply(200, b'"hello"'), "u")
