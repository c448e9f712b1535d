"""The number of servers that a load needs, and a comparison of balancing policies."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import ceil, isfinite
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.fleet.planning.simulator import POLICIES, FleetFigures, FleetShape, Load, Policy, mean_service, run_fleet
from beampipe.fleet.specification import GatewaySettings, read_fleet

_GATEWAY: Final = GatewaySettings()

_SPARE: Final = 2
"""Default of the requests in flight for each instance: one in progress, one waiting in the server."""


def make_shape(
    fleet: Path | None,
    group: str | None,
    servers: int,
    instances: int,
    *,
    cores: int | None = None,
    per_machine: int = 1,
    in_flight: int | None = None,
    queue: int | None = None,
) -> FleetShape:
    """A fleet to simulate: by the arguments, else by the specification, else by the defaults of a specification.

    Without a specification a server has at least two requests in flight for each instance.

    Args:
        fleet: file of the specification; None for none.
        group: group of servers in it; None for the first.
        servers: number of servers.
        instances: number of instances of the model in each server.
        cores: number of cores of a machine; None for those of its servers in the specification, or one per instance.
        per_machine: number of servers that share a machine.
        in_flight: largest number of requests that one server has at once.
        queue: largest number of requests that wait for a server.

    Raises:
        BeampipeError: the specification cannot be read, or has no such group.

    Warns:
        UserWarning: a server has fewer requests in flight than instances.
    """
    gateway, stated = replace(_GATEWAY, in_flight=max(_GATEWAY.in_flight, _SPARE * instances)), instances * per_machine
    if fleet is None and group is not None:
        raise ConfigError(f"group: got {group!r} without the specification of a fleet, expected both")
    if fleet is not None:
        result = read_fleet(fleet)
        gateway = result.gateway
        chosen = next(iter(result.servers)) if group is None else group
        if chosen not in result.servers:
            raise UnknownNameError("group of servers", chosen, result.servers)
        stated = result.servers[chosen].cores * per_machine
    shape = FleetShape(
        servers,
        instances=instances,
        cores=stated if cores is None else cores,
        servers_per_machine=per_machine,
        in_flight=gateway.in_flight if in_flight is None else in_flight,
        queue=gateway.queue if queue is None else queue,
        policy=gateway.balancing,
    )
    if shape.in_flight is not None and shape.in_flight < instances:
        warnings.warn(
            f"in flight: got {shape.in_flight} requests for {instances} instances of a server, expected at least as"
            f" many: {instances - shape.in_flight} instances never work",
            stacklevel=2,
        )
    return shape


_FARTHEST: Final = 8
"""Limit of the search: this many times the number of servers that the work alone needs, plus this many."""

_DRAWS: Final = 20_000
"""Number of events drawn for the latency without queues."""


@dataclass(frozen=True)
class Bound:
    """Limits that a fleet must keep.

    Attributes:
        p95: largest 95th percentile of the latency [s].
        refused: largest share of requests that are refused.
        busy: largest share of busy cores. Closer to 1 the length of the queue varies so slowly that no simulation is
            long enough to measure it.
    """

    p95: float
    refused: float = 1e-3
    busy: float = 0.9

    def __post_init__(self) -> None:
        if not self.p95 > 0 or not 0 <= self.refused < 1 or not 0 < self.busy < 1:
            raise ConfigError(
                f"bound: got p95 {self.p95:g} s, refused {self.refused:g}, busy {self.busy:g}, expected more than 0 s,"
                " and shares below 1"
            )

    def kept(self, figures: FleetFigures) -> bool:
        """Whether a fleet keeps the limits; its p95 even if it is one standard error larger."""
        # Comparisons with NaN, for a fleet without answers, are false.
        longest = figures.p95.value + np.nan_to_num(figures.p95.error)
        return bool(longest <= self.p95 and figures.refused.value <= self.refused and figures.busy.value <= self.busy)


@dataclass(frozen=True)
class Effort:
    """Statistics of each simulation.

    Attributes:
        requests: number of recorded requests in each run.
        replicas: number of runs, from whose scatter the errors are estimated.
        seed: seed of the first run.
    """

    requests: int = 10_000
    replicas: int = 4
    seed: int = 0


@dataclass(frozen=True)
class ServerPlan:
    """The number of servers that a load needs.

    Attributes:
        shape: the fleet with the smallest number of servers that keeps the bound.
        low: that number if all service times are shorter by `uncertainty`.
        high: that number if they are longer by it.
        uncertainty: relative uncertainty of the service times.
        figures: performance of `shape` with each balancing policy.
    """

    shape: FleetShape
    low: int
    high: int
    uncertainty: float
    figures: Mapping[Policy, FleetFigures]


def plan_servers(
    load: Load,
    shape: FleetShape,
    bound: Bound,
    *,
    uncertainty: float = 0.1,
    effort: Effort | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> ServerPlan:
    """The smallest number of servers that keeps a bound, its uncertainty, and a comparison of policies.

    Args:
        load: the load of the fleet.
        shape: the fleet; its number of servers is ignored.
        bound: limits that it must keep.
        uncertainty: relative uncertainty of the service times. The default is the allowed deviation of the simulator
            from a live server in ``benchmarks/fleet/simulator.py``.
        effort: statistics of each simulation; None for the default.
        progress: called with a description of each simulation before it starts.

    Raises:
        ConfigError: no number of servers keeps the bound.
    """
    if not 0 <= uncertainty < 1:
        raise ConfigError(f"uncertainty: got {uncertainty:g}, expected a share, 0 to 1")

    def least(factor: float) -> int:
        slower = replace(load, service=load.service.scaled(factor))
        return least_servers(
            slower, shape, bound, effort=effort, progress=lambda n: progress(f"{n} servers, service times x {factor:g}")
        )

    low, servers, high = (least(factor) for factor in (1 - uncertainty, 1.0, 1 + uncertainty))
    chosen = replace(shape, servers=servers)
    return ServerPlan(chosen, low, high, uncertainty, compare_policies(load, chosen, effort=effort, progress=progress))


def least_servers(
    load: Load,
    shape: FleetShape,
    bound: Bound,
    *,
    effort: Effort | None = None,
    progress: Callable[[int], None] = lambda servers: None,
) -> int:
    """The smallest number of servers that keeps a bound.

    The search begins at about the number that the work alone needs, doubles its step until the bound is kept, and
    bisects the last step.

    Args:
        load: the load of the fleet.
        shape: the fleet; its number of servers is ignored.
        bound: limits that it must keep.
        effort: statistics of each simulation; None for the default.
        progress: called with each number that is tried.

    Raises:
        ConfigError: no number of servers keeps the bound.
    """
    _check_possible(load, bound)
    how = effort or Effort()

    @cache
    def keeps(servers: int) -> bool:
        progress(servers)
        tried = replace(shape, servers=servers)
        return bound.kept(run_fleet(load, tried, requests=how.requests, replicas=how.replicas, seed=how.seed))

    first = _servers_for_work(load, shape, bound.busy)
    most = _FARTHEST * first + _FARTHEST
    below, step = first - 1, 1
    while not keeps(below + step):
        below, step = below + step, 2 * step
        if below >= most:
            raise ConfigError(
                f"bound: got p95 <= {bound.p95:g} s, which {below} servers do not keep, though {first} could do the"
                " work; expected a longer bound, more cores or a longer queue"
            )
    kept = below + step
    while kept - below > 1:
        middle = (below + kept) // 2
        below, kept = (below, middle) if keeps(middle) else (middle, kept)
    return kept


def compare_policies(
    load: Load, shape: FleetShape, *, effort: Effort | None = None, progress: Callable[[str], None] = lambda text: None
) -> dict[Policy, FleetFigures]:
    """Performance of a fleet with each balancing policy, for the same events at the same times.

    Args:
        load: the load of the fleet.
        shape: the fleet; its policy is ignored.
        effort: statistics of each simulation; None for the default.
        progress: called with a description of each simulation before it starts.
    """
    how = effort or Effort()
    result: dict[Policy, FleetFigures] = {}
    for policy in POLICIES:
        progress(f"{shape.servers} servers, {policy}")
        tried = replace(shape, policy=policy)
        result[policy] = run_fleet(load, tried, requests=how.requests, replicas=how.replicas, seed=how.seed)
    return result


def _check_possible(load: Load, bound: Bound) -> None:
    """Refuse a bound on the latency that is not kept even without queues."""
    random = np.random.default_rng(0)
    alone = load.service.draw(load.sizes.draw(random, _DRAWS), random) + load.service.draw_overhead(random, _DRAWS)
    least = float(np.percentile(alone, 95))
    if not least <= bound.p95:
        raise ConfigError(
            f"bound: got p95 <= {bound.p95:g} s, expected at least {least:.3g} s: so long do 5 % of the events take"
            " on an idle server"
        )


def _servers_for_work(load: Load, shape: FleetShape, busy: float) -> int:
    """About the number of servers whose cores the offered load keeps busy for that share; 5 % low on purpose."""
    offered = load.arrivals.offered
    if not isfinite(offered):
        return 1
    per_machine = replace(shape, servers=shape.servers_per_machine).parallel
    work = offered * mean_service(load.service, load.sizes)
    return max(1, ceil(0.95 * work / busy * shape.servers_per_machine / per_machine))
