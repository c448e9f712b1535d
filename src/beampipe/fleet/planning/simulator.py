"""Discrete-event simulation of a fleet (with SimPy): arrivals, gateway, servers, cores, and figures with errors.

A request takes the same path as in a real fleet. The gateway sends it to a server with a free slot, or keeps it in its
one queue, or refuses it if the queue is full. In the server it waits for an instance of the model, which works on it
for its service time, slower if more instances work than the machine has cores.

    from beampipe.fleet.planning.simulator import FleetShape, Load, Poisson, ParetoSizes, ServiceTimes, run_fleet

    load = Load(Poisson(200.0), ParetoSizes(100, 1.2, 1e5), ServiceTimes.affine(1e-3, 5e-6))
    figures = run_fleet(load, FleetShape(servers=4))

Each policy chooses among the servers that have a free slot, as HAProxy does with `maxconn`:

====================  ==============================================================================================
``round_robin``       the next in turn
``least_connections`` fewest outstanding requests; of equals, as in HAProxy's tree, the one that changed longest ago
``least_hits``        smallest sum of the sizes of the outstanding requests
``power_of_two``      of two servers taken at random, the one with fewer outstanding requests
====================  ==============================================================================================

The simulator is tested against closed forms of queueing theory and against live servers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any, Final, Literal, Protocol, get_args, no_type_check, runtime_checkable

import numpy as np
from numpy import ndarray
from simpy import Environment, Event, Resource

from beampipe.arrays import Float64
from beampipe.errors import ConfigError
from beampipe.units import Estimate

_DRAWS: Final = 100_000
"""Number of events drawn for a mean."""

_BLOCK: Final = 1024
"""Number of random events or gaps that are drawn at once."""


@runtime_checkable
class Sizes(Protocol):
    """Distribution of the sizes of events."""

    def draw(self, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
        """Sizes of `n` independent events [e.g. hits]."""


@dataclass(frozen=True, eq=False)
class MeasuredSizes:
    """Sizes drawn, with replacement, from those of real events.

    Attributes:
        values: (n,) sizes of the events.
    """

    values: ndarray

    def __post_init__(self) -> None:
        if not len(self.values) or not np.all(np.isfinite(self.values)) or np.min(self.values) < 0:
            raise ConfigError(f"sizes: got {len(self.values)} values, expected one or more, finite and not negative")

    def draw(self, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
        return np.asarray(self.values, np.float64)[random.integers(len(self.values), size=n)]


@dataclass(frozen=True)
class LogNormalSizes:
    """Sizes whose logarithm is normal: many small events, few large ones.

    Attributes:
        median: median size.
        sigma: standard deviation of the logarithm; 1 makes the largest of a hundred ten times the median.
    """

    median: float
    sigma: float

    def __post_init__(self) -> None:
        if not self.median > 0 or not self.sigma >= 0:
            raise ConfigError(f"sizes: got median {self.median:g}, sigma {self.sigma:g}, expected > 0 and >= 0")

    def draw(self, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
        return random.lognormal(np.log(self.median), self.sigma, n)


@dataclass(frozen=True)
class ParetoSizes:
    """Sizes with a tail that falls as a power, cut off: P(size > x) ~ x^-shape between `least` and `most`.

    Attributes:
        least: smallest size.
        shape: power of the tail; below 2 the variance is dominated by the cut-off `most`.
        most: largest size.
    """

    least: float
    shape: float
    most: float

    def __post_init__(self) -> None:
        if not 0 < self.least < self.most or not self.shape > 0:
            raise ConfigError(
                f"sizes: got least {self.least:g}, most {self.most:g}, shape {self.shape:g},"
                " expected 0 < least < most and shape > 0"
            )

    def draw(self, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
        kept = 1.0 - (self.least / self.most) ** self.shape
        return np.asarray(self.least * (1.0 - kept * random.random(n)) ** (-1.0 / self.shape))


_ROUNDS = 5
"""Number of weighted fits of a line, each with the weights of the previous one."""


@dataclass(frozen=True, eq=False)
class ServiceTimes:
    """Service time: piecewise linear in the size, times a random ratio.

    time = r x f(size), where f interpolates (`sizes`, `seconds`) linearly, extrapolates along its outermost pieces, and
    r is drawn from `ratios`.

    Attributes:
        sizes: (k,) sizes at the knots, increasing; a single knot means a constant.
        seconds: (k,) service time of an instance that has a core for itself, at the knots [s].
        ratios: (m,) measured times over those of the line; one is drawn for each event.
        overhead: mean time of a request that occupies no instance [s]: network and gateway.
        overhead_ratios: (k,) measured overheads over their mean; one is drawn for each event.
        contention: share by which each further busy core of a machine slows all of them, e.g. by memory bandwidth.
    """

    sizes: ndarray
    seconds: ndarray
    ratios: ndarray = field(default_factory=lambda: np.ones(1))
    overhead: float = 0.0
    overhead_ratios: ndarray = field(default_factory=lambda: np.ones(1))
    contention: float = 0.0

    def __post_init__(self) -> None:
        knots, seconds = np.asarray(self.sizes, np.float64), np.asarray(self.seconds, np.float64)
        if len(knots) != len(seconds) or not len(knots) or not np.all(np.diff(knots) > 0):
            raise ConfigError(f"service: got sizes {knots[:5]}, expected some, growing, and as many seconds")
        drawn = [np.asarray(one, np.float64) for one in (self.ratios, self.overhead_ratios)]
        if not all(len(one) and np.all(np.isfinite(one) & (one >= 0)) for one in (seconds, *drawn)):
            raise ConfigError("service: got negative or infinite times or ratios, expected finite ones, 0 or more")
        if not self.overhead >= 0 or not self.contention >= 0:
            raise ConfigError(
                f"service: got overhead {self.overhead:g} s, contention {self.contention:g}, expected 0 or more"
            )

    @classmethod
    def affine(cls, fixed: float, per_unit: float, *, overhead: float = 0.0) -> ServiceTimes:
        """A line: `fixed` + `per_unit` x size [s], without scatter."""
        return cls(np.array([0.0, 1.0]), np.array([fixed, fixed + per_unit]), overhead=overhead)

    def scaled(self, factor: float) -> ServiceTimes:
        """The same with every service time multiplied by `factor`."""
        return replace(self, seconds=np.asarray(self.seconds) * factor)

    def line(self, sizes: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Service time without its scatter [s]."""
        knots, seconds = np.asarray(self.sizes, np.float64), np.asarray(self.seconds, np.float64)
        if len(knots) == 1:
            return np.full(len(sizes), seconds[0])
        piece = np.clip(np.searchsorted(knots, sizes) - 1, 0, len(knots) - 2)
        slope = np.diff(seconds)[piece] / np.diff(knots)[piece]
        return np.asarray(np.maximum(0.0, seconds[piece] + slope * (sizes - knots[piece])))

    def draw(self, sizes: Float64[ndarray, " n"], random: np.random.Generator) -> Float64[ndarray, " n"]:
        """Random service times of events of these sizes [s]."""
        return np.asarray(self.line(sizes) * _drawn(self.ratios, random, len(sizes)))

    def draw_overhead(self, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
        """Random overheads of `n` requests [s]."""
        return self.overhead * _drawn(self.overhead_ratios, random, n)


def fit_affine(sizes: Float64[ndarray, " n"], seconds: Float64[ndarray, " n"]) -> ServiceTimes:
    """Fit a line by least squares of the *relative* residuals, which become its scatter.

    Args:
        sizes: size of each event.
        seconds: measured service time of each event [s].

    Raises:
        ConfigError: there are no times to fit, or they are not finite and positive.
    """
    _check(sizes, seconds)
    if np.ptp(sizes) == 0:
        fitted = ServiceTimes.affine(float(seconds.mean()), 0.0)
    else:
        scale = np.full(len(sizes), seconds.mean())
        for _ in range(_ROUNDS):  # weights from the line: weights from the times would bias it to short ones
            rows = np.stack([1 / scale, sizes / scale], axis=1)
            fixed, per_unit = np.linalg.lstsq(rows, seconds / scale, rcond=None)[0]
            scale = np.maximum(fixed + per_unit * sizes, seconds.min())
        if fixed < 0:  # a negative time is unphysical: line through the origin
            fixed, per_unit = 0.0, 1 / np.mean(sizes / seconds)
        if per_unit < 0:
            fixed, per_unit = float(seconds.mean()), 0.0
        fitted = ServiceTimes.affine(float(fixed), float(per_unit))
    return _with_scatter(fitted, sizes, seconds)


def fit_table(sizes: Float64[ndarray, " n"], seconds: Float64[ndarray, " n"], knots: int = 12) -> ServiceTimes:
    """Mean times in bins with equally many events as knots, with the scatter around the interpolation.

    Args:
        sizes: size of each event.
        seconds: measured service time of each event [s].
        knots: largest number of bins.

    Raises:
        ConfigError: there are no times to fit, or they are not finite and positive.
    """
    _check(sizes, seconds)
    order = np.argsort(sizes, kind="stable")
    bins = [part for part in np.array_split(order, min(knots, len(order))) if len(part)]
    # Bins with the same mean size are merged into one knot.
    middles = np.array([sizes[part].mean() for part in bins])
    results = [
        np.concatenate([part for part, at in zip(bins, middles, strict=True) if at == middle])
        for middle in np.unique(middles)
    ]
    table = ServiceTimes(np.unique(middles), np.array([seconds[part].mean() for part in results]))
    return _with_scatter(table, sizes, seconds)


def mean_service(service: ServiceTimes, sizes: Sizes) -> float:
    """Mean service time of events of these sizes [s], from a fixed set of draws."""
    random = np.random.default_rng(0)
    return float(service.draw(sizes.draw(random, _DRAWS), random).mean())


def _drawn(ratios: ndarray, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
    return np.asarray(ratios, np.float64)[random.integers(len(ratios), size=n)]


def _with_scatter(fitted: ServiceTimes, sizes: Float64[ndarray, " n"], seconds: Float64[ndarray, " n"]) -> ServiceTimes:
    line = fitted.line(sizes)
    kept = line > 0
    if not kept.any():
        return fitted
    ratios = seconds[kept] / line[kept]
    # Normalised so that the mean time of these events is the measured one, although ratios do not depend on size.
    return replace(fitted, ratios=ratios * seconds[kept].sum() / (line[kept].sum() * ratios.mean()))


def _check(sizes: Float64[ndarray, " n"], seconds: Float64[ndarray, " n"]) -> None:
    if not len(sizes) or not np.all(np.isfinite(sizes)) or not np.all(np.isfinite(seconds) & (seconds > 0)):
        raise ConfigError(
            f"service: got {len(sizes)} measured times, expected one or more, finite sizes, and seconds above 0"
        )


Send = Callable[[], Event]
"""Sends a request; the returned event is triggered with True when it is answered, False when it is refused."""

_Process = Generator[Event, Any, Any]


@runtime_checkable
class Arrivals(Protocol):
    """A source of requests."""

    @property
    def offered(self) -> float:
        """Offered requests per second, if each were answered at once; infinite for clients that do not pause."""

    def start(self, environment: Environment, send: Send, random: np.random.Generator) -> None:
        """Start processes that send requests without end."""


@dataclass(frozen=True)
class Poisson:
    """Open loop: a Poisson process of requests, or of bursts, that does not depend on the fleet.

    A refused request is lost.

    Attributes:
        rate: mean number of requests per second.
        together: number of simultaneous requests in a burst.
    """

    rate: float
    together: int = 1

    def __post_init__(self) -> None:
        _check_positive(rate=self.rate, together=self.together)

    @property
    def offered(self) -> float:
        return self.rate

    def start(self, environment: Environment, send: Send, random: np.random.Generator) -> None:
        environment.process(self._run(environment, send, _gaps(self.together / self.rate, random)))

    def _run(self, environment: Environment, send: Send, gaps: Iterator[float]) -> _Process:
        for gap in gaps:
            yield environment.timeout(gap)
            for _ in range(self.together):
                send()


@dataclass(frozen=True)
class ClosedLoop:
    """Closed loop: each client waits for its answer, pauses, and sends its next request.

    Attributes:
        clients: number of clients.
        think: mean time from an answer to the client's next request [s], exponential; 0 for none.
        retry: mean time after which a refused client sends again [s], exponential.
    """

    clients: int
    think: float = 0.0
    retry: float = 0.05

    def __post_init__(self) -> None:
        _check_positive(clients=self.clients, retry=self.retry)
        if not self.think >= 0:
            raise ConfigError(f"load.think: got {self.think:g} s, expected 0 or more")

    @property
    def offered(self) -> float:
        return self.clients / self.think if self.think else np.inf

    def start(self, environment: Environment, send: Send, random: np.random.Generator) -> None:
        thinking, waiting = _gaps(self.think, random), _gaps(self.retry, random)
        for _ in range(self.clients):
            environment.process(self._run(environment, send, thinking, waiting))

    def _run(
        self, environment: Environment, send: Send, thinking: Iterator[float], waiting: Iterator[float]
    ) -> _Process:
        answered = True
        while True:
            if not answered:
                yield environment.timeout(next(waiting))
            elif self.think:
                yield environment.timeout(next(thinking))
            answered = yield send()


def _gaps(mean: float, random: np.random.Generator) -> Iterator[float]:
    while True:
        yield from random.exponential(mean, _BLOCK).tolist()


def _check_positive(**values: int | float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"load.{name}: got {value:g}, expected more than 0")


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class Machine:
    """Works on several jobs at once. With k jobs on C cores each progresses at the rate

        min(1, C / k) / (1 + contention x (min(k, C) - 1)),

    as the operating system shares cores among equal processes. Since all rates are equal, one clock that runs at this
    rate is enough: a job ends when the clock has advanced by its work.

    Args:
        environment: the simulation.
        cores: number of cores; for a GPU, number of instances that it runs at once at full speed.
        contention: share by which each further busy core slows all of them.

    Attributes:
        working: time integral of the number of jobs [s].
        busy: time integral of the number of busy cores [s].
    """

    def __init__(self, environment: Environment, cores: int, contention: float = 0.0) -> None:
        self._environment = environment
        self._cores = cores
        self._contention = contention
        self._jobs: list[tuple[float, int, Event]] = []
        self._clock, self._at, self._rate = 0.0, environment.now, 1.0
        self._number = self._alarm = 0
        self.working = self.busy = 0.0

    def work(self, seconds: float) -> Event:
        """Start a job that would take `seconds` alone; the returned event is triggered at its end."""
        self.advance()
        self._number += 1
        job = (self._clock + seconds, self._number, self._environment.event())
        heappush(self._jobs, job)
        self._set_alarm(new_first=self._jobs[0] is job)
        return job[-1]

    def advance(self) -> None:
        """Advance clock and integrals to the current time."""
        passed = self._environment.now - self._at
        self._at = self._environment.now
        self._clock += passed * self._rate
        self.working += passed * len(self._jobs)
        self.busy += passed * min(len(self._jobs), self._cores)

    def _set_alarm(self, *, new_first: bool) -> None:
        """Schedule the end of the first job to finish, if that job or the rate has changed."""
        if not self._jobs:
            self._clock = 0.0  # keeps rounding errors small
            return
        n_busy = min(len(self._jobs), self._cores)
        rate = n_busy / len(self._jobs) / (1.0 + self._contention * (n_busy - 1))
        if new_first or rate != self._rate:
            self._rate = rate
            self._alarm += 1
            wait = max(0.0, (self._jobs[0][0] - self._clock) / rate)
            callbacks = self._environment.timeout(wait, self._alarm).callbacks
            assert callbacks is not None
            callbacks.append(self._ring)

    def _ring(self, event: Event) -> None:
        if event.value != self._alarm:  # rescheduled since
            return
        self.advance()
        _, _, done = heappop(self._jobs)
        self._set_alarm(new_first=True)
        done.succeed()


Policy = Literal["round_robin", "least_connections", "least_hits", "power_of_two"]
"""Name of a balancing policy; see the docstring of the module."""

POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class Balancer:
    """The gateway's state of each server, and its choice among them.

    Args:
        policy: balancing policy.
        servers: number of servers.
        in_flight: largest number of requests that one server has at once; None for any.
        random: generator for random choices.

    Attributes:
        requests: (servers,) number of outstanding requests.
        hits: (servers,) sum of their sizes.
        changed: (servers,) number of the last change of its requests, counting all changes.
        last: server that was chosen last.
        random: generator for random choices.
    """

    def __init__(self, policy: Policy, servers: int, in_flight: int | None, random: np.random.Generator) -> None:
        self.requests = np.zeros(servers, np.int64)
        self.hits = np.zeros(servers)
        self.changed = np.arange(servers)
        self.last = servers - 1
        self.random = random
        self._choose: Callable[[ndarray], int] = getattr(self, f"_{policy}")
        self._in_flight = np.iinfo(np.int64).max if in_flight is None else in_flight
        self._changes = servers

    def take(self, size: float) -> int | None:
        """Choose a server for a request and occupy one of its slots; None if no server has a free one."""
        free = np.flatnonzero(self.requests < self._in_flight)
        if not len(free):
            return None
        server = self.last = self._choose(free)
        self._note(server, 1, size)
        return server

    def give_back(self, server: int, size: float) -> None:
        """Free the slot of a request that has left its server."""
        self._note(server, -1, -size)

    def _note(self, server: int, requests: int, size: float) -> None:
        self.requests[server] += requests
        # Reset for an idle server, since rounding errors of sums and differences accumulate.
        self.hits[server] = self.hits[server] + size if self.requests[server] else 0.0
        self.changed[server] = self._changes = self._changes + 1

    def _round_robin(self, free: ndarray) -> int:
        after = np.searchsorted(free, self.last, side="right")
        return int(free[after % len(free)])

    def _least_connections(self, free: ndarray) -> int:
        return self._least(free, self.requests[free])

    def _least_hits(self, free: ndarray) -> int:
        return self._least(free, self.hits[free])

    def _power_of_two(self, free: ndarray) -> int:
        if len(free) == 1:
            return int(free[0])
        first = int(self.random.integers(len(free)))
        second = int(self.random.integers(len(free) - 1))
        one, other = int(free[first]), int(free[second + (second >= first)])
        return one if self.requests[one] <= self.requests[other] else other

    def _least(self, free: ndarray, loads: ndarray) -> int:
        equals = free[loads == loads.min()]
        return int(equals[self.changed[equals].argmin()])


@dataclass(frozen=True)
class FleetShape:
    """Servers, machines and limits of a simulated fleet.

    Attributes:
        servers: number of servers.
        instances: number of instances of the model in each server.
        cores: number of cores of a machine; for a GPU, number of instances that it runs at once at full speed.
        servers_per_machine: number of servers that share a machine.
        in_flight: largest number of requests that one server has at once; None for any.
        queue: largest number of requests that wait for a server; None for any.
        policy: balancing policy of the gateway.
    """

    servers: int
    instances: int = 1
    cores: int = 1
    servers_per_machine: int = 1
    in_flight: int | None = 8
    queue: int | None = 128
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
        """Largest number of events in progress at full speed."""
        full, rest = divmod(self.servers, self.servers_per_machine)
        per_server = self.instances if self.in_flight is None else min(self.instances, self.in_flight)
        return full * min(self.servers_per_machine * per_server, self.cores) + min(rest * per_server, self.cores)


@dataclass(frozen=True)
class Load:
    """The load of a fleet.

    Attributes:
        arrivals: arrival process of requests.
        sizes: distribution of the sizes of their events.
        service: service time by size.
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
        working: mean share of instances that work, 0 to 1.
        busy: mean share of cores that are busy, 0 to 1.
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
    """Simulate a fleet, from empty until the recorded requests are answered.

    Args:
        load: the load of the fleet.
        shape: the fleet.
        requests: number of recorded requests, refused ones included.
        warm_up: number of earlier, unrecorded requests; None for a quarter of `requests`.
        seed: seed of arrivals, events and choices, which have separate streams: runs with the same seed and different
            policies have the same events.

    Raises:
        ConfigError: `requests` is not positive.
    """
    if requests < 1:
        raise ConfigError(f"requests: got {requests}, expected 1 or more")
    run = _Run(load, shape, np.random.SeedSequence(seed), requests // 4 if warm_up is None else warm_up, requests)
    return run.result()


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class _Run:
    """One run of one fleet."""

    def __init__(
        self, load: Load, shape: FleetShape, seed: np.random.SeedSequence, warm_up: int, requests: int
    ) -> None:
        arrivals, sizes, choices = (np.random.default_rng(child) for child in seed.spawn(3))
        self._environment = environment = Environment(initial_time=0.0)
        self._shape = shape
        self._events = _events(load, sizes)
        self._balancer = Balancer(shape.policy, shape.servers, shape.in_flight, choices)
        contention = load.service.contention
        self._machines = [Machine(environment, shape.cores, contention) for _ in range(shape.machines)]
        self._instances = [Resource(environment, shape.instances) for _ in range(shape.servers)]
        self._waiting: deque[tuple[float, Event]] = deque()
        self._begin, self._end = warm_up, warm_up + requests
        self._n_sent = self._n_open = self._refused = self._answers = 0
        self._latency: list[float] = []
        self._marks: list[tuple[float, float, float]] = []  # at begin and end of the recorded part: time and integrals
        self._done = environment.event()
        load.arrivals.start(environment, self._send, arrivals)

    def result(self) -> SimulatedRun:
        self._environment.run(until=self._done)
        seconds, working, busy = (after - before for before, after in zip(*self._marks, strict=True))
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
        if self._n_sent >= self._end:  # after the recorded part: the event is never triggered
            return self._environment.event()
        if self._n_sent == self._begin:
            self._mark()
        recorded = self._n_sent >= self._begin
        self._n_sent += 1
        self._n_open += 1
        if self._n_sent == self._end:
            self._mark()
        return self._environment.process(self._request(*next(self._events), recorded=recorded))

    def _request(self, size: float, work: float, overhead: float, *, recorded: bool) -> _Process:
        """The path of one request; its value at the end is whether it was answered."""
        environment, balancer, queue = self._environment, self._balancer, self._shape.queue
        sent = environment.now
        server = balancer.take(size)
        answered = server is not None or queue is None or len(self._waiting) < queue
        if answered:
            if server is None:
                turn = environment.event()
                self._waiting.append((size, turn))
                server = yield turn
            with self._instances[server].request() as instance:
                yield instance
                yield self._machines[server // self._shape.servers_per_machine].work(work)
            if overhead:
                yield environment.timeout(overhead)
            balancer.give_back(server, size)
            if self._waiting and (free := balancer.take(self._waiting[0][0])) is not None:
                self._waiting.popleft()[1].succeed(free)
            self._answers += self._begin < self._n_sent < self._end
        if recorded and answered:
            self._latency.append(environment.now - sent)
        self._refused += recorded and not answered
        self._n_open -= 1
        if self._n_sent >= self._end and not self._n_open:
            self._done.succeed()
        return answered

    def _mark(self) -> None:
        for machine in self._machines:
            machine.advance()
        integrals = sum(machine.working for machine in self._machines), sum(machine.busy for machine in self._machines)
        self._marks.append((self._environment.now, *integrals))


def _events(load: Load, random: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Size, service time [s] and overhead [s] of each event."""
    while True:
        sizes = load.sizes.draw(random, _BLOCK)
        works = load.service.draw(sizes, random).tolist()
        yield from zip(sizes.tolist(), works, load.service.draw_overhead(random, len(sizes)).tolist(), strict=True)


@dataclass(frozen=True)
class FleetFigures:
    """Performance of a fleet under a load: means over runs, with their standard errors, NaN for a single run.

    Latencies are over answered requests, NaN if there are none.

    Attributes:
        throughput: answers per second.
        mean: mean latency [s].
        p50: median latency [s].
        p95: 95th percentile of the latency [s].
        p99: 99th percentile of the latency [s].
        refused: share of the requests that were refused.
        working: share of the instances that work.
        busy: share of the cores that are busy.
    """

    throughput: Estimate
    mean: Estimate
    p50: Estimate
    p95: Estimate
    p99: Estimate
    refused: Estimate
    working: Estimate
    busy: Estimate


def run_fleet(
    load: Load,
    shape: FleetShape,
    *,
    requests: int = 20_000,
    replicas: int = 5,
    seed: int = 0,
    step: Callable[[], None] = lambda: None,
) -> FleetFigures:
    """Simulate a fleet several times, and average.

    Args:
        load: the load of the fleet.
        shape: the fleet.
        requests: number of recorded requests in each run.
        replicas: number of runs, from whose scatter the errors are estimated.
        seed: seed of the first run; the others have the following ones.
        step: called after each run.

    Raises:
        ConfigError: a number is not positive.
    """
    if replicas < 1:
        raise ConfigError(f"replicas: got {replicas}, expected 1 or more; from 3 on the errors mean something")
    runs = []
    for number in range(replicas):
        runs.append(simulate(load, shape, requests=requests, seed=seed + number))
        step()
    return figures_of(runs)


def figures_of(runs: Sequence[SimulatedRun]) -> FleetFigures:
    """Means and standard errors over runs that differ only in their seeds."""
    rows = list(map(_figures, runs))
    return FleetFigures(**{name: _estimate([row[name] for row in rows]) for name in rows[0]})


def _figures(run: SimulatedRun) -> dict[str, float]:
    latency = run.latency if len(run.latency) else np.array([np.nan])
    p50, p95, p99 = np.percentile(latency, (50, 95, 99)).tolist()
    return {
        "throughput": run.answers / run.seconds if run.seconds else np.nan,
        "mean": float(latency.mean()),
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "refused": run.refused / (run.refused + len(run.latency)),
        "working": run.working,
        "busy": run.busy,
    }


def _estimate(values: Sequence[float]) -> Estimate:
    n = len(values)
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan"))
