"""How long one instance of a model works on an event, by its size, as a load test has measured it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import ConfigError
from beampipe.fleet.planning.simulator.sizes import Sizes

__all__ = ["ServiceTimes", "fit_affine", "fit_table", "mean_service"]

_ROUNDS = 5
"""Number of fits of a line, each with the weights of the one before."""
_DRAWS = 100_000
"""Number of events whose service times are drawn for a mean."""


@dataclass(frozen=True, eq=False)
class ServiceTimes:
    """Service time: piecewise linear in the size, times a random ratio.

    seconds = interpolation of (`sizes`, `seconds`), beyond its ends along the outermost pieces, x one of `ratios`

    Attributes:
        sizes: (k,) sizes at the knots, growing; one knot alone is a constant.
        seconds: (k,) service time of an instance that has a core for itself, at the knots [s].
        ratios: (m,) measured times over those of the line; one is drawn for each event.
        overhead: mean time of a request that occupies no instance [s]: the way there and back, the gateway.
        overhead_ratios: (k,) measured times of that kind over their mean; one is drawn for each event.
        contention: share by which each further instance that works on the same machine slows all of them, while there
            are cores for all; memory bandwidth, say.
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
        """The same, every service time so many times as long."""
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
        """Service time of each of these events [s]."""
        return np.asarray(self.line(sizes) * _drawn(self.ratios, random, len(sizes)))

    def draw_overhead(self, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
        """Time that each of that many requests spends elsewhere [s]."""
        return self.overhead * _drawn(self.overhead_ratios, random, n)


def fit_affine(sizes: Float64[ndarray, " n"], seconds: Float64[ndarray, " n"]) -> ServiceTimes:
    """The line with the least squares of the *relative* residuals, and those residuals as its scatter.

    Args:
        sizes: size of each event.
        seconds: measured service time of each event [s].

    Raises:
        ConfigError: there is nothing to fit.
    """
    _check(sizes, seconds)
    if np.ptp(sizes) == 0:
        fitted = ServiceTimes.affine(float(seconds.mean()), 0.0)
    else:
        scale = np.full(len(sizes), seconds.mean())
        for _ in range(_ROUNDS):  # relative to the line itself: relative to the times it would be drawn to short ones
            rows = np.stack([1 / scale, sizes / scale], axis=1)
            fixed, per_unit = np.linalg.lstsq(rows, seconds / scale, rcond=None)[0]
            scale = np.maximum(fixed + per_unit * sizes, seconds.min())
        if fixed < 0:  # no event takes less than nothing: a line through the origin
            fixed, per_unit = 0.0, 1 / np.mean(sizes / seconds)
        if per_unit < 0:
            fixed, per_unit = float(seconds.mean()), 0.0
        fitted = ServiceTimes.affine(float(fixed), float(per_unit))
    return _with_scatter(fitted, sizes, seconds)


def fit_table(sizes: Float64[ndarray, " n"], seconds: Float64[ndarray, " n"], knots: int = 12) -> ServiceTimes:
    """Mean time in bins of equally many events, with the scatter around the line through them.

    Args:
        sizes: size of each event.
        seconds: measured service time of each event [s].
        knots: largest number of bins.

    Raises:
        ConfigError: there is nothing to fit.
    """
    _check(sizes, seconds)
    order = np.argsort(sizes, kind="stable")
    bins = [part for part in np.array_split(order, min(knots, len(order))) if len(part)]
    # Events of one size make one knot, however many bins they fill.
    middles = np.array([sizes[part].mean() for part in bins])
    found = [
        np.concatenate([part for part, at in zip(bins, middles, strict=True) if at == middle])
        for middle in np.unique(middles)
    ]
    table = ServiceTimes(np.unique(middles), np.array([seconds[part].mean() for part in found]))
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
    # The mean time of these events stays what was measured, though a ratio is drawn without regard to the size.
    return replace(fitted, ratios=ratios * seconds[kept].sum() / (line[kept].sum() * ratios.mean()))


def _check(sizes: Float64[ndarray, " n"], seconds: Float64[ndarray, " n"]) -> None:
    if not len(sizes) or not np.all(np.isfinite(sizes)) or not np.all(np.isfinite(seconds) & (seconds > 0)):
        raise ConfigError(
            f"service: got {len(sizes)} measured times, expected one or more, finite sizes, and seconds above 0"
        )
