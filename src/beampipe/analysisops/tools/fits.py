"""Tools that fit a peak, and the background in the sidebands of a window.

A peak fit starts from the best point of a grid of positions and widths; at each point, a few steps of expectation
maximisation (EM) determine the yields.

A model is called SIGNAL or SIGNAL_plus_BACKGROUND. With u = (x - low) / (high - low) and t = 2 u - 1:

    gauss               exp(-(x - mu)^2 / (2 sigma^2))
    voigt               Lorentzian of full width `width`, folded with a Gaussian of `sigma`
    breit_wigner_gauss  1 / ((x^2 - mu^2)^2 + mu^2 width^2), folded with a Gaussian of `sigma`
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
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError, require_name
from beampipe.analysisops.tools.events import MOST_BINS, fill, values_of
from beampipe.analysisops.tools.handles import Events, Histogram, ToolContext
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
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


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

    start = {parameter.name: parameter.start for parameter in parameters}
    free = [parameter for parameter in parameters if not parameter.fixed]
    if not free:
        value = function(list(start.values()))
        return Minimum(value, start, dict.fromkeys(start, 0.0), (), np.zeros((0, 0)), True)
    minuit = Minuit(lambda values: function(values.tolist()), list(start.values()), name=list(start))
    minuit.errordef = Minuit.LIKELIHOOD
    for parameter in parameters:
        minuit.errors[parameter.name] = parameter.step
        minuit.limits[parameter.name] = (parameter.low, parameter.high)
        minuit.fixed[parameter.name] = parameter.fixed
    minuit.strategy = 1
    minuit.migrad()
    if not minuit.valid:
        minuit.simplex()
        minuit.strategy = 2
        minuit.migrad()
    minuit.hesse()
    names = tuple(parameter.name for parameter in free)
    values = {name: float(minuit.values[name]) for name in start}
    errors = {name: float(minuit.errors[name]) if name in names else 0.0 for name in start}
    covariance = np.full((len(names), len(names)), np.nan)
    if minuit.covariance is not None:
        covariance = np.array([[float(minuit.covariance[a, b]) for b in names] for a in names])

    def at_limit(parameter: Parameter) -> bool:
        value, span = values[parameter.name], parameter.high - parameter.low
        scale = errors[parameter.name] if math.isinf(span) else span
        return min(value - parameter.low, parameter.high - value) < _AT_LIMIT * scale

    good = minuit.valid and minuit.accurate and np.isfinite(covariance).all()
    valid = bool(good and all(errors[name] > 0 for name in names) and not any(map(at_limit, free)))
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
    return np.asarray(np.exp(-0.5 * np.square((values - mu) / sigma)) / (sigma * math.sqrt(2 * math.pi)))


def _gauss_cumulative(values: ndarray, parameters: Sequence[float]) -> ndarray:
    from scipy.special import ndtr

    mu, sigma = parameters[:2]
    return np.asarray(ndtr((values - mu) / sigma))


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
    "voigt": Shape(("mu", "sigma", "width"), _voigt),
    "breit_wigner_gauss": Shape(("mu", "sigma", "width"), _breit_wigner_gauss),
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


_POSITIONS: Final = 41
"""Positions of the peak on the grid."""

_WIDTHS: Final = (0.008, 0.015, 0.03, 0.06, 0.12, 0.2)
"""Widths of the peak on the grid, as fractions of the window."""

_STEPS: Final = 25
"""Number of EM steps for the fraction of the signal."""

_HOPELESS: Final = 12.0
"""Start values are skipped if their log-likelihood is worse than the best by more than this."""

_STARTS: Final = 3
"""Number of fits, with start values at different positions or widths."""


@dataclass(frozen=True)
class PeakStart:
    """Start values of a peak.

    Attributes:
        mu: its position.
        sigma: its width, as Gaussian sigma.
        signal: number of events in it.
        background: parameters of the background's shape.
    """

    mu: float
    sigma: float
    signal: float
    background: tuple[float, ...]


def peak_starts(
    counts: ndarray, window: Window, background: Shape | None, fixed: Mapping[str, float]
) -> list[PeakStart]:
    """The most likely start values, the best first."""
    if background is None:
        # Centre and width from quantiles, which are robust against tails.
        centres = (window.edges[:-1] + window.edges[1:]) / 2
        positive = np.maximum(counts, 0)
        share = np.cumsum(positive) / max(float(positive.sum()), 1e-9)
        low, middle, high = (float(np.interp(level, share, centres)) for level in (0.16, 0.5, 0.84))
        sigma = max((high - low) / 2, float(np.diff(window.edges).min()))
        return [PeakStart(fixed.get("mu", middle), sigma, float(counts.sum()), ())]
    total = float(counts.sum())
    guess = _background_guess(counts, window, background, fixed)
    below = background.in_bins(window, guess)
    positions = [fixed["mu"]] if "mu" in fixed else list(np.linspace(window.low, window.high, _POSITIONS)[1:-1])
    fixed_width = fixed["sigma"] + 0.5 * fixed.get("width", 0.0) if "sigma" in fixed else 0.0
    smallest = 0.5 * float(np.diff(window.edges).min())
    widths = [fixed_width] if fixed_width else [max(part * window.length, smallest) for part in _WIDTHS]
    tried = [(float(mu), float(sigma)) for sigma in widths for mu in positions]
    peaks = np.array([SIGNALS["gauss"].in_bins(window, peak) for peak in tried])
    shares, values = _expectation_maximisation(counts, peaks, below)
    chosen: list[PeakStart] = []
    for i in np.argsort(values, kind="stable"):
        mu, sigma = tried[int(i)]
        start = PeakStart(mu, sigma, float(shares[i]) * total, guess)
        if chosen and values[i] > values.min() + _HOPELESS:
            break
        if all(
            abs(start.mu - other.mu) > 2 * other.sigma
            or max(start.sigma, other.sigma) > 2.5 * min(start.sigma, other.sigma)
            for other in chosen
        ):
            chosen.append(start)
        if len(chosen) == _STARTS:
            break
    return chosen


def parameters_from(
    start: PeakStart, signal: Shape, background: Shape | None, window: Window, total: float, fixed: Mapping[str, float]
) -> list[Parameter]:
    """The parameters of a model at the start values: signal, yields, background."""
    size, length, bin_width = start.sigma, window.length, float(np.diff(window.edges).min())
    # A convolved peak: its width is shared between the Gaussian and the natural width.
    folded = "width" in signal.parameters
    sigma = math.sqrt(max(size**2 - (0.5 * fixed["width"]) ** 2, 0.1 * size**2)) if "width" in fixed else 0.7 * size
    width = max(2 * (size - fixed["sigma"]), 0.3 * size) if "sigma" in fixed else 0.9 * size
    every = {
        "mu": Parameter("mu", start.mu, 0.2 * size, window.low, window.high),
        "sigma": Parameter("sigma", sigma if folded else size, 0.1 * size, 0.05 * bin_width, length),
        "width": Parameter("width", width, 0.1 * size, 1e-3 * bin_width, 2 * length),
    }
    parameters = [every[name] for name in signal.parameters]
    loose, most = math.sqrt(max(total, 1.0)), 3 * total + 10
    inside = fixed.get("signal_yield", start.signal if background else total)
    # A peak at a known position may have a negative yield; a peak with a free position must not fit a dip in the
    # spectrum.
    fewest = -total if background and "mu" in fixed else 0.0
    parameters.append(Parameter("signal_yield", inside, loose, fewest, most))
    if background:
        parameters.append(Parameter("background_yield", max(total - inside, 0.05 * total), loose, 0.0, most))
        parameters += background_parameters(start.background, background, window)

    def held(parameter: Parameter, value: float) -> Parameter:
        low, high = min(parameter.low, value), max(parameter.high, value)
        return replace(parameter, start=value, low=low, high=high, fixed=True)

    return [held(each, fixed[each.name]) if each.name in fixed else each for each in parameters]


def background_parameters(values: Sequence[float], background: Shape, window: Window) -> list[Parameter]:
    """The parameters of a background shape, with steps and limits in the unit of the window."""
    if not background.steep:
        return [
            Parameter(name, value, 0.05, -1.5, 1.5) for name, value in zip(background.parameters, values, strict=True)
        ]
    scales = (1.0 / window.length, 1.0)
    return [
        Parameter(name, value, 0.1 * scale, -60 * scale, 60 * scale)
        for name, value, scale in zip(background.parameters, values, scales, strict=False)
    ]


def _background_guess(
    counts: ndarray, window: Window, background: Shape, fixed: Mapping[str, float]
) -> tuple[float, ...]:
    """The slope between the first and the last fifth of the window; curvature starts at 0."""
    guess = [0.0] * len(background.parameters)
    if guess:
        fifth = max(1, len(counts) // 5)
        first, last = float(counts[:fifth].sum()) + 1.0, float(counts[-fifth:].sum()) + 1.0
        centres = (window.edges[:-1] + window.edges[1:]) / 2
        distance = float(centres[-fifth:].mean() - centres[:fifth].mean())
        if background.steep:
            guess[0] = math.log(first / last) / distance
        else:
            guess[0] = float(np.clip((last - first) / (last + first) * window.length / distance, -0.95, 0.95))
    return tuple(fixed.get(name, value) for name, value in zip(background.parameters, guess, strict=True))


def _expectation_maximisation(counts: ndarray, peaks: ndarray, below: ndarray) -> tuple[ndarray, ndarray]:
    """For each peak (n, bins) its fraction in a mixture with the background, and the negative log-likelihood."""
    total = max(float(counts.sum()), 1e-9)
    share = np.full((len(peaks), 1), 0.1)
    for _ in range(_STEPS):
        mixed = np.maximum(share * peaks + (1 - share) * below, 1e-300)
        share = np.clip((counts * share * peaks / mixed).sum(1, keepdims=True) / total, 1e-4, 0.999)
    mixed = np.maximum(share * peaks + (1 - share) * below, 1e-300)
    return share[:, 0], -(counts * np.log(mixed)).sum(1)


_MOST_VALUES: Final = 500_000
"""Maximum number of values of an unbinned fit."""


class PeakFit:
    """An extended likelihood fit of signal plus background.

        expected in a bin = signal_yield * share of the signal + background_yield * share of the background

    Both yields are numbers of events in the window.

    Args:
        histogram: counts in the bins of the window.
        model: name of the model, see `shapes`.
        fixed: fixed parameters -> their values.
        values: the unbinned values for an unbinned fit; None for a binned one.
        check: called at each step; raises if the time limit is exceeded.
    """

    def __init__(
        self,
        histogram: Histogram,
        model: str,
        fixed: Mapping[str, float],
        values: ndarray | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._signal, self._background = shapes_of(model)
        self._fixed, self._check = fixed, check
        self._window = Window(histogram.edges)
        self._counts, self._variances = histogram.values, histogram.variances
        self._values = values
        names = self.names
        for name in fixed:
            require_name("fixed", name, names)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of the model, in their order."""
        background = ("background_yield", *self._background.parameters) if self._background else ()
        return (*self._signal.parameters, "signal_yield", *background)

    def expected(self, parameters: Sequence[float]) -> ndarray:
        """Expected number in each bin."""
        return self._sum(parameters, lambda shape, own: shape.in_bins(self._window, own))

    def fit(self) -> tuple[Minimum, dict[str, float]]:
        """The best of several fits with different start values, and its start values."""
        function = self._binned() if self._values is None else self._unbinned(self._values)
        fits = []
        for start in peak_starts(self._counts, self._window, self._background, self._fixed):
            total = float(self._counts.sum())
            parameters = parameters_from(start, self._signal, self._background, self._window, total, self._fixed)
            fits.append((_minimum(function, parameters), {each.name: each.start for each in parameters}))
        lowest = min(fit.value for fit, _ in fits)
        # Among equally good fits, prefer a valid one.
        return min(fits, key=lambda each: (each[0].value > lowest + 1e-2, not each[0].valid, each[0].value))

    def _sum(self, parameters: Sequence[float], share: Callable[[Shape, Sequence[float]], ndarray]) -> ndarray:
        n = len(self._signal.parameters)
        total = parameters[n] * share(self._signal, parameters[:n])
        if self._background:
            total = total + parameters[n + 1] * share(self._background, parameters[n + 2 :])
        return np.asarray(total)

    def _binned(self) -> Callable[[Sequence[float]], float]:
        likelihood = poisson(self._counts, self._variances)

        def function(parameters: Sequence[float]) -> float:
            self._check()
            return likelihood(self.expected(parameters))

        return function

    def _unbinned(self, values: ndarray) -> Callable[[Sequence[float]], float]:
        n = len(self._signal.parameters)
        least = 1e-9 / self._window.length

        def function(parameters: Sequence[float]) -> float:
            self._check()
            density = self._sum(parameters, lambda shape, own: shape.at(values, self._window, own))
            total = parameters[n] + (parameters[n + 1] if self._background else 0.0)
            safe = np.maximum(density, least)
            return float(total - np.log(safe).sum() + 1e3 * np.square(np.minimum(density - least, 0.0)).sum())

        return function


