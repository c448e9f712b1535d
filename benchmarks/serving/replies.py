"""Asking a server over HTTP and gRPC by hand, truthfully or not, and judging what it answers."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import InputError
from beampipe.events import Hits
from beampipe.serving.variants import VARIANTS
from beampipe.tracking.finder import TrackFinder

__all__ = [
    "KNOWN",
    "TIMEOUT",
    "Reply",
    "Target",
    "grpc_request",
    "head_of",
    "infer_http",
    "judged_answer",
    "judged_http",
    "post",
    "sent_grpc",
    "sent_http",
]

TIMEOUT: Final = 60.0
"""An answer that takes longer [s] counts as none."""

READER: Final = re.compile(
    r"""^\s*\{"error":"(Unable to parse '|failed to parse the request JSON buffer|failed to get request params)"""
)
"""Triton 2.51 reads the JSON of a request before it looks at the model, and calls it an internal error if it cannot."""

KNOWN: Final = "500 of Triton's JSON reader"
"""Status of these: nothing in a model or in the configuration can change it, and nothing breaks."""

BLAMES_CLIENT: Final = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "OUT_OF_RANGE",
        "RESOURCE_EXHAUSTED",
        "UNIMPLEMENTED",
        "FAILED_PRECONDITION",
        "ALREADY_EXISTS",
        "CANCELLED",
    }
)


@dataclass(frozen=True)
class Target:
    """What is attacked.

    Attributes:
        http_url: address for HTTP, ``host:port``.
        grpc_url: address for gRPC, ``host:port``.
        models: names of the models.
        direct: the same pipeline in this process, for each model.
        stubs: the gRPC stub, which is made when it is first needed.
    """

    http_url: str
    grpc_url: str
    models: tuple[str, ...]
    direct: Mapping[str, TrackFinder]
    stubs: list[Any] = field(default_factory=list)

    def batched(self, model: str) -> bool:
        """Whether the model's tensors have one more axis."""
        return model in VARIANTS and VARIANTS[model].way == "ragged"


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: status of HTTP or gRPC, or what happened instead.
        good: whether that is acceptable.
        text: what the server said.
        seconds: time that it took [s].
    """

    status: str
    good: bool
    text: str = ""
    seconds: float = 0.0


def post(target: Target, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    """One request; the answer as it is."""
    host, port = target.http_url.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
    try:
        connection.request("POST", path, body, dict(headers))
        response = connection.getresponse()
        return response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(repr(error)) from error
    finally:
        connection.close()


def infer_http(
    target: Target, model: str, header: Any, data: bytes, event: ndarray, length: int | str | None = None
) -> Reply:
    """A binary inference request.

    Args:
        target: whom.
        model: name.
        header: JSON or bytes.
        data: after it.
        event: what was meant; an answer must be its labels.
        length: what is said of the length of the header, empty for nothing.
    """
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    output = {"Inference-Header-Content-Length": str(len(head) if length is None else length)}
    if length == "":
        output = {}
    status, headers, answer = post(target, f"/v2/models/{model}/infer", head + data, output)
    return judged_http(status, answer) if status != 200 else labelled(headers, answer, target, model, event)


def judged_http(status: int, answer: bytes) -> Reply:
    """A refusal must be 4xx, but for what Triton's own reader of JSON says: `KNOWN`."""
    text = answer[:2000].decode(errors="replace")
    if status == 500 and READER.search(text):
        return Reply(KNOWN, True, text)
    return Reply(str(status), 400 <= status < 500, text)


def head_of(array: ndarray, **changes: Any) -> dict[str, Any]:
    """An honest header for FEATURES, but for `changes` to the input."""
    tensor = {
        "name": "FEATURES",
        "datatype": DATATYPES.get(array.dtype, "FP32"),
        "shape": list(array.shape),
        "parameters": {"binary_data_size": array.nbytes},
    }
    outputs = [{"name": "LABELS", "parameters": {"binary_data": True}}]
    return {"inputs": [tensor | changes], "outputs": outputs}


DATATYPES: Final = {
    np.dtype(np.float32): "FP32",
    np.dtype(np.float64): "FP64",
    np.dtype(np.int64): "INT64",
    np.dtype(np.int32): "INT32",
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.float16): "FP16",
}


