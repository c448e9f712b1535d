"""Ten thousand requests that no sane client sends: each is refused politely or answered rightly, and nothing breaks.

    python benchmarks/serving/fuzz.py [--requests 100000] [--seed 1] [--clients 8] [--sanitize address]

Wrong shapes, types, names and sizes, NaN and huge values, dense and absurd
events, truncated bodies and bodies with wrong lengths, raw garbage, gRPC messages whose parts contradict each other. An
answer is good if it is a refusal that blames the client (HTTP 4xx, gRPC INVALID_ARGUMENT and the like) or, for a valid
request, the labels that the pipeline gives here. Bad are: 5xx, INTERNAL or UNKNOWN, no answer in time, other labels, a
path or traceback in the answer. Every 100 requests and at the end each model must still find the right tracks, and the
processes must be those of the beginning. With `--sanitize` the native backend is built with sanitizers
which must report nothing. No reverse proxy stands before the server.

Status 500 of Triton 2.51 for JSON that it cannot read is counted apart.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import beampipe.terminal.scripts  # noqa: F401

import grpc
import numpy as np
from numpy import ndarray
from numpy.random import Generator
from served import (
    CONSOLE,
    SANITIZERS,
    Figure,
    begin,
    direct_finder,
    events_at,
    finder_of,
    options_of,
    sanitized,
    serving,
    write_result,
)
from tritonclient.grpc import service_pb2, service_pb2_grpc

from beampipe.arrays import Float32
from beampipe.errors import BeampipeError, InputError
from beampipe.events import Hits
from beampipe.serving.variants import VARIANTS
from beampipe.tracking.data import shipped_events
from beampipe.tracking.finder import TrackFinder
from beampipe.triton.server.server import TritonServer

MODELS = ("exatrkx", "exatrkx_ragged", "module_map")
CHECK_EVERY = 100
"""Requests of one client between two looks at labels and processes."""
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
    """

    status: str
    good: bool
    text: str = ""


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


# Arrays to send as FEATURES: ordinary events, absurd values, geometry made to break a track finder

_ABSURD = (np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e30, 1e-45, 1e-38, -0.0, 1e10, 1e20, -1e5)


@cache
def _small_events() -> tuple[Hits, ...]:
    return tuple(event.hits for event in shipped_events(0) if len(event.hits) > 100)


