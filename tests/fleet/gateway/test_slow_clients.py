"""Slow clients at the gateway: they take no slot of a server that others need, and are ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from beampipe.errors import ServiceUnavailableError
from tests.fleet.conftest import RunningFleet, until
from tests.triton.slow_clients import KINDS, SlowClients

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
            stack.enter_context(SlowClients(little.port, protocol, kind)) for kind in KINDS for protocol in PROTOCOLS
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


def in_progress(fleet: RunningFleet, client: str) -> int:
    """Number of requests of a client in progress, by the gateway."""
    row = re.search(rf"key={client} .*conn_cur=(\d+)", fleet.reconciler.gateway.api.ask("show table clients"))
    return int(row[1]) if row else 0
