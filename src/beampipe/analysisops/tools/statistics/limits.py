"""The tool that sets an upper limit from a count.

The limit on a signal strength m is where

    CLs(m) = P(n <= observed | m * signal + background) / P(n <= observed | background) = 1 - level

with P the Poisson probability, averaged over a Gaussian for the background and one for the signal, both cut off at 0
(Read, J. Phys. G 28 (2002) 2693; Cousins and Highland, NIM A 320 (1992) 331). Without uncertainties and with no event
seen it is -log(1 - level) / signal, whatever the background: 2.996 for one expected event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.refusal import ToolRefusedError

__all__ = ["CountingLimit", "limit_tool"]

_REACH: Final = 6.0
"""Uncertainties are followed to so many standard deviations."""

_BAND: Final = {"expected_minus_1": 0.15865525393145707, "expected": 0.5, "expected_plus_1": 0.8413447460685429}
"""Quantiles of what would be counted without a signal: the median and one standard deviation to each side."""


@dataclass(frozen=True)
class CountingLimit:
    """A counting experiment.

    Attributes:
        background: expected number without signal.
        background_error: its standard uncertainty.
        signal: expected number for strength 1.
        signal_error: its standard uncertainty.
        level: confidence level.
    """

    background: float
    background_error: float
    signal: float
    signal_error: float = 0.0
    level: float = 0.95

    def cls(self, strength: float, observed: int) -> float:
        """CLs of a strength."""
        return self.at_most(observed, strength) / max(self.at_most(observed, 0.0), 1e-300)

    def at_most(self, count: int, strength: float) -> float:
        """Probability to count as many or fewer."""
        from scipy.special import gammaincc

        if count < 0:
            return 0.0
        (level, weight), (signal, share) = self._background_nodes, self._signal_nodes
        rates = level[:, None] + strength * signal[None, :]
        return float(weight @ gammaincc(count + 1.0, np.maximum(rates, 1e-300)) @ share)

    def limit(self, observed: int) -> float:
        """Upper limit on the strength."""
        from scipy.optimize import brentq

        alpha = 1 - self.level
        high = 5.0 * (np.sqrt(max(observed, self.background) + 1.0) + 1.0) / self.signal
        for _ in range(60):
            if self.cls(high, observed) < alpha:
                return float(brentq(lambda strength: self.cls(strength, observed) - alpha, 0.0, high, rtol=1e-9))
            high *= 2
        raise ToolRefusedError("limit: got none, since the signal may be 0; expected a smaller signal_error")

    def quantile(self, probability: float) -> int:
        """Smallest count that is not exceeded with at least this probability without a signal."""
        spread = np.sqrt(self.background + self.background_error**2)
        low, high = -1, int(self.background + 12 * spread + 20)
        while high - low > 1:
            middle = (low + high) // 2
            if self.at_most(middle, 0.0) >= probability:
                high = middle
            else:
                low = middle
        return high

    @cached_property
    def _background_nodes(self) -> tuple[ndarray, ndarray]:
        return _nodes(self.background, self.background_error, 160)

    @cached_property
    def _signal_nodes(self) -> tuple[ndarray, ndarray]:
        return _nodes(self.signal, self.signal_error, 80)


def limit_tool(
    bench: Bench,
    observed: int,
    background: float,
    background_error: float,
    signal: float,
    signal_error: float = 0.0,
    level: float = 0.95,
) -> Mapping[str, Any]:
    """Upper limit on the signal strength of a counting experiment by the CLs method, with the expected limit and band.

    Args:
        observed: number of events counted in data.
        background: expected number without signal.
        background_error: its standard uncertainty.
        signal: expected number of signal events for strength 1.
        signal_error: its standard uncertainty.
        level: confidence level.
    """
    if not (0 <= observed < 1e7 and 0 <= background < 1e7 and background_error >= 0 and signal_error >= 0):
        raise ToolRefusedError("limit: expected numbers from 0 to 1e7 that are not negative")
    if signal <= 0 or not 0.5 <= level < 1:
        raise ToolRefusedError(f"limit: got signal {signal:g} and level {level:g}, expected above 0, and 0.5 to 1")
    counting = CountingLimit(background, background_error, signal, signal_error, level)
    band = {name: counting.limit(counting.quantile(quantile)) for name, quantile in _BAND.items()}
    return {
        "limit": counting.limit(observed),
        **band,
        "p_background": 1 - counting.at_most(observed - 1, 0.0),
        "method": "CLs, exact Poisson sums averaged over Gaussian uncertainties",
    }


def _nodes(value: float, error: float, number: int) -> tuple[ndarray, ndarray]:
    """Values of a Gaussian cut off at 0, with weights that add up to 1."""
    if error <= 0:
        return np.array([value]), np.ones(1)
    low, high = max(0.0, value - _REACH * error), value + _REACH * error
    at, weight = np.polynomial.legendre.leggauss(number)
    values = low + (high - low) * (at + 1) / 2
    weight = weight * np.exp(-0.5 * np.square((values - value) / error))
    return values, weight / weight.sum()