def ordinary_event(generator: Generator, n_hits: int) -> Float32[ndarray, "n_hits 3"]:
    """Rows of a simulated event, again and again turned in phi."""
    events = _small_events()
    hits = events[int(generator.integers(len(events)))].position
    rows = np.arange(n_hits)
    event = hits[rows % len(hits)].copy()
    event[:, 1] = np.mod(event[:, 1] + 0.37 * (rows // len(hits)) + np.pi, 2 * np.pi) - np.pi
    return event.astype(np.float32)


def random_array(generator: Generator) -> ndarray:
    """Any shape of any type."""
    rank = int(generator.integers(0, 5))
    shape = tuple(int(length) for length in generator.choice([0, 1, 2, 3, 3, 3, 7, 50], rank))
    dtypes = (np.float32, np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_, np.float16)
    array = generator.normal(0, 100, shape)
    return np.asarray(array).astype(dtypes[int(generator.integers(len(dtypes)))])


def absurd_values(generator: Generator) -> Float32[ndarray, "n_hits 3"]:
    """An event in which a few, or all, values are none that a detector gives."""
    event = ordinary_event(generator, int(generator.integers(1, 500)))
    few = generator.random(event.shape) < generator.choice([1 / event.size, 0.1, 1.0])
    few.flat[int(generator.integers(event.size))] = True
    kinds = generator.choice(_ABSURD, size=int(generator.integers(1, 4)), replace=False)
    event[few] = generator.choice(kinds, size=int(few.sum())).astype(np.float32)
    return event


def adversarial_event(generator: Generator) -> Float32[ndarray, "n_hits 3"]:
    """Many hits where a detector has few: at a point, on a line, a ring, a shell, the axis, a lattice."""
    n = int(generator.choice([50, 500, 2000, 5000]))
    r = np.full(n, generator.choice([0.0, 1e-3, 33.0, 300.0, 1000.0]))
    phi = np.full(n, generator.choice([0.0, np.pi, -np.pi, 3.0, 100.0]))
    z = np.full(n, generator.choice([0.0, 1e3, -3e3, 1e6]))
    along = np.linspace(0.0, 1.0, n)
    match int(generator.integers(8)):
        case 0:
            pass  # all at one point
        case 1:
            r = 30 + 1000 * along
            z = r * generator.normal(0, 1)
        case 2:
            phi = -np.pi + 2 * np.pi * along
        case 3:
            z = -1000 + 2000 * along
        case 4:
            r, phi = generator.choice([32, 72, 116, 172], n).astype(float), generator.normal(0, 0.01, n)
            z = generator.normal(0, 5, n)
        case 5:
            r, phi, z = generator.uniform(30, 1000, n), generator.normal(0, 1e-3, n), generator.normal(0, 1, n)
        case 6:
            r, phi, z = r * 1e30, generator.uniform(-1e30, 1e30, n), z + generator.normal(0, 1e30, n)
        case 7:
            r, phi, z = (generator.integers(-2, 3, n) * 1e-40 for _ in range(3))
    return np.stack([r, phi, z], axis=1).astype(np.float32)


# Attacks

LEAKS: Final = re.compile(r"Traceback|File \"|/(?:home|root|usr|tmp|work|opt)/|\.py\b")
"""What no client should read: where things lie inside the server."""


@dataclass(frozen=True)
class Attack:
    """One kind of request.

    Attributes:
        name: name of the kind, for the table.
        send: function that makes a request, sends it and judges the answer.
        weight: how often the kind is drawn, relative to the others.
    """

    name: str
    send: Callable[[Target, Generator], Reply]
    weight: float = 1.0

    def reply(self, target: Target, generator: Generator) -> Reply:
        """Send one; never raises for anything that the server does."""
        start = time.perf_counter()
        try:
            reply = self.send(target, generator)
        except TimeoutError:
            reply = Reply("no answer", False, f"within {TIMEOUT:g} s")
        except OSError as error:
            reply = Reply(type(error).__name__, False, str(error))
        if LEAKS.search(reply.text):
            return Reply(f"{reply.status}, leaks", False, reply.text)
        return Reply(reply.status, reply.good and time.perf_counter() - start < TIMEOUT, reply.text)


def model_of(target: Target, generator: Generator) -> str:
    return str(generator.choice(target.models))


def wired(target: Target, model: str, array: ndarray) -> ndarray:
    """With the axis in front that the model wants."""
    return array[None] if target.batched(model) else array


def sending(make: Callable[[Generator], ndarray], *, axis: bool = True) -> Callable[[Target, Generator], Reply]:
    """Send an array as FEATURES over one of both protocols."""

    def send(target: Target, generator: Generator) -> Reply:
        model = model_of(target, generator)
        array = make(generator)
        array = wired(target, model, array) if axis else array
        return (sent_http if generator.random() < 0.5 else sent_grpc)(target, model, array)

    return send


def batch_axis(target: Target, generator: Generator) -> Reply:
    """0, 2 or more events in one request, or an axis too many or too few."""
    model = model_of(target, generator)
    event = ordinary_event(generator, 20)
    shapes = [(2, 10, 3), (0, 10, 3), (20, 1, 3), (20, 3), (1, 1, 20, 3), (60,), (4, 5, 3), (1, 20, 3)]
    shape = shapes[int(generator.integers(len(shapes)))]
    array = np.zeros(shape, np.float32) if 0 in shape else np.ascontiguousarray(event.reshape(shape))
    return (sent_http if generator.random() < 0.5 else sent_grpc)(target, model, array)


def oversize(target: Target, generator: Generator) -> Reply:
    """Beyond the limit on hits."""
    model = model_of(target, generator)
    array = wired(target, model, np.zeros((int(generator.integers(400_001, 600_000)), 3), np.float32))
    return (sent_http if generator.random() < 0.5 else sent_grpc)(target, model, array)


ODD_NAMES: Final = ("", "features", "LABELS", "x" * 5000, "../../etc/passwd", "é")


def names(target: Target, generator: Generator) -> Reply:
    """Wrong or empty names of model, input or output; missing and extra inputs."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, 10))
    odd = str(generator.choice([*ODD_NAMES, "FEATURES ", "%00", "*"]))
    header = head_of(event)
    match int(generator.integers(7)):
        case 0:
            header["inputs"][0]["name"] = odd
        case 1:
            header["outputs"][0]["name"] = odd
        case 2:
            header["inputs"] = []
        case 3:
            header["inputs"] *= 2
            return infer_http(target, model, header, event.tobytes() * 2, event)
        case 4:
            header["inputs"].append(header["inputs"][0] | {"name": "EXTRA"})
            return infer_http(target, model, header, event.tobytes() * 2, event)
        case 5:
            del header["inputs"]
        case 6:
            return at_path(target, f"/v2/models/{quote(odd, safe='')}/infer", json.dumps(header).encode())
    return infer_http(target, model, header, event.tobytes(), event)


def names_grpc(target: Target, generator: Generator) -> Reply:
    """The same over gRPC."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, 10))
    request = grpc_request(model, event)
    odd = str(generator.choice(ODD_NAMES))
    match int(generator.integers(6)):
        case 0:
            request.inputs[0].name = odd
        case 1:
            request.outputs[0].name = odd
        case 2:
            del request.inputs[:]
        case 3:
            request.inputs.append(request.inputs[0])
            request.raw_input_contents.append(request.raw_input_contents[0])
        case 4:
            request.model_name = odd
        case 5:
            request.model_version = str(generator.choice(["2", "-1", "x", "99999999999999999999"]))
    return judged_answer(target, model, request, event)


def raw_contents(target: Target, generator: Generator) -> Reply:
    """gRPC with raw contents of the wrong size or number, or a shape that contradicts them."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, 50))
    request = grpc_request(model, event)
    raw = event.tobytes()
    match int(generator.integers(6)):
        case 0:
            request.raw_input_contents[0] = raw[: int(generator.integers(len(raw)))]
        case 1:
            request.raw_input_contents[0] = raw + bytes(int(generator.integers(1, 1000)))
        case 2:
            del request.raw_input_contents[:]
        case 3:
            request.raw_input_contents.append(raw)
        case 4:
            request.inputs[0].shape[-2] = int(generator.choice([-1, -50, 2**31, 2**62, 51, 49]))
        case 5:
            request.inputs[0].contents.fp32_contents.extend(event.ravel().tolist())
    return judged_answer(target, model, request, event)


def overflowing(target: Target, generator: Generator) -> Reply:
    """A shape whose product of 64 bits overflows to the few bytes that are sent, or to none."""
    model = model_of(target, generator)
    n_hits = int(generator.choice([2**62, 2**63 - 1, 2**61, (2**64 + 2) // 3, 2**63 // 3 + 1]))
    data = bytes(min(n_hits * 12 % 2**64, 1200))
    shape = [1, n_hits, 3] if target.batched(model) else [n_hits, 3]
    refused = np.zeros(1, np.float32)  # stands for what has no labels
    if generator.random() < 0.5:
        header = head_of(refused, shape=shape, parameters={"binary_data_size": len(data)})
        return infer_http(target, model, header, data, refused)
    request = grpc_request(model, refused)
    request.inputs[0].shape[:] = shape
    request.raw_input_contents[0] = data
    return judged_answer(target, model, request, refused)


def lying_header(target: Target, generator: Generator) -> Reply:
    """HTTP: sizes in the header that are not those of the body."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, 50))
    raw, header = event.tobytes(), head_of(event)
    length = len(json.dumps(header))
    lengths = ["-1", "x", "1e3", " ", "0x10", "9" * 40]
    match int(generator.integers(7)):
        case 0:
            wrong = generator.choice([0, 1, length - 1, length + 1, length + 700, 10**6, 2**31, 2**63])
            return infer_http(target, model, header, raw, event, int(wrong))
        case 1:
            return infer_http(target, model, header, raw, event, str(generator.choice(lengths)))
        case 2:
            size = int(generator.choice([0, 1, 599, 601, 10**6, 2**31]))
            header["inputs"][0]["parameters"] = {"binary_data_size": size}
        case 3:
            size_: Any = [None, "600", -1, 1.5, [], {}][int(generator.integers(6))]
            header["inputs"][0]["parameters"] = {"binary_data_size": size_}
        case 4:
            raw = raw[: int(generator.integers(len(raw)))]
        case 5:
            raw += bytes(int(generator.integers(1, 1000)))
        case 6:
            return infer_http(target, model, header, raw, event, "")
    return infer_http(target, model, header, raw, event)


def broken_json(target: Target, generator: Generator) -> Reply:
    """HTTP: what stands for the header is no JSON, or other JSON than is meant."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, 20))
    header, raw = json.dumps(head_of(event)).encode(), event.tobytes()
    odd: list[Any] = [
        b"", b"{", b"null", b"[]", b"0", b'"x"', b"{}", b"\x00\x01", b"[" * 10_000, b'{"a":' * 10_000, b"\xff\xfe{}",
        header[: int(generator.integers(len(header)))],
        bytes(generator.integers(0, 256, 200, dtype=np.uint8)),
        head_of(event) | {"inputs": {}}, head_of(event) | {"inputs": "x"}, head_of(event) | {"inputs": [1, None]},
        head_of(event) | {"outputs": 7}, head_of(event) | {"parameters": [1]}, head_of(event) | {"id": 3},
        head_of(event, shape="x"), head_of(event, shape=[]), head_of(event, shape=[None, 3]),
        head_of(event, shape=[1e99, 3]), head_of(event, shape=[-20, -3]), head_of(event, shape=[20.5, 3]),
        head_of(event, shape=[2**63, 3]), head_of(event, shape=list(range(500))), head_of(event, datatype="FP33"),
        head_of(event, datatype=5), head_of(event, datatype=None), head_of(event, parameters=3), head_of(event, name=3),
        head_of(event, data=[1, 2, 3]), head_of(event, parameters={}, data=["a"] * 60),
    ]  # fmt: skip
    return infer_http(target, model, odd[int(generator.integers(len(odd)))], raw, event)


def json_data(target: Target, generator: Generator) -> Reply:
    """HTTP: tensors as JSON numbers, of which some are none."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, 5))
    values: list[Any] = event.ravel().tolist()
    odd: list[Any] = [None, "1", 1e400, -1e400, 1e39, [], {}, True, float("nan"), 10**400]
    values[int(generator.integers(len(values)))] = odd[int(generator.integers(len(odd)))]
    tensor = {"name": "FEATURES", "datatype": "FP32", "shape": list(event.shape), "data": values}
    status, _, answer = post(target, f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode(), {})
    return Reply("200, number taken", True) if status == 200 else judged_http(status, answer)


def half_sent(target: Target, generator: Generator) -> Reply:
    """HTTP: a body announced, sent in part, and the connection closed; nobody waits for an answer."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, int(generator.integers(10, 5000))))
    header = json.dumps(head_of(event)).encode()
    body = header + event.tobytes()
    text = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        f"Inference-Header-Content-Length: {len(header)}\r\n\r\n"
    ).encode()
    whole = text + body
    with connected(target.http_url) as link:
        link.sendall(whole[: int(generator.integers(1, len(whole)))])
    return Reply("closed", True)


def garbage(target: Target, generator: Generator) -> Reply:
    """Bytes that are no HTTP at the HTTP port, or no gRPC at the other; an answer is not due, only that it ends."""
    url = target.http_url if generator.random() < 0.5 else target.grpc_url
    starts = [
        b"",
        b"GET ",
        b"POST /v2/models/exatrkx/infer HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01",
    ]
    data = starts[int(generator.integers(len(starts)))] + bytes(generator.integers(0, 256, 300, dtype=np.uint8))
    answer = b""
    with connected(url) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        link.settimeout(5)
        try:
            answer = link.recv(2000)
        except TimeoutError:
            return Reply("open", True)
        except ConnectionError:
            return Reply("closed", True)
    output = answer[:60].decode(errors="replace")
    http_answer = re.match(r"HTTP/1.\d (\d+)", output)
    if http_answer is None:
        return Reply("frames of HTTP/2" if answer else "closed", True, output)
    return Reply(http_answer[1], not http_answer[1].startswith("5"), output)


def connected(url: str) -> socket.socket:
    host, port = url.split(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT)


def paths(target: Target, generator: Generator) -> Reply:
    """Addresses that there are not."""
    ends = ["", "/", "//infer", "/exatrkx/versions/9/infer", "/exatrkx/versions/x/infer", "/exatrkx/infer/x"]
    ends += ["/../../etc/passwd", "/%2e%2e/infer", "/" + "a" * 8000]
    odd = ["/", "/v2", "/v3", *("/v2/models" + end for end in ends)]
    return at_path(target, odd[int(generator.integers(len(odd)))], b"{}")


def at_path(target: Target, path: str, body: bytes) -> Reply:
    """Send something to an address; at one of thousands of characters Triton now and then just hangs up."""
    try:
        status, _, answer = post(target, path, body, {})
    except ConnectionError as error:
        return Reply("closed", len(path) > 4000, f"{path[:60]}: {error}")
    return Reply("200, not an inference", True) if status == 200 else judged_http(status, answer)


def shared_memory(target: Target, generator: Generator) -> Reply:
    """Regions that there are not, or offsets outside."""
    model = model_of(target, generator)
    event = wired(target, model, ordinary_event(generator, 10))
    size, offset = (int(generator.choice([0, 120, 121, 2**31, 2**62, -1])) for _ in range(2))
    at = {"shared_memory_region": "none", "shared_memory_byte_size": size, "shared_memory_offset": offset}
    return infer_http(target, model, head_of(event, parameters=at), b"", event)


def ordinary(target: Target, generator: Generator) -> Reply:
    """A request as it should be."""
    return sending(lambda g: ordinary_event(g, int(g.integers(0, 3000))))(target, generator)


ATTACKS: Final = (
    Attack("ordinary event", ordinary, 2),
    Attack("random shape and type", sending(random_array, axis=False), 2),
    Attack("NaN, inf, huge, denormal", sending(absurd_values), 3),
    Attack("dense, degenerate event", sending(adversarial_event), 2),
    Attack("batch axis", batch_axis),
    Attack("more hits than allowed", oversize, 0.1),
    Attack("names, inputs (HTTP)", names, 2),
    Attack("names, inputs (gRPC)", names_grpc, 2),
    Attack("raw contents (gRPC)", raw_contents, 2),
    Attack("overflowing shape", overflowing),
    Attack("lying sizes (HTTP)", lying_header, 3),
    Attack("broken JSON", broken_json, 3),
    Attack("numbers as JSON", json_data),
    Attack("half-sent body", half_sent, 2),
    Attack("garbage", garbage),
    Attack("paths", paths),
    Attack("shared memory", shared_memory),
)


# The campaign


def main() -> None:
    parser = options_of("fuzz", __doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--only", nargs="+", metavar="ATTACK", help="names of attacks; all if not given")
    parser.add_argument("--sanitize", choices=SANITIZERS, help="build the native backend so, and ask that")
    parser.add_argument("--log", type=Path, help="file to which the log of the server is appended")
    options = parser.parse_args()
    begun = begin("fuzzing")
    attacks = [attack for attack in ATTACKS if options.only is None or attack.name in options.only]
    how = {"threads": options.threads, "backend": options.backend, "log": options.log}
    with sanitized(options.sanitize) as build:
        with serving(options.models, libraries=build.libraries, proxy=False, **how) as server:
            figures, details = campaign(server, attacks, options)
        reports = build.reports()
    for text in reports:
        CONSOLE.print(text[:3000], style="red", markup=False)
    figures.append(Figure("reports of sanitizers", len(reports), "", "equal"))
    write_result(options.output, begun, figures, **details)
    raise SystemExit(1 if any(figure.value for figure in figures if figure.better == "equal") else 0)


def campaign(server: TritonServer, attacks: Sequence[Attack], options: Any) -> tuple[list[Figure], dict[str, Any]]:
    """All requests against one server, and what is to be said of them."""
    direct = {model: direct_finder(model, options.threads) for model in options.models}
    target = Target(server.http_url, server.grpc_url, tuple(options.models), direct)
    known = events_at(0, 3, options.seed)[:3]
    before = processes(server)
    replies: list[tuple[str, Reply]] = []
    wrong: list[str] = []
    with ThreadPoolExecutor(options.clients) as pool:

        def client(number: int) -> None:
            generator = np.random.default_rng([options.seed, number])
            for index in range(number, options.requests, options.clients):
                attack = attacks[index % len(attacks)] if index < 2 * len(attacks) else pick(attacks, generator)
                replies.append((attack.name, attack.reply(target, generator)))
                if index // options.clients % CHECK_EVERY == CHECK_EVERY - 1:
                    wrong.extend(wrong_labels(server, target, known[:1]))

        for done in [pool.submit(client, number) for number in range(options.clients)]:
            done.result()
    wrong += wrong_labels(server, target, known)
    after = processes(server)
    bad = [(name, reply) for name, reply in replies if not reply.good]
    for name, reply in unlike(bad):
        CONSOLE.print(f"bad: {name}: {reply.status}: {reply.text[:300]}", style="red", markup=False)
    known_500 = sum(reply.status == KNOWN for _, reply in replies)
    figures = [
        Figure("requests", len(replies), "", "higher"),
        Figure("bad replies", len(bad), "", "equal"),
        Figure("status 500 from Triton's reader of JSON", known_500),
        Figure("processes that were replaced", int(before != after), "", "equal"),
        Figure("wrong labels afterwards", len(wrong), "", "equal"),
    ]
    by_attack = {
        name: Counter(("" if reply.good else "BAD ") + reply.status for kind, reply in replies if kind == name)
        for name in dict.fromkeys(name for name, _ in replies)
    }
    return figures, {"by_attack": by_attack, "wrong": wrong[:3]}


def pick(attacks: Sequence[Attack], generator: np.random.Generator) -> Attack:
    """An attack at random, by weight."""
    weights = np.array([attack.weight for attack in attacks])
    return attacks[int(generator.choice(len(attacks), p=weights / weights.sum()))]


def wrong_labels(server: TritonServer, target: Target, events: Sequence[Hits]) -> list[str]:
    """Models that do not give the labels they should, as an honest client sees them."""
    results = []
    for model in target.models:
        for protocol in ("grpc", "http", "shm"):
            with finder_of(server, model, protocol, retries=1) as finder:
                for hits in events:
                    try:
                        labels = finder.find(hits).track_id
                    except BeampipeError as error:
                        results.append(f"{model} over {protocol}: {error}")
                        continue
                    if labels.tobytes() != target.direct[model].find(hits).track_id.tobytes():
                        results.append(f"{model} over {protocol}: other labels for {len(hits)} hits")
    return results


def processes(server: TritonServer) -> dict[str, int | None]:
    """Process ids of server and stubs."""
    return {
        "server": server.pid,
        **{stub.instance: stub.pid for stub in sorted(server.stubs(), key=lambda s: s.instance)},
    }


def unlike(bad: Sequence[tuple[str, Reply]]) -> list[tuple[str, Reply]]:
    """The first of each kind of bad reply."""
    first: dict[tuple[str, str, str], tuple[str, Reply]] = {}
    for name, reply in bad:
        first.setdefault((name, reply.status, reply.text[:40]), (name, reply))
    return list(first.values())


if __name__ == "__main__":
    main()
