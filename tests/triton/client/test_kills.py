"""A server that is killed while default clients wait for it: every request is answered, and rightly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.triton.client import ModelClient
from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

WORK = 0.02  # s that the model sleeps for one request
KILLS = 2

Futures = list[Future[dict[str, ndarray]]]


@pytest.fixture(scope="module")
def server(engine: Engine, doublers: Path) -> Iterator[TritonServer]:
    with TritonServer(ServerSettings(doublers, ("two",), triton=engine.folder)) as server:
        yield server
        server.kill()


def kill_server(server: TritonServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)


def submitted(client: ModelClient, first: int, n: int, length: int) -> Futures:
    return [client.submit({"X": request(number, length)}) for number in range(first, first + n)]


def request(number: int, length: int) -> ndarray:
    """Sleeps first, then is told from all others by its values."""
    values = np.arange(number, number + length, dtype=np.float32)
    values[0] = WORK
    return values


def lost(futures: Futures, first: int, length: int, limit: float = 60.0) -> list[str]:
    """What was not answered, or not rightly."""
    faults = []
    for number, future in enumerate(futures, first):
        error = future.exception(limit)
        if error is not None:
            faults.append(f"{number}: {type(error).__name__}: {error}")
        elif future.result()["Y"].tobytes() != (2 * request(number, length)).tobytes():
            faults.append(f"{number}: wrong")
    return faults


def ask_while_it_happens(
    client: ModelClient, happen: Callable[[], None], in_flight: int, length: int, times: int = KILLS
) -> list[str]:
    """Have `in_flight` requests on their way each time that something happens; gives the requests that were lost."""
    faults = []
    for number in range(times):
        first = 1000 * number
        futures = submitted(client, first, 2 * in_flight, length)
        wait(futures, return_when=FIRST_COMPLETED)
        happen()
        faults += lost(futures, first, length)
    return faults


@pytest.mark.parametrize(("scheme", "length", "in_flight"), [("http", 10, 100), ("grpc", 20_000, 8)], ids=str)
def test_a_killed_server_costs_no_request(server: TritonServer, scheme: str, length: int, in_flight: int) -> None:
    url = f"{scheme}://{server.grpc_url if scheme == 'grpc' else server.http_url}"
    pid = server.pid
    with ModelClient(url, "two", in_flight=in_flight) as client:
        assert not ask_while_it_happens(client, lambda: kill_server(server), in_flight, length)
    assert server.pid not in (None, pid), "it was killed, and is back"


def test_a_server_that_hangs_until_it_is_killed_costs_no_request(server: TritonServer) -> None:
    def hang() -> None:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        assert wait(submitted(client, 500, 4, 10), 1.0).not_done, "it takes connections, and answers nobody"
        kill_server(server)

    with ModelClient(f"grpc://{server.grpc_url}", "two") as client:
        assert not ask_while_it_happens(client, hang, 8, 10, 1)


def test_the_next_request_of_a_client_that_waited_is_answered(server: TritonServer) -> None:
    with (
        ModelClient(f"grpc://{server.grpc_url}", "two") as grpc,
        ModelClient(f"http://{server.http_url}", "two") as http,
    ):
        for client in (grpc, http):
            assert client.infer({"X": request(0, 3)})["Y"].shape == (3,)
        kill_server(server)
        for client in (grpc, http):
            assert client.infer({"X": request(0, 3)})["Y"].shape == (3,)
