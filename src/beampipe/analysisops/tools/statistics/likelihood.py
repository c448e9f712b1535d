"""Likelihoods of counts, goodness of fit, and the minimiser that all fits share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

__all__ = ["Goodness", "Minimum", "Parameter", "goodness", "minimise", "poisson"]

_SMALLEST: Final = 1e-9
"""No bin is expected to hold less."""

_FEWEST: Final = 5.0
"""Bins are merged for chi2 until each is expected to hold as much."""

_AT_LIMIT: Final = 1e-3
"""Closer to a limit than this part of the allowed range, or of its error, a parameter counts as being at it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a fit.

    Attributes:
        name: of the parameter.
        start: where the fit begins.
        step: by how much it is changed at first.
        low: smallest value.
        high: largest value.
        fixed: it stays where it starts.
    """

    name: str
    start: float
    step: float
    low: float = -math.inf
    high: float = math.inf
    fixed: bool = False


@dataclass(frozen=True)
class Minimum:
    """Where a likelihood is largest.

    Attributes:
        value: of the function there.
        values: of all parameters, by name.
        errors: of all parameters, from the matrix of second derivatives; 0 if fixed.
        names: of the parameters that were free.
        covariance: of those.
        valid: the minimiser is sure of it: converged, matrix positive by itself, nothing at a limit.
    """

    value: float
    values: Mapping[str, float]
    errors: Mapping[str, float]
    names: tuple[str, ...]
    covariance: ndarray
    valid: bool


@dataclass(frozen=True)
class Goodness:
    """How well expectations describe counts.

    Attributes:
        chi2: Pearson's, of merged bins.
        ndf: merged bins less free parameters.
        p_value: chance of a larger chi2; None without degrees of freedom.
    """

    chi2: float
    ndf: int
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {"chi2": self.chi2, "ndf": self.ndf, "p_value": self.p_value}


def poisson(counts: ndarray, variances: ndarray) -> Callable[[ndarray], float]:
    """Negative logarithm of the likelihood of counts, as a function of what is expected in each bin.

    A sum of weights n with variance v counts as n^2 / v events of weight v / n each (Bohm and Zech, NIM A 748 (2014)
    1); for plain counts that is the Poisson likelihood. It is 0 for a perfect description:

        sum over bins of (n / v) * (expected - n - n * log(expected / n))
    """
    filled = (counts > 0) & (variances > 0)
    usual = float(counts[filled].sum() / variances[filled].sum()) if filled.any() else 1.0
    scale = np.full(len(counts), usual)
    scale[filled] = counts[filled] / variances[filled]
    observed = np.where(counts > 0, counts, 0.0)
    logarithm = np.log(np.where(observed > 0, observed, 1.0))

    def likelihood(expected: ndarray) -> float:
        safe = np.maximum(expected, _SMALLEST)
        each = safe - counts - observed * (np.log(safe) - logarithm)
        lacking = np.minimum(expected - _SMALLEST, 0.0)
        return float((scale * each).sum() + 1e3 * np.square(lacking).sum())

    return likelihood


def goodness(counts: ndarray, variances: ndarray, expected: ndarray, free: int) -> Goodness:
    """Pearson's chi2, of neighbouring bins merged until each is expected to hold 5 events.

    The variance of a bin is what is expected, times the weight of an event (variance by count) where there are weights.
    """
    from scipy.special import gammaincc

    weight = float(variances.sum() / counts.sum()) if counts.sum() > 0 and variances.sum() > 0 else 1.0
    merged: list[list[float]] = []
    observed = hoped = 0.0
    for n, mu in zip(counts, expected, strict=True):
        observed, hoped = observed + float(n), hoped + max(float(mu), 0.0)
        if hoped >= _FEWEST * weight:
            merged.append([observed, hoped])
            observed = hoped = 0.0
    if merged:
        merged[-1][0] += observed
        merged[-1][1] += hoped
    square = float(sum((n - mu) ** 2 / (mu * weight) for n, mu in merged))
    ndf = len(merged) - free
    return Goodness(square, ndf, float(gammaincc(ndf / 2, square / 2)) if ndf > 0 else None)


def minimise(function: Callable[[Sequence[float]], float], parameters: Sequence[Parameter]) -> Minimum:
    """Find the minimum of a negative logarithm of a likelihood, with errors where it is 1/2 larger."""
    from iminuit import Minuit

    def called(values: ndarray) -> float:
        return function(values.tolist())

    minuit = Minuit(called, [one.start for one in parameters], name=[one.name for one in parameters])
    minuit.errordef = Minuit.LIKELIHOOD
    for one in parameters:
        minuit.errors[one.name] = one.step
        minuit.limits[one.name] = (one.low, one.high)
        minuit.fixed[one.name] = one.fixed
    free = [one for one in parameters if not one.fixed]
    if not free:
        values = {one.name: one.start for one in parameters}
        return Minimum(
            function([one.start for one in parameters]), values, dict.fromkeys(values, 0.0), (), np.zeros((0, 0)), True
        )
    minuit.strategy = 1
    minuit.migrad()
    if not minuit.valid:
        minuit.simplex()
        minuit.strategy = 2
        minuit.migrad()
    minuit.hesse()
    values = {one.name: float(minuit.values[one.name]) for one in parameters}
    errors = {one.name: 0.0 if one.fixed else float(minuit.errors[one.name]) for one in parameters}
    names = tuple(one.name for one in free)
    covariance = np.full((len(names), len(names)), np.nan)
    if minuit.covariance is not None:
        covariance = np.array([[float(minuit.covariance[a, b]) for b in names] for a in names])
    valid = bool(
        minuit.valid
        and minuit.accurate
        and np.isfinite(covariance).all()
        and all(errors[name] > 0 for name in names)
        and not any(_at_limit(one, values[one.name], errors[one.name]) for one in free)
    )
    return Minimum(float(minuit.fval or 0.0), values, errors, names, covariance, valid)


def _at_limit(one: Parameter, value: float, error: float) -> bool:
    reach = error if math.isinf(one.high - one.low) else one.high - one.low
    return min(value - one.low, one.high - value) < _AT_LIMIT * reach
