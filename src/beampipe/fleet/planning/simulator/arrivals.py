"""When requests come: each kind is a source of requests in a simulation."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from simpy import Environment, Event

from beampipe.errors import ConfigError

__all__ = ["Arrivals", "Bursts", "ClosedLoop", "Poisson", "Send"]

Send = Callable[[], Event]
"""Sends a request; the event happens when it is answered (its value is true) or refused (false)."""
_Process = Generator[Event, bool, None]
_BLOCK = 1024
"""Number of random gaps that are drawn at once."""


@runtime_checkable
class Arrivals(Protocol):
    """A source of requests."""

    @property
    def offered(self) -> float:
        """Requests per second if each were answered at once; infinite for clients that do not pause."""

    def start(self, environment: Environment, send: Send, random: np.random.Generator) -> None:
        """Start processes that send requests for ever."""


@dataclass(frozen=True)
class Poisson:
    """Open loop: requests come at random, whether or not the fleet keeps up. One that is refused is lost.

    Attributes:
        rate: mean number of requests per second.
    """

    rate: float

    def __post_init__(self) -> None:
        _check_positive(rate=self.rate)

    @property
    def offered(self) -> float:
        return self.rate

    def start(self, environment: Environment, send: Send, random: np.random.Generator) -> None:
        Bursts(self.rate, 1).start(environment, send, random)


@dataclass(frozen=True)
class Bursts:
    """Open loop: requests come in groups, the groups at random.

    Attributes:
        rate: mean number of requests per second.
        together: number of requests that come at the same moment.
    """

    rate: float
    together: int

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
    """A number of clients; each waits for its answer, works on it for a while, and sends its next event.

    Attributes:
        clients: number of clients.
        think: mean time from an answer to the client's next request [s], exponential; 0 for none.
        retry: mean time after which a client that was refused sends again [s].
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
