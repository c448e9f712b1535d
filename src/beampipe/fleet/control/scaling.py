"""Scaling of a group of servers by the mean time that requests wait and the share of time that servers work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from beampipe.fleet.control.reconciler import LocalReconciler
from beampipe.fleet.specification import ScalingSettings
from beampipe.triton.client.endpoint import authority
from beampipe.triton.metrics import ServerWatch

__all__ = ["Demand", "FleetScaler", "Scaler"]


@dataclass(frozen=True)
class Demand:
    """The load of a group of servers.

    Attributes:
        queue: mean time that a request waits in a server [ms].
        waiting: number of requests that wait in the gateway, because every server is at its limit.
        busy: mean share of time in which a server works.
        servers: number of servers that take requests.
    """

    queue: float
    waiting: int
    busy: float
    servers: int


class Scaler:
    """Decides when to add or remove a server; two changes are at least `ScalingSettings.patience` apart.

    A server is added if, for the whole of `patience`, requests wait longer than `ScalingSettings.queue` or wait in the
    gateway. One is removed if, for as long, servers work less than `ScalingSettings.busy` and the remaining ones would
    work less than half of the time. The gap between the two limits avoids oscillation.

    Args:
        settings: limits and patience.
        most: largest number of servers.

    Attributes:
        settings: limits and patience.
    """

    def __init__(self, settings: ScalingSettings, most: int) -> None:
        self.settings = settings
        self._most = most
        self._since: tuple[int, float] | None = None
        self._changed = float("-inf")

    def decide(self, now: float, demand: Demand) -> int:
        """1 to add a server, -1 to remove one, 0 for no change.

        Args:
            now: the time [s, monotonic].
            demand: the load since the last call.
        """
        direction = self._direction(demand)
        if self._since is None or self._since[0] != direction:
            self._since = direction, now
        patience = self.settings.patience
        if direction and now - self._since[1] >= patience and now - self._changed >= patience:
            self._changed, self._since = now, None
            return direction
        return 0

    def _direction(self, demand: Demand) -> int:
        settings = self.settings
        if demand.queue > settings.queue or demand.waiting > 0:
            return 1 if demand.servers < self._most else 0
        fewer = demand.servers - 1
        if demand.busy < settings.busy and fewer >= settings.least and demand.busy * demand.servers < 0.5 * fewer:
            return -1
        return 0


class FleetScaler:
    """Measures the load of a fleet, and adds or removes servers.

    Args:
        reconciler: the reconciler of the fleet.
        scale: sets the number of servers of a group.
    """

    def __init__(self, reconciler: LocalReconciler, scale: Callable[[str, int], None]) -> None:
        self.reconciler = reconciler
        self._scale = scale
        self._scaler: Scaler | None = None
        self._watches: dict[str, ServerWatch] = {}

    def check(self) -> None:
        """Measure the load once; add or remove a server if due, and wait until that is done."""
        fleet = self.reconciler.fleet
        settings = fleet.scaling
        if settings is None:
            return
        if self._scaler is None or self._scaler.settings != settings:
            self._scaler = Scaler(settings, fleet.servers[settings.group].slots)
        demand = self._demand(settings.group)
        change = self._scaler.decide(time.monotonic(), demand)
        if change:
            there = sum(server.group == settings.group for server in self.reconciler.servers.values())
            self.reconciler.note(
                f"scaling: {there + change} servers of {settings.group}, for {demand.queue:.1f} ms in the queue,"
                f" {demand.waiting} waiting, {100 * demand.busy:.0f} % busy"
            )
            self._scale(settings.group, there + change)

    def _demand(self, group: str) -> Demand:
        """The load since the last call."""
        reconciler = self.reconciler
        servers = [
            server for server in reconciler.servers.values() if server.group == group and reconciler.in_service(server)
        ]
        waited = answered = worked = 0.0
        for server in servers:
            record = reconciler.records.get(server.name)
            if record is None or not record.metrics:
                continue
            url = authority(record.host, record.metrics)
            watch = self._watches.get(server.name)
            if watch is None or watch.url != url:
                watch = self._watches[server.name] = ServerWatch(url)
            watch.read()
            for rates in watch.rates.values():
                answered += rates.requests
                waited += rates.requests * (rates.queue or 0.0)
                worked += rates.requests * (rates.compute or 0.0) * 1e-3
        queue, busy = waited / max(answered, 1e-9), worked / max(len(servers), 1)
        return Demand(queue, reconciler.actual.gateway.waiting, busy, len(servers))
