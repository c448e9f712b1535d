"""How many servers a number of clients needs: a discrete-event simulation of clients, gateway and servers.

Each client sends an event, waits for the answer, pauses, and sends its next event. The gateway sends the event to a
server with a free slot, keeps it in its queue if there is none, or refuses it if the queue is full; a refused client
tries again after 50 ms on average. A server works on `Shape.parallel` events at once, and keeps further ones waiting.
Of the servers with a free slot the policy selects, as HAProxy does with `maxconn`:

====================  ==============================================================================================
``round_robin``       the one that was selected longest ago
``least_connections`` the one with fewest outstanding requests; of equals, the one that changed longest ago
``least_hits``        the one with the smallest sum of the sizes of the outstanding requests; of equals, the same
====================  ==============================================================================================

Events are drawn, with replacement, from measured ones; pauses are exponential. Measured service times are JSON in
either of two formats: that of `Measured`, written by hand or by a program, or ``serving.json`` of `beampipe serving
bench`, which has one mean time for each sample::

    {
      "about": "exatrkx, one H100, 2026-11-25",    description of the measurement
      "sizes": [310, 288, 9120],                   size of each measured event, e.g. hits
      "seconds": [0.0031, 0.0029, 0.0611],         time that one instance of the model worked on it [s]
      "overhead": 0.0003                           time of a request outside of the model [s]; 0 if left out
    }

The simulator is tested against closed forms of queueing theory (`tests/fleet/test_planning.py`).
"""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from heapq import heappop, heappush
from itertools import count
from math import ceil
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, get_args, no_type_check

import numpy as np

from beampipe.errors import BeampipeError, ConfigError, FileError, look_up
from beampipe.fleet.specification import Balancing, GatewaySettings, read_fleet
from beampipe.settings import build
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
_BLOCK: Final = 1024
"""Number of random events or pauses that are drawn at once."""
_DIRECT: Final = "direct"
"""Name in a load test of the pipeline without a server."""
_ORDER: Final[Mapping[Balancing, Any]] = {
    "round_robin": attrgetter("selected"),
    "least_connections": attrgetter("requests", "changed"),
    "least_hits": attrgetter("hits", "changed"),
}
"""Policy -> what is smallest for the server that it selects."""


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


