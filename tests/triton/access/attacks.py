"""Requests over HTTP that have ended a Triton, or might, and what is right to answer: a table."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final, NamedTuple

__all__ = ["ATTACKS", "Attack", "post", "raw_answer", "status_of"]

INFER: Final = "/v2/models/one/infer"
CLOSED: Final = 0
"""In place of a status: the connection was closed without an answer."""

Headers = dict[str, object]


class Attack(NamedTuple):
    """One request.

    Attributes:
        name: what it tries.
        sent: the bytes of the request.
        answers: statuses of HTTP that are right, or `CLOSED`.
    """

    name: str
    sent: bytes
    answers: Collection[int]


def post(body: bytes = b"", path: str = INFER, method: str = "POST", **headers: object) -> bytes:
    """A request with its length, unless the headers (with ``_`` for ``-``) say otherwise; None leaves one out."""
    given: Headers = {"Host": "triton", "Content_Length": len(body), "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def tensor(**changes: Any) -> bytes:
    """The JSON of a request for three values, with other keys and values in its tensor."""
    return asked(inputs=[{"name": "X", "datatype": "FP32", "shape": [3], "data": [0, 1, 2], **changes}])


def asked(**content: Any) -> bytes:
    return json.dumps(content).encode()


def raw_tensor(shape: list[int], data: bytes = b"", size: int | None = None, length: object = None) -> bytes:
    """A request with its tensor as raw bytes."""
    parameters = {"binary_data_size": len(data) if size is None else size}
    header = asked(inputs=[{"name": "X", "datatype": "FP32", "shape": shape, "parameters": parameters}])
    return post(header + data, Inference_Header_Content_Length=len(header) if length is None else length)


def raw_answer(port: int, sent: bytes, timeout: float = 20.0) -> bytes:
    """What comes back until the connection is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it did not want to read all of it
            connection.sendall(sent)
        with suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                received += part
    return received


