"""Requests that a gateway has to refuse, in all spellings: for `connections.py`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import grpc
from fleets import Running

__all__ = ["SLOW", "Refusals", "ask_oversized", "ask_spellings"]

_SERVICE: Final = "/inference.GRPCInferenceService/"
_RPCS: Final = (
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryUnregister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
    "ModelStreamInfer",
)
_URLS: Final = (
    "/v2/repository/index",
    "/v2/repository/models/toy/load",
    "/v2/repository/models/toy/unload",
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/x/register",
    "/v2/cudasharedmemory/status",
    "/v2/logging",
    "/v2/trace/setting",
    "/v2/models/toy/trace/setting",
    "/v2/models/toy/generate",
    "/metrics",
)
_LARGE: Final = (64 << 20) + 64
"""Bytes of a message above the limit that a gateway has if nothing is said."""


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """A frame of HTTP/2."""
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _call() -> bytes:
    """The begin of a call over gRPC, of whose message the most part is missing."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": _SERVICE + "ModelInfer",
        ":authority": "fleet",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    headers = b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    message = b"\0" + (1000).to_bytes(4, "big")
    return _PREFACE + _frame(4, 0, 0, b"") + _frame(1, 4, 1, headers) + _frame(0, 0, 1, message)


_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SLOW: Final = (
    (b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x"),
    (b"POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\nX-Long: ", b"x"),
    (_PREFACE, b"\0"),
    (_call(), _frame(0, 0, 1, b"x")),
)
"""How slow requests begin, and what they send from time to time."""


@dataclass
class Refusals:
    """What became of the requests of strangers.

    Attributes:
        refused: number of requests that were refused, or connections that were closed.
        let_in: those that were answered as if they were anybody's.
        most: largest number of connections at once.
    """

    refused: int = 0
    let_in: list[str] = field(default_factory=list)
    most: int = 0

    def note(self, what: str, refused: bool) -> None:
        """Count one request."""
        self.refused += refused
        if not refused:
            self.let_in.append(what)


def spellings(path: str) -> Iterator[str]:
    """A path as it is, and as somebody would write it who wants to get past a list."""
    yield path
    yield path.upper()
    yield path + "/"
    yield "/" + path
    yield path.replace("/", "//")
    yield path.replace("/", "/./")
    yield "/v2/health/ready/../.." + path.removeprefix("/v2")
    yield "/v2/models/toy/%2e%2e/%2e%2e" + path.removeprefix("/v2")
    yield path[:4] + f"%{ord(path[4]):02x}" + path[5:]
    yield "/" + "".join(f"%{ord(sign):02X}" for sign in path[1:])
    yield path[0] + path[1:].replace("/", "%2f")
    yield path[0] + path[1:].replace("/", "\\")
    yield path + "?a=/v2/health/ready"
    yield path + ";/v2/health/ready"
    yield path + "%00"
    yield "/v2/health/ready%0d%0a" + path


def ask_spellings(fleet: Running, ended: threading.Event, refusals: Refusals) -> None:
    """Every management URL and RPC, until the end, once at least."""
    with grpc.insecure_channel(f"127.0.0.1:{fleet.port}") as channel:
        while True:
            for url in _URLS:
                for path in spellings(url):
                    for method in ("GET", "POST"):
                        status = _status(fleet.port, f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n")
                        refusals.note(f"{method} {path}: {status}", status == 0 or 400 <= status < 500)
            for rpc in _RPCS:
                for path in spellings(_SERVICE + rpc):
                    refusals.note(path, _code(channel, path) != "OK")
            if ended.is_set():
                return


def ask_oversized(fleet: Running, ended: threading.Event, refusals: Refusals) -> None:
    """Requests above the limit, over HTTP by what they say, over gRPC by what they are."""
    infer = "POST /v2/models/toy/infer HTTP/1.1\r\nHost: x\r\n"
    endless = f"{infer}Transfer-Encoding: chunked\r\n"
    options = (("grpc.max_send_message_length", -1),)
    message = bytes(_LARGE)
    with grpc.insecure_channel(f"127.0.0.1:{fleet.port}", options) as channel:
        while not ended.is_set():
            for _ in range(50):
                for head in (f"{infer}Content-Length: {1 << 30}\r\n", endless):
                    status = _status(fleet.port, head, b"4000\r\n" + bytes(0x4000) + b"\r\n")
                    refusals.note(f"{head!r}: {status}", status in (0, 411, 413))
            code = _code(channel, _SERVICE + "ModelInfer", message)
            refusals.note(f"a message of {_LARGE} bytes: {code}", code == "RESOURCE_EXHAUSTED")


def _code(channel: grpc.Channel, path: str, message: bytes = b"") -> str:
    try:
        channel.unary_unary(path)(message, timeout=20)
    except grpc.RpcError as error:
        return str(error.code().name)  # type: ignore[attr-defined]
    return "OK"


def _status(port: int, head: str, body: bytes = b"") -> int:
    """Status of an answer of HTTP; 0 if the connection was closed without one."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
        with suppress(ConnectionResetError):
            received = connection.recv(1 << 12)
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.") else 0
