"""Attacks over gRPC, with and without the proxy before it: refused or survived, other clients answered rightly."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Final

import grpc
import pytest
from tritonclient.grpc import service_pb2

from beampipe.triton.server.server import TritonServer
from tests.triton.access.bystander import request_without_secret, unharmed
from tests.triton.waiting import wait_until

SERVICE: Final = "/inference.GRPCInferenceService/"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LONG: Final = ("RESOURCE_EXHAUSTED",)
"""What this client makes of a refusal that repeats all that it was sent."""
SETTINGS, HEADERS, RST_STREAM, PING, WINDOW_UPDATE, CONTINUATION = 4, 1, 3, 6, 8, 9


@pytest.fixture(params=["proxied", "bare"])
def server(request: pytest.FixtureRequest) -> TritonServer:
    """One server with the reverse proxy before gRPC, one without."""
    result: TritonServer = request.getfixturevalue(request.param)
    return result


@pytest.fixture
def channel(server: TritonServer) -> Iterator[grpc.Channel]:
    with closing(stranger(server)) as opened:
        yield opened


def stranger(server: TritonServer) -> Any:
    """A channel of somebody without the secret."""
    return grpc.insecure_channel(
        server.grpc_url, [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    )


def call(channel: Any, rpc: str, message: bytes = b"", **options: Any) -> str:
    """Name of the status of a call."""
    ask = channel.unary_unary(SERVICE + rpc)
    try:
        ask(message, timeout=20, **options)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def request(shape: list[int], data: bytes = b"", **names: str) -> bytes:
    requests = service_pb2.ModelInferRequest(model_name=names.get("model", "one"), id=names.get("id", ""))
    requests.inputs.add(name="X", datatype="FP32", shape=shape)
    requests.raw_input_contents.append(data)
    return bytes(requests.SerializeToString())


MANAGEMENT: Final = (
    *("RepositoryModelLoad", "RepositoryModelUnload", "LogSettings", "TraceSetting"),
    *("SystemSharedMemoryRegister", "SystemSharedMemoryStatus", "SystemSharedMemoryUnregister"),
    *("CudaSharedMemoryRegister", "CudaSharedMemoryStatus"),
)


def test_management_is_closed(server: TritonServer, channel: grpc.Channel) -> None:
    with unharmed(server):
        for rpc in MANAGEMENT:
            assert call(channel, rpc) in ("UNAVAILABLE", "PERMISSION_DENIED"), rpc


def test_with_the_secret_management_is_open(server: TritonServer, channel: grpc.Channel) -> None:
    assert call(channel, "RepositoryIndex", metadata=server.access.connection.headers) == "OK"
    assert call(channel, "SystemSharedMemoryStatus", metadata=server.access.connection.headers) == "OK"


def test_behind_the_proxy_the_list_of_models_is_for_everybody(proxied: TritonServer) -> None:
    with closing(stranger(proxied)) as channel:
        assert call(channel, "RepositoryIndex") == "OK"
        assert call(channel, "ModelStreamInfer") == "PERMISSION_DENIED"


@pytest.mark.parametrize(("size", "status"), [(10_000_000, "OK"), (70_000_000, "RESOURCE_EXHAUSTED")])
def test_the_proxy_bounds_messages(proxied: TritonServer, size: int, status: str) -> None:
    with unharmed(proxied), closing(stranger(proxied)) as channel:
        assert call(channel, "ModelInfer", request([size // 4], bytes(size))) == status


def test_the_proxy_refuses_compressed_messages(proxied: TritonServer) -> None:
    with unharmed(proxied), closing(stranger(proxied)) as channel:
        bomb = request([5_000_000], bytes(20_000_000))
        assert call(channel, "ModelInfer", bomb, compression=grpc.Compression.Gzip) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("message", "statuses"),
    [
        pytest.param(os.urandom(1000), ("INTERNAL", "UNAVAILABLE", "INVALID_ARGUMENT"), id="no message at all"),
        pytest.param(request([-3]), ("INVALID_ARGUMENT", "INTERNAL"), id="a negative axis"),
        pytest.param(request([1] * 10_000, bytes(4)), (*LONG, "INVALID_ARGUMENT"), id="10,000 axes"),
        pytest.param(request([300], bytes(12)), ("INVALID_ARGUMENT",), id="fewer bytes than the shape has"),
        pytest.param(request([3], bytes(12), model="a" * 100_000), (*LONG, "NOT_FOUND"), id="a long name"),
        pytest.param(request([3], bytes(12), id="a" * 100_000), ("OK",), id="a long id"),
    ],
)
def test_a_message_is_refused(
    server: TritonServer, channel: grpc.Channel, message: bytes, statuses: tuple[str, ...]
) -> None:
    with unharmed(server):
        assert call(channel, "ModelInfer", message) in statuses


def test_metadata_without_measure_is_refused(server: TritonServer, channel: grpc.Channel) -> None:
    with unharmed(server):
        status = call(channel, "ServerLive", metadata=(("x", "a" * 17_000),))
        assert status in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")


def frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(path: str) -> bytes:
    """Headers of a call, each spelled out."""
    pairs = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "a", "content-type": "application/grpc"}
    return b"".join(
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in pairs.items()
    )


def resets() -> bytes:
    """Calls that are taken back at once."""
    one = headers(f"{SERVICE}ModelInfer")
    streams = range(1, 10_000, 2)
    return b"".join(
        frame(HEADERS, one, stream, 4) + frame(RST_STREAM, struct.pack(">I", 8), stream) for stream in streams
    )


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(lambda: os.urandom(5000), id="no frames at all"),
        pytest.param(lambda: b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(lambda: frame(SETTINGS) + os.urandom(5000), id="broken frames"),
        pytest.param(lambda: frame(SETTINGS, bytes(7)), id="settings of 7 bytes"),
        pytest.param(lambda: frame(SETTINGS) + frame(WINDOW_UPDATE, bytes(4)), id="a window of nothing"),
        pytest.param(lambda: frame(SETTINGS) + frame(PING, bytes(8)) * 20_000, id="a flood of pings"),
        pytest.param(lambda: frame(SETTINGS) * 20_000, id="a flood of settings"),
        pytest.param(lambda: frame(SETTINGS) + resets(), id="calls that are taken back at once"),
        pytest.param(
            lambda: frame(SETTINGS) + frame(HEADERS, b"", 1) + frame(CONTINUATION, b"\0\1a\1b" * 2000, 1) * 100,
            id="headers without end",
        ),
        pytest.param(lambda: frame(SETTINGS) + b"\xff\xff\xff\0\0" + struct.pack(">I", 1), id="a frame of 16 MB"),
    ],
)
def test_frames_are_survived(server: TritonServer, sent: Callable[[], bytes]) -> None:
    with unharmed(server), closing(stranger(server)) as channel:
        with socket.create_connection(("127.0.0.1", server.ports.grpc), timeout=60) as connection, ExitStack() as stack:
            stack.callback(call, channel, "ServerLive")
            try:
                connection.sendall(PREFACE + sent())
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass
            except OSError:
                pass  # closed on us
        assert call(channel, "ModelInfer", request([3], bytes(12))) == "OK"


def test_half_open_connections_hold_nobody_up(server: TritonServer, channel: grpc.Channel) -> None:
    with unharmed(server), ExitStack() as stack:
        for number in range(300):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.ports.grpc), timeout=60))
            connection.sendall(PREFACE[: number % len(PREFACE)])
        assert call(channel, "ModelInfer", request([3], bytes(12))) == "OK"


def test_an_overflowing_shape_ends_a_model_for_moments(proxied: TritonServer) -> None:
    """What no reverse proxy can see in a message: Triton's Python backend dies of it before a model is asked."""
    before, incidents = proxied.pid, len(proxied.incidents)
    with closing(stranger(proxied)) as channel:
        assert call(channel, "ModelInfer", request([2**62])) == "INTERNAL"
    wait_until(lambda: "model back" in [incident.kind for incident in proxied.incidents[incidents:]])
    assert proxied.pid == before
    assert request_without_secret(proxied.ports.http, 0.0, 4.5)
