"""Which server gets a request, and what slow clients cost others."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from beampipe.errors import ServiceUnavailableError
from beampipe.triton.client.codec import SIZE_HEADER
from beampipe.triton.engine import Engine
from beampipe.triton.metrics import read_metrics
from tests.fleet.conftest import RunningFleet, running_fleet, until
from tests.triton.slow_clients import KINDS, SlowClients


class Caller:
    """Asks for events of any size that take any time, over gRPC as our client does, and may give up."""

    def __init__(self, fleet: RunningFleet) -> None:
        self._fleet = fleet
        self._channel = grpc.insecure_channel(f"127.0.0.1:{fleet.port}")

    def close(self) -> None:
        self._channel.close()

    def send(self, size: int, seconds: float) -> Any:
        """Ask, and wait until the gateway has chosen a server."""
        message = service_pb2.ModelInferRequest(model_name="one")
        message.inputs.add(name="X", datatype="FP32", shape=[2])
        message.raw_input_contents.append(np.array([seconds, size], np.float32).tobytes())
        before = self.given()
        path = "/inference.GRPCInferenceService/ModelInfer"
        metadata = ((SIZE_HEADER, str(size)),)
        call = self._channel.unary_unary(path).future(message.SerializeToString(), timeout=60, metadata=metadata)
        until(lambda: self.given() != before)
        return call

    def running(self) -> list[int]:
        """Number of requests at each server."""
        return [slots(self._fleet)[name].running for name in ("cpu-0", "cpu-1")]

    def given(self) -> list[int]:
        """Number of requests that each server has had."""
        return [slots(self._fleet)[name].answered for name in ("cpu-0", "cpu-1")]

    def chosen(self, size: int, seconds: float = 1.0) -> tuple[int, Any]:
        """Number of the server to which a request goes, and the request."""
        before = self.given()
        call = self.send(size, seconds)
        (server,) = [number for number, now in enumerate(self.given()) if now > before[number]]
        return server, call


@pytest.fixture(scope="module")
def balanced(engine: Engine) -> Iterator[RunningFleet]:
    """A fleet of two servers that goes by hits."""
    with running_fleet(2, 'balancing = "least_hits"', patience=20.0) as running:
        until(lambda: all(slot.status == "UP" for name, slot in slots(running).items() if name != "cpu-2"))
        time.sleep(0.6)  # until the gateway's next look at its servers
        yield running


def slots(fleet: RunningFleet) -> Any:
    return fleet.reconciler.gateway.observe().slots


@pytest.fixture
def caller(balanced: RunningFleet) -> Iterator[Caller]:
    made = Caller(balanced)
    until(lambda: made.running() == [0, 0])
    yield made
    made.close()


def test_four_small_requests_go_where_the_large_one_is_not(caller: Caller) -> None:
    where, large = caller.chosen(10_000, 5.0)
    small = [caller.chosen(100, 0.2) for _ in range(4)]
    assert [server for server, _ in small] == 4 * [1 - where]
    # By the number of requests it would be the other: four small ones are less than one large one.
    assert caller.chosen(5_000, 0.1)[0] == 1 - where
    assert not large.done()
    large.cancel()


def test_a_cancelled_request_counts_no_more(caller: Caller) -> None:
    where, large = caller.chosen(10_000, 1.0)
    large.cancel()
    until(lambda: caller.running() == [0, 0])
    time.sleep(0.6)  # some looks of the gateway
    first, _ = caller.chosen(100, 3.0)
    second, _ = caller.chosen(100, 3.0)
    assert {first, second} == {0, 1}
    assert caller.chosen(50, 0.1)[0] in (0, 1)
    assert where in (first, second)


def test_what_goes_on_counts_while_others_at_its_server_are_cancelled(caller: Caller) -> None:
    where, large = caller.chosen(10_000, 8.0)
    other, larger = caller.chosen(20_000, 3.0)
    assert other == 1 - where
    gone = [caller.chosen(100, 0.1) for _ in range(4)]
    assert [server for server, _ in gone] == 4 * [where]
    for _, call in gone:
        call.cancel()
    assert larger.result()
    until(lambda: sum(caller.running()) == 1)
    time.sleep(0.6)  # some looks of the gateway
    assert caller.chosen(5_000, 3.0)[0] == other
    assert caller.chosen(100, 0.1)[0] == other  # and not beside the large one, the oldest at its server
    assert not large.done()
    large.cancel()


PROTOCOLS = ("http", "grpc")
SMALL, LARGE = np.zeros(300, np.float32), np.zeros(400_000, np.float32)
"""Requests that fit into the buffer of the gateway, and that do not."""


@pytest.fixture(scope="module")
def little(single: RunningFleet) -> Iterator[RunningFleet]:
    """A fleet with little room: two requests at its server, and one large one."""
    with single.configured("in_flight = 2\nqueue = 40\narrival = 1.0\nslowest = 2097152\n") as configured:
        yield configured


def assert_answered(fleet: RunningFleet, values: np.ndarray, token: str | None = None) -> None:
    """Others are answered at once, by both protocols."""
    for protocol in PROTOCOLS:
        with fleet.client(protocol, retries=0, timeout=60.0, token=token) as client:
            assert np.array_equal(client.infer({"X": values})["Y"], values)


def test_slow_clients_stop_nobody(little: RunningFleet) -> None:
    """Of all kinds at once."""
    with ExitStack() as stack:
        slow = [
            stack.enter_context(SlowClients(little.port, protocol, kind, number=6))
            for kind in KINDS
            for protocol in PROTOCOLS
        ]
        for _ in range(5):
            assert_answered(little, SMALL)
        for clients in slow:  # each is ended, though it goes on sending
            until(lambda clients=clients: not clients.connections, 40.0)  # type: ignore[misc]
        assert_answered(little, LARGE)
    until(lambda: all(slot.idle for slot in little.reconciler.gateway.observe().slots.values()), 40.0)


@pytest.fixture(scope="module")
def shared(single: RunningFleet) -> Iterator[tuple[RunningFleet, str]]:
    """A fleet that asks for tokens, with a second token; its server has one request at once."""
    settings = 'tokens = "FOLDER/tokens"\nper_client = 5\nin_flight = 1\nslowest = 1048576\n'
    with single.configured(settings, "greedy", "other") as fleet:
        yield fleet, fleet.tokens["other"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_token_has_a_bound_of_requests_in_progress(shared: tuple[RunningFleet, str], protocol: str) -> None:
    fleet, other = shared
    headers = {"authorization": f"Bearer {fleet.token}"}
    with SlowClients(fleet.port, protocol, "small", 5, headers):
        until(lambda: in_progress(fleet, "greedy") == 5, 20.0)
        with (
            fleet.client(protocol, retries=0, timeout=60.0, token=fleet.token) as client,
            pytest.raises(ServiceUnavailableError, match="too many requests of this client at once"),
        ):
            client.infer({"X": SMALL})
        assert_answered(fleet, SMALL, token=other)
    until(lambda: in_progress(fleet, "greedy") == 0)
    assert_answered(fleet, SMALL, token=fleet.token)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_of_waiting_requests_that_of_the_client_with_fewest_is_next(
    shared: tuple[RunningFleet, str], protocol: str
) -> None:
    fleet, other = shared
    long = np.array([1.0], np.float32)
    with ExitStack() as stack:
        greedy = [
            stack.enter_context(fleet.client(protocol, retries=0, timeout=60.0, token=fleet.token)) for _ in range(5)
        ]
        pending = [client.submit({"X": long}) for client in greedy]
        until(lambda: in_progress(fleet, "greedy") == 5)
        with fleet.client(protocol, retries=0, timeout=60.0, token=other) as client:
            client.infer({"X": SMALL})
        assert not all(future.done() for future in pending)
        for future in pending:
            future.result()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_work_that_one_client_has_abandoned_does_not_delay_others(
    shared: tuple[RunningFleet, str], protocol: str
) -> None:
    """Triton finishes a request whose client has left, and the gateway has room for the next one at once."""
    fleet, other = shared
    long, count = np.array([0.4], np.float32), 30
    with fleet.client(protocol, retries=0, timeout=60.0, token=fleet.token) as greedy:
        for _ in range(count):
            before = given(fleet)
            pending = greedy.submit({"X": long})
            until(lambda before=before: given(fleet) > before)  # type: ignore[misc]
            pending.cancel()
            until(lambda: in_progress(fleet, "greedy") == 0)
    done = answered(fleet)
    assert_answered(fleet, SMALL, token=other)
    assert answered(fleet) - done < count / 2, "others need not wait until all of it is done"
    until(lambda: slots(fleet)["cpu-0"].idle)
    assert_answered(fleet, SMALL, token=fleet.token)


def given(fleet: RunningFleet) -> int:
    """Number of requests that the server has had, by the gateway."""
    return int(slots(fleet)["cpu-0"].answered)


def answered(fleet: RunningFleet) -> float:
    """Number of requests that the model has answered, those of its supervisor included."""
    record = fleet.reconciler.records["cpu-0"]
    return read_metrics(f"{record.host}:{record.metrics}")["one"].values["answered"]


def in_progress(fleet: RunningFleet, client: str) -> int:
    """Number of requests of a client in progress, by the gateway."""
    row = re.search(rf"key={client} .*conn_cur=(\d+)", fleet.reconciler.gateway.api.ask("show table clients"))
    return int(row[1]) if row else 0
