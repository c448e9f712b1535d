"""Requests that a server has to survive."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from attack_events import absurd_values, adversarial_event, ordinary_event, random_array
from numpy import ndarray
from numpy.random import Generator
from replies import (
    TIMEOUT,
    Reply,
    Target,
    grpc_request,
    head_of,
    infer_http,
    judged_answer,
    judged_http,
    post,
    sent_grpc,
    sent_http,
)

__all__ = ["ATTACKS", "Attack"]

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
        begin = time.perf_counter()
        try:
            reply = self.send(target, generator)
        except TimeoutError:
            reply = Reply("no answer", False, f"within {TIMEOUT:g} s")
        except OSError as error:
            reply = Reply(type(error).__name__, False, str(error))
        seconds = time.perf_counter() - begin
        leak = LEAKS.search(reply.text)
        if leak is not None:
            return Reply(f"{reply.status}, leaks", False, reply.text, seconds)
        return Reply(reply.status, reply.good and seconds < TIMEOUT, reply.text, seconds)


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
