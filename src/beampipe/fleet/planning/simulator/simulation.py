"""A fleet in simulated time: clients, gateway, servers, instances, cores. One run of it.

A request goes the way that it goes in a real fleet. The gateway hands it to a server with a free place; if there is
none it waits in one queue, and if that is full it is refused at once. In the server it waits for an instance, which
then works for the request's service time, slowed if more instances work than the machine has cores. SimPy keeps the
time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, no_type_check

import numpy as np
from numpy import ndarray
from simpy import Environment, Event

from beampipe.arrays import Float64
from beampipe.errors import ConfigError
from beampipe.fleet.planning.simulator.arrivals import Arrivals
from beampipe.fleet.planning.simulator.balancing import Balancer, Policy
from beampipe.fleet.planning.simulator.machines import Machine
from beampipe.fleet.planning.simulator.service import ServiceTimes
from beampipe.fleet.planning.simulator.sizes import Sizes

__all__ = ["FleetShape", "Load", "SimulatedRun", "simulate"]

_BLOCK: Final = 1024
"""Number of events whose sizes and service times are drawn at once."""


@dataclass(frozen=True)
class FleetShape:
    """What a simulated fleet consists of.

    Attributes:
        servers: number of servers.
        instances: number of instances of the model in each server.
        cores: number of cores of a machine; of a GPU, how many instances it runs at once without loss.
        servers_per_machine: number of servers that share a machine.
        in_flight: largest number of requests that one server has at once; None for any.
        queue: largest number of requests that wait for a server; None for any.
        policy: how the gateway chooses a server.
    """

    servers: int
    instances: int = 1
    cores: int = 1
    servers_per_machine: int = 1
    in_flight: int | None = 8
    queue: int | None = 64
    policy: Policy = "least_connections"

    def __post_init__(self) -> None:
        counts = ("servers", "instances", "cores", "servers_per_machine", "in_flight")
        for name, value in ((name, getattr(self, name)) for name in counts):
            if value is not None and value < 1:
                raise ConfigError(f"fleet.{name}: got {value}, expected 1 or more")
        if self.queue is not None and self.queue < 0:
            raise ConfigError(f"fleet.queue: got {self.queue}, expected 0 or more")

    @property
    def machines(self) -> int:
        """Number of machines."""
        return -(-self.servers // self.servers_per_machine)

    @property
    def parallel(self) -> int:
        """Largest number of events that are worked on at full speed."""
        full, rest = divmod(self.servers, self.servers_per_machine)
        per_server = self.instances if self.in_flight is None else min(self.instances, self.in_flight)
        return full * min(self.servers_per_machine * per_server, self.cores) + min(rest * per_server, self.cores)


@dataclass(frozen=True)
class Load:
    """What is asked of a fleet.

    Attributes:
        arrivals: when requests come.
        sizes: how large their events are.
        service: how long an instance works on an event of a size.
    """

    arrivals: Arrivals
    sizes: Sizes
    service: ServiceTimes


@dataclass(frozen=True, eq=False)
class SimulatedRun:
    """The recorded part of one run.

    Attributes:
        latency: (n,) time from sending to answer of each recorded request that was not refused [s].
        refused: number of recorded requests that were refused.
        seconds: length of the recorded part [s].
        answers: number of answers in that time.
        working: mean number of instances at work, over all instances; above 1 never.
        busy: mean number of busy cores, over all cores.
    """

    latency: Float64[ndarray, " n"]
    refused: int
    seconds: float
    answers: int
    working: float
    busy: float


def simulate(
    load: Load, shape: FleetShape, *, requests: int = 20_000, warm_up: int | None = None, seed: int = 0
) -> SimulatedRun:
    """Run a fleet from empty until the recorded requests are answered.

    Args:
        load: what is asked of it.
        shape: what it consists of.
        requests: number of requests that are recorded; those that are refused count.
        warm_up: number of requests before those; a quarter of `requests` if not given.
        seed: seed of arrivals, sizes, service times and choices, each of which draws from a stream of its own: another
            policy gets the same events.

    Raises:
        ConfigError: `requests` is not positive.
    """
    if requests < 1:
        raise ConfigError(f"requests: got {requests}, expected 1 or more")
    run = _Run(load, shape, np.random.SeedSequence(seed), requests // 4 if warm_up is None else warm_up, requests)
    return run.result()


@no_type_check
@dataclass(eq=False, slots=True)
class _Request:
    size: float
    work: float
    elsewhere: float
    sent: float
    recorded: bool
    answered: Event
    server: int = -1


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class _Run:
    """One run of one fleet."""

    def __init__(
        self, load: Load, shape: FleetShape, seed: np.random.SeedSequence, warm_up: int, requests: int
    ) -> None:
        arrivals, sizes, choices = (np.random.default_rng(child) for child in seed.spawn(3))
        self._environment = Environment(0.0)
        self._shape = shape
        self._events = _events(load, sizes)
        self._balancer = Balancer(shape.policy, shape.servers, shape.in_flight, choices)
        contention = load.service.contention
        self._machines = [Machine(self._environment, shape.cores, contention) for _ in range(shape.machines)]
        self._servers = [
            _Server(self._machines[number // shape.servers_per_machine], shape.instances, self._worked)
            for number in range(shape.servers)
        ]
        self._waiting: deque[_Request] = deque()
        self._begin, self._end = warm_up, warm_up + requests
        self._n_sent = self._n_open = self._refused = self._answers = 0
        self._latency: list[float] = []
        self._begun = self._ended = 0.0
        self._before = self._after = (0.0, 0.0)
        self._done = self._environment.event()
        load.arrivals.start(self._environment, self._send, arrivals)

    def result(self) -> SimulatedRun:
        self._environment.run(until=self._done)
        seconds = self._ended - self._begun
        working, busy = (after - before for after, before in zip(self._after, self._before, strict=True))
        span = max(seconds, np.finfo(float).tiny)
        return SimulatedRun(
            latency=np.array(self._latency),
            refused=self._refused,
            seconds=seconds,
            answers=self._answers,
            working=working / (span * self._shape.servers * self._shape.instances),
            busy=busy / (span * self._shape.machines * self._shape.cores),
        )

    def _send(self) -> Event:
        answered = self._environment.event()
        if self._n_sent >= self._end:  # nobody counts it: it waits for ever
            return answered
        if self._n_sent == self._begin:
            self._begun, self._before = self._environment.now, self._integrals()
        recorded = self._n_sent >= self._begin
        self._n_sent += 1
        if self._n_sent == self._end:
            self._ended, self._after = self._environment.now, self._integrals()
        size, work, elsewhere = next(self._events)
        request = _Request(size, work, elsewhere, self._environment.now, recorded, answered)
        self._n_open += 1
        if not self._hand_on(request):
            if self._shape.queue is None or len(self._waiting) < self._shape.queue:
                self._waiting.append(request)
            else:
                self._refused += recorded
                self._close(request, answered=False)
        return answered

    def _hand_on(self, request: _Request) -> bool:
        """Give a request to a server, if one is free."""
        server = self._balancer.take(request.size)
        if server is None:
            return False
        request.server = server
        self._servers[server].take(request)
        return True

    def _worked(self, request: _Request) -> None:
        """An instance has finished a request; its answer is on the way."""
        if request.elsewhere:
            callbacks = self._environment.timeout(request.elsewhere).callbacks
            assert callbacks is not None
            callbacks.append(lambda _: self._answered(request))
        else:
            self._answered(request)

    def _answered(self, request: _Request) -> None:
        now = self._environment.now
        self._balancer.give_back(request.server, request.size)
        if self._waiting and self._hand_on(self._waiting[0]):
            self._waiting.popleft()
        if self._begin < self._n_sent < self._end:
            self._answers += 1
        if request.recorded:
            self._latency.append(now - request.sent)
        self._close(request, answered=True)

    def _close(self, request: _Request, *, answered: bool) -> None:
        self._n_open -= 1
        request.answered.succeed(answered)
        if self._n_sent >= self._end and not self._n_open and not self._done.triggered:
            self._done.succeed()

    def _integrals(self) -> tuple[float, float]:
        for machine in self._machines:
            machine.advance()
        return sum(machine.working for machine in self._machines), sum(machine.busy for machine in self._machines)


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class _Server:
    """One server: requests wait in the order in which they came for one of its instances."""

    def __init__(self, machine: Machine, instances: int, worked: Callable[[_Request], None]) -> None:
        self._machine, self._idle, self._worked = machine, instances, worked
        self._waiting: deque[_Request] = deque()

    def take(self, request: _Request) -> None:
        if self._idle:
            self._idle -= 1
            self._work(request)
        else:
            self._waiting.append(request)

    def _work(self, request: _Request) -> None:
        self._machine.start(request.work, lambda: self._finished(request))

    def _finished(self, request: _Request) -> None:
        if self._waiting:
            self._work(self._waiting.popleft())
        else:
            self._idle += 1
        self._worked(request)


def _events(load: Load, random: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Size, service time [s] and time elsewhere [s] of one event after the other."""
    while True:
        sizes = load.sizes.draw(random, _BLOCK)
        works = load.service.draw(sizes, random).tolist()
        yield from zip(sizes.tolist(), works, load.service.draw_overhead(random, len(sizes)).tolist(), strict=True)