def status_of(answer: bytes) -> int:
    """The status of HTTP in an answer, `CLOSED` without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else CLOSED


_EVIL: Final = asked(parameters={"config": '{"backend": "python"}', "file:1/model.py": "aW1wb3J0IG9z"})
TOO_LONG: Final = (413, CLOSED)
"""Refused while the body is still on its way; the answer may then be lost."""
_NOT_ASKED: Final = (403, 404, 405)

ATTACKS: Final = (
    # Of Triton 2.51 each of these ended the server, or opened it to everybody.
    Attack("200,000 brackets", post(b"[" * 200_000), (400,)),
    Attack("more brackets than any request has", post(b"[" * 2_000_000), TOO_LONG),
    Attack("brackets inside the data", post(tensor().replace(b"[0, 1, 2]", b"[" * 100_000 + b"]" * 100_000)), (400,)),
    Attack("nested objects", post(b'{"a":' * 40_000), (400,)),
    Attack(
        "gzip that unpacks to 2 GB",
        post(gzip.compress(bytes(200_000_000)) * 10, Content_Encoding="gzip"),
        (415, CLOSED),
    ),
    Attack("gzip in gzip", post(gzip.compress(gzip.compress(tensor())), Content_Encoding="gzip, gzip"), (415,)),
    Attack("deflate", post(b"x\x9c" * 100, Content_Encoding="deflate"), (415,)),
    Attack("a shape whose product overflows", raw_tensor([4611686018427387904]), (400,)),
    Attack("an overflow in the text", post(tensor(shape=[4611686018427387904])), (400,)),
    Attack("a model with a program", post(_EVIL, "/v2/repository/models/evil/load"), (403,)),
    Attack("unloading", post(b"{}", "/v2/repository/models/one/unload"), (403,)),
    Attack(
        "another program's memory",
        post(asked(key="/psm", offset=0, byte_size=64), "/v2/systemsharedmemory/region/a/register"),
        (403,),
    ),
    Attack("the list of regions", post(path="/v2/systemsharedmemory/status", method="GET"), (403,)),
    Attack("memory of a GPU", post(b"{}", "/v2/cudasharedmemory/region/a/register"), (403,)),
    Attack("the log", post(asked(log_file="/tmp/beampipe-attack"), "/v2/logging"), (403,)),
    Attack("traces", post(asked(trace_file="/tmp/beampipe-attack"), "/v2/trace/setting"), (403,)),
    # Ways around a list of paths.
    Attack("an escaped path", post(b"{}", "/v2/%72epository/index"), (403,)),
    Attack("a path escaped twice", post(b"{}", "/v2/%2572epository/index"), (403,)),
    Attack("a path of dots", post(b"{}", "/v2/models/one/../../repository/index"), (403,)),
    Attack("escaped dots", post(b"{}", "/v2/models/%2e%2e/repository/index"), (403,)),
    Attack("a double slash", post(b"{}", "//v2/repository/index"), (403,)),
    Attack("a path of a query", post(b"", "/v2?/../repository/index", method="GET"), (200, 403)),
    Attack("a whole address", post(b"{}", "http://triton/v2/repository/index"), (403,)),
    Attack("a wrong secret", post(b"{}", "/v2/repository/index", triton_grpc_protocol_beampipe="0" * 64), (403,)),
    Attack("an empty secret", post(b"{}", "/v2/repository/index", triton_grpc_protocol_beampipe=""), (403,)),
    Attack("a tunnel", post(path="triton:80", method="CONNECT", Content_Length=None), _NOT_ASKED),
    Attack(
        "another protocol",
        post(path="/v2", method="GET", Upgrade="h2c", HTTP2_Settings="AAMAAABkAARAAAAAAAIAAAAA"),
        (200,),
    ),
    Attack("HTTP/2 by prior knowledge", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64), (400, 403, CLOSED)),
    Attack("generated text", post(b"{}", "/v2/models/one/generate"), (403,)),
    # Lengths that do not fit.
    Attack("a body larger than all memory", post(Content_Length=1 << 50), (413,)),
    Attack("a length beyond any number", post(Content_Length="9" * 40), (400,)),
    Attack("a negative length", post(Content_Length=-1), (400,)),
    Attack("two lengths", post(b"{}", content_length=7), (400,)),
    Attack(
        "chunks without end",
        post(b"ffffff\r\n" + b"a" * 9000, Content_Length=None, Transfer_Encoding="chunked"),
        (411,),
    ),
    Attack("both chunks and a length", post(b"0\r\n\r\n", Transfer_Encoding="chunked"), (400, 411)),
    Attack("a negative header of tensors", raw_tensor([3], bytes(12), length=-1), (400,)),
    Attack("a header longer than the body", raw_tensor([3], bytes(12), length=60_000), (400,)),
    Attack("an endless header of tensors", raw_tensor([3], bytes(12), length="9" * 30), (400,)),
    Attack("a header of tensors that is no number", raw_tensor([3], bytes(12), length="0x10"), (400,)),
    Attack("a body for a question without one", post(bytes(1000), "/v2/health/live", method="GET"), (413,)),
    Attack("more raw bytes than are there", raw_tensor([3], bytes(12), size=1 << 40), (400, 500)),
    Attack("fewer raw bytes than the shape has", raw_tensor([300], bytes(12)), (400,)),
    Attack("a continuation that never comes", post(tensor(), Expect="100-continue"), (100, 200)),
    # Contents that are none.
    Attack("a broken end", post(tensor()[:-3]), (400,)),
    Attack("no text at all", post(bytes(range(256))), (400,)),
    Attack("no tensors", post(b"{}"), (400,)),
    Attack("NaN as length of an axis", post(tensor().replace(b"[3]", b"[NaN]")), (400,)),
    Attack("a negative axis", post(tensor(shape=[-3])), (400,)),
    Attack("an axis of half", post(tensor(shape=[1.5])), (400,)),
    Attack("a shape with 10,000 axes", post(tensor(shape=[1] * 10_000)), (400,)),
    Attack("the same tensor twice", post(asked(inputs=2 * json.loads(tensor())["inputs"])), (400,)),
    Attack("10,000 tensors", post(asked(inputs=[{"name": f"X{i}"} for i in range(7_000)])), (400,)),
    Attack("unknown parameters", post(asked(parameters={"a": [1], "b": {}}, **json.loads(tensor()))), (400,)),
    Attack("a name of 100,000 letters", post(tensor(name="X" * 100_000)), (400,)),
    Attack("an unknown type", post(tensor(datatype="FP1024")), (400,)),
    Attack("text in place of numbers", post(tensor(datatype="BYTES", data=["a" * 50_000])), (400,)),
    Attack(
        "memory of others by name",
        post(
            tensor(
                data=[],
                parameters={"shared_memory_region": "beampipe_client_1_0_a", "shared_memory_byte_size": 1 << 40},
            )
        ),
        (400,),
    ),
    Attack(
        "sequence of another",
        post(asked(parameters={"sequence_id": 2**64 - 1, "sequence_start": True}, **json.loads(tensor()))),
        (200, 400, 500),
    ),
    Attack(
        "a huge priority and timeout",
        post(asked(parameters={"priority": 2**63, "timeout": 2**63}, **json.loads(tensor()))),
        (200, 400, 500),
    ),
    Attack(
        "a huge classification",
        post(asked(outputs=[{"name": "Y", "parameters": {"classification": 2**31 - 1}}], **json.loads(tensor()))),
        (200, 400, 500),
    ),
    # Triton closes the connection at a line of more than 8 kB.
    Attack("a model with a name of 8,000 letters", post(tensor(), f"/v2/models/{'a' * 8000}/infer"), (431,)),
    Attack(
        "version of 20 digits", post(tensor(), "/v2/models/one/versions/99999999999999999999/infer"), (400, 404, 500)
    ),
    # Headers.
    Attack("headers of 17 kB", post(tensor(), X="a" * 17_000), (431,)),
    Attack("a flood of headers", post(tensor(), **{f"X_{i}": "a" for i in range(500)}), (400,)),
    Attack("a header of 1 MB", post(tensor(), X="a" * (1 << 20)), (400, 408, CLOSED)),
    Attack("a header with a null byte", b"POST " + INFER.encode() + b" HTTP/1.1\r\nX: \0\r\n\r\n", (400,)),
    Attack("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00" + bytes(600), (400, CLOSED)),
    Attack("ten requests in one", post(tensor(), Connection="keep-alive") * 9 + post(tensor()), (200,)),
)
