"""A machine whose cores are shared by the instances that work on it."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import no_type_check

from simpy import Environment, Event

__all__ = ["Machine"]


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class Machine:
    """Works on jobs at once. With k jobs on C cores each goes on at the rate

        min(1, C / k) / (1 + contention x (min(k, C) - 1)),

    as the operating system shares cores among equal processes. Since all go on equally fast, one clock that runs at
    that rate is enough: a job ends when the clock has advanced by its work.

    Args:
        environment: the simulation.
        cores: number of cores, or of instances that a GPU runs at once without loss.
        contention: share by which each further busy core slows all of them.

    Attributes:
        working: time integral of the number of jobs [s].
        busy: time integral of the number of busy cores [s].
    """

    def __init__(self, environment: Environment, cores: int, contention: float = 0.0) -> None:
        self._environment = environment
        self._cores = cores
        self._contention = contention
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._clock, self._at, self._rate = 0.0, environment.now, 1.0
        self._number = self._alarm = 0
        self.working = self.busy = 0.0

    def start(self, work: float, done: Callable[[], None]) -> None:
        """Start a job.

        Args:
            work: time that it would take alone [s].
            done: function that is called at its end.
        """
        self.advance()
        self._number += 1
        job = (self._clock + work, self._number, done)
        heappush(self._jobs, job)
        self._set_alarm(new_first=self._jobs[0] is job)

    def advance(self) -> None:
        """Bring clock and integrals up to now."""
        passed = self._environment.now - self._at
        self._at = self._environment.now
        self._clock += passed * self._rate
        self.working += passed * len(self._jobs)
        self.busy += passed * min(len(self._jobs), self._cores)

    def _set_alarm(self, *, new_first: bool) -> None:
        """See to it that the job that ends first does so, if that or the rate has changed."""
        if not self._jobs:
            self._clock = 0.0  # small numbers are exact
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
        if event.value != self._alarm:  # set anew since
            return
        self.advance()
        _, _, done = heappop(self._jobs)
        self._set_alarm(new_first=True)
        done()
