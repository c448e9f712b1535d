"""The least that a client can be: requests made ahead of time, one connection, and the labels out of the answer.

With these the time of a request is that of the server and the wire. What our own client adds is measured beside them.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from served import behind_proxy, transport_to

from beampipe.errors import ServiceError
from beampipe.events import Hits
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.triton.client.codec import HttpCall, InferRequest, Tensor
from beampipe.triton.client.shared_memory import Places, SharedRegion, layout
from beampipe.triton.server.server import TritonServer

_LENGTH: Final = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
_JSON_LENGTH: Final = re.compile(rb"\r\nInference-Header-Content-Length: *(\d+)", re.IGNORECASE)
_HEAD: Final = 1 << 16
"""Room for the head of an answer and its JSON [bytes]."""


class Wire(Protocol):
    """Asks for the events of one list by their number."""

    def ask(self, event: int) -> bytes:
        """The labels of an event, as bytes."""

    def close(self) -> None:
        """Drop the connection and free the shared memory."""


@dataclass(frozen=True, eq=False)
class Questions:
    """One request for each event, made.

    Attributes:
        requests: the requests, in the terms of KServe v2.
        region: shared memory that holds all events, with room for their labels; None if events are sent.
        labels: offset and length [bytes] of the labels of each event in that memory.
    """

    requests: tuple[InferRequest, ...]
    region: SharedRegion | None = None
    labels: tuple[tuple[int, int], ...] = ()

    def shared(self, event: int) -> bytes:
        """The labels of an event, out of the shared memory."""
        assert self.region is not None
        offset, length = self.labels[event]
        array = self.region.output(LABELS, (length // 8,), {LABELS.name: (offset, length)})
        return array.tobytes()

    def close(self) -> None:
        """Have the server let go of the memory."""
        if self.region is not None:
            self.region.close()


def questions_of(
    events: Sequence[Hits], model: str, *, batching: bool = False, share: Callable[[int], SharedRegion] | None = None
) -> Questions:
    """A request for each event.

    Args:
        events: what is asked for.
        model: name of the model on the wire.
        batching: whether the model has a batch axis.
        share: makes shared memory of a size [bytes]; None to send the events.
    """
    arrays = [np.ascontiguousarray(hits.position, FEATURES.dtype) for hits in events]
    tensors = [Tensor(FEATURES, array[None] if batching else array) for array in arrays]
    if share is None:
        return Questions(tuple(InferRequest(model, (tensor,), (LABELS,)) for tensor in tensors))
    begin, places = 0, []
    for tensor in tensors:
        at, size = layout((tensor,), {LABELS.name: 8 * tensor.array.size // 3})
        places.append(Places({name: (begin + offset, length) for name, (offset, length) in at.items()}))
        begin += size
    region = share(begin)
    requests = tuple(
        InferRequest(model, (tensor,), (LABELS,), region.place((tensor,), (LABELS,), at))
        for tensor, at in zip(tensors, places, strict=True)
    )
    return Questions(requests, region, tuple(at[LABELS.name] for at in places))


class Connection:
    """One connection over HTTP/1.1, for whole requests as bytes.

    Args:
        address: ``host:port`` of the server.
        room: length of the longest answer [bytes].
    """

    def __init__(self, address: str, room: int = 1 << 16) -> None:
        host, _, port = address.rpartition(":")
        self._buffer = bytearray(room)
        self._view = memoryview(self._buffer)
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        """Send it all."""
        self.socket.sendall(request)

    def tensors(self) -> memoryview:
        """What stands behind the JSON of the next answer; the view is good until then.

        Raises:
            ServiceError: no answer, or one that is no success.
        """
        filled, stop, end = 0, -1, 0
        while stop < 0 or filled < end:
            got = self.socket.recv_into(self._view[filled:])
            if not got:
                raise ServiceError(f"got the end of the connection after {filled} bytes, expected an answer")
            filled += got
            if stop < 0 and (stop := self._buffer.find(b"\r\n\r\n", 0, filled)) >= 0:
                length = _LENGTH.search(self._buffer, 0, stop)
                if length is None or self._buffer[9:12] != b"200":
                    raise ServiceError(f"got {bytes(self._view[:filled])!r}, expected labels")
                end = stop + 4 + int(length[1])
        json = _JSON_LENGTH.search(self._buffer, 0, stop)
        return self._view[stop + 4 + int(json[1]) if json else end : end]

    def close(self) -> None:
        """Drop it, whatever is on its way."""
        self.socket.close()


class RawHttp:
    """Whole requests as bytes over one connection that stays open.

    Args:
        address: ``host:port`` of the server.
        questions: what can be asked.
        headers: headers of each request, beside those that its body needs.
    """

    def __init__(self, address: str, questions: Questions, headers: Mapping[str, str]) -> None:
        self._questions = questions
        self._requests = [http_request(address, request.to_http(), headers) for request in questions.requests]
        largest = max(request.inputs[0].array.nbytes for request in questions.requests)
        self._connection = Connection(address, _HEAD + 4 * largest)

    def ask(self, event: int) -> bytes:
        self._connection.send(self._requests[event])
        tensors = self._connection.tensors()
        return bytes(tensors) if self._questions.region is None else self._questions.shared(event)

    def close(self) -> None:
        self._connection.close()
        self._questions.close()


class StockGrpc:
    """NVIDIA's generated stub and messages of its own protocol, and nothing around them.

    Args:
        address: ``host:port`` of the server.
        questions: what can be asked.
    """

    def __init__(self, address: str, questions: Questions) -> None:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self._questions = questions
        self._messages: list[Any] = [request.to_grpc(service_pb2) for request in questions.requests]
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._infer = service_pb2_grpc.GRPCInferenceServiceStub(self._channel).ModelInfer

    def ask(self, event: int) -> bytes:
        answer = self._infer(self._messages[event], timeout=60)
        if self._questions.region is not None:
            return self._questions.shared(event)
        raw: bytes = answer.raw_output_contents[0]
        return raw

    def close(self) -> None:
        self._channel.close()
        self._questions.close()


def http_request(address: str, call: HttpCall, headers: Mapping[str, str]) -> bytes:
    """A whole request of HTTP/1.1 as bytes, with more headers than the call has."""
    body = b"".join(call.body)
    lines = [f"{call.method} {call.path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (*call.headers.items(), *headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _over_grpc(server: TritonServer, model: str, events: Sequence[Hits]) -> Wire:
    return StockGrpc(server.grpc_url, questions_of(events, model))


def _over_http(server: TritonServer, model: str, events: Sequence[Hits]) -> Wire:
    address, headers = behind_proxy(server)
    return RawHttp(address, questions_of(events, model), headers)


def _through_proxy(server: TritonServer, model: str, events: Sequence[Hits]) -> Wire:
    return RawHttp(server.http_url, questions_of(events, model), {})


def _shared_by_grpc(server: TritonServer, model: str, events: Sequence[Hits]) -> Wire:
    return StockGrpc(server.grpc_url, questions_of(events, model, share=_sharing(server, "grpc")))


def _shared_by_http(server: TritonServer, model: str, events: Sequence[Hits]) -> Wire:
    address, headers = behind_proxy(server)
    return RawHttp(address, questions_of(events, model, share=_sharing(server, "http")), headers)


def _sharing(server: TritonServer, protocol: str) -> Callable[[int], SharedRegion]:
    transport = transport_to(server, protocol)
    return lambda size: SharedRegion(transport, size)


WIRES: Final[dict[str, Callable[[TritonServer, str, Sequence[Hits]], Wire]]] = {
    "grpc": _over_grpc,
    "http": _over_http,
    "http through proxy": _through_proxy,
    "shm": _shared_by_grpc,
    "shm-http": _shared_by_http,
}
"""By protocol: makes the connection that asks a model for these events. Without a word of it, HTTP goes to the port
behind the reverse proxy, as our clients do."""
