"""Shapes of peaks and backgrounds over a window, likelihoods of counts, goodness of fit, and the minimiser.

A model is called SIGNAL or SIGNAL_plus_BACKGROUND. With u = (x - low) / (high - low) and t = 2 u - 1:

    gauss               exp(-(x - mu)^2 / (2 sigma^2))
    double_gauss        core_fraction * gauss(sigma) + (1 - core_fraction) * gauss(sigma_ratio * sigma)
    voigt               Lorentzian of full width `width`, folded with a Gaussian of `sigma`
    breit_wigner_gauss  1 / ((x^2 - mu^2)^2 + mu^2 width^2), folded with a Gaussian of `sigma`
    crystal_ball        gauss with a power tail of `tail_power` below mu - tail_start * sigma
    const               1
    linear              1 + background_slope * t
    quadratic           1 + background_slope * t + background_curve * (3 t^2 - 1) / 2
    exponential         exp(-background_slope * (x - low))
    exponential_curved  exp(-background_slope * (x - low) - background_curve * u^2)

A polynomial p that comes near 0 is replaced by 0.02 log(1 + exp(p / 0.02)): it stays positive, without a kink.
Each is normalised over the window, as integrals over bins and as densities. The folded Breit-Wigner is exact: it
separates into simple poles, and a pole folded with a Gaussian is the Faddeeva function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.errors import nearest

_SMALLEST: Final = 1e-9
"""Smallest expectation of a bin."""

_FEWEST: Final = 5.0
"""Smallest expectation of a merged bin for chi2."""

_AT_LIMIT: Final = 1e-3
"""A parameter is at a limit if it is closer than this fraction of the allowed range, or of its error."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a fit.

    Attributes:
        name: of the parameter.
        start: value at the start of the fit.
        step: size of the first step.
        low: smallest value.
        high: largest value.
        fixed: whether it keeps the start value.
    """

    name: str
    start: float
    step: float
    low: float = -math.inf
    high: float = math.inf
    fixed: bool = False


@dataclass(frozen=True)
class Minimum:
    """The minimum of a negative log-likelihood.

    Attributes:
        value: value of the function.
        values: parameters, by name.
        errors: errors of the parameters, from the matrix of second derivatives; 0 if fixed.
        names: names of the free parameters.
        covariance: their covariance matrix.
        valid: whether the fit converged, with a positive definite matrix (uncorrected) and no parameter at a limit.
    """

    value: float
    values: Mapping[str, float]
    errors: Mapping[str, float]
    names: tuple[str, ...]
    covariance: ndarray
    valid: bool


def propagated(function: Callable[[ndarray], ndarray], best: ndarray, steps: ndarray, covariance: ndarray) -> ndarray:
    """Standard uncertainties (n,) of a function of fitted parameters, to first order.

    Args:
        function: of all parameters, with values (n,).
        best: their best values.
        steps: of the differences that give the slopes, one for each parameter; 0 for fixed ones.
        covariance: of all parameters.
    """
    slopes = []
    for index, step in enumerate(steps):
        above, below = (function(best + side * (np.arange(len(best)) == index)) for side in (step, -step))
        slopes.append((above - below) / (2 * step or 1.0))
    squares = np.einsum("in,ij,jn->n", np.array(slopes), covariance, np.array(slopes))
    spreads: ndarray = np.sqrt(np.maximum(squares, 0.0))
    return spreads


@dataclass(frozen=True)
class Goodness:
    """Goodness of fit.

    Attributes:
        chi2: Pearson's chi2 of merged bins.
        ndf: number of merged bins minus free parameters.
        p_value: probability of a larger chi2; None without degrees of freedom.
    """

    chi2: float
    ndf: int
    p_value: float | None

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {"chi2": self.chi2, "ndf": self.ndf, "p_value": self.p_value}


def poisson(counts: ndarray, variances: ndarray) -> Callable[[ndarray], float]:
    """Negative log-likelihood of counts, as a function of the expectation of each bin.

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
    """Pearson's chi2; neighbouring bins are merged until at least 5 events are expected in each.

    The variance of a bin is the expectation; for weighted events, times the weight of an event (variance / content).
    """
    from scipy.special import gammaincc

    weight = float(variances.sum() / counts.sum()) if counts.sum() > 0 and variances.sum() > 0 else 1.0
    merged: list[list[float]] = []
    observed = predicted = 0.0
    for n, mu in zip(counts, expected, strict=True):
        observed, predicted = observed + float(n), predicted + max(float(mu), 0.0)
        if predicted >= _FEWEST * weight:
            merged.append([observed, predicted])
            observed = predicted = 0.0
    if merged:
        merged[-1][0] += observed
        merged[-1][1] += predicted
    square = float(sum((n - mu) ** 2 / (mu * weight) for n, mu in merged))
    ndf = len(merged) - free
    return Goodness(square, ndf, float(gammaincc(ndf / 2, square / 2)) if ndf > 0 else None)


