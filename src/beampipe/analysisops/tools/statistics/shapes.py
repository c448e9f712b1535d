"""Shapes of peaks and backgrounds over a window, as integrals over bins and as densities.

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

Each is normalised over the window. The folded Breit-Wigner is exact: it falls into simple poles, and a pole folded with
a Gaussian is the Faddeeva function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import nearest

__all__ = ["BACKGROUNDS", "SIGNALS", "Shape", "Window", "shapes_of"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)
_TINY: Final = 1e-12


@dataclass(frozen=True)
class Window:
    """The range of a fit and its bins.

    Attributes:
        edges: of the bins; the first and last are those of the window.
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
        parameters: their names.
        density: of values x in a window, for parameters; not normalised.
        cumulative: up to x, for parameters, in closed form; None if there is none.
        steep: it falls by orders of magnitude, and its slope has the unit 1 / x.
    """

    parameters: tuple[str, ...]
    density: Callable[[ndarray, Window, Sequence[float]], ndarray]
    cumulative: Callable[[ndarray, Sequence[float]], ndarray] | None = None
    steep: bool = False

    def in_bins(self, window: Window, parameters: Sequence[float]) -> ndarray:
        """Share of each bin; they add up to 1."""
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
        known = [*SIGNALS, *(f"{one}_plus_{other}" for one in SIGNALS for other in BACKGROUNDS)]
        raise ToolRefusedError(
            f"model: got {model[:60]!r}, expected one of {', '.join(SIGNALS)}, alone or followed by _plus_ and one of"
            f" {', '.join(BACKGROUNDS)}{nearest(model, known)}"
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
    """1 / (x - pole), for a pole above the real axis, folded with a Gaussian."""
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
    return np.maximum(density, _TINY)


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