def read_measured(path: Path, sample: str | None = None) -> Measured:
    """Read a file of either format.

    Args:
        path: the file.
        sample: name of the sample of a load test; None for its only one.

    Raises:
        FileError: it cannot be read, or is no JSON.
        ConfigError: it has another content, or no point with one event at a time.
        UnknownNameError: the load test has no such sample.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); expected a JSON file", path=path) from error
    except ValueError as error:
        raise FileError(f"{path}: got no JSON ({error})", path=path) from error
    if not (isinstance(content, dict) and {"points", "samples"} <= content.keys()):
        if sample is not None:
            raise ConfigError(f"--sample: got {sample!r} with {path}, which is no load test, expected none")
        return build(Measured, content, str(path))
    try:
        return _of_load_test(content, sample)
    except BeampipeError as error:
        error.args = (f"{path}: {error}",)
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: got {error!r}, expected serving.json of `beampipe serving bench`") from error


def _of_load_test(content: Mapping[str, Any], sample: str | None) -> Measured:
    hits = {row["name"]: float(row["hits"]) for row in content["samples"]}
    if sample is None:
        sample, *others = hits
        if others:
            raise ConfigError(f"--sample: got none, expected the sample that clients send: one of {', '.join(hits)}")
    n_hits = look_up("sample", sample, hits)
    alone = {
        point["way"]: float(point["summary"]["mean"])
        for point in content["points"]
        if (point["sample"], point["concurrency"], point["instances"], point["rate"]) == (sample, 1, 1, None)
    }
    if not alone:
        raise ConfigError("points: got none with one request in flight and one instance, expected some")
    served = next((seconds for way, seconds in alone.items() if way != _DIRECT), 0.0)
    seconds = alone.get(_DIRECT, served)
    return Measured((n_hits,), (seconds,), str(content["pipeline"]), max(0.0, served - seconds))


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


def make_shape(
    fleet: Path | None, group: str | None, instances: int, in_flight: int | None, queue: int | None
) -> Shape:
    """A fleet of one server, by the arguments, else by the specification, else by the defaults of a specification.

    Without a specification a server has at least two requests in flight for each instance.

    Args:
        fleet: file of the specification; None for none.
        group: group of servers in it; None for the first.
        instances: number of instances of the model in a server.
        in_flight: largest number of requests that one server has at once; None for that of the specification.
        queue: largest number of requests that wait for a server; None for that of the specification.

    Raises:
        BeampipeError: the specification cannot be read, or has no such group.

    Warns:
        UserWarning: a server cannot use all its instances at once.
    """
    gateway, cores = GatewaySettings(), instances
    if fleet is None:
        if group is not None:
            raise ConfigError(f"--group: got {group!r} without the specification of a fleet, expected --file with it")
        gateway = replace(gateway, in_flight=max(gateway.in_flight, 2 * instances))
    else:
        specified = read_fleet(fleet)
        gateway, group = specified.gateway, next(iter(specified.servers)) if group is None else group
        servers = look_up("group of servers", group, specified.servers)
        if servers.device == "cpu":
            cores = servers.cores
    in_flight = gateway.in_flight if in_flight is None else in_flight
    parallel = min(instances, cores, in_flight)
    if parallel < instances:
        warnings.warn(
            f"instances: got {instances} in a server with {cores} core(s) and {in_flight} in flight, expected at most"
            f" as many; simulated with {parallel} that work at once",
            stacklevel=2,
        )
    return Shape(1, parallel, in_flight, gateway.queue if queue is None else queue, gateway.balancing)


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
        seed: seed of the first run; the others have the following ones. Policies get the same sequence of events.
    """
    rows = [_Run(load, shape, requests, seed + number).figures() for number in range(_RUNS)]
    means, errors = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / np.sqrt(_RUNS)
    names = [field.name for field in fields(Figures)]
    return Figures(**{name: Estimate(float(m), float(e)) for name, m, e in zip(names, means, errors, strict=True)})


class _Server:
    """The gateway's state of a server, and the events in it."""

    def __init__(self, number: int) -> None:
        self.selected = self.changed = number
        self.requests = self.working = 0
        self.hits = 0.0
        self.waiting: deque[Any] = deque()


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class _Run:
    """One run of one fleet, from empty until the recorded requests are answered."""

    def __init__(self, load: Load, shape: Shape, requests: int, seed: int) -> None:
        pauses, events = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
        self._shape, self._overhead = shape, load.measured.overhead
        self._pauses, self._retries = _exponential(load.pause, pauses), _exponential(_RETRY, pauses)
        self._events = _events(load.measured, events)
        self._servers = [_Server(number) for number in range(shape.servers)]
        self._waiting: deque[Any] = deque()
        self._now, self._ticks = 0.0, count(shape.servers)
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._begin, self._end = requests // 4, requests // 4 + requests
        self._n_sent = self._n_open = self._refused = self._answers = 0
        self._work = 0.0
        self._marks: list[float] = []  # begin and end of the recorded part
        self._latency: list[float] = []
        for _ in range(load.clients):
            self._later(next(self._pauses), self._send)

    def figures(self) -> list[float]:
        """In the order of `Figures`."""
        while len(self._marks) < 2 or self._n_open:
            self._now, _, action, arguments = heappop(self._agenda)
            action(*arguments)
        latency, span = self._latency or [np.nan], max(self._marks[1] - self._marks[0], np.finfo(float).tiny)
        refused = self._refused / (self._refused + len(self._latency))
        busy = self._work / (span * self._shape.servers * self._shape.parallel)
        percentiles = np.percentile(latency, (50, 95, 99)).tolist()
        return [self._answers / span, float(np.mean(latency)), *percentiles, refused, busy]

    def _later(self, delay: float, action: Callable[..., None], *arguments: Any) -> None:
        heappush(self._agenda, (self._now + delay, next(self._ticks), action, arguments))

    def _send(self) -> None:
        if self._n_sent in (self._begin, self._end):
            self._marks.append(self._now)
        recorded = self._begin <= self._n_sent < self._end
        self._n_sent += 1
        request = (self._now, *next(self._events), recorded)
        free = [server for server in self._servers if server.requests < self._shape.in_flight]
        if not free and len(self._waiting) >= self._shape.queue:
            self._refused += recorded
            self._later(next(self._retries), self._send)
            return
        self._n_open += recorded
        if free:
            self._assign(min(free, key=_ORDER[self._shape.policy]), request)
        else:
            self._waiting.append(request)

    def _assign(self, server: _Server, request: Any) -> None:
        server.requests += 1
        server.hits += request[1]
        server.selected = server.changed = next(self._ticks)
        if server.working < self._shape.parallel:
            self._start(server, request)
        else:
            server.waiting.append(request)

    def _start(self, server: _Server, request: Any) -> None:
        server.working += 1
        if len(self._marks) == 1:
            self._work += request[2]
        self._later(request[2], self._finish, server, request)

    def _finish(self, server: _Server, request: Any) -> None:
        server.working -= 1
        if server.waiting:
            self._start(server, server.waiting.popleft())
        self._later(self._overhead, self._answer, server, request)

    def _answer(self, server: _Server, request: Any) -> None:
        sent, size, _, recorded = request
        server.requests -= 1
        server.hits = server.hits - size if server.requests else 0.0  # rounding errors do not accumulate
        server.changed = next(self._ticks)
        if self._waiting:  # no other server has a free slot
            self._assign(server, self._waiting.popleft())
        self._answers += len(self._marks) == 1
        if recorded:
            self._latency.append(self._now - sent)
            self._n_open -= 1
        self._later(next(self._pauses), self._send)


