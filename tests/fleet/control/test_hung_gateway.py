"""A gateway that is stopped by a signal is replaced; servers that change meanwhile get their slots."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import numpy as np
import pytest

from beampipe import processes
from beampipe.triton.server.haproxy import HangProbe
from tests.fleet.conftest import Load, RunningFleet, until


def master_of(fleet: RunningFleet) -> int:
    pid = fleet.reconciler.gateway.pid
    assert pid is not None
    return pid


def worker_of(fleet: RunningFleet) -> int:
    (worker,) = processes.children(master_of(fleet))
    return worker


def whole(fleet: RunningFleet) -> bool:
    """Whether the gateway runs and sends requests to all servers."""
    status = fleet.orders.status()
    return status["gateway"]["state"] == "running" and all(row["gateway"] == "UP" for row in status["servers"])


@pytest.mark.parametrize("victim", [worker_of, master_of])
def test_a_gateway_that_hangs_is_replaced_and_default_clients_lose_nothing(
    fleet: RunningFleet, victim: Callable[[RunningFleet], int]
) -> None:
    until(lambda: whole(fleet))
    before = master_of(fleet)
    with Load(fleet, clients=6, attempts=0):
        stopped = victim(fleet)
        os.kill(stopped, signal.SIGSTOP)

        def replaced() -> bool:
            status = fleet.orders.status()["gateway"]
            return status["pid"] not in (before, None) and status["state"] == "running"

        until(replaced, 30.0)
    assert not processes.is_alive(stopped)
    until(lambda: whole(fleet))
    assert any("HAProxy hangs; killing" in text for _, text in fleet.reconciler.incidents)


def test_a_server_that_is_renewed_while_the_gateway_hangs_is_in_service_afterwards(
    fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: whole(fleet))
    monkeypatch.setattr(HangProbe, "hangs", lambda self: False)
    worker, old = worker_of(fleet), fleet.orders.status()["servers"][0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    try:
        os.kill(old, signal.SIGKILL)

        def renewed() -> bool:
            record = fleet.reconciler.records.get("cpu-0")
            return record is not None and record.pid != old and record.state == "ready"

        until(renewed)
        assert fleet.orders.status()["servers"][0]["address"] is None, "nothing is known of a gateway that hangs"
    finally:
        os.kill(worker, signal.SIGCONT)
    until(lambda: whole(fleet), 10.0)
    with fleet.client() as client:
        for number in range(10):
            assert client.infer({"X": np.array([0, number], np.float32)})["Y"].tolist() == [0, 2 * number]


def test_a_worker_that_has_lost_its_master_and_hangs_keeps_no_connection(fleet: RunningFleet) -> None:
    until(lambda: whole(fleet))
    before, worker = master_of(fleet), worker_of(fleet)
    os.kill(worker, signal.SIGSTOP)
    os.kill(before, signal.SIGKILL)
    until(lambda: fleet.reconciler.gateway.pid not in (before, None) and whole(fleet))
    assert not processes.is_alive(worker)
