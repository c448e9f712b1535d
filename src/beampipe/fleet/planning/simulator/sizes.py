"""How large the events of a load are: as measured, or of a stated distribution. The unit is what service times take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import ConfigError

__all__ = ["LogNormalSizes", "MeasuredSizes", "ParetoSizes", "Sizes", "mean_size"]

_DRAWS = 100_000
"""Number of events whose sizes are drawn for a mean."""


@runtime_checkable
class Sizes(Protocol):
    """Where the sizes of events come from."""

    def draw(self, random: np.random.Generator, n: int) -> Float64[ndarray, " n"]:
        """Sizes of that many events, independent of each other [e.g. hits]."""


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
        shape: power of the tail; below 2 the variance is that of the cut.
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


def mean_size(sizes: Sizes) -> float:
    """Mean size, from a fixed set of draws."""
    return float(sizes.draw(np.random.default_rng(0), _DRAWS).mean())