def fit_peak_tool(
    context: ToolContext,
    window: list[float],
    events: str | None = None,
    histogram: str | None = None,
    column: str | None = None,
    model: str = "gauss_plus_const",
    bins: int = 120,
    unbinned: bool = False,
    min_count: int = 50,
    fixed: dict[str, float] = {},  # noqa: B006 - only read; it is the default in the schema
) -> Mapping[str, Any]:
    """Fit a peak by extended maximum likelihood; errors are one standard deviation.

    Yields are numbers of events in the window. chi2 is that of bins with at least 5 expected events. Look at valid and
    p_value: a fit that is not valid, or with a tiny p_value, needs another window or model.

    Args:
        window: lower and upper end of the fit, in the unit of the column.
        events: handle of events, or of a histogram.
        histogram: handle of a histogram, in place of events.
        column: what to fit, for a handle of events.
        model: gauss, voigt or breit_wigner_gauss, alone or followed by _plus_const, _plus_linear, _plus_quadratic,
            _plus_exponential or _plus_exponential_curved.
        bins: number of bins of the window, at most 400; for a histogram its own bins are taken.
        unbinned: fit the values themselves; only for a handle of events.
        min_count: refuse a fit of fewer events.
        fixed: parameters that do not float -> their values, such as {"sigma": 1.6} or {"width": 2.4952}.
    """
    if len(window) != 2 or not window[0] < window[1]:
        raise ToolRefusedError(f"window: got {window[:4]}, expected [low, high] with low < high")
    if (events is None) == (histogram is None):
        raise ToolRefusedError("events, histogram: got both or neither, expected the handle of one of them")
    filled, values = _filled(context, str(events or histogram), column, window, bins)
    if unbinned and (values is None or len(values) > _MOST_VALUES):
        raise ToolRefusedError(f"unbinned: expected a handle of events with at most {_MOST_VALUES} values; fit bins")
    if filled.n < max(min_count, 5):
        raise ToolRefusedError(
            f"window: got {filled.n} events within {window[0]:g} to {window[1]:g}, expected at least"
            f" {max(min_count, 5)}; widen the window, check the unit (MeV or GeV), or lower min_count"
        )
    return _result(
        PeakFit(filled, model, fixed, values if unbinned else None, context.check_time), filled, model, unbinned
    )