def minimise(function: Callable[[Sequence[float]], float], parameters: Sequence[Parameter]) -> Minimum:
    """Minimise a negative log-likelihood; one standard deviation increases it by 1/2."""
    from iminuit import Minuit

    def called(values: ndarray) -> float:
        return function(values.tolist())

    minuit = Minuit(
        called, [parameter.start for parameter in parameters], name=[parameter.name for parameter in parameters]
    )
    minuit.errordef = Minuit.LIKELIHOOD
    for parameter in parameters:
        minuit.errors[parameter.name] = parameter.step
        minuit.limits[parameter.name] = (parameter.low, parameter.high)
        minuit.fixed[parameter.name] = parameter.fixed
    free = [parameter for parameter in parameters if not parameter.fixed]
    if not free:
        values = {parameter.name: parameter.start for parameter in parameters}
        return Minimum(
            function([parameter.start for parameter in parameters]),
            values,
            dict.fromkeys(values, 0.0),
            (),
            np.zeros((0, 0)),
            True,
        )
    minuit.strategy = 1
    minuit.migrad()
    if not minuit.valid:
        minuit.simplex()
        minuit.strategy = 2
        minuit.migrad()
    minuit.hesse()
    values = {parameter.name: float(minuit.values[parameter.name]) for parameter in parameters}
    errors = {
        parameter.name: 0.0 if parameter.fixed else float(minuit.errors[parameter.name]) for parameter in parameters
    }
    names = tuple(parameter.name for parameter in free)
    covariance = np.full((len(names), len(names)), np.nan)
    if minuit.covariance is not None:
        covariance = np.array([[float(minuit.covariance[a, b]) for b in names] for a in names])
    valid = bool(
        minuit.valid
        and minuit.accurate
        and np.isfinite(covariance).all()
        and all(errors[name] > 0 for name in names)
        and not any(
            min(values[parameter.name] - parameter.low, parameter.high - values[parameter.name])
            < _AT_LIMIT
            * (errors[parameter.name] if math.isinf(parameter.high - parameter.low) else parameter.high - parameter.low)
            for parameter in free
        )
    )
    return Minimum(float(minuit.fval or 0.0), values, errors, names, covariance, valid)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)

_TINY: Final = 1e-12

_BEND: Final = 0.02
"""Distance to 0 at which a polynomial bends away. At a kink, second derivatives would be wrong, and so the errors."""


@dataclass(frozen=True)
class Window:
    """The range of a fit and its bins.

    Attributes:
        edges: edges of the bins; the first and last are the ends of the window.
    """

    edges: ndarray

    @property
    def low(self) -> float:
        """Lower end."""
        return float(self.edges[0])

    @property
    def high(self) -> float:
        """Upper end."""
        return float(self.edges[-1])

    @property
    def length(self) -> float:
        """Distance between the ends."""
        return self.high - self.low


