"""When servers are added and taken away: the rule on demands that a test makes up, and a fleet that follows it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from beampipe.fleet.control.scaling import Demand, FleetScaler, Scaler
from beampipe.fleet.specification import ScalingSettings
from tests.fleet.conftest import RunningFleet, until

SETTINGS = ScalingSettings("cpu", queue=20.0, busy=0.3, patience=10.0)
BUSY, IDLE, FULL = Demand(50.0, 0, 0.9, 2), Demand(0.0, 0, 0.05, 2), Demand(1.0, 3, 0.9, 2)


def wishes(scaler: Scaler, demand: Demand, seconds: int, begin: float = 0.0) -> list[int]:
    return [scaler.decide(begin + second, demand) for second in range(seconds)]


@pytest.mark.parametrize(("demand", "change"), [(BUSY, 1), (FULL, 1), (IDLE, -1)])
def test_what_lasts_changes_the_fleet_once_in_a_while(demand: Demand, change: int) -> None:
    assert wishes(Scaler(SETTINGS, 4), demand, 35).count(change) == 3
    assert sum(map(abs, wishes(Scaler(SETTINGS, 4), demand, 10))) == 0


def test_what_comes_and_goes_changes_nothing() -> None:
    scaler = Scaler(SETTINGS, 4)
    changes = [scaler.decide(float(second), BUSY if second // 5 % 2 else IDLE) for second in range(100)]
    assert not any(changes)


def test_limits_hold() -> None:
    assert not any(wishes(Scaler(SETTINGS, 2), BUSY, 50))
    assert not any(wishes(Scaler(SETTINGS, 4), Demand(0.0, 0, 0.0, 1), 50))


def test_a_server_that_was_added_is_no_reason_to_take_it_away() -> None:
    """Two servers share what one could hardly do: each is then below the limit, but one alone would not be."""
    settings = ScalingSettings("cpu", busy=0.4, patience=10.0)
    assert not any(wishes(Scaler(settings, 4), Demand(0.0, 0, 0.35, 2), 100))


@pytest.mark.parametrize("in_flight", [1, 2], ids=["waits in the gateway", "waits in the server"])
def test_a_fleet_grows_and_shrinks_with_what_is_asked(single: RunningFleet, in_flight: int) -> None:
    with single.configured(f'in_flight = {in_flight}\n[scaling]\ngroup = "cpu"\npatience = 1.0\n') as fleet:
        scaler, before = FleetScaler(fleet.reconciler, fleet.orders.scale), len(fleet.reconciler.incidents)
        with ThreadPoolExecutor(8) as pool, fleet.client() as client:
            ended = time.monotonic() + 300

            def ask() -> None:
                while len(fleet.reconciler.servers) < 2 and time.monotonic() < ended:
                    client.infer({"X": np.array([0.1], np.float32)})

            asking = [pool.submit(ask) for _ in range(8)]
            while len(fleet.reconciler.servers) < 2 and time.monotonic() < ended:
                scaler.check()
                time.sleep(0.2)
            for future in asking:
                future.result()
        assert len(fleet.reconciler.servers) == 2

        def shrunk() -> bool:
            scaler.check()
            return len(fleet.reconciler.servers) == 1

        until(shrunk)
        assert any("scaling: 2 servers" in text for _, text in fleet.reconciler.incidents[before:])