def _filled(
    context: ToolContext, handle: str, column: str | None, window: Sequence[float], bins: int
) -> tuple[Histogram, ndarray | None]:
    """Counts in the window, and the values there; of a histogram the bins within the window, without values."""
    content = context.content(handle)
    if isinstance(content, Events):
        if column is None:
            raise ToolRefusedError(f"column: got none, expected one of {', '.join(content.columns)}")
        if not 5 <= bins <= MOST_BINS:
            raise ToolRefusedError(f"bins: got {bins}, expected 5 to {MOST_BINS}")
        every, weights = values_of(content, column, None)
        values = every[(every >= window[0]) & (every <= window[1])]
        return fill(every, weights, np.linspace(window[0], window[1], bins + 1), column), values
    if not isinstance(content, Histogram):
        raise ToolRefusedError(f"handle {handle}: expected events or a histogram")
    edges = content.edges
    slack = 1e-9 * (edges[-1] - edges[0])
    inside = (edges[:-1] >= window[0] - slack) & (edges[1:] <= window[1] + slack)
    if inside.sum() < 5:
        raise ToolRefusedError(
            f"window: got {int(inside.sum())} bins within {window[0]:g} to {window[1]:g}, expected at least 5;"
            f" the histogram has {len(inside)} from {edges[0]:g} to {edges[-1]:g}"
        )
    first = int(np.argmax(inside))
    contents, variances = content.values[inside], content.variances[inside]
    effective = float(contents.sum() ** 2 / variances.sum()) if variances.sum() > 0 else 0.0
    within = edges[first : first + int(inside.sum()) + 1]
    return Histogram(within, contents, variances, 0.0, 0.0, round(effective), content.column), None