def sent_http(target: Target, model: str, array: ndarray) -> Reply:
    """An array as FEATURES, judged by what the pipeline says of it here."""
    head = json.dumps(head_of(array)).encode()
    output = {"Inference-Header-Content-Length": str(len(head))}
    status, headers, answer = post(target, f"/v2/models/{model}/infer", head + array.tobytes(), output)
    if status != 200:
        return refused(judged_http(status, answer), target, model, array)
    return labelled(headers, answer, target, model, array)


def labelled(headers: Mapping[str, str], answer: bytes, target: Target, model: str, array: ndarray) -> Reply:
    """An answer with labels, as binary or JSON."""
    at = int(headers.get("inference-header-content-length", len(answer)))
    outputs = {output["name"]: output for output in json.loads(answer[:at])["outputs"]}
    if "LABELS" not in outputs:
        return Reply("200, no labels", False, answer[:at].decode(errors="replace"))
    if "data" in outputs["LABELS"]:
        return answered("200", np.array(outputs["LABELS"]["data"], np.int64).tobytes(), target, model, array)
    for name, output in outputs.items():
        size = output.get("parameters", {}).get("binary_data_size", 0)
        if name == "LABELS":
            break
        at += size
    return answered("200", answer[at : at + size], target, model, array)


def expected_labels(target: Target, model: str, array: ndarray) -> bytes | None:
    """The labels due for FEATURES, None if it is to be refused."""
    if target.batched(model):
        if array.shape[:1] != (1,):
            return None
        array = array[0]
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != 3:
        return None
    try:
        return target.direct[model].find(Hits(np.ascontiguousarray(array))).track_id.tobytes()
    except InputError:
        return None


def answered(status: str, labels: bytes, target: Target, model: str, array: ndarray) -> Reply:
    """Labels are good if they are those due."""
    expected = expected_labels(target, model, array)
    if expected is None:
        return Reply(status, False, f"answered what is to be refused: {array.dtype} {array.shape}")
    if labels != expected:
        return Reply(f"{status}, other labels", False, f"{array.shape}")
    return Reply(f"{status}, right labels", True)


def refused(reply: Reply, target: Target, model: str, array: ndarray) -> Reply:
    """A refusal is good if it was due, or the model's own limits are lower than those of the pipeline here."""
    if "labels" in reply.status:
        return reply
    if reply.good and array.size < 1_200_000 and expected_labels(target, model, array) is not None:
        return Reply(f"{reply.status}, refused a valid event", False, reply.text)
    return reply


# Over gRPC


def infer_grpc(target: Target, request: Any) -> tuple[str, str, Any]:
    """One request; name of the status, details and answer."""
    import grpc
    from tritonclient.grpc import service_pb2_grpc

    if not target.stubs:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        channel = grpc.insecure_channel(target.grpc_url, options)
        target.stubs.append(service_pb2_grpc.GRPCInferenceServiceStub(channel))
    try:
        return "OK", "", target.stubs[0].ModelInfer(request, timeout=TIMEOUT)
    except grpc.RpcError as error:
        return error.code().name, error.details() or "", None


def grpc_request(model: str, array: ndarray) -> Any:
    """An honest request."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="FEATURES", datatype=DATATYPES.get(array.dtype, "FP32"))
    tensor.shape.extend(array.shape)
    request.outputs.add(name="LABELS")
    request.raw_input_contents.append(array.tobytes())
    return request


def sent_grpc(target: Target, model: str, array: ndarray) -> Reply:
    """An array as FEATURES, judged by what the pipeline says of it here."""
    return refused(judged_answer(target, model, grpc_request(model, array), array), target, model, array)


def judged_answer(target: Target, model: str, request: Any, array: ndarray) -> Reply:
    """Send a message; an answer must be the labels of `array`."""
    status, text, answer = infer_grpc(target, request)
    if status != "OK":
        return judged_grpc(status, text)
    return answered("OK", b"".join(answer.raw_output_contents[:1]), target, model, array)


def judged_grpc(status: str, text: str) -> Reply:
    """A refusal must blame the client."""
    return Reply(status, status in BLAMES_CLIENT, text)
