"""Successive halving: measure all shortly, keep the best part, measure those longer, and so on.

With n configurations, a factor f and a longest measurement of T, there are R = 1 + ceil(log_f n) rounds. In round r
(from 0) the n / f^r best of the round before are measured for T / f^(R - 1 - r) each: every round takes about n T /
f^(R - 1), all of them R / f^(R - 1) of the time that measuring each for T would take. For f = 3 and 24 configurations
that is 4 / 27. A configuration is lost if it is outside the best third of a short measurement: a poor one does not
get there by noise alone, and a near-best one that is lost costs little.

Source: K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016, arXiv:1502.07943.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from beampipe.errors import BeampipeError, ConfigError, ServiceError
from beampipe.fleet.planning.tuning.choices import Configuration

__all__ = ["FACTOR", "Measure", "Measurement", "Trial", "exhaustive", "rounds_of", "tune"]

FACTOR: Final = 3
"""How many times fewer configurations are measured in each round, that much longer, where nothing is said."""


@dataclass(frozen=True)
class Measurement:
    """What one configuration has done.

    Attributes:
        throughput: answers per second.
        p95: 95th percentile of the latency [s].
    """

    throughput: float
    p95: float


Measure = Callable[[Configuration, float], Measurement]
"""Measures a configuration for a time [s]; a `BeampipeError` says that it cannot be run."""


@dataclass(frozen=True)
class Trial:
    """One configuration, measured once.

    Attributes:
        configuration: what was measured.
        seconds: for how long [s].
        measurement: what it did; None if it could not be run.
        fault: why it could not be run, or empty.
    """

    configuration: Configuration
    seconds: float
    measurement: Measurement | None
    fault: str = ""

    def rank(self, bound: float) -> tuple[bool, float]:
        """Larger is better: first those within the bound, by throughput; then the others, by their latency.

        Args:
            bound: largest 95th percentile of the latency [s].
        """
        if self.measurement is None:
            return False, -inf
        if self.measurement.p95 <= bound:
            return True, self.measurement.throughput
        return False, -self.measurement.p95


def tune(
    measure: Measure,
    configurations: Sequence[Configuration],
    bound: float,
    *,
    seconds: float = 10.0,
    factor: int = FACTOR,
    told: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Search for the configuration with the largest throughput within a latency.

    Args:
        measure: what measures a configuration.
        configurations: those among which it is.
        bound: largest 95th percentile of the latency [s].
        seconds: length of the longest measurement [s].
        factor: how many times fewer configurations are measured in each round, that much longer.
        told: function that is told each trial.

    Returns:
        The last trial of each configuration: those that came farthest first, within a round the best first.

    Raises:
        ConfigError: there is nothing to search, or a setting is out of range.
        ServiceError: none of the configurations can be run.
    """
    rounds = rounds_of(len(configurations), seconds, factor)
    _check(bound)
    left = list(configurations)
    found: list[Trial] = []
    for n_measured, length in rounds:
        trials = _measured(measure, sorted(left[:n_measured]), length, told)
        trials.sort(key=lambda trial: trial.rank(bound), reverse=True)
        left = [trial.configuration for trial in trials]
        found = trials + [trial for trial in found if trial.configuration not in left]
    return found


def exhaustive(
    measure: Measure,
    configurations: Sequence[Configuration],
    bound: float,
    *,
    seconds: float = 10.0,
    told: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Measure every configuration for the same time; arguments and result as those of `tune`."""
    rounds_of(len(configurations), seconds, 2)
    _check(bound)
    trials = _measured(measure, sorted(configurations), seconds, told)
    return sorted(trials, key=lambda trial: trial.rank(bound), reverse=True)


def rounds_of(n: int, seconds: float, factor: int) -> list[tuple[int, float]]:
    """Number of configurations and length of each measurement [s], for each round.

    >>> [(n, round(seconds, 2)) for n, seconds in rounds_of(24, 9.0, 3)]
    [(24, 0.33), (8, 1.0), (3, 3.0), (1, 9.0)]

    Args:
        n: number of configurations.
        seconds: length of the longest measurement [s].
        factor: ratio of two rounds.

    Raises:
        ConfigError: an argument is out of range.
    """
    if n < 1 or factor < 2 or not 0 < seconds < inf:
        raise ConfigError(
            f"tune: got {n} configurations, {seconds:g} s, factor {factor}, expected 1 or more, above 0, 2 or more"
        )
    numbers = [n]
    while numbers[-1] > 1:
        numbers.append(ceil(numbers[-1] / factor))
    return [(number, seconds / factor ** (len(numbers) - 1 - at)) for at, number in enumerate(numbers)]


def _measured(
    measure: Measure, configurations: Sequence[Configuration], seconds: float, told: Callable[[Trial], None]
) -> list[Trial]:
    """Trials of these configurations.

    Raises:
        ServiceError: none of them can be run.
    """
    trials = []
    for configuration in configurations:
        try:
            trial = Trial(configuration, seconds, measure(configuration, seconds))
        except BeampipeError as error:
            trial = Trial(configuration, seconds, None, str(error))
        trials.append(trial)
        told(trial)
    if all(trial.measurement is None for trial in trials):
        raise ServiceError(f"tune: got no configuration that can be run; the first said: {trials[0].fault}")
    return trials


def _check(bound: float) -> None:
    if not bound > 0:
        raise ConfigError(f"bound: got p95 <= {bound:g} s, expected more than 0")