def _result(peak: PeakFit, histogram: Histogram, model: str, unbinned: bool) -> dict[str, Any]:
    minimum, start = peak.fit()
    expected = peak.expected([minimum.values[name] for name in peak.names])
    good = goodness(histogram.values, histogram.variances, expected, len(minimum.names))
    numbers: dict[str, Any] = {}
    for name in peak.names:
        numbers[name] = minimum.values[name]
        numbers[f"{name}_error"] = minimum.errors[name]
    if "background_yield" not in numbers:
        numbers.update(background_yield=0.0, background_yield_error=0.0)
    return {
        **numbers,
        **vars(good),
        "valid": minimum.valid,
        "initial_params": start,
        "covariance": {"names": list(minimum.names), "matrix": minimum.covariance.tolist()},
        "model": model,
        "window": [float(histogram.edges[0]), float(histogram.edges[-1])],
        "bins": len(histogram.values),
        "n": histogram.n,
        "method": f"extended {'unbinned' if unbinned else 'binned'} maximum likelihood, errors from HESSE",
    }


def _minimum(function: Callable[[Sequence[float]], float], parameters: Sequence[Parameter]) -> Minimum:
    """The minimum; a negligible background has an undetermined shape, which is fixed first, then its yield at 0."""
    minimum = minimise(function, parameters)
    below, error = (of.get("background_yield", 0.0) for of in (minimum.values, minimum.errors))
    if minimum.valid or not error or below > max(0.01 * minimum.values["signal_yield"], 2 * error):
        return minimum
    moved = [each if each.fixed else replace(each, start=minimum.values[each.name]) for each in parameters]

    def without(*names: str) -> Minimum:
        return minimise(
            function, [replace(each, start=0.0, fixed=True) if each.name in names else each for each in moved]
        )

    straight = without("background_slope", "background_curve")
    return straight if straight.valid else without("background_slope", "background_curve", "background_yield")


