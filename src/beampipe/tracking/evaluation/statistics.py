"""Numbers with their uncertainty: proportions, times, power laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Final

import numpy as np
from numpy import ndarray
from scipy.special import betaincinv

from beampipe.arrays import Int64
from beampipe.errors import InputError

__all__ = [
    "FEWEST_EVENTS",
    "PowerLaw",
    "Proportion",
    "StageTime",
    "bootstrap",
    "clopper_pearson",
    "errors_of",
    "fit_power_law",
    "stage_time",
]

FEWEST_EVENTS: Final = 4
"""With fewer events than this the scatter between events is not known, and printed errors say so."""

N_RESAMPLES: Final = 1000
"""Number of samples that a bootstrap draws."""

_ONE_SIGMA = 0.682689492137086


def clopper_pearson(passed: int, total: int, level: float = _ONE_SIGMA) -> tuple[float, float]:
    """Central interval of a binomial proportion that covers at least `level`.

    low = B(alpha/2; k, n-k+1), high = B(1-alpha/2; k+1, n-k), with B the quantile of the beta distribution and
    alpha = 1 - level; low = 0 at k = 0 and high = 1 at k = n. Nothing tried says nothing: (0, 1) at n = 0.

    Source: C. Clopper, E. Pearson, Biometrika 26 (1934) 404; PDG review of statistics, section 40.4.2.5.

    Args:
        passed: number k of successes.
        total: number n of trials.
        level: coverage of the interval.

    Raises:
        InputError: not 0 <= k <= n, or the level is not in (0, 1).
    """
    if not (0 <= passed <= total and 0 < level < 1):
        raise InputError(f"interval: got {passed} of {total} at {level}, expected 0 <= k <= n and 0 < level < 1")
    tail = (1 - level) / 2
    low = float(betaincinv(passed, total - passed + 1, tail)) if passed > 0 else 0.0
    high = float(betaincinv(passed + 1, total - passed, 1 - tail)) if passed < total else 1.0
    return low, high


def errors_of(n_events: int) -> str:
    """What the errors of an evaluation of that many events are, for captions."""
    method = (
        f"68 % interval by bootstrap over events ({N_RESAMPLES} samples; a lost vertex takes all its tracks along),"
        " never narrower than binomial (Clopper-Pearson)"
    )
    if n_events < FEWEST_EVENTS:
        return f"{method}; unreliable: got {n_events} event(s), expected {FEWEST_EVENTS} or more"
    return method


@dataclass(frozen=True)
class Proportion:
    """`passed` of `total`, pooled over events. Add two of them to pool further; that forgets the spread.

    Attributes:
        passed: number of successes.
        total: number of trials.
        spread: interval of the value at one sigma by `bootstrap` over events; None where it is not known.
    """

    passed: int = 0
    total: int = 0
    spread: tuple[float, float] | None = field(default=None, compare=False)

    @property
    def value(self) -> float:
        """passed / total; NaN where nothing was tried."""
        return self.passed / self.total if self.total else nan

    @property
    def binomial(self) -> tuple[float, float]:
        """Clopper-Pearson interval at one sigma (68.3 %): as if no trial knew of another."""
        return clopper_pearson(self.passed, self.total)

    @property
    def interval(self) -> tuple[float, float]:
        """Interval at one sigma: each end is that of `spread` or of `binomial`, whichever is farther out."""
        low, high = self.binomial
        if self.spread is None:
            return low, high
        return min(low, self.spread[0]), max(high, self.spread[1])

    def __add__(self, other: Proportion) -> Proportion:
        return Proportion(self.passed + other.passed, self.total + other.total)

    def __str__(self) -> str:
        if isnan(self.value):
            return "-"
        low, high = self.interval
        return f"{self.value:.4f} +{high - self.value:.4f} -{self.value - low:.4f}"


def bootstrap(
    passed: Int64[ndarray, "n_events n"], total: Int64[ndarray, "n_events n"], seed: int = 0
) -> list[Proportion]:
    """Proportions pooled over events, each with its spread from event to event.

    Events are drawn with replacement, as many as there are, `N_RESAMPLES` times; the spread is the central 68.3 % of
    the pooled proportions. All columns are drawn together. Samples in which nothing was tried are left out.

    Source: B. Efron, Annals of Statistics 7 (1979) 1.

    Args:
        passed: successes of each event, one column per proportion.
        total: trials of each event.
        seed: seed of the draws.
    """
    n_events = len(total)
    times = np.random.default_rng(seed).multinomial(n_events, np.full(n_events, 1 / n_events), size=N_RESAMPLES)
    tail = (1 - _ONE_SIGMA) / 2
    proportions = []
    for k, n in zip(passed.T, total.T, strict=True):
        tried = times @ n
        values = (times @ k)[tried > 0] / tried[tried > 0]
        spread = np.quantile(values, [tail, 1 - tail]).tolist() if len(values) else None
        proportions.append(Proportion(int(k.sum()), int(n.sum()), None if spread is None else (spread[0], spread[1])))
    return proportions


@dataclass(frozen=True)
class StageTime:
    """Wall time of one stage over events.

    Attributes:
        stage: name of the stage.
        median: median time [s].
        p95: 95th percentile of the times [s].
        mean: mean time [s].
        n_events: number of events that were timed.
    """

    stage: str
    median: float
    p95: float
    mean: float
    n_events: int


def stage_time(stage: str, seconds: Sequence[float]) -> StageTime:
    """Median, 95th percentile and mean of times [s]; NaN where there are none."""
    if not seconds:
        return StageTime(stage, nan, nan, nan, 0)
    median, p95 = np.percentile(seconds, [50, 95])
    return StageTime(stage, float(median), float(p95), float(np.mean(seconds)), len(seconds))


@dataclass(frozen=True)
class PowerLaw:
    """y = scale * x**exponent.

    Attributes:
        exponent: fitted exponent of the power law.
        error: standard error of the exponent from the scatter of the points; NaN for two points.
        scale: y at x = 1.
    """

    exponent: float
    error: float
    scale: float

    def __call__(self, x: float) -> float:
        """y at x."""
        return float(self.scale * x**self.exponent)


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """Straight line through (log x, log y) by least squares, all points alike.

    Raises:
        InputError: fewer than two distinct x, or a number that is not positive.
    """
    if len(x) != len(y) or len(set(x)) < 2 or min(x) <= 0 or min(y) <= 0:
        raise InputError(
            f"power law: got {len(x)} x with {len(set(x))} distinct and {len(y)} y,"
            " expected pairs of positive numbers with at least two distinct x"
        )
    log_x, log_y = np.log(np.asarray(x, np.float64)), np.log(np.asarray(y, np.float64))
    dx = log_x - log_x.mean()
    exponent = float(dx @ log_y / (dx @ dx))
    residual = log_y - log_y.mean() - exponent * dx
    error = float(np.sqrt(residual @ residual / (len(x) - 2) / (dx @ dx))) if len(x) > 2 else nan
    return PowerLaw(exponent, error, float(np.exp(log_y.mean() - exponent * log_x.mean())))
