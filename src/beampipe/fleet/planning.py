"""How many servers a number of clients needs: a discrete-event simulation of clients, gateway and servers.

Each client sends an event, waits for the answer, pauses, and sends its next event. The gateway sends the event to a
server with a free slot, keeps it in its queue if there is none, or refuses it if the queue is full; a refused client
tries again after 50 ms on average. A server works on `Shape.parallel` events at once, and keeps further ones waiting.
Of the servers with a free slot the policy selects, as HAProxy does with `maxconn`, the one with the fewest outstanding
requests (``least_connections``), or with the smallest sum of their sizes (``least_hits``); of equals, and with
``round_robin`` of all, the one that was selected longest ago.

Events are drawn, with replacement, from measured ones; pauses are exponential. Measured service times are JSON::

    {
      "about": "exatrkx, one H100, 2026-11-25",    description of the measurement
      "sizes": [310, 288, 9120],                   size of each measured event, e.g. hits
      "seconds": [0.0031, 0.0029, 0.0611],         time that one instance of the model worked on it [s]
      "overhead": 0.0003                           time of a request outside of the model [s]; 0 if left out
    }

The simulation is tested against closed forms of queueing theory (`tests/fleet/test_planning.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from heapq import heapify, heappop, heappush, heapreplace
from math import ceil
from typing import Final

import numpy as np

from beampipe.errors import ConfigError
from beampipe.fleet.specification import Balancing, GatewaySettings
from beampipe.units import Estimate

_RETRY: Final = 0.05
"""Mean time after which a refused client sends again [s]."""
_REFUSED: Final = 1e-3
"""Largest share of requests that a sufficient fleet refuses."""
_BUSY: Final = 0.9
"""Largest share of the time that its servers work. Closer to 1 the length of the queue varies so slowly that no
simulation is long enough to measure it."""
_RUNS: Final = 4
"""Number of simulations for each figure, from whose scatter the errors are estimated."""
_FARTHEST: Final = 8
"""Limit of the search: this many times the number of servers that the work alone needs, plus this many."""
_MORE: Final = (1.1, 1.25)
"""Larger fleets that a plan shows, as multiples of the smallest sufficient one."""


@dataclass(frozen=True)
class Measured:
    """Measured service times.

    Attributes:
        sizes: size of each measured event, e.g. hits.
        seconds: time that one instance of the model worked on each [s].
        about: description of the measurement.
        overhead: time of a request outside of the model [s]: network and gateway.
    """

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]
    about: str = ""
    overhead: float = 0.0

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.seconds) or not self.sizes:
            raise ConfigError(
                f"measured: got {len(self.sizes)} sizes and {len(self.seconds)} seconds, expected one or more of each,"
                " as many of one as of the other"
            )
        if min(self.sizes) < 0 or min(self.seconds) <= 0 or self.overhead < 0:
            raise ConfigError(
                f"measured: got sizes from {min(self.sizes):g}, seconds from {min(self.seconds):g}, overhead"
                f" {self.overhead:g}, expected sizes and overhead of 0 or more, and seconds above 0"
            )


@dataclass(frozen=True)
class Load:
    """The load of a fleet.

    Attributes:
        measured: the events.
        clients: number of clients.
        pause: mean time from an answer to the client's next request [s].
    """

    measured: Measured
    clients: int
    pause: float


@dataclass(frozen=True)
class Shape:
    """A simulated fleet.

    Attributes:
        servers: number of servers.
        parallel: number of events that a server works on at once.
        in_flight: largest number of requests that one server has at once.
        queue: largest number of requests that wait for a server.
        policy: balancing policy of the gateway.
    """

    servers: int
    parallel: int = 1
    in_flight: int = GatewaySettings.in_flight
    queue: int = GatewaySettings.queue
    policy: Balancing = GatewaySettings.balancing


def make_shape(gateway: GatewaySettings | None, instances: int) -> Shape:
    """A fleet of one server.

    Args:
        gateway: settings of the gateway; None for the default ones, with at least two requests in flight for each
            instance.
        instances: number of instances of the model in a server, each with a core or a share of a GPU.

    Raises:
        ConfigError: a server gets fewer requests at once than it has instances.
    """
    if gateway is None:
        gateway = GatewaySettings(in_flight=max(GatewaySettings.in_flight, 2 * instances))
    if gateway.in_flight < instances:
        raise ConfigError(
            f"--instances: got {instances} with gateway.in_flight {gateway.in_flight}, expected at most as many: the"
            " others would never work"
        )
    return Shape(1, instances, gateway.in_flight, gateway.queue, gateway.balancing)


@dataclass(frozen=True)
class Figures:
    """Performance of a fleet under a load: means over runs, with their standard errors.

    Attributes:
        throughput: answers per second.
        mean: mean latency [s].
        p50: median latency [s].
        p95: 95th percentile of the latency [s].
        p99: 99th percentile of the latency [s].
        refused: share of the requests that were refused.
        busy: share of the time that servers work.
    """

    throughput: Estimate
    mean: Estimate
    p50: Estimate
    p95: Estimate
    p99: Estimate
    refused: Estimate
    busy: Estimate


def simulate(load: Load, shape: Shape, *, requests: int = 10_000, seed: int = 0) -> Figures:
    """Simulate a fleet several times, and average.

    Args:
        load: the load of the fleet.
        shape: the fleet.
        requests: number of recorded requests in each run, refused ones included, after a quarter as many others.
        seed: seed of the first run; the others have the following ones.
    """
    rows = [_run(load, shape, requests, np.random.default_rng(seed + number)) for number in range(_RUNS)]
    means, errors = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(_RUNS)
    names = [field.name for field in fields(Figures)]
    return Figures(**{name: Estimate(float(m), float(e)) for name, m, e in zip(names, means, errors, strict=True)})


def _run(load: Load, shape: Shape, requests: int, random: np.random.Generator) -> list[float]:
    """One run, in the order of `Figures`.

    Requests are taken in the order in which they are sent. Gateway and servers answer first come, first served, so that
    all times of a request are known when it is sent.
    """
    measured, warm_up = load.measured, requests // 4
    total = warm_up + requests
    which = random.integers(len(measured.sizes), size=total)
    sizes, seconds = np.array(measured.sizes)[which], np.array(measured.seconds)[which].tolist()
    pauses, retries = random.exponential(load.pause, total).tolist(), random.exponential(_RETRY, total).tolist()
    agenda = random.exponential(load.pause, load.clients).tolist()  # when each client sends its next request
    heapify(agenda)
    free_at = np.zeros((shape.servers, shape.in_flight))  # when each slot of a server is free again
    held = np.zeros_like(free_at)  # size of the last request in each slot
    idle_at = [[0.0] * shape.parallel for _ in range(shape.servers)]  # when each instance of a server is idle
    selected = np.arange(shape.servers)  # number of the request for which a server was last selected
    assigned, waiting = 0.0, deque[float]()  # when the last request got its slot, and when those that wait get theirs
    times = np.full((3, total), np.nan)  # of each request: sent, started, answered
    for number in range(total):
        times[0, number] = now = heappop(agenda)
        while waiting and waiting[0] <= now:
            waiting.popleft()
        slot_at = max(now, assigned, float(free_at.min()))
        if slot_at > now:
            if len(waiting) >= shape.queue:
                heappush(agenda, now + retries[number])
                continue
            waiting.append(slot_at)
        assigned = slot_at
        taken = free_at > assigned
        outstanding = np.count_nonzero(taken, axis=1)
        order = [selected]
        if shape.policy != "round_robin":
            order.append(outstanding if shape.policy == "least_connections" else np.sum(held * taken, axis=1))
        server = int(np.lexsort([*order, outstanding == shape.in_flight])[0])
        selected[server] = shape.servers + number
        start = max(assigned, idle_at[server][0])
        heapreplace(idle_at[server], start + seconds[number])
        answered = start + seconds[number] + measured.overhead
        slot = int(np.argmin(free_at[server]))
        free_at[server, slot], held[server, slot] = answered, sizes[number]
        times[1:, number] = start, answered
        heappush(agenda, answered + pauses[number])
    sent, started, answered_at = times
    begin, end = sent[warm_up], sent[-1]
    span = max(end - begin, np.finfo(float).tiny)
    latency = (answered_at - sent)[warm_up:]
    refused = float(np.mean(np.isnan(latency)))
    latency = latency[~np.isnan(latency)] if refused < 1 else np.array([np.nan])
    work = float(np.sum(np.array(seconds)[(begin <= started) & (started < end)]))
    throughput = np.count_nonzero((begin <= answered_at) & (answered_at < end)) / span
    busy = work / (span * shape.servers * shape.parallel)
    return [throughput, float(np.mean(latency)), *np.percentile(latency, (50, 95, 99)).tolist(), refused, busy]


@dataclass(frozen=True)
class ServerPlan:
    """The number of servers that a load needs.

    Attributes:
        shape: the fleet with this number of servers.
        figures: performance by number of servers: of that number, of one less, and of somewhat larger ones.
    """

    shape: Shape
    figures: Mapping[int, Figures]


def plan_servers(
    load: Load,
    shape: Shape,
    p95: float,
    *,
    requests: int = 10_000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> ServerPlan:
    """The smallest number of servers with a p95 (plus one standard error) within a limit and almost no refusals.

    The search begins at about the number that the work alone needs, doubles its step until the limits are kept, and
    bisects the last step.

    Args:
        load: the load of the fleet.
        shape: the fleet; its number of servers is ignored.
        p95: largest 95th percentile of the latency [s].
        requests: number of recorded requests in each run.
        seed: seed of each simulation.
        progress: called before each simulation.

    Returns:
        That number, and the performance of fleets of about that size.

    Raises:
        ConfigError: no number of servers keeps the limits.
    """
    measured = load.measured
    least = float(np.percentile(measured.seconds, 95)) + measured.overhead
    if least > p95:
        unit = "; are they in ms?" if min(measured.seconds) >= 1 and 1e-3 * least <= p95 else ""
        raise ConfigError(
            f"--p95: got {p95:g} s, expected at least {least:.3g} s: so long do 5 % of the measured events take on an"
            f" idle server{unit}"
        )

    @cache
    def simulated(servers: int) -> Figures:
        progress()
        return simulate(load, replace(shape, servers=servers), requests=requests, seed=seed)

    def keeps(servers: int) -> bool:
        figures = simulated(servers)
        # Comparisons with NaN, for a fleet without answers, are false.
        slowest = figures.p95.value + figures.p95.error
        return bool(slowest <= p95 and figures.refused.value <= _REFUSED and figures.busy.value <= _BUSY)

    work = load.clients / load.pause * float(np.mean(measured.seconds))
    first = max(1, ceil(0.95 * work / _BUSY / shape.parallel))
    below, step = first - 1, 1
    while not keeps(below + step):
        below, step = below + step, 2 * step
        if below >= _FARTHEST * (first + 1):
            raise ConfigError(
                f"--p95: got {p95:g} s, which {below} servers do not keep, though {first} could do the work; expected a"
                " longer time, more instances or a longer queue"
            )
    fewest = below + step
    while fewest - below > 1:
        middle = (below + fewest) // 2
        below, fewest = (below, middle) if keeps(middle) else (middle, fewest)
    shown = {max(1, fewest - 1), fewest, *(ceil(factor * fewest) for factor in _MORE)}
    return ServerPlan(replace(shape, servers=fewest), {servers: simulated(servers) for servers in sorted(shown)})