_STEP = 1e-4
"""Step of numerical derivatives, as a fraction of the parameter's error."""


def fit_background_tool(
    context: ToolContext,
    events: str,
    column: str,
    window: list[float],
    exclude: list[float],
    model: str = "exponential",
    bins: int = 110,
) -> Mapping[str, Any]:
    """Fit a smooth background beside a window; gives the number of events that it expects within the window.

    The error is that of the fit, propagated with its covariance; the count within the window has no part in it.

    Args:
        events: handle of events.
        column: what to fit.
        window: lower and upper end of the fit.
        exclude: lower and upper end of what is left out, inside the window.
        model: const, linear, quadratic, exponential or exponential_curved.
        bins: number of bins of the window, at most 400; those that reach into what is left out are not fitted.
    """
    require_name("model", model, BACKGROUNDS)
    if len(window) != 2 or len(exclude) != 2 or not window[0] < exclude[0] < exclude[1] < window[1]:
        raise ToolRefusedError(
            f"exclude: got {exclude[:4]} in {window[:4]}, expected [low, high] inside of the window's [low, high]"
        )
    if not 10 <= bins <= MOST_BINS:
        raise ToolRefusedError(f"bins: got {bins}, expected 10 to {MOST_BINS}")
    content = context.content(events)
    if not isinstance(content, Events):
        raise ToolRefusedError(f"handle {events}: got no events, expected events")
    values, weights = values_of(content, column, None)
    width = (window[1] - window[0]) / bins
    # What is left out is a single bin, so that no bin crosses its ends.
    sides = ((window[0], exclude[0]), (exclude[1], window[1]))
    edges = np.concatenate([np.linspace(a, b, max(2, round((b - a) / width)) + 1) for a, b in sides])
    histogram = fill(values, weights, edges, column)
    beside = (edges[1:] <= exclude[0]) | (edges[:-1] >= exclude[1])
    counts, variances = histogram.values[beside], histogram.variances[beside]
    if counts.sum() < 20:
        raise ToolRefusedError(f"window: got {counts.sum():g} events beside {exclude}, expected at least 20")
    shape, whole = BACKGROUNDS[model], Window(edges)
    likelihood = poisson(counts, variances)

    def expected(parameters: Sequence[float]) -> np.ndarray:
        return np.asarray(parameters[0] * shape.in_bins(whole, parameters[1:]))

    def function(parameters: Sequence[float]) -> float:
        context.check_time()
        return likelihood(expected(parameters)[beside])

    total = float(counts.sum()) * whole.length / (whole.length - (exclude[1] - exclude[0]))
    start = [Parameter("background_yield", total, total**0.5, 0.0, 10 * total)]
    start += [Parameter(name, 0.0, 0.01) for name in shape.parameters]
    minimum = minimise(function, start)
    best = [minimum.values[parameter.name] for parameter in start]

    def inside(parameters: np.ndarray) -> np.ndarray:
        return expected(parameters.tolist())[~beside]

    error = None
    if len(minimum.names) == len(best):  # no parameter was fixed
        steps = _STEP * np.array([minimum.errors[name] or 1.0 for name in minimum.names])
        error = float(propagated(inside, np.array(best), steps, minimum.covariance)[0])
    return {
        "expected": float(inside(np.array(best))[0]),
        "expected_error": error,
        **vars(goodness(counts, variances, expected(best)[beside], len(minimum.names))),
        "valid": minimum.valid,
        "parameters": dict(minimum.values),
        "errors": dict(minimum.errors),
        "n_beside": int(histogram.n - histogram.values[~beside].sum()),
        "window": list(window),
        "exclude": list(exclude),
        "model": model,
    }