@dataclass(frozen=True)
class Shape:
    """A shape with parameters.

    Attributes:
        parameters: names of the parameters.
        density: density at values x in a window, for parameters; not normalised.
        cumulative: integral up to x, for parameters; None without a closed form.
        steep: whether it falls by orders of magnitude; its slope then has the unit 1 / x.
    """

    parameters: tuple[str, ...]
    density: Callable[[ndarray, Window, Sequence[float]], ndarray]
    cumulative: Callable[[ndarray, Sequence[float]], ndarray] | None = None
    steep: bool = False

    def in_bins(self, window: Window, parameters: Sequence[float]) -> ndarray:
        """Fraction in each bin; the fractions sum to 1."""
        shares, total = self._integrals(window, parameters)
        return shares / total

    def at(self, values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
        """Normalised density at values in the window."""
        _, total = self._integrals(window, parameters)
        return self.density(values, window, parameters) / total

    def _integrals(self, window: Window, parameters: Sequence[float]) -> tuple[ndarray, float]:
        if self.cumulative is not None:
            shares = np.diff(self.cumulative(window.edges, parameters))
        else:
            half = np.diff(window.edges) / 2
            nodes = window.edges[:-1, None] + half[:, None] * (1 + _NODES)
            shares = (self.density(nodes, window, parameters) * _WEIGHTS).sum(1) * half
        shares = np.maximum(shares, 0.0)
        return shares, max(float(shares.sum()), 1e-300)


def shapes_of(model: str) -> tuple[Shape, Shape | None]:
    """Signal and background of a model.

    Raises:
        ToolRefusedError: there is no such model.
    """
    signal, _, background = model.partition("_plus_")
    if signal not in SIGNALS or (background and background not in BACKGROUNDS) or model.endswith("_plus_"):
        models = [*SIGNALS, *(f"{signal_name}_plus_{other}" for signal_name in SIGNALS for other in BACKGROUNDS)]
        raise ToolRefusedError(
            f"model: got {model[:60]!r}, expected one of {', '.join(SIGNALS)}, alone or followed by _plus_ and one of"
            f" {', '.join(BACKGROUNDS)}{nearest(model, models)}"
        )
    return SIGNALS[signal], BACKGROUNDS[background] if background else None


def _gauss(values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
    mu, sigma = parameters[:2]
    density: ndarray = np.exp(-0.5 * np.square((values - mu) / sigma)) / (sigma * math.sqrt(2 * math.pi))
    return density


def _gauss_cumulative(values: ndarray, parameters: Sequence[float]) -> ndarray:
    from scipy.special import ndtr

    mu, sigma = parameters[:2]
    return np.asarray(ndtr((values - mu) / sigma))


def _double_gauss(values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
    mu, sigma, ratio, core = parameters
    return core * _gauss(values, window, (mu, sigma)) + (1 - core) * _gauss(values, window, (mu, ratio * sigma))


def _double_gauss_cumulative(values: ndarray, parameters: Sequence[float]) -> ndarray:
    mu, sigma, ratio, core = parameters
    return core * _gauss_cumulative(values, (mu, sigma)) + (1 - core) * _gauss_cumulative(values, (mu, ratio * sigma))


def _voigt(values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
    from scipy.special import voigt_profile

    mu, sigma, width = parameters
    return np.asarray(voigt_profile(values - mu, sigma, width / 2))


def _breit_wigner_gauss(values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
    mu, sigma, width = parameters
    pole = np.sqrt(complex(mu * mu, mu * width))
    folded = (_folded_pole(values, pole, sigma) - np.conj(_folded_pole(values, -np.conj(pole), sigma))) / (2 * pole)
    return np.asarray(folded.imag)


def _folded_pole(values: ndarray, pole: complex, sigma: float) -> ndarray:
    """1 / (x - pole), for a pole above the real axis, convolved with a Gaussian."""
    from scipy.special import wofz

    scale = sigma * math.sqrt(2.0)
    return np.asarray(1j * math.sqrt(math.pi) / scale * wofz((pole - values) / scale))


def _crystal_ball(values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
    mu, sigma, start, power = parameters
    pull = (values - mu) / sigma
    core = np.exp(-0.5 * np.square(np.maximum(pull, -start)))
    reach = power / start
    tail = np.power(np.maximum(reach - start - np.minimum(pull, -start), _TINY) / reach, -power)
    return np.asarray(np.where(pull > -start, core, math.exp(-0.5 * start * start) * tail))


def _polynomial(values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
    t = 2 * (values - window.low) / window.length - 1
    density = np.ones_like(t)
    if len(parameters):
        density = density + parameters[0] * t
    if len(parameters) > 1:
        density = density + parameters[1] * (3 * t * t - 1) / 2
    smooth = _BEND * np.logaddexp(0.0, density / _BEND)
    return np.where(density > 40 * _BEND, density, np.maximum(smooth, _TINY))


def _exponential(values: ndarray, window: Window, parameters: Sequence[float]) -> ndarray:
    x = values - window.low
    curve = parameters[1] if len(parameters) > 1 else 0.0
    exponent = -parameters[0] * x - curve * np.square(x / window.length)
    return np.exp(np.clip(exponent, -300, 300))


SIGNALS: Final[Mapping[str, Shape]] = {
    "gauss": Shape(("mu", "sigma"), _gauss, _gauss_cumulative),
    "double_gauss": Shape(("mu", "sigma", "sigma_ratio", "core_fraction"), _double_gauss, _double_gauss_cumulative),
    "voigt": Shape(("mu", "sigma", "width"), _voigt),
    "breit_wigner_gauss": Shape(("mu", "sigma", "width"), _breit_wigner_gauss),
    "crystal_ball": Shape(("mu", "sigma", "tail_start", "tail_power"), _crystal_ball),
}
"""Shapes of peaks, by name."""

BACKGROUNDS: Final[Mapping[str, Shape]] = {
    "const": Shape((), _polynomial),
    "linear": Shape(("background_slope",), _polynomial),
    "quadratic": Shape(("background_slope", "background_curve"), _polynomial),
    "exponential": Shape(("background_slope",), _exponential, steep=True),
    "exponential_curved": Shape(("background_slope", "background_curve"), _exponential, steep=True),
}
"""Shapes of backgrounds, by name."""