def _exponential(mean: float, random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from random.exponential(mean, _BLOCK).tolist()


def _events(measured: Measured, random: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Size and service time [s] of each event."""
    while True:
        for at in random.integers(len(measured.sizes), size=_BLOCK).tolist():
            yield measured.sizes[at], measured.seconds[at]


def fewest_servers(
    load: Load,
    shape: Shape,
    p95: float,
    *,
    requests: int = 10_000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> int:
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
    def keeps(servers: int) -> bool:
        progress()
        figures = simulate(load, replace(shape, servers=servers), requests=requests, seed=seed)
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
    kept = below + step
    while kept - below > 1:
        middle = (below + kept) // 2
        below, kept = (below, middle) if keeps(middle) else (middle, kept)
    return kept


@dataclass(frozen=True)
class ServerPlan:
    """The number of servers that a load needs.

    Attributes:
        shape: the fleet with this number of servers.
        low: that number if all service times are shorter by the uncertainty; None if the number was given.
        high: that number if they are longer by it.
        figures: performance of `shape` with each balancing policy.
    """

    shape: Shape
    low: int | None
    high: int | None
    figures: Mapping[Balancing, Figures]


def plan_servers(
    load: Load,
    shape: Shape,
    p95: float,
    *,
    servers: int | None = None,
    uncertainty: float = 0.1,
    requests: int = 10_000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> ServerPlan:
    """The number of servers that a load needs, its uncertainty, and a comparison of balancing policies.

    Args:
        load: the load of the fleet.
        shape: the fleet; its number of servers is ignored.
        p95: largest 95th percentile of the latency [s].
        servers: number of servers; None to find it.
        uncertainty: relative uncertainty of the service times.
        requests: number of recorded requests in each run.
        seed: seed of each simulation.
        progress: called before each simulation.

    Raises:
        ConfigError: no number of servers keeps the limit.
    """
    low = high = None
    if servers is None:

        def fewest(factor: float) -> int:
            scaled = replace(load.measured, seconds=tuple(factor * one for one in load.measured.seconds))
            slower = replace(load, measured=scaled)
            return fewest_servers(slower, shape, p95, requests=requests, seed=seed, progress=progress)

        low, servers, high = (fewest(factor) for factor in (1 - uncertainty, 1.0, 1 + uncertainty))
    shape, figures = replace(shape, servers=servers), {}
    for policy in get_args(Balancing):
        progress()
        figures[policy] = simulate(load, replace(shape, policy=policy), requests=requests, seed=seed)
    return ServerPlan(shape, low, high, figures)
