"""Clients that send slowly or not at all, or leave early: what one user may do without stopping others."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal

from tritonclient.grpc import service_pb2

__all__ = ["KINDS", "SlowClients"]

Kind = Literal["small", "large", "silent", "half-closed", "leaving"]

KINDS: Final[tuple[Kind, ...]] = ("small", "large", "silent", "half-closed", "leaving")
"""A part of a body that fits into the buffer of a proxy, or of one that does not, followed by a byte now and then;
nothing; a part of a body and the end of the connection in one direction; a whole request, and no interest in the
answer."""

_SERVICE: Final = "/inference.GRPCInferenceService/ModelInfer"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME: Final = 1 << 14  # largest frame of HTTP/2
_SIZES: Final = {"small": (70_000, 1_000_000), "large": (1_200_000, 8_000_000), "half-closed": (70_000, 1_000_000)}
"""Bytes of a body that are sent at once, and that are announced."""


class SlowClients:
    """Clients of one kind, connected for as long as this context lasts.

    Args:
        port: port of a gateway or reverse proxy on this machine.
        protocol: ``"grpc"`` or ``"http"``.
        kind: what they do.
        number: number of clients.
        headers: further headers of each request, with names in lower case.
        pause: time [s] between two bytes.

    Attributes:
        connections: connections on which the request is still open: neither answered nor closed.
    """

    def __init__(
        self,
        port: int,
        protocol: str,
        kind: Kind,
        number: int = 20,
        headers: Mapping[str, str] | None = None,
        pause: float = 0.3,
    ) -> None:
        self.connections: list[socket.socket] = []
        self._address = ("127.0.0.1", port)
        self._grpc = protocol == "grpc"
        self._kind, self._number, self._headers, self._pause = kind, number, headers or {}, pause
        self._ended = threading.Event()
        self._dripping = threading.Thread(target=self._drip, daemon=True)

    def __enter__(self) -> SlowClients:
        begin = self._begin()
        for _ in range(self._number):
            connection = socket.create_connection(self._address, timeout=20)
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
                connection.sendall(begin)
            if self._kind == "leaving":
                connection.close()
                continue
            if self._kind == "half-closed":
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            connection.setblocking(False)
            self.connections.append(connection)
        self._dripping.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._dripping.join()
        for connection in self.connections:
            connection.close()

    def _begin(self) -> bytes:
        """What each client sends at once."""
        if self._kind == "silent":
            return _PREFACE if self._grpc else b"POST /v2/mo"
        if self._kind == "leaving":
            body = _grpc_message() if self._grpc else _json_message()
            announced = len(body)
        else:
            sent, announced = _SIZES[self._kind]
            body = bytes(sent)
            if self._grpc:
                body = b"\0" + (announced - 5).to_bytes(4, "big") + body[5:]
        return self._grpc_request(body, announced) if self._grpc else self._http_request(body, announced)

    def _http_request(self, body: bytes, announced: int) -> bytes:
        fields = {"Host": "triton", "Content-Length": str(announced), **self._headers}
        if self._kind != "leaving":
            fields["Inference-Header-Content-Length"] = "2"
        lines = ["POST /v2/models/one/infer HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body

    def _grpc_request(self, body: bytes, announced: int) -> bytes:
        headers = _grpc_headers(self._headers)
        parts = [body[start : start + _FRAME] for start in range(0, len(body), _FRAME)]
        ends = [0] * (len(parts) - 1) + [int(len(body) == announced)]
        frames = [_frame(4, 0, 0, b""), _frame(1, 4, 1, headers)]
        frames += [_frame(0, end, 1, part) for part, end in zip(parts, ends, strict=True)]
        return _PREFACE + b"".join(frames)

    def _drip(self) -> None:
        """Send a byte now and then, until the other side closes or this context ends."""
        byte = _frame(0, 0, 1, b"\0") if self._grpc else b"\0"
        while not self._ended.wait(self._pause):
            for connection in list(self.connections):
                if self._is_open(connection, byte):
                    continue
                connection.close()
                self.connections.remove(connection)

    def _is_open(self, connection: socket.socket, byte: bytes) -> bool:
        """Send a byte; whether the other side has neither answered the request nor closed the connection."""
        try:
            if self._kind in ("small", "large"):
                connection.send(byte)
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(data) and self._grpc and not _ends_stream(data)


def _grpc_headers(others: Mapping[str, str]) -> bytes:
    """The headers of a call, as literal fields that are not indexed."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": _SERVICE,
        ":authority": "triton",
        "content-type": "application/grpc",
        "te": "trailers",
        **others,
    }
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def _ends_stream(data: bytes) -> bool:
    """Whether frames of HTTP/2 begin an answer, or end a stream or the connection."""
    while len(data) >= 9:
        length, kind = int.from_bytes(data[:3], "big"), data[3]
        if kind in (1, 3, 7):  # HEADERS, RST_STREAM, GOAWAY
            return True
        data = data[9 + length :]
    return False


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _grpc_message(seconds: float = 0.0) -> bytes:
    request = service_pb2.ModelInferRequest(model_name="one")
    request.inputs.add(name="X", datatype="FP32", shape=[1])
    request.raw_input_contents.append(struct.pack("<f", seconds))
    message = request.SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + bytes(message)


def _json_message() -> bytes:
    return json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [0]}]}).encode()
