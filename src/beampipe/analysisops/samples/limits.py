"""Upper limits of counting experiments, for the truth of an instance. The tools of the agents have their own."""

from __future__ import annotations

import numpy as np

__all__ = ["counting_limit"]

_NODES = 61
_STEPS = 60


def counting_limit(observed: int, background: float, background_error: float, *, level: float = 0.95) -> float:
    """Upper limit on a number of signal events by CLs.

    CLs(s) = P(n <= observed | s + b) / P(n <= observed | b), with b averaged over a Gaussian that is cut off at 0.
    A. L. Read, Presentation of search results: the CLs technique, J. Phys. G 28 (2002) 2693.

    Args:
        observed: number of events.
        background: mean number of events without signal.
        background_error: uncertainty of that mean.
        level: confidence level.
    """
    from scipy.special import gammaincc

    pulls = np.linspace(-5, 5, _NODES)
    means = background + background_error * pulls
    weights = np.where(means >= 0, np.exp(-(pulls**2) / 2), 0.0)
    means = np.maximum(means, 1e-9)

    def chance(signal: float) -> float:
        return float(np.average(gammaincc(observed + 1, means + signal), weights=weights))

    low, high = 0.0, 10 + 10 * np.sqrt(observed + background) + 10 * background_error + observed
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if chance(middle) > (1 - level) * chance(0.0):
            low = middle
        else:
            high = middle
    return low
