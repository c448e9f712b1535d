"""Successive halving on a surface that is known, with noise that shrinks with the time of a measurement."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from beampipe.errors import ConfigError, ServiceError
from beampipe.fleet.planning.tuning import Choices, Configuration, Measurement, Trial, measure_all, rounds_of, tune

CHOICES = Choices(instances=(1, 2, 3, 4, 6, 8), threads=(1, 2, 4), batch=(0, 4, 16), protocol=("grpc", "http"))
BOUND = 0.05
RELOAD = 0.5
"""Time [s] that a change of the server costs."""


def truth(configuration: Configuration) -> Measurement:
    """Eight cores: more threads than those slow each other; batches raise throughput, and latency more."""
    used = configuration.instances * configuration.threads
    speed = min(1.0, 8 / used) * configuration.threads**0.8
    batch = max(1, configuration.batch)
    call = (0.002 + 0.004 * batch**0.9) / speed
    wire = 0.0006 if configuration.protocol == "grpc" else 0.0003
    throughput = configuration.instances * batch / (call + wire * batch)
    return Measurement(throughput, 2.0 * call + wire)


@dataclass
class Surface:
    """Measures `truth` with noise, and keeps the time that a real server would have taken."""

    seed: int
    spent: float = 0.0
    loaded: tuple[int, int, int] | None = None
    lengths: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def __call__(self, configuration: Configuration, seconds: float) -> Measurement:
        server = (configuration.instances, configuration.threads, configuration.batch)
        self.spent += seconds + RELOAD * (server != self.loaded)
        self.loaded = server
        self.lengths.append(seconds)
        noise = np.exp(self.random.normal(0.0, 0.05 / seconds**0.5, 2))
        result = truth(configuration)
        return Measurement(result.throughput * float(noise[0]), result.p95 * float(noise[1]))


@pytest.mark.parametrize("seed", range(10))
def test_nearly_the_best_in_a_quarter_of_the_time(seed: int) -> None:
    every = CHOICES.all()
    within = [truth(item).throughput for item in every if truth(item).p95 <= BOUND]
    assert 0 < len(within) < len(every), "the bound must matter"
    assert max(within) < max(truth(item).throughput for item in every), "the fastest must be too late"
    quick, thorough = Surface(seed), Surface(seed)
    result = tune(quick, every, BOUND, seconds=10.0)
    reference = measure_all(thorough, every, BOUND, seconds=10.0)
    best = truth(result[0].configuration)
    assert best.p95 <= BOUND * 1.05
    assert best.throughput >= 0.95 * truth(reference[0].configuration).throughput
    assert best.throughput >= 0.95 * max(within)
    assert quick.spent <= 0.25 * thorough.spent


def test_rounds_get_smaller_and_longer() -> None:
    assert rounds_of(10, 8.0, 2) == [(10, 0.5), (5, 1.0), (3, 2.0), (2, 4.0), (1, 8.0)]
    assert rounds_of(1, 8.0, 2) == [(1, 8.0)]
    surface = Surface(0)
    tune(surface, CHOICES.all()[:9], 1.0, seconds=9.0)
    assert surface.lengths == [1.0] * 9 + [3.0] * 3 + [9.0]


def test_every_configuration_is_in_the_answer_once() -> None:
    every = CHOICES.all()
    result = tune(Surface(1), every, BOUND)
    assert sorted(trial.configuration for trial in result) == every
    assert result[0].seconds == max(trial.seconds for trial in result)


def test_what_cannot_be_run_is_told_and_comes_last() -> None:
    every = Choices(instances=(1, 2, 99), protocol=("http",)).all()

    def measure(configuration: Configuration, seconds: float) -> Measurement:
        if configuration.instances == 99:
            raise ServiceError("no memory for 99")
        return truth(configuration)

    progress: list[Trial] = []
    result = tune(measure, every, BOUND, progress=progress.append)
    assert result[-1].fault == "no memory for 99"
    assert sum(bool(trial.fault) for trial in progress) == 1
    with pytest.raises(ServiceError, match="no memory"):
        tune(measure, [every[-1]], BOUND)


def test_if_none_keeps_the_bound_the_quickest_is_best() -> None:
    every = Choices(batch=(0, 4, 16), protocol=("http",)).all()
    result = tune(lambda item, _: truth(item), every, 1e-4)
    assert result[0].configuration.batch == 0
    assert result[0].rank(1e-4)[0] is False


@pytest.mark.parametrize(
    ("n", "bound", "seconds", "factor"), [(0, 1.0, 1.0, 3), (1, 0.0, 1.0, 3), (1, 1.0, 0.0, 3), (1, 1.0, 1.0, 1)]
)
def test_what_means_nothing_is_refused(n: int, bound: float, seconds: float, factor: int) -> None:
    with pytest.raises(ConfigError):
        tune(Surface(0), CHOICES.all()[:n], bound, seconds=seconds, factor=factor)
